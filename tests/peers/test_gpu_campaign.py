"""benchmarks/gpu's fine-tuning of many runs at once, on this machine's CPU: JAX trains as we do.

Needs requirements-peers.txt (`make test-peers`).
"""

import dataclasses
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("jax", reason="needs requirements-peers.txt")

from benchmarks.gpu import fine_tuning, packed
from benchmarks.gpu.campaign_there import initial_weights
from benchmarks.gpu.export import variables_of
from benchmarks.gpu.fine_tuning import Places, Shape, State, Updates
from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig
from gpt_tf.model.objectives import joint_loss
from gpt_tf.model.optimizer import Adam
from gpt_tf.model.schedules import corrected_rate
from gpt_tf.model.task_model import TaskModel
from gpt_tf.tasks.task import Task
from gpt_tf.training import replicas
from gpt_tf.training.train_step import TrainStep
from tests import corpora
from tests.commands import run_command

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
build_fixture = corpora.build_fixture
_ROOT = pathlib.Path(__file__).parents[2]
_MODEL = ModelConfig(vocabulary_size=50, num_special_tokens=3, max_sequence_length=24, num_layers=2,
                     num_heads=2, hidden_dim=16, intermediate_dim=32, initializer_range=0.1,
                     dropout=0.0, embedding_dropout=0.0, attention_dropout=0.0)
# The epsilon keeps Adam from magnifying the rounding of gradients that are nearly zero.
_OPTIMIZER = OptimizerConfig(learning_rate=0.01, schedule="linear", warmup_steps=2.0, epsilon=1e-5)
_ROWS, _BATCH, _STEPS, _BIN = 20, 4, 8, 24
_TASKS = [Task("one", "classification", 1, ("a", "b", "c"), (), ("accuracy",)),
          Task("pair", "similarity", 2, (), (0, 4), ("pearson",)),
          Task("choice", "multiple_choice", 3, ("a", "b", "c"), (), ("accuracy",))]


@dataclasses.dataclass
class Data:
    """Rows of a task: sequences of random tokens, at times empty texts' (two tokens)."""

    lengths: np.ndarray
    token_ids: np.ndarray
    labels: np.ndarray

    @classmethod
    def make(cls, task):
        rng = np.random.default_rng(3)
        lengths = rng.integers(2, _BIN + 1, size=(_ROWS, task.num_sequences)).astype(np.int32)
        token_ids = rng.integers(1, 53, size=(*lengths.shape, _BIN)).astype(np.int32)
        token_ids *= np.arange(_BIN) < lengths[..., None]
        labels = (rng.uniform(0, 4, _ROWS).astype(np.float32) if task.is_score
                  else rng.integers(3, size=_ROWS).astype(np.int32))
        return cls(lengths, token_ids, labels)

    def store(self, task):
        tokens = self.token_ids[np.arange(_BIN) < self.lengths[..., None]]
        return fine_tuning.make_store(tokens, self.lengths.reshape(-1), fine_tuning.soft_labels(
            self.labels, task.num_classes, task.score_range))

    def batch(self, rows, step):
        return {"token_ids": tf.constant(self.token_ids[rows]),
                "lengths": tf.constant(self.lengths[rows]),
                "labels": tf.constant(self.labels[rows]), "batch_rows": tf.range(len(rows)),
                "step": tf.constant(step, tf.int64)}


def _ours(task, data, order, lm_coef, seed):
    """Weights before and after, and the logits of all rows."""
    model = TaskModel(_MODEL, task, 0.0, seed)
    described = variables_of(model)
    adam = Adam(model.trainable_variables, _OPTIMIZER, _STEPS, jit_compile=False)
    step = TrainStep(replicas.one_device(), model.trainable_variables,
                     joint_loss(model, lm_coef, seed), adam,
                     TrainingConfig(batch_size=_BATCH, num_steps=_STEPS, jit_compile=False))
    losses = []
    for number, rows in enumerate(order, start=1):
        found = step(data.batch(rows, number), number)
        losses.append(float(found["loss"]))
    logits = model(tf.constant(data.token_ids), tf.constant(data.lengths)).numpy()
    names = [variable.path for variable in model.trainable_variables]
    return described, fine_tuning.from_variables(
        names, [variable.numpy() for variable in model.trainable_variables]), logits, losses


@pytest.mark.parametrize("task", _TASKS, ids=lambda task: task.form)
def test_runs_trained_together_are_each_trained_by_gpt_tf(task):
    data, count = Data.make(task), task.num_sequences
    # The auxiliary loss's weight, without which choices give the last bias no gradient; the seed.
    runs = [(0.5, 1), (0.2 if task.form == "multiple_choice" else 0.0, 2)]
    orders = [np.random.default_rng(seed).permutation(_BATCH * _STEPS).reshape(-1, _BATCH) % _ROWS
              for _, seed in runs]
    places, bins = zip(*(fine_tuning.pack(
        (order[..., None] * count + np.arange(count)).reshape(_STEPS, -1),
        data.lengths.reshape(-1), _BIN) for order in orders))
    shape = Shape(_MODEL, count, task.form, 0.0, max(bins), _BIN, len(runs), "float32")
    expected = [_ours(task, data, order, *run) for order, run in zip(orders, runs)]
    starts = [initial_weights(described) for described, *_ in expected]
    weights = {name: np.stack([start[name] for start in starts]) for name in starts[0]}
    zeros = {name: np.zeros_like(value) for name, value in weights.items()}
    rates = [[corrected_rate(_OPTIMIZER, step, _STEPS)] * 2 for step in range(1, _STEPS + 1)]
    state, losses = fine_tuning.train(
        shape, _OPTIMIZER, State(weights, zeros, zeros), data.store(task),
        Updates(Places(*(np.stack(part, axis=1) for part in zip(*places))),
                np.array(rates, np.float32), np.zeros([_STEPS, 2], np.uint32)),
        np.array([lm_coef for lm_coef, _ in runs], np.float32))
    everything = np.pad(np.arange(_ROWS), (0, 4), constant_values=-1).reshape(3, 8)
    sequences = everything[..., None] * count + np.arange(count)
    held_out, held_out_bins = fine_tuning.pack(
        np.where(everything[..., None] < 0, -1, sequences).reshape(3, -1),
        data.lengths.reshape(-1), _BIN)
    logits = fine_tuning.predict(dataclasses.replace(shape, bins=held_out_bins), state.weights,
                                 data.store(task), held_out)
    for number, (_, after, answers, our_losses) in enumerate(expected):
        np.testing.assert_allclose(losses[:, number], our_losses, rtol=1e-5)
        assert max(our_losses) - min(our_losses) > 0.05  # it learnt
        for name, value in after.items():
            if name.endswith("key/bias") or name.endswith("projection/bias") and (
                    task.form == "multiple_choice"):
                continue  # its gradient is zero, and Adam magnifies the rounding
            difference = np.linalg.norm(state.weights[name][number] - value)
            assert difference < 1e-5 * np.linalg.norm(value), name
        found = logits[number].reshape(-1, logits.shape[-1])[:_ROWS]
        np.testing.assert_allclose(found - found.mean(1, keepdims=True),
                                   answers - answers.mean(1, keepdims=True), atol=2e-5)


def _there(module, *arguments, code=0):
    """What a module prints in a process without TensorFlow and what tokenizes, on standard error
    where it fails."""
    program = ("import runpy, sys; "
               "sys.modules |= dict.fromkeys(['tensorflow', 'tokenizers', 'ftfy', 'spacy']); "
               f"runpy.run_module('benchmarks.gpu.{module}', run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], cwd=_ROOT,
                          capture_output=True, text=True, check=False,
                          env={**os.environ, "JAX_PLATFORMS": "cpu"})
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
    return done.stderr if code else done.stdout


def test_a_campaign_there_is_a_table_here(build, tmp_path):
    build({f"{i}.txt": corpora.make_text(i, 30) for i in range(8)}, validation_fraction=0.2)
    data, step, out, run = (tmp_path / name for name in ("data", "step", "out", "run"))
    done = run_command("benchmarks.gpu.export", "--num_layers=1", "--num_heads=2",
                       "--hidden_dim=16", "--intermediate_dim=32", "--batch_size=4",
                       "--initializer_range=0.2", f"--data_dir={data}", f"--output_dir={step}")
    assert done.code == 0, done.stderr
    _there("there", "train", step, "--data", step, "--num_steps=2", "--output", out, "--updates=1")
    done = run_command("benchmarks.gpu.bring_back", f"--input={out}", f"--data_dir={data}",
                       f"--model_dir={run}")
    assert done.code == 0, done.stderr
    rows = tmp_path / "tasks" / "SST-2"
    rows.mkdir(parents=True)
    for name, count in (("train", 60), ("dev", 20)):
        (rows / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(
            f"{'river the' if number % 2 else 'the house was river'}\t{number % 2}\n"
            for number in range(count)))
    flags = [f"--pretrained={run}", f"--tasks_dir={tmp_path / 'tasks'}", "--num_seeds=2",
             f"--work_dir={tmp_path / 'paper'}", "--rates=1e-3,2e-2"]
    ours = [*flags, "--counts=16", "--commands=tables,table5,labels,figure2_left"]
    done = run_command("benchmarks.gpu.campaign_export", *ours, "--weights",
                       f"--output_dir={tmp_path / 'campaign'}")
    assert done.code == 0, done.stderr
    (trained, values), (carried, same) = map(packed.read_weights, (out, tmp_path / "campaign"))
    assert carried["variables"] == trained["variables"] and carried["updates"] == 2
    np.testing.assert_array_equal(same, values)
    call = ("campaign_there", tmp_path / "campaign", "--weights", tmp_path / "campaign",
            "--dtype=float32")
    printed = _there(*call, "--output", out)
    assert printed.count("updates of") == 4, printed
    bare = tmp_path / "bare"
    shutil.copytree(tmp_path / "campaign", bare, ignore=shutil.ignore_patterns("weights*"))
    assert "export the campaign with --weights" in _there(
        "campaign_there", bare, "--weights", bare, "--output", bare, code=2)
    assert "has the answers of another call" in _there(*call, "--output", out, code=2)
    assert "no rows of tables: sst" in _there(*call, "--output", run, "--names=sst", code=2)
    other = tmp_path / "other"  # of another width
    other.mkdir()
    described = json.loads((out / "weights.json").read_text())
    for each in described["variables"]:
        each["shape"] = [size // 2 if size % 16 == 0 else size for size in each["shape"]]
    size = sum(math.prod(each["shape"]) for each in described["variables"])
    np.zeros(size, np.float32).tofile(other / "weights-0.f32")
    (other / "weights.json").write_text(json.dumps(described))
    assert "are of another shape than" in _there(
        "campaign_there", tmp_path / "campaign", "--weights", other, "--output", run / "a", code=1)
    done = run_command("benchmarks.gpu.campaign_back", *ours, f"--input={out}")
    assert done.code == 0 and "24 runs are in" in done.stdout, done.stdout + done.stderr
    done = run_command("benchmarks.gpu.campaign_back", *flags, "--commands=tables",
                       f"--input={out}")
    assert "0 runs are in" in done.stdout and "; 8 were before." in done.stdout
    assert "Left out: 16 runs" in done.stdout
    done = run_command("benchmarks.gpu.campaign_back", *ours, f"--input={out}", "--recipe=paper")
    assert done.code == 1 and "Left out" not in done.stdout, done.stdout

    for name, arms in (("tables", 2), ("table5", 3), ("figure2_left", 2)):
        done = run_command(f"benchmarks.paper.{name}", *flags, "--tasks=sst2")
        assert done.code == 0, done.stderr
        assert done.stdout.count(": done") == arms
        runs = f"{4 * arms} of {4 * arms} runs"
        assert f"{runs} by benchmarks.gpu (JAX, float32, cpu)." in done.stdout
        assert "runs left" not in done.stdout
    done = run_command("benchmarks.paper.labels", *flags, "--counts=16")
    assert done.code == 0 and "8 of 8 runs by benchmarks.gpu" in done.stdout, done.stderr
    scores = [run["scores"]["accuracy"] for run in json.loads(
        (tmp_path / "paper" / "tables.json").read_text())["runs"]]
    assert max(scores) == 1.0  # what tells the classes apart is learnt

    other = json.loads((out / "answers.json").read_text()) | {"weights": "others"}
    (out / "answers.json").write_text(json.dumps(other))
    done = run_command("benchmarks.gpu.campaign_back", *ours, f"--input={out}")
    assert done.code == 1 and "has other weights than the campaign" in done.stderr
    (out / "answers.json").write_text("{}")
    done = run_command("benchmarks.gpu.campaign_back", *ours, f"--input={out}")
    assert done.code == 1 and "is damaged: fetch it again" in done.stderr
    done = run_command("benchmarks.gpu.campaign_back", *ours, f"--input={tmp_path}")
    assert done.code == 1 and "answers.json" in done.stderr and "Traceback" not in done.stderr
