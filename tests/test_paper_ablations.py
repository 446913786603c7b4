"""Table 5 and Figure 2 as commands: which arms they train, what they say, how they go on."""

import gc
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.paper import table5
from benchmarks.paper.arms import Arm, equal_units
from benchmarks.paper.lstm_block import LSTMBlock, in_place_of_blocks
from benchmarks.paper.results import Outcome
from gpt_tf.model.gpt import GPT
from gpt_tf.runs import checkpoint_files, run_folder
from gpt_tf.training import finetuning
from gpt_tf.zero_shot import Course
from tests import fuzz_seeds, runs, task_data, task_files, zero_shot_files
from tests.commands import run_command

SHAPE = dict(hidden_dim=8, max_sequence_length=task_data.MAX_LENGTH)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Runs of a decoder, with checkpoints of updates 1 and 10, and of an LSTM; tasks and data."""
    folder, tokenizer = tmp_path_factory.mktemp("paper"), fuzz_seeds.tokenizer()
    size = tokenizer.vocabulary_size
    runs.make_run(folder / "decoder", tokenizer, {
        step: runs.make_model(size, seed=step, **SHAPE) for step in (1, 10)})
    with in_place_of_blocks():
        runs.make_run(folder / "lstm", tokenizer, {
            7: runs.make_model(size, num_layers=1, num_heads=1, dropout=0.0, **SHAPE)})
    for task, name in (("cola", "CoLA"), ("sst2", "SST-2"), ("dpr", "DPR")):
        task_files.write_files(folder / "tasks" / name, zero_shot_files.FILES[task])
    built = run_command("pipelines.build_task", "--task=dpr", "--zero_shot",
                        f"--input={folder / 'tasks' / 'DPR'}", f"--tokenizer={folder / 'decoder'}",
                        f"--output_dir={folder / 'work' / 'data' / 'dpr-zero-shot'}")
    assert not built.code, built.stderr
    for task in ("cola", "sst2"):
        task_data.write(folder / "work" / "data" / task, tokenizer,
                        task_data.TASKS["classification"])
    return folder


def command(places, name, *flags):
    return run_command(f"benchmarks.paper.{name}", f"--pretrained={places / 'decoder'}",
                       f"--tasks_dir={places / 'tasks'}", f"--work_dir={places / 'work'}",
                       f"--output={places / name}", *flags)


@pytest.fixture(name="trained")
def trained_fixture(monkeypatch):
    """What would have been trained; answers are right with the arm's chance."""
    found = []

    def finetune(config, cluster, watch):
        found.append((config, GPT.block_class))
        lstm = GPT.block_class is LSTMBlock
        layers, lm = config.fine_tuning.transfer_layers, config.fine_tuning.lm_coef
        wrong = {True: 6, False: {0: 8, 1: 6}.get(layers, 3)}[lstm] + (not lm) + 2 * (
            config.is_from_scratch)
        labels = np.arange(24) % 2
        watch(2, "validation", SimpleNamespace(
            labels=labels, predictions=np.where(np.arange(24) < wrong, 1 - labels, labels)))

    monkeypatch.setattr(finetuning, "finetune", finetune)
    monkeypatch.setattr(gc, "collect", int)  # of all that the tests hold it takes half a second
    return found


SMALL = ("--rates=0.001", "--num_seeds=2")


def test_table_5(places, trained):
    done = command(places, "table5", "--tasks=sst2", f"--lstm={places / 'lstm'}", *SMALL)
    assert not done.code, done.stderr
    said = [(run_folder.FROM_SCRATCH if config.is_from_scratch else
             os.path.basename(config.init_from), config.fine_tuning.lm_coef,
             config.model.num_layers, block is LSTMBlock, config.training.seed)
            for config, block in trained]
    assert sorted(said) == sorted(
        (*arm, seed) for seed in (1, 2) for arm in (
            ("decoder", 0.5, 2, False), ("none", 0.5, 2, False), ("decoder", 0.0, 2, False),
            ("lstm", 0.5, 1, True)))
    assert {(config.model.num_special_tokens, config.model.dropout)
            for config, _ in trained} == {(3, 0.1)}
    text = (places / "table5" / "table5.md").read_text()
    assert (places / "table5" / "table5.png").read_bytes().startswith(b"\x89PNG")
    assert text in done.stdout
    for line in ("| full | 87.5 | 87.5 (87.5 to 87.5) |", "| the paper's | 91.3 | 91.3 |",
                 "| without pre-training | 79.2 |", "| without auxiliary loss | 83.3 |",
                 "| LSTM | 75.0 |", "| LSTM | -12.5 (p 0.2", "; -0.8) |", "one layer of 32 units"):
        assert line in text
    assert len(json.loads((places / "table5" / "table5.json").read_text())["runs"]) == 8

    trained.clear()
    without = command(places, "table5", "--tasks=sst2", *SMALL)
    assert not without.code and not trained  # all is done
    units = equal_units(run_folder.load_config(places / "decoder"))
    assert f"--intermediate_dim={units}`" in without.stdout and "| LSTM |" not in without.stdout


def test_figure_2_left(places, trained):
    done = command(places, "figure2_left", "--tasks=cola,sst2", *SMALL)
    assert not done.code, done.stderr
    assert {config.fine_tuning.transfer_layers for config, _ in trained} <= {-1, 0, 1}
    text = (places / "figure2_left" / "figure2_left.md").read_text()
    for line in ("| 0 | 66.7 (66.7 to 66.7) |  |  | 66.7 (66.7 to 66.7) |  |  |",
                 "| 2 | 87.5 (87.5 to 87.5) | +20.8 |"):
        assert line in text
    assert (places / "figure2_left" / "figure2_left.png").read_bytes().startswith(b"\x89PNG")


def test_figure_2_right(places):
    flags = "--tasks=dpr", f"--lstm={places / 'lstm'}"
    done = command(places, "figure2_right", *flags, "--max_minutes=1e-9")
    assert not done.code and "are over; the same command goes on" in done.stdout
    done = command(places, "figure2_right", *flags)
    assert not done.code, done.stderr
    folder = places / "figure2_right"
    text = (folder / "figure2_right.md").read_text()
    courses = json.loads((folder / "figure2_right.json").read_text())["courses"]
    assert [list(courses[who]["dpr"]) for who in ("decoder", "LSTM")] == [["1", "10"], ["7"]]
    for of_who in courses.values():
        for each in of_who["dpr"].values():
            assert each["relative"] == pytest.approx((each["score"] - 0.5) / (0.764 - 0.5))
    rows = courses["decoder"]["dpr"]["10"]["rows"]
    assert f"| dpr (accuracy; train, {rows} rows) |" in text
    found = courses["decoder"]["dpr"]["10"]["score"]
    assert f"| decoder, update 10 | {100 * found:.1f} |" in text and "| LSTM, update 7 |" in text
    assert (folder / "figure2_right.png").read_bytes().startswith(b"\x89PNG")

    again = command(places, "figure2_right", *flags)
    assert not again.code and "update 10, dpr:" not in again.stdout
    assert again.stdout.endswith(f"{text}\n")
    # What the decoder's own command says of the same weights.
    measured = run_command("gpt_tf.zero_shot", f"--model_dir={places / 'decoder'}",
                           "--checkpoints=10", "--nojit_compile", "--nocompile_cache",
                           f"--data_dir={places / 'work' / 'data' / 'dpr-zero-shot'}")
    assert f"accuracy           {found:.4f}" in measured.stdout


def test_a_checkpoint_that_is_pruned_meanwhile_is_left_out(places, tmp_path, monkeypatch):
    shutil.copytree(places / "decoder", tmp_path / "run")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "data").symlink_to(places / "work" / "data")
    restore = Course.restore

    def prune_and_restore(course, step):
        checkpoint_files.remove(tmp_path / "run" / "checkpoints", 1)
        restore(course, step)

    monkeypatch.setattr(Course, "restore", prune_and_restore)
    done = command(places, "figure2_right", "--tasks=dpr", f"--pretrained={tmp_path / 'run'}",
                   f"--work_dir={tmp_path / 'work'}", f"--output={tmp_path}")
    assert not done.code, done.stderr
    assert "decoder, update 1: the run in training keeps it no longer" in done.stdout
    assert "| decoder, update 10 |" in done.stdout and "| decoder, update 1 |" not in done.stdout


def test_the_paper_s_own_averages():
    campaign = SimpleNamespace(
        metric=lambda task: "accuracy", rows=lambda task: 0,
        outcome=lambda cell: Outcome(None, (), 0, 5))
    rows = [table5.rows_of(campaign, list(table5.TASKS), Arm(name, "none"))[1]
            for name in ("pretrained", "scratch", "no_lm", "lstm")]
    assert [row[1] for row in rows] == ["74.7", "59.9", "75.0", "69.1"]


@pytest.mark.parametrize("flags,sentence", [
    (("--num_layers=1", "--dry_run"), "--dry_run tells of the decoder's blocks"),
    (("--flagfile=quickstart.flags",), "The LSTM has one layer: give --num_layers=1"),
    ((), "The LSTM has one layer"),
])
def test_what_the_lstm_refuses(flags, sentence):
    done = run_command("benchmarks.paper.lstm", "pretrain", "--data_dir=d", "--model_dir=m", *flags)
    assert done.code == 2 and sentence in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name,flags,sentence", [
    ("table5", "--tasks=race_middle", "--tasks=race_middle must name some of cola, sst2, mrpc"),
    ("table5", "--lstm={}/decoder", "holds another model"),
    ("table5", "--lstm={}/none", "none"),
    ("figure2_left", "--tasks=sst", "--tasks names sst"),
    ("figure2_right", "--tasks=rte", "--tasks names 'rte', and what there is are sst2, dpr"),
    ("figure2_right", "--tasks=race_middle", "has no RACE, which race_middle needs"),
    ("figure2_right", "--tasks=dpr|--lstm={}/decoder", "holds another model"),
])
def test_what_is_wrong_is_said(places, name, flags, sentence):
    done = command(places, name, *flags.format(places).split("|"))
    assert done.code and sentence in done.stderr and done.stderr.count("\n") == 1


def test_gpt_tf_refuses_an_lstm(places):
    done = run_command("gpt_tf.generate", f"--model_dir={places / 'lstm'}", "--prompt=a",
                       "--nocompile_cache")
    assert done.code == 1 and "holds another model" in done.stderr
    done = run_command("benchmarks.paper.lstm", "export")
    assert done.code == 2 and "is no command that takes an LSTM" in done.stderr
