"""benchmarks.paper: campaigns of tiny runs, on tasks made up here."""

import json
import os
import shutil
import signal

import numpy as np
import pytest

from benchmarks.paper import arms, settings
from benchmarks.paper.campaign import Campaign, Run
from benchmarks.paper.results import Cell
from gpt_tf.common.errors import Diverged, Interrupted, UserError
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.reader import SplitReader
from gpt_tf.training.predictor import Predictions
from tests import fuzz_seeds, runs, task_data
from tests.commands import run_command

VALIDATION = 24
RATES = "1e-3,1e-2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pre-trained run, SST-2's own files, and a work folder with data of it, and of STS-B."""
    root = tmp_path_factory.mktemp("paper")
    tokenizer = fuzz_seeds.tokenizer()
    runs.make_run(root / "run", tokenizer, {7: runs.make_model(
        tokenizer.vocabulary_size, num_layers=1, hidden_dim=8, intermediate_dim=8,
        max_sequence_length=task_data.MAX_LENGTH)})
    (root / "tasks" / "STS-B").mkdir(parents=True)
    (root / "tasks" / "SST-2").mkdir()
    for name, count in (("train", 40), ("dev", VALIDATION)):
        rows = [f"{'a good' if number % 2 else 'a bad'} film {number}\t{number % 2}\n"
                for number in range(count)]
        (root / "tasks" / "SST-2" / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(rows))
    (root / "work" / "data").mkdir(parents=True)
    task_data.write(root / "work" / "data" / "stsb", tokenizer, task_data.TASKS["scores"])
    task_data.write(root / "work" / "data" / "sst2", tokenizer, task_data.TASKS["classification"])
    return root


def flags_of(folder, work="work", **others):
    return [f"--{name}={value}" for name, value in {
        "pretrained": folder / "run", "tasks_dir": folder / "tasks", "work_dir": folder / work,
        **others}.items()]


def campaign_of(folder, tmp_path, **others):
    """A campaign in an empty work folder but for the data."""
    if not (tmp_path / "data").exists():
        (tmp_path / "data").symlink_to(folder / "work" / "data")
    return Campaign(settings.Settings(**{
        "pretrained": str(folder / "run"), "tasks_dir": str(folder / "tasks"),
        "work_dir": str(tmp_path), "rates": RATES, "num_seeds": 2, **others}))


class Stub:
    """In place of fine-tuning: one answer more is wrong for each seed; a rate has its own.

    Attributes:
      calls: (rate, seed, rows) of each call.
    """

    def __init__(self, wrong, error=None):
        self.calls, self._wrong, self._error = [], wrong, error

    def __call__(self, config, cluster, watch):
        rate, seed = config.optimizer.learning_rate, config.training.seed
        self.calls.append((rate, seed, config.data.manifest.splits["train"].records))
        if self._error and (rate, seed) == self._error[0]:
            raise self._error[1]
        labels = np.concatenate([
            batch["labels"].numpy()[batch["split_positions"].numpy() >= 0]
            for batch in evaluation_batches(config.data.folder, "validation", 8)])
        answers = labels.copy()
        answers[:self._wrong[rate] + seed] ^= 1
        watch(1, "validation", Predictions(np.arange(len(labels)), labels,
                                           np.zeros((len(labels), 2)), 1 - answers, 1.0))
        watch(2, "validation", Predictions(np.arange(len(labels)), labels,
                                           np.zeros((len(labels), 2)), answers, 1.0))


def test_a_campaign(folder, tmp_path):
    good, poor = Stub({1e-3: 3, 1e-2: 1}), Stub({1e-3: 6, 1e-2: 6})
    cells = [Cell("sst2", arms.Arm("good", "none", finetune=good)),
             Cell("sst2", arms.Arm("poor", "none", finetune=poor))]
    campaign, writes = campaign_of(folder, tmp_path), []
    assert campaign.outcome(cells[0]).rate is None
    assert campaign.run(cells, write=lambda: writes.append(1)) and writes
    # Both rates with the seed that is thrown away; then two seeds of the better, of equals the
    # lower one.
    assert good.calls == [(1e-3, 0, 64), (1e-2, 0, 64), (1e-2, 1, 64), (1e-2, 2, 64)]
    assert poor.calls == [(1e-3, 0, 64), (1e-2, 0, 64), (1e-3, 1, 64), (1e-3, 2, 64)]
    outcome = campaign.outcome(cells[0])
    # The last answers count.
    assert outcome.scores("accuracy") == [1 - 2 / VALIDATION, 1 - 3 / VALIDATION]
    assert outcome.answers.shape == (2, VALIDATION)
    assert not list((tmp_path / "runs").rglob("*.txt"))  # what finished leaves nothing there

    again = campaign_of(folder, tmp_path)
    assert again.run(cells, write=lambda: None) and len(good.calls) == 4
    assert again.outcome(cells[0]) == outcome
    # Runs of a rate that was not chosen, or that chose where there is no choice, do not count.
    for rates, expected in ((RATES, [(1e-3, 0), (1e-2, 0), (1e-2, 1), (1e-2, 2)]),
                            ("1e-2", [(1e-2, 1), (1e-2, 2)]), ("1e-3", [])):
        found = campaign_of(folder, tmp_path, rates=rates).results(cells[:1])
        assert [(run.rate, run.seed) for run in found] == expected
    with pytest.raises(UserError, match="lm_coef 0.5, and now it is 0.0: name another --work_dir"):
        again.outcome(Cell("sst2", arms.Arm("good", "none", {"lm_coef": 0.0})))


def test_rows_are_nested_and_validation_is_whole(folder, tmp_path):
    stub = Stub({1e-3: 0})
    arm = arms.Arm("arm", "none", finetune=stub)
    cells = [Cell("sst2", arm, rows) for rows in (8, 20)]
    assert campaign_of(folder, tmp_path, rates="1e-3").run(cells, write=lambda: None)
    assert [call[1:] for call in stub.calls] == [(1, 8), (2, 8), (1, 20), (2, 20)]

    def rows(name):
        reader = SplitReader(tmp_path / "data" / name, "train")
        return reader.read(range(len(reader)))

    assert rows("sst2-20-1")[:8] == rows("sst2-8-1") != rows("sst2-8-2")
    assert set(rows("sst2-8-1")) <= set(rows("sst2"))
    assert len(SplitReader(tmp_path / "data" / "sst2-8-1", "validation")) == VALIDATION


def test_as_many_rows_as_there_are_are_all(folder, tmp_path):
    assert [campaign_of(folder, tmp_path, max_rows=f"sst2={rows}").rows("sst2")
            for rows in (63, 64, 65)] == [63, 0, 0]


def test_baselines_are_of_the_data(folder, tmp_path):
    campaign = campaign_of(folder, tmp_path)
    found = campaign.baselines("sst2")
    (path,) = (tmp_path / "results").rglob("*.json")
    kept = json.loads(path.read_text())
    for change, expected in (({"majority": {}}, found | {"majority": {}}), ({"data": ""}, found)):
        path.write_text(json.dumps(kept | change))
        assert campaign.baselines("sst2") == expected
    assert json.loads(path.read_text()) == kept


def test_data_of_another_model(folder, tmp_path):
    tokenizer = fuzz_seeds.tokenizer()
    runs.make_run(tmp_path / "longer", tokenizer, {7: runs.make_model(tokenizer.vocabulary_size)})
    done = run_command("benchmarks.paper.labels", *flags_of(folder, pretrained=tmp_path / "longer"))
    assert done.code == 1 and done.stderr.endswith(
        f"up to 24 tokens, and {tmp_path / 'longer'} takes 64: name another --work_dir.\n")


def test_diverged_runs_are_the_worst_and_are_counted(folder, tmp_path):
    worst = Stub({1e-3: 9, 1e-2: 0}, ((1e-2, 0), Diverged("not finite")))
    some = Stub({1e-3: 0, 1e-2: 9}, ((1e-3, 2), Diverged("not finite")))
    cells = [Cell("sst2", arms.Arm(name, "none", finetune=stub))
             for name, stub in (("worst", worst), ("some", some))]
    campaign = campaign_of(folder, tmp_path)
    assert campaign.run(cells, write=lambda: None)
    assert campaign.outcome(cells[0]).rate == 1e-3
    assert campaign.outcome(cells[1]).cell("accuracy") == "95.8 [1 diverged]"
    assert [run.seed for run in campaign.outcome(cells[1]).runs] == [1]


def test_a_loss_that_is_not_finite_is_kept_as_none(folder, tmp_path):
    def finetune(config, cluster, watch):
        with open(os.path.join(config.model_dir, "metrics.jsonl"), "w", encoding="utf-8") as file:
            file.write('{"step": 2, "validation/loss": null}\n')
        raise Diverged("not finite")

    cells = [Cell("sst2", arms.Arm("arm", "none", finetune=finetune))]
    settled = dict(rates="1e-3", num_seeds=1)
    assert campaign_of(folder, tmp_path, **settled).run(cells, write=lambda: None)
    again = campaign_of(folder, tmp_path, **settled)
    assert again.outcome(cells[0]).diverged == 1
    assert again.results(cells)[0].course == [{"epoch": 1.0, "validation/loss": None}]


def test_weights_that_change_meanwhile(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    weights = next((run / "checkpoints").glob("ckpt-7.data*"))
    kept, stub = weights.read_bytes(), Stub({1e-3: 0})

    def finetune(*arguments):
        stub(*arguments)
        weights.write_bytes(kept[:-1] + b"x")

    settled = dict(rates="1e-3", num_seeds=1)
    with pytest.raises(UserError, match="The weights of .*run have changed meanwhile: wait"):
        campaign_of(folder, tmp_path, **settled).run(
            [Cell("sst2", arms.Arm("arm", str(run), finetune=finetune))], write=lambda: None)
    assert not (tmp_path / "results").exists()
    cells = [Cell("sst2", arms.Arm("arm", str(run), finetune=stub))]
    with pytest.raises(UserError, match="identity.json is of a run with init_from '.*', and now"):
        campaign_of(folder, tmp_path, **settled).run(cells, write=lambda: None)
    weights.write_bytes(kept)
    assert campaign_of(folder, tmp_path, **settled).run(cells, write=lambda: None)
    assert len(stub.calls) == 2


def test_what_ends_a_campaign_leaves_what_there_is(folder, tmp_path):
    stub = Stub({1e-3: 0}, ((1e-3, 2), Interrupted(signal.SIGTERM, "Saved.")))
    cells = [Cell("sst2", arms.Arm("arm", "none", finetune=stub))]
    campaign, writes = campaign_of(folder, tmp_path, rates="1e-3"), []
    with pytest.raises(Interrupted):
        campaign.run(cells, write=lambda: writes.append(campaign.outcome(cells[0])))
    assert [run.seed for run in writes[-1].runs] == [1]
    assert os.listdir(tmp_path / "runs" / "sst2" / "arm")  # where it goes on
    late = campaign_of(folder, tmp_path, rates="1e-3", max_minutes=1e-9)
    assert not late.run(cells, write=lambda: None)
    assert len(stub.calls) == 2


def test_tables_from_the_original_files(folder, monkeypatch):
    monkeypatch.setitem(settings.RECIPES, "small", settings.Recipe(
        settings.RECIPES["small"].flags | {"jit_compile": False}, (1e-3,), None))
    monkeypatch.setattr(arms, "scratch", lambda: arms.Arm(
        "scratch", "none", finetune=Stub({1e-3: 5})))
    flags = flags_of(folder, "made", tasks="sst2", num_seeds=1, epochs="sst2=1",
                     max_rows="sst2=16")
    done = run_command("benchmarks.paper.tables", *flags)
    assert done.code == 0, done.stderr
    made = folder / "made"
    text = (made / "tables.md").read_text()
    assert text in done.stdout and "Training rows at the most: sst2 16" in text
    assert (made / "tables.png").read_bytes().startswith(b"\x89PNG")
    assert "| sst2 | 16 | accuracy | 91.3 | 50.0 |" in text
    assert "- not met: ahead on at least 5 of" in text
    values = json.loads((made / "tables.json").read_text())
    assert [run["arm"] for run in values["runs"]] == ["pretrained", "scratch"]
    ours = values["runs"][0]
    assert ours["flags"]["num_epochs"] == 1 and len(ours["flags"]["init_from"]) == 16
    assert ours["course"][-1]["validation/accuracy"] == pytest.approx(ours["scores"]["accuracy"])
    assert values["runs"][1]["scores"] == {"accuracy": 0.75}
    before = {path: path.stat().st_mtime_ns for path in (made / "results").rglob("*.json")}
    again = run_command("benchmarks.paper.tables", *flags)
    assert "pretrained: done" in again.stdout and text in again.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (made / "results").rglob("*.json")}


def test_labels(folder, monkeypatch):
    for name, wrong in (("pretrained", 1), ("scratch", 9)):
        monkeypatch.setattr(arms, name, lambda *run, name=name, wrong=wrong: arms.Arm(
            name, "none", finetune=Stub({1e-3: wrong})))
    done = run_command("benchmarks.paper.labels", *flags_of(
        folder, counts="8,64,100,all", num_seeds=2, rates="1e-3", output=folder / "out"))
    assert done.code == 0, done.stderr
    assert sorted(os.listdir(folder / "out")) == ["labels.json", "labels.md", "labels.png"]
    # Of 24 rows scratch has 10 and 11 wrong, the pre-trained 2 and 3.
    assert done.stdout.count("| 56.2 (54.2 to 58.3) | 89.6 (87.5 to 91.7) | +33.3 |") == 2
    values = json.loads((folder / "out" / "labels.json").read_text())
    assert sorted(values["bag of words"]) == ["8", "all"] and len(values["runs"]) == 8


@pytest.mark.parametrize("others,sentence", [
    ({"tasks_dir": "nowhere"}, "--tasks_dir=nowhere has none of MNLI/"),
    ({"tasks": "cola"}, "has no CoLA/, which cola needs"),
    ({"tasks": "sst3"}, "--tasks names sst3, and the tasks are mnli"),
    ({"rates": "fast"}, "--rates=fast must be numbers between 0 and 1"),
    ({"epochs": "sst2"}, "--epochs=sst2: 'sst2' must be a task and a number"),
    ({"epochs": "sst2=nan"}, "--epochs=sst2=nan: 'sst2=nan' must be above 0, and finite"),
    ({"max_rows": "stsb=0"}, "--max_rows=stsb=0: 'stsb=0' must be above 0"),
    ({"pretrained": "runs/none"}, "runs/none"),
])
def test_what_is_wrong(folder, tmp_path, others, sentence):
    done = run_command("benchmarks.paper.tables", *flags_of(
        folder, **{"work_dir": tmp_path / "work"} | others))
    assert done.code == 1 and done.stderr.startswith("error: ") and sentence in done.stderr
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("others,sentence", [
    ({"max_rows": "sst2=8"}, "--max_rows=sst2=8 is not for this figure"),
    ({"counts": "²"}, "--counts=² must be numbers of rows and all"),
    ({"counts": "64"}, "--counts=64: sst2 has 64 training rows; name fewer, or all"),
])
def test_what_labels_refuses(folder, others, sentence):
    done = run_command("benchmarks.paper.labels", *flags_of(folder, **others))
    assert done.code and done.stderr.startswith("error: ") and sentence in done.stderr


def test_names_of_tables():
    listed = run_command("benchmarks.paper.__main__")
    assert listed.code == 0 and "  tables " in listed.stdout and "  labels " in listed.stdout
    unknown = run_command("benchmarks.paper.__main__", "table")
    assert unknown.code == 2 and "'table' is no table or figure" in unknown.stderr


def test_a_run_is_told_from_others(folder, tmp_path):
    campaign = campaign_of(folder, tmp_path)
    found = campaign._identity(Run(Cell("sst2", arms.pretrained(campaign.pretrained)), 1e-3, 1))
    assert found["hidden_dim"] == 8 and found["num_special_tokens"] == 3
    assert len(found["init_from"]) == 16 and "model_dir" not in found and "jit_compile" not in found
