"""Fine-tuning runs: what is transferred, what is kept as the best, how a run goes on."""

import dataclasses
import itertools
import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.common.errors import Interrupted, UserError
from gpt_tf.common.small_files import write_json
from gpt_tf.config import FineTuningConfig, ModelConfig, OptimizerConfig, TrainingConfig
from gpt_tf.data.batches import evaluation_batches, task_batches
from gpt_tf.data.manifest import TASK
from gpt_tf.model.gpt import GPT
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import run_folder, weights
from gpt_tf.runs.checkpoint import BestCheckpoint, Checkpoints
from gpt_tf.tasks import metrics
from gpt_tf.tokenizer import WordTokenizer
from gpt_tf.training import distribution, finetuning
from gpt_tf.training import run as training_run
from gpt_tf.training.predictor import Predictor
from gpt_tf.training.run_config import FineTuningRunConfig, TrainingData
from gpt_tf.training.train_step import TrainStep
from tests import corpora, task_data

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
STEPS = 12  # three epochs of 64 rows, in batches of 16


def shape(tokenizer, special_tokens=0, **values):
    values = dict(num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32,
                  max_sequence_length=32) | values
    return ModelConfig(vocabulary_size=tokenizer.vocabulary_size,
                       num_special_tokens=special_tokens, **values)


def make_run(folder, tokenizer, **values):
    """A pre-trained run folder, of random weights."""
    config = shape(tokenizer, **values)
    folder.mkdir()
    model = GPT(config, seed=77)
    write_json(folder / "model.json", dataclasses.asdict(config))
    tokenizer.save(folder)
    Checkpoints(run_folder.checkpoint_folder(str(folder)),
                {"model": weights.model_variables(model)}).save(9)
    return model


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory, tokenizer):
    """Form -> its data folder."""
    folder = tmp_path_factory.mktemp("tasks")
    return {name: task_data.write(str(folder / name), tokenizer, task)
            for name, task in task_data.TASKS.items()}


def make_run_config(folder, data_dir, tokenizer, options=None, training=None, **fields):
    training = dict(batch_size=16, num_epochs=3.0, log_every=1, save_every=3, jit_compile=False,
                    keep_checkpoints=1, strategy="one_device") | (training or {})
    return FineTuningRunConfig(**dict(
        data=TrainingData.load(data_dir, TASK), model_dir=str(folder),
        init_from=run_folder.FROM_SCRATCH, model=shape(tokenizer, 3, num_layers=1),
        fine_tuning=FineTuningConfig(**options or {}),
        optimizer=OptimizerConfig(learning_rate=1e-2, schedule="linear"),
        training=TrainingConfig(**training), flags_text="--seed=0\n",
        resumable=frozenset()) | fields)


@pytest.fixture(name="whole", scope="module")
def whole_fixture(tmp_path_factory, data, tokenizer):
    """A run that nobody interrupts: its config and outcome."""
    config = make_run_config(tmp_path_factory.mktemp("whole") / "run", data["classification"],
                             tokenizer)
    return config, finetune(config)


def finetune(config):
    cluster = distribution.join(config.training.strategy)
    with cluster.owning(config.model_dir):
        return finetuning.finetune(config, cluster)


def arrays(model):
    return {variable.path: variable.numpy() for variable in model.trainable_variables}


def rows_of(folder):
    with open(os.path.join(folder, "metrics.jsonl"), encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


@pytest.mark.parametrize("num_layers", [-1, 0, 1, 2])
def test_what_is_transferred(tmp_path, tokenizer, num_layers):
    theirs = arrays(make_run(tmp_path / "run", tokenizer))
    task = task_data.TASKS["classification"]
    model = TaskModel(shape(tokenizer, 3), task, seed=1)
    fresh = arrays(model)
    model.gpt.assign(weights.load_model(str(tmp_path / "run"))[0], num_layers)
    taken = {f"gpt/block_{index}" for index in (range(2) if num_layers < 0 else range(num_layers))}
    table = "gpt/embedding/token/embeddings"
    for path, value in arrays(model).items():
        if path == table:
            np.testing.assert_array_equal(value, np.concatenate([theirs[path], fresh[path][-3:]]))
        elif path == "gpt/embedding/position/embeddings" or path[:11] in taken:
            np.testing.assert_array_equal(value, theirs[path], err_msg=path)
        else:
            np.testing.assert_array_equal(value, fresh[path], err_msg=path)
    assert np.abs(fresh[table][-3:]).min() > 0


@pytest.mark.parametrize("form, metric, least", [
    ("classification", "accuracy", 0.8), ("scores", "pearson", 0.7),
    ("multiple_choice", "accuracy", 0.6)])
def test_a_run_learns_and_keeps_its_best(tmp_path, data, tokenizer, form, metric, least):
    config = make_run_config(tmp_path / "run", data[form], tokenizer,
                             training={"num_epochs": 12.0,
                                       "jit_compile": form == "multiple_choice"})
    outcome = finetune(config)
    assert outcome.steps == 48 and outcome.scores[f"validation/{metric}"] > least
    rows = rows_of(config.model_dir)
    train = [row for row in rows if "train/loss" in row]
    for row in train:
        assert row["train/loss"] == pytest.approx(
            row["train/task_loss"] + 0.5 * row["train/lm_loss"], rel=1e-5)
    assert train[-1]["train/task_loss"] < train[0]["train/task_loss"]
    validations = {row["step"]: row for row in rows if "validation/loss" in row}
    assert list(validations) == list(range(4, 49, 4))
    scores = [row[f"validation/{metric}"] for row in validations.values()]
    assert outcome.best_step == list(validations)[int(np.argmax(scores))]
    model, task, step = weights.load_task_model(config.model_dir)
    assert (task, step) == (task_data.TASKS[form], outcome.best_step)
    assert run_folder.load_task(config.model_dir) == (task, task_data.MAX_LENGTH)
    predictor = Predictor(model, distribution.make_strategy("one_device"))
    found = predictor(evaluation_batches(config.data.folder, "validation", 5))
    assert found.loss == pytest.approx(outcome.scores["validation/loss"], rel=1e-5)
    assert metrics.METRICS[metric](found.labels, found.predictions) == pytest.approx(
        outcome.scores[f"validation/{metric}"], rel=1e-5)


def test_a_fine_tuned_run_gives_its_special_rows_too(whole, tokenizer):
    theirs = arrays(weights.load_task_model(whole[0].model_dir)[0])
    model = TaskModel(whole[0].model, task_data.TASKS["scores"], seed=9)
    head = arrays(model.head)
    model.gpt.assign(weights.load_model(whole[0].model_dir)[0])
    for path, value in arrays(model).items():
        expected = head[path] if path.startswith("task_head") else theirs[path]
        np.testing.assert_array_equal(value, expected, err_msg=path)


@pytest.mark.parametrize("after, signals", [
    (2, [signal.SIGTERM]), (8, [signal.SIGHUP] * 2), (12, [signal.SIGINT])])
def test_interrupted_run_ends_bit_identical(whole, tmp_path, monkeypatch, after, signals):
    """Of a terminal that is closed a second SIGHUP may come, which must not end the save."""
    config = dataclasses.replace(whole[0], model_dir=str(tmp_path / "run"))
    original = finetuning.task_batches

    def interrupting(*arguments):
        for batch in original(*arguments):
            if int(batch["step"]) == after:
                for number in signals:
                    os.kill(os.getpid(), number)
            yield batch

    monkeypatch.setattr(finetuning, "task_batches", interrupting)
    with pytest.raises(Interrupted, match=f"update {after} of {STEPS}") as caught:
        finetune(config)
    assert caught.value.number == signals[0]
    monkeypatch.setattr(finetuning, "task_batches", original)
    assert finetune(config) == whole[1]
    for part in ("best", "checkpoints"):
        assert_same_tensors(os.path.join(whole[0].model_dir, part),
                            os.path.join(config.model_dir, part))
    found, expected = ([(row["step"], row.get("validation/loss")) for row in rows_of(folder)]
                       for folder in (config.model_dir, whole[0].model_dir))
    assert found == expected


def assert_same_tensors(one, two):
    assert tensors(one).keys() == tensors(two).keys()
    for name, value in tensors(one).items():
        np.testing.assert_array_equal(value, tensors(two)[name], err_msg=name)


def tensors(folder):
    """What the newest checkpoint holds; how often its folder was saved to is no part of it."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(folder))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if "VARIABLE_VALUE" in name and not name.startswith("save_counter")}


def test_only_a_better_validation_replaces_the_best(tmp_path):
    variable = tf.Variable(0.0)
    names = ("validation/f1", "validation/loss")

    def offer(step, score):
        best = BestCheckpoint(str(tmp_path / "best"), {"weight": variable}, names)
        variable.assign(float(step))
        best.offer(step, {"validation/loss": 1.0, "validation/f1": score})
        assert variable.numpy() == step  # looking at the best does not bring its weights back
        reader = tf.train.load_checkpoint(str(tmp_path / "best"))
        kept = reader.get_tensor("model/weight/.ATTRIBUTES/VARIABLE_VALUE")
        again = BestCheckpoint(str(tmp_path / "best"), {"weight": variable}, names)
        assert (best.step, best.scores) == (again.step, again.scores)
        assert kept == best.step and len(list((tmp_path / "best").glob("*.index"))) == 1
        return best.step, best.scores["validation/f1"]

    assert BestCheckpoint(str(tmp_path / "best"), {"weight": variable}, names).step is None
    assert [offer(1, 0.0), offer(2, 0.5), offer(3, 0.5), offer(4, 0.4), offer(5, 0.6)] == [
        (1, 0.0), (2, 0.5), (2, 0.5), (2, 0.5), (5, 0.6)]


@pytest.mark.parametrize("per_epoch, steps", [
    (0.0, [12]), (1.5, [3, 6, 8, 11, 12])])
def test_validations_and_warmup_are_counted_in_epochs(tmp_path, data, tokenizer, per_epoch, steps):
    config = make_run_config(
        tmp_path / "run", data["classification"], tokenizer,
        {"evaluations_per_epoch": per_epoch, "lm_coef": 0.0, "warmup_fraction": 0.2})
    finetune(config)
    rows = rows_of(config.model_dir)
    assert [row["step"] for row in rows if "validation/loss" in row] == steps
    assert "train/lm_loss" not in rows[0] and "train/perplexity" not in rows[0]
    rates = [row["train/learning_rate"] for row in rows if "train/learning_rate" in row]
    fractions = np.arange(1, STEPS + 1) / STEPS
    np.testing.assert_allclose(
        rates, 1e-2 * (1 - fractions) * np.minimum(1, fractions / 0.2), rtol=1e-6, atol=1e-12)


def test_the_step_is_traced_once_for_each_width(tmp_path, tokenizer, monkeypatch):
    made = []
    monkeypatch.setattr(training_run, "TrainStep",
                        lambda *arguments: made.append(TrainStep(*arguments)) or made[0])
    data = task_data.write(str(tmp_path / "data"), tokenizer, task_data.TASKS["classification"],
                           shortest=2)
    config = make_run_config(tmp_path / "run", data, tokenizer, training={
        "batch_size": 4, "log_every": 1000})
    finetune(config)
    widths = {batch["token_ids"].shape[2]
              for batch in itertools.islice(task_batches(config.data.folder, 4, 0), 48)}
    assert len(widths) > 1
    assert made[0]._global_step.tracing_count == len(widths)


def test_several_validation_splits(tmp_path, tokenizer):
    task = task_data.TASKS["classification"]
    data_dir = task_data.write(str(tmp_path / "data"), tokenizer, task, {
        "train": 32, "validation_mismatched": 9, "validation_matched": 17, "test": 5})
    outcome = finetune(make_run_config(tmp_path / "run", data_dir, tokenizer,
                                       training={"num_epochs": 1.0}))
    assert list(outcome.scores) == [
        f"validation_{split}/{name}" for split in ("matched", "mismatched")
        for name in ("accuracy", "f1", "loss")]


def test_runs_of_several_seeds(tmp_path, data, tokenizer, whole):
    configs = {}
    for seed in (3, 0):
        config = make_run_config(tmp_path / f"run-{seed}", data["classification"], tokenizer,
                                 flags_text=f"--seed={seed}\n")
        configs[seed] = dataclasses.replace(
            config, training=dataclasses.replace(config.training, seed=seed))
    table = finetuning.finetune_all(configs, distribution.join("one_device"), str(tmp_path))
    found = json.loads((tmp_path / "runs.json").read_text())
    _, alone = whole
    assert found["runs"][1] == {"seed": 0, "best_step": alone.best_step, **alone.scores}
    losses = [run["validation/loss"] for run in found["runs"]]
    assert losses[0] != losses[1]
    assert found["summary"]["validation/loss"]["median"] == pytest.approx(np.mean(losses))
    assert f"{np.mean(losses):.4f}" in table and "seed 0" in table
    before = rows_of(configs[3].model_dir)
    cluster = distribution.join("one_device")
    assert finetuning.finetune_all(configs, cluster, str(tmp_path)) == table
    assert rows_of(configs[3].model_dir) == before


def test_what_does_not_fit(tmp_path, data, tokenizer):
    data_dir = data["classification"]
    make_run(tmp_path / "run", tokenizer)

    def error(match, data_dir=data_dir, **fields):
        with pytest.raises(UserError, match=match):
            finetune(make_run_config(tmp_path / "new", data_dir, tokenizer,
                                     **{"init_from": str(tmp_path / "run")} | fields))

    error("--transfer_layers=3: .*run has 1 blocks", options={"transfer_layers": 3})
    error("--transfer_layers=0 takes blocks from --init_from, which is none",
          init_from=run_folder.FROM_SCRATCH, options={"transfer_layers": 0})
    error("up to 24 tokens and the model takes 16: .*--max_length=16",
          model=shape(tokenizer, 3, max_sequence_length=16))
    error("--batch_size=16 .* 3|--micro_batch_size=3", training={"micro_batch_size": 3})
    WordTokenizer({"<unk>": 0, "a": 1, "a</w>": 2, "\n</w>": 3}, []).save(tmp_path / "other")
    error("classification was made with another tokenizer than .*other",
          init_from=str(tmp_path / "other"))
    no_validation = task_data.write(str(tmp_path / "data"), tokenizer,
                                    task_data.TASKS["scores"], {"train": 5})
    error("no labelled validation split.*--validation_fraction", data_dir=no_validation)


def test_a_folder_of_another_kind_of_run(tmp_path, data, tokenizer, whole):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "pretrain.flags").write_text("")
    (tmp_path / "run" / "checkpoints" / "ckpt-1.index").touch()  # it has saved
    with pytest.raises(UserError, match="gpt_tf.finetune did not make"):
        finetune(make_run_config(tmp_path / "run", data["scores"], tokenizer))
    with pytest.raises(UserError, match="not a fine-tuned run"):
        weights.load_task_model(str(tmp_path / "run"))
    with pytest.raises(UserError, match="other data"):
        finetune(dataclasses.replace(whole[0], data=TrainingData.load(data["scores"], TASK)))
