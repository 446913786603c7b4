"""What pre-training and fine-tuning do alike: how a run starts, and who writes."""

import collections
import dataclasses
import itertools
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.config import (
    BEST,
    NEWEST,
    FineTuningConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import LANGUAGE_MODEL, TASK, Manifest
from gpt_tf.runs import beginning, run_folder, weights
from gpt_tf.runs.checkpoint import BestCheckpoint, Checkpoints
from gpt_tf.runs.pictures import scatter_figure
from gpt_tf.runs.reporting import Reporter
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.training import distribution, finetuning, memory, pretraining
from gpt_tf.training.evaluator import Evaluator
from gpt_tf.training.replicas import one_device
from gpt_tf.training.run_config import FineTuningRunConfig, PreTrainingRunConfig, TrainingData
from tests import fuzz_seeds, task_data

MODEL = ModelConfig(vocabulary_size=fuzz_seeds.tokenizer().vocabulary_size, num_layers=1,
                    num_heads=2, hidden_dim=8, intermediate_dim=16, max_sequence_length=32)
TRAINING = TrainingConfig(batch_size=4, num_steps=2, jit_compile=False, strategy="one_device")


@pytest.fixture(name="loads")
def loads_fixture(monkeypatch):
    """Counts the calls of `Manifest.load` and `Tokenizer.load`, by class and folder."""
    counts = collections.Counter()

    def count(of):
        original = of.load
        monkeypatch.setattr(of, "load", staticmethod(
            lambda folder: counts.update([(of, str(folder))]) or original(folder)))

    for of in (Manifest, Tokenizer):
        count(of)
    return counts


def pretrain(data_dir, model_dir, init_from=run_folder.FROM_SCRATCH, optimizer=None, **training):
    data = TrainingData.load(data_dir, LANGUAGE_MODEL)
    cluster = distribution.join("one_device")
    with cluster.owning(model_dir):
        return pretraining.pretrain(PreTrainingRunConfig(
            data, model_dir, init_from, MODEL, optimizer or OptimizerConfig(),
            dataclasses.replace(TRAINING, **training), "", frozenset({"early_stopping"})), cluster)


@pytest.fixture(name="data_dir")
def data_dir_fixture(tmp_path):
    """A data folder of a language model, of random tokens."""
    (tmp_path / "data").mkdir()
    fuzz_seeds.corpus_data(tmp_path / "data")
    return str(tmp_path / "data")


def test_pre_training_reads_its_data_folder_once(tmp_path, data_dir, loads):
    first, second = (str(tmp_path / name) for name in ("first", "second"))
    assert pretrain(data_dir, first).steps == 2
    assert loads == {(Manifest, data_dir): 1, (Tokenizer, data_dir): 1}
    loads.clear()
    assert pretrain(data_dir, first).steps == 2  # the run is finished
    assert loads == {(Manifest, data_dir): 1, (Tokenizer, data_dir): 1}
    loads.clear()
    # The other run's tokenizer must be the one that the data was made with.
    assert pretrain(data_dir, second, init_from=first).steps == 2
    assert loads == {(Manifest, data_dir): 1, (Tokenizer, data_dir): 1, (Tokenizer, first): 1}


def test_who_is_told_not_to_write_leaves_no_file(tmp_path):
    reporter = Reporter(str(tmp_path / "run"), writes=False)
    reporter.scalars(1, {"train/loss": 2.0})
    reporter.text(1, "flags", "--seed=0")
    reporter.settings({"seed": 0})
    reporter.layout("Pre-training", {"loss": ["train/loss"]})
    reporter.finish()
    reporter.figure(1, "validation", scatter_figure(np.zeros(1), np.ones(1), (0, 5)))
    reporter.start_profile()
    reporter.stop_profile()
    reporter.close()
    variable = tf.Variable(0.0)
    Checkpoints(str(tmp_path / "checkpoints"), {"model": {"a": variable}}, writes=False).save(1)
    best = BestCheckpoint(str(tmp_path / "best"), {"a": variable}, ["validation/f1"], writes=False)
    best.offer(1, {"validation/f1": 0.5})
    assert not list(tmp_path.iterdir()) and (best.step, best.scores) == (1, {"validation/f1": 0.5})


def test_fine_tuning_reads_its_data_folder_once(tmp_path, loads):
    data_dir, model_dir = str(tmp_path / "data"), str(tmp_path / "run")
    task_data.write(data_dir, fuzz_seeds.tokenizer(), task_data.TASKS["classification"])
    configs = {}
    data = TrainingData.load(data_dir, TASK)
    for seed in (1, 2):
        configs[seed] = FineTuningRunConfig(
            data, f"{model_dir}-{seed}", run_folder.FROM_SCRATCH,
            dataclasses.replace(MODEL, num_special_tokens=3), OptimizerConfig(),
            dataclasses.replace(TRAINING, seed=seed), "", frozenset(), FineTuningConfig())
    finetuning.finetune_all(configs, distribution.join("one_device"), str(tmp_path))
    assert loads == {(Manifest, data_dir): 1, (Tokenizer, data_dir): 1}


# A rate at which a model of random tokens is soon worse than it was.
COARSE = dict(optimizer=OptimizerConfig(learning_rate=0.03, schedule="constant", warmup_steps=0),
              num_steps=12, evaluate_every=2, save_every=3)


def validations(model_dir):
    """Update -> loss of each validation that the run reported."""
    with open(f"{model_dir}/metrics.jsonl", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return {row["step"]: row["validation/loss"] for row in rows if "validation/loss" in row}


def validation_loss(model, data_dir, batch_size=4, num_batches=None):
    batches = evaluation_batches(data_dir, "validation", batch_size)
    evaluate = Evaluator(model, one_device(), jit_compile=False)
    return evaluate(itertools.islice(batches, num_batches),
                    batches.manifest.splits["validation"])["loss"]


def arrays(model):
    return {variable.path: variable.numpy() for variable in model.trainable_variables}


@pytest.fixture(name="whole", scope="module")
def whole_fixture(tmp_path_factory):
    """(data folder, run folder, outcome) of the whole coarse run."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "data").mkdir()
    fuzz_seeds.corpus_data(folder / "data")
    # Patterns to TensorFlow: what a run in it survives, one in any folder does.
    data_dir, run = str(folder / "data"), str(folder / "lr[0.1]\\")
    return data_dir, run, pretrain(data_dir, run, **COARSE)


def test_the_best_validation_is_kept(whole):
    data_dir, run, outcome = whole
    losses = validations(run)
    best = min(losses, key=losses.get)
    assert list(losses) == [2, 4, 6, 8, 10, 12] and best < 12
    assert (outcome.steps, outcome.best_step) == (12, best)
    assert outcome.scores["validation/loss"] == pytest.approx(losses[best], rel=1e-6)
    # Whoever loads the run gets what had this loss, or by request what it ended with.
    for which, step in ((BEST, best), (NEWEST, 12)):
        model, found = weights.load_model(run, weights=which)
        assert found == step
        assert validation_loss(model, data_dir) == pytest.approx(losses[step], rel=1e-6)
    assert run_folder.name_weights(run, best) == f"{run}, update {best} (best validation)"
    assert run_folder.name_weights(run, 12, NEWEST) == f"{run}, update 12"


def test_the_best_is_chosen_on_the_same_batches_each_time(tmp_path, data_dir):
    run = str(tmp_path / "run")
    # The last validation, which is reported, is of all three batches.
    outcome = pretrain(data_dir, run, **COARSE | dict(
        batch_size=1, evaluation_batches=1, num_steps=6))
    model, _ = weights.load_model(run, weights=NEWEST)
    assert validations(run)[6] == pytest.approx(validation_loss(model, data_dir, 1), rel=1e-6)
    model, step = weights.load_model(run)
    first = validation_loss(model, data_dir, 1, num_batches=1)
    assert step == outcome.best_step
    assert outcome.scores["validation/loss"] == pytest.approx(first, rel=1e-6)


def test_a_run_stops_early_and_may_go_on(tmp_path, whole, capfd):
    data_dir, run, _ = whole
    stopped, losses = str(tmp_path / os.fsdecode(b"B\xfccher")), validations(run)
    # The first validation that is no better than one before it.
    end = next(step for step, loss in losses.items()
               if any(loss >= before for other, before in losses.items() if other < step))
    best = min((step for step in losses if step < end), key=losses.get)
    assert end < 12
    outcome = pretrain(data_dir, stopped, early_stopping=1, **COARSE)
    assert (outcome.steps, outcome.best_step) == (end, best)
    assert f"update {end}: no gain in 1 validations" in capfd.readouterr().err
    assert validations(stopped) == {step: loss for step, loss in losses.items() if step <= end}
    assert pretrain(data_dir, stopped, early_stopping=1, **COARSE) == outcome  # it is finished
    assert pretrain(data_dir, stopped, **COARSE).steps == 12
    theirs = arrays(weights.load_model(run, weights=NEWEST)[0])
    for name, value in arrays(weights.load_model(stopped, weights=NEWEST)[0]).items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_without_validation_the_newest_weights_count(tmp_path, whole, data_dir, capsys):
    """The updates are those of a run that validates."""
    _, validated, _ = whole
    other = str(tmp_path / "other")
    manifest = Manifest.load(data_dir)
    nothing = dataclasses.replace(manifest.splits["validation"], shards=(), documents=0, records=0,
                                  tokens=0, predicted_tokens=0, text_bytes=0)
    dataclasses.replace(manifest, splits=manifest.splits | {"validation": nothing}).save(data_dir)
    with pytest.raises(UserError, match="nothing to validate on in .*--early_stopping=0"):
        pretrain(data_dir, other, early_stopping=1, **COARSE)
    outcome = pretrain(data_dir, other, **COARSE)
    assert str(outcome) == (
        "12 updates. There was no validation, so its newest weights are taken.")
    assert "There is nothing to validate on" in capsys.readouterr().out
    model, step = weights.load_model(other, weights=BEST)
    assert step == 12 and run_folder.name_weights(other, step) == f"{other}, update 12"
    theirs = arrays(weights.load_model(validated, weights=NEWEST)[0])
    for name, value in arrays(model).items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    assert pretraining.opening(TrainingData.load(data_dir, LANGUAGE_MODEL))


def begin(model_dir, data_dir, flags, **values):
    data = TrainingData.load(data_dir, LANGUAGE_MODEL)
    beginning.begin(str(model_dir), flags, frozenset(), MODEL, data.manifest, data.tokenizer,
                    **values)


@pytest.fixture(name="begun")
def begun_fixture(tmp_path, data_dir):
    """A run folder of flags --a=1 with metrics, somebody's notes, and no weights yet."""
    run = tmp_path / "run"
    run.mkdir()
    begin(run, data_dir, "--a=1\n")
    for name in ("metrics.jsonl", "notes.txt", "events.out.tfevents.17.here.1.0.v2"):
        (run / name).write_text("{}\n")
    for name in ("tensorboard", "plugins", "evaluations", "checkpoints"):
        (run / name).mkdir()
    return run


def save(run, folder="checkpoints"):
    Checkpoints(str(run / folder), {"model": {"a": tf.Variable(0.0)}}).save(7)


def test_a_run_that_has_saved_nothing_binds_nobody(begun, data_dir):
    begin(begun, data_dir, "--a=2\n")
    assert "--a=2" in (begun / "pretrain.flags").read_text()
    assert (begun / "notes.txt").exists() and not (begun / "metrics.jsonl").exists()
    assert not {"tensorboard", "plugins"} & {path.name for path in begun.iterdir()}
    assert not list(begun.glob("events.*"))


@pytest.mark.parametrize("folder", ["checkpoints", "best"])
def test_a_run_that_has_saved_is_kept_unless_another_overwrites_it(begun, data_dir, folder):
    save(begun, folder)
    with pytest.raises(UserError, match="holds a run with --a=1 .* says --a=2.* --overwrite"):
        begin(begun, data_dir, "--a=2\n")
    for overwrite in (False, True):  # a requeued job, an arrow key: the same run goes on
        begin(begun, data_dir, "--a=1\n", overwrite=overwrite)
        assert (begun / folder / "ckpt-7.index").exists() and (begun / "metrics.jsonl").exists()
    begin(begun, data_dir, "--a=2\n", overwrite=True)
    assert "--a=2" in (begun / "pretrain.flags").read_text()
    found = {path.name for path in begun.iterdir()}
    assert "notes.txt" in found and not found & {
        "checkpoints", "best", "metrics.jsonl", "tensorboard", "evaluations"}


def test_a_run_that_lost_an_index_has_saved(begun, data_dir):
    save(begun)
    (begun / "checkpoints" / "ckpt-7.index").unlink()
    begin(begun, data_dir, "--a=1\n")
    assert list((begun / "checkpoints").glob("ckpt-7.data*"))


def test_a_kill_while_a_run_is_removed_leaves_one_that_binds_nobody(begun, data_dir, monkeypatch):
    save(begun)

    def kill(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.remove", kill)
    with pytest.raises(KeyboardInterrupt):
        begin(begun, data_dir, "--a=2\n", overwrite=True)
    monkeypatch.undo()
    begin(begun, data_dir, "--a=3\n")
    assert "--a=3" in (begun / "pretrain.flags").read_text()


def test_a_folder_that_is_no_run_is_not_emptied(tmp_path, data_dir):
    (tmp_path / "evaluations").mkdir()
    (tmp_path / "vocab.json").write_text("somebody's")
    beginning.remove_run(str(tmp_path))
    assert (tmp_path / "evaluations").exists() and (tmp_path / "vocab.json").exists()


@pytest.mark.parametrize("change, message", [
    (dict(early_stopping=1, evaluate_every=0), "ask for some with --evaluate_every"),
    (dict(init_from="run"), "--init_from and --model_dir are one folder"),
    (dict(model_dir="data"), "--model_dir=data is a data folder")])
def test_runs_that_cannot_be(tmp_path, data_dir, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        pretrain(data_dir, **dict(model_dir="run") | change)


def test_a_run_that_goes_on_cuts_its_batches_as_before(tmp_path, data_dir, monkeypatch):
    run = str(tmp_path / "run")
    machine = {"bytes": 0}
    monkeypatch.setattr(memory, "run_memory",
                        lambda model, length, share, micro, jit: {"all": micro})
    monkeypatch.setattr(memory.choose, "__defaults__", (0, lambda strategy: machine["bytes"]))
    for size, expected in ((3, 2), (100, 2), (1, 1)):  # 80% of 3; as before; as many as fit
        machine["bytes"] = size
        pretrain(data_dir, run, num_steps=2)
        assert beginning.micro_batch_size(run) == expected
