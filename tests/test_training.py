"""The Trainer: the same updates however they are cut, placed, interrupted or resumed."""

import dataclasses
import functools
import itertools
import json
import math
import os
import signal
import types

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
import tensorflow as tf

from gpt_tf.common.errors import Interrupted, UserError
from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig
from gpt_tf.model.by_shape import FunctionByShape
from gpt_tf.model.dropout import make_dropout_keys
from gpt_tf.model.gpt import GPT
from gpt_tf.model.objectives import language_model_loss
from gpt_tf.model.optimizer import Adam
from gpt_tf.runs.checkpoint import Checkpoints
from gpt_tf.runs.reporting import Reporter
from gpt_tf.tasks import metrics
from gpt_tf.training import distribution, train_step
from gpt_tf.training.train_step import TrainStep
from gpt_tf.training.trainer import Trainer

CONFIG = ModelConfig(vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=32,
                     intermediate_dim=64, max_sequence_length=12)
STEPS = 6


def batches(start=0, rows=8):
    """Padded batches, each a function of its step."""
    for step in range(start + 1, 1000):
        rng = np.random.default_rng(step)
        lengths = rng.integers(2, 13, rows).astype(np.int32)
        lengths[-1] = 0
        ids = rng.integers(0, 50, [rows, 12]) * (np.arange(12) < lengths[:, None])
        yield {"token_ids": tf.constant(ids, tf.int32), "lengths": tf.constant(lengths),
               "batch_rows": tf.range(rows), "step": tf.constant(step, tf.int64)}


class Run:
    """A small run with everything on: dropout, clipping, L2, warm-up."""

    def __init__(self, strategy="one_device", micro_batch_size=0, jit_compile=True, seed=5):
        self.strategy = distribution.make_strategy(strategy)
        self.config = TrainingConfig(micro_batch_size=micro_batch_size, jit_compile=jit_compile,
                                     log_every=2, save_every=2, evaluate_every=3, num_steps=STEPS)
        optimizer_config = OptimizerConfig(learning_rate=1e-2, warmup_steps=2, clip_norm=0.5)
        with self.strategy.scope():
            self.model = GPT(CONFIG, seed=seed)
            self.optimizer = Adam(self.model.trainable_variables, optimizer_config, STEPS,
                                  jit_compile)
        self.step = TrainStep(self.strategy, self.model.trainable_variables,
                              language_model_loss(self.model, seed, jit_compile), self.optimizer,
                              self.config)
        self._variables = [*(v.value for v in self.model.trainable_variables),
                           *tf.nest.flatten(self.optimizer.moments())]
        self._initial = [variable.numpy() for variable in self._variables]

    def restart(self):
        """The state of a new run; what was compiled stays. Returns the run."""
        for variable, value in zip(self._variables, self._initial, strict=True):
            variable.assign(value)
        return self

    def losses(self, count=STEPS):
        return [float(self.step(batch, step)["loss"])
                for step, batch in zip(range(1, count + 1), batches())]

    def weights(self):
        return np.concatenate([v.numpy().ravel() for v in self.model.trainable_variables])

    def checkpoints(self, folder):
        variables = {v.path: v.value for v in self.model.trainable_variables}
        return Checkpoints(str(folder / "checkpoints"),
                           {"model": variables, **self.optimizer.moments()}, keep=2)

    def train(self, folder, feed=None, validate=lambda step, last: {"validation/loss": 1.0},
              step_function=None, **config):
        checkpoints = self.checkpoints(folder)
        start = checkpoints.restore_latest() or 0
        reporter = Reporter(str(folder), start)
        try:
            trainer = Trainer(distribution.Cluster(self.strategy), step_function or self.step,
                              self.optimizer, checkpoints, reporter,
                              dataclasses.replace(self.config, **config))
            trainer.train((feed or batches)(start), start, STEPS, validate, lambda step: False)
        finally:
            reporter.close()
        return start


@functools.cache
def _compiled_run(**values):
    return Run(**values)


def start(**values):
    """A run of which one is compiled for all tests; each ends with the next of its kind."""
    return _compiled_run(**values).restart()


@pytest.fixture(scope="module")
def reference():
    run = start()
    return run.losses(), run.weights()


@pytest.mark.parametrize("change", [
    {"micro_batch_size": 4}, {"micro_batch_size": 1}, {"jit_compile": False},
    {"strategy": "mirrored"}, {"strategy": "mirrored", "micro_batch_size": 2},
    {"strategy": "mirrored", "jit_compile": False}], ids=str)
def test_same_updates_with_dropout_on(reference, change):
    run = start(**change)
    losses = run.losses()
    np.testing.assert_allclose(losses[:1], reference[0][:1], rtol=1e-6)
    # Rounding grows with the updates; Adam divides by the root of squares near zero.
    np.testing.assert_allclose(losses, reference[0], rtol=1e-5)


@pytest.fixture(scope="module")
def full_batch():
    return _gradients(start())


@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_micro_batches_give_the_full_batchs_gradient(full_batch, micro_batch_size):
    full, full_sums = full_batch
    parts, part_sums = _gradients(start(micro_batch_size=micro_batch_size))
    np.testing.assert_allclose(part_sums, full_sums, rtol=1e-6)
    for ours, theirs in zip(parts, full):
        difference = np.linalg.norm(ours - theirs)
        # The keys' biases have a true gradient of zero.
        assert difference <= 1e-6 * max(np.linalg.norm(theirs), 1.0)


def _gradients(run):
    gradients, sums = tf.function(run.step._sum_micro_batches)(next(batches()))
    return [g.numpy() for g in gradients], [float(x) for x in tf.nest.flatten(sums)]


@pytest.fixture(scope="module")
def second_update():
    """What update 2 finds: weights by name, and their gradients, of a tape around the batch."""
    run, (_, batch) = start(), itertools.islice(batches(), 2)
    run.losses(1)
    variables = run.model.trainable_variables
    with tf.GradientTape() as tape:
        sums = language_model_loss(run.model, 5)(batch)
        mean = sums.loss / sums.weight
    gradients = tape.gradient(mean, [variable.value for variable in variables])
    return {f"{kind}/{variable.path}": tf.convert_to_tensor(array).numpy()
            for kind, arrays in (("weights", variables), ("gradients", gradients))
            for variable, array in zip(variables, arrays) if len(variable.shape) > 1}


@pytest.mark.parametrize("change", [{}, {"micro_batch_size": 4},
                                    {"strategy": "mirrored", "jit_compile": False}], ids=str)
def test_histograms_are_of_what_an_update_finds_and_change_no_bit(second_update, tmp_path, capsys,
                                                                  change):
    run = start(**change)
    run.losses()
    without = run.weights()
    start(**change).train(tmp_path, histograms_every=2)
    np.testing.assert_array_equal(run.weights(), without)
    assert capsys.readouterr().err.count("compiling ...") == 2  # an update, a gradient
    events = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    events.Reload()
    assert {tag for tag in events.Tags()["tensors"] if tag.startswith(("weights", "gradients"))
            } == second_update.keys()
    for tag, array in second_update.items():
        assert [event.step for event in events.Tensors(tag)] == [2, 4, 6]
        left, right, counts = tf.make_ndarray(events.Tensors(tag)[0].tensor_proto).T
        np.testing.assert_allclose([left[0], right[-1]], [array.min(), array.max()], rtol=1e-3)
        # Rounding moves a value that stands on the border of two.
        assert np.abs(np.histogram(array, len(counts))[0] - counts).sum() <= 4


def test_the_loss_is_the_mean_over_predicted_tokens(reference):
    run = start()
    batch = next(batches())
    hidden = run.model(batch["token_ids"], dropout_keys=make_dropout_keys(
        5, batch["step"], batch["batch_rows"]))
    logits = run.model.logits(hidden).numpy().astype(np.float64)
    losses = []
    for row, length in zip(range(8), batch["lengths"].numpy()):
        for t in range(length - 1):
            target = batch["token_ids"].numpy()[row, t + 1]
            losses.append(np.log(np.exp(logits[row, t]).sum()) - logits[row, t, target])
    assert reference[0][0] == pytest.approx(np.mean(losses), rel=1e-5)


def test_same_seed_same_weights_other_seed_others(reference):
    again = Run()
    assert again.losses() == reference[0]
    np.testing.assert_array_equal(again.weights(), reference[1])
    other, same = (start(jit_compile=False, **seed).losses(1) for seed in ({"seed": 6}, {}))
    assert other != same == pytest.approx(reference[0][:1], rel=1e-6)


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_interrupted_run_ends_bit_identical(reference, tmp_path, after):
    def feed(start):
        for batch in batches(start):
            if int(batch["step"]) == after:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    with pytest.raises(Interrupted) as info:
        start().train(tmp_path, feed)
    assert info.value.number == signal.SIGTERM and f"update {after} of {STEPS}" in str(info.value)
    second = start()
    assert second.train(tmp_path) == after
    np.testing.assert_array_equal(second.weights(), reference[1])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(steps) and steps[-1] == STEPS


def test_restore_replaces_all_state(reference, tmp_path):
    first = start()
    first.train(tmp_path)
    other = Run(seed=6)
    assert other.checkpoints(tmp_path).restore_latest() == STEPS
    np.testing.assert_array_equal(other.weights(), reference[1])
    for mine, theirs in zip(tf.nest.flatten(other.optimizer.moments()),
                            tf.nest.flatten(first.optimizer.moments())):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_a_damaged_checkpoint_is_passed_over(tmp_path, capsys):
    start().train(tmp_path)
    newest = tmp_path / "checkpoints" / f"ckpt-{STEPS}.data-00000-of-00001"
    newest.write_bytes(newest.read_bytes()[:100])
    assert start().checkpoints(tmp_path).restore_latest() == 4
    assert f"ckpt-{STEPS} is damaged" in capsys.readouterr().err


def test_what_a_log_shows(tmp_path, capsys):
    """Compiling once for each shape of batches, and one line at the end."""
    def feed(start):
        for batch in batches(start):
            if int(batch["step"]) in (3, 4):
                batch |= {"token_ids": batch["token_ids"][:, :8],
                          "lengths": tf.minimum(batch["lengths"], 8)}
            yield batch

    start().train(tmp_path, feed)
    *lines, last = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "training", "training", f"update {STEPS // 2}", f"update {STEPS}"]
    assert set(lines[:2]) == {"training: compiling ..."}
    assert last.startswith(f"training: 100% {STEPS}/{STEPS} [")


class Step:
    """In place of a `TrainStep`: (batch, step) -> scalars that differ from those of every other."""

    def __init__(self, function, finite_until=STEPS):
        self._function = function
        self._finite_until = finite_until
        self._step = 0

    def __call__(self, batch, step, flag):
        self._step = step
        return {name: tf.constant(1.0) for name in ("loss", "weight", "gradient_norm", "tokens")
                } | self._function(batch, step)

    def is_finite(self):
        return self._step <= self._finite_until


def test_the_rate_does_not_count_compilation(tmp_path, monkeypatch):
    clock = types.SimpleNamespace(perf_counter=lambda: clock.now, now=0.0)
    monkeypatch.setattr("gpt_tf.training.trainer.time", clock)

    def step(batch, number):
        clock.now += 60.0 if number == 1 else 2.0
        return {"tokens": tf.constant(100.0 * number)}

    start().train(tmp_path, step_function=Step(step))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    rates = [row["train/tokens_per_second"] for row in rows if "train/loss" in row]
    # Updates 2, 3 (a validation follows it), 4, and 5 and 6 together.
    assert rates == [100.0, 150.0, 200.0, 275.0]


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    start().train(tmp_path)
    other = GPT(ModelConfig(vocabulary_size=51, num_layers=2, num_heads=2, hidden_dim=32,
                            intermediate_dim=64, max_sequence_length=12))
    checkpoints = Checkpoints(str(tmp_path / "checkpoints"),
                              {"model": {v.path: v.value for v in other.trainable_variables}})
    with pytest.raises(UserError, match="another model: gpt/embedding/token/embeddings"):
        checkpoints.restore_latest()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    def feed(start):
        for batch in batches(start):
            if int(batch["step"]) == 4:
                run.model.trainable_variables[0].assign(
                    tf.fill(run.model.trainable_variables[0].shape, math.nan))
            yield batch

    run = start()
    with pytest.raises(UserError, match=(
            r"^The loss or its gradient is not finite at update 4 \(loss nan, .*ckpt-2: the same "
            r"flags come here again; give a lower --learning_rate, with --overwrite")):
        run.train(tmp_path, feed)
    assert not run.step.is_finite() and start().step.is_finite()


def one(batch, step):
    return {}


@pytest.mark.parametrize("finite_until, loss, message", [
    (1, 1.0, "^A weight is not finite at update 2. Nothing was saved before: run the same command "
             "with a lower --learning_rate, or --dtype=float32.$"),
    (5, 1.0, "^A weight is not finite at update 6. The last good checkpoint is .*ckpt-4:"),
    (6, math.nan, "^The validation loss is not finite at update 3. The last .*ckpt-2:"),
    (6, math.inf, "^The validation loss is not finite at update 3. ")])
def test_what_is_not_finite_is_not_saved(tmp_path, finite_until, loss, message):
    with pytest.raises(UserError, match=message):
        start().train(tmp_path, step_function=Step(one, finite_until), dtype="mixed_bfloat16",
                      validate=lambda step, last: {"validation/loss": loss})
    if not math.isfinite(loss):
        assert '"validation/loss": null' in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("loss, perplexity", [(100.0, 2.688117e43), (1e6, None)])
def test_a_loss_whose_perplexity_no_float_holds(tmp_path, capsys, loss, perplexity):
    """It is said once, and the run goes on: neither TensorBoard nor JSON is in its way."""
    def validate(step, last):
        return {"validation/loss": loss, "validation/perplexity": metrics.perplexity(loss)}

    start().train(tmp_path, validate=validate,
                  step_function=Step(lambda batch, step: {"loss": tf.constant(loss)}))
    assert capsys.readouterr().err.count(f"update 2: the loss is {loss:.4g}, far worse than") == 1
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = [value for row in rows for name, value in row.items() if "perplexity" in name]
    assert found == [perplexity] * 6


def test_a_batch_without_anything_to_predict_counts_nothing(tmp_path):
    """Loss and gradient are 0: its update is Adam's, by hand."""
    def feed(start):
        for batch in batches(start):
            if int(batch["step"]) == 2:
                batch |= {"lengths": tf.minimum(batch["lengths"], 1)}
            yield batch

    run = start()
    first, empty = itertools.islice(feed(0), 2)
    loss = float(run.step(first, 1)["loss"])
    moments, rate = run.optimizer.moments(), np.float32(run.optimizer.corrected_rate(2))
    before = [(v, v.numpy(), *(moments[group][v.path].numpy() for group in ("mean", "square")))
              for v in run.model.trainable_variables]
    values = {name: float(value) for name, value in run.step(empty, 2).items()}
    assert (values["loss"], values["weight"], values["gradient_norm"]) == (0, 0, 0)
    for variable, value, mean, square in before:
        step = 0.9 * mean / (np.sqrt(np.float32(0.999) * square) + np.float32(1e-8))
        step += np.float32(0.01) * value * (value.ndim > 1)
        np.testing.assert_allclose(variable.numpy(), value - rate * step, rtol=2e-6, atol=1e-8)
    assert all(not gradient.numpy().any() for _, gradient in run.step.gradients(empty))
    start().train(tmp_path, feed)  # the mean of updates 1 and 2 is the loss of update 1
    row = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert row["train/loss"] == pytest.approx(loss, rel=1e-6)


def test_rows_after_the_restored_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    Reporter(str(tmp_path), resume_step=2).close()
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_batch_must_divide():
    mirrored = distribution.make_strategy("mirrored")
    with pytest.raises(UserError, match="--batch_size=7"):
        distribution.check_batch_size(mirrored, 7, 0)
    with pytest.raises(UserError, match="--micro_batch_size=3"):
        distribution.check_batch_size(mirrored, 8, 3)


class FailsFirst(FunctionByShape):
    """Fails as XLA does where there is too little memory, so many times."""

    failures = 0

    def __call__(self, *inputs):
        if FailsFirst.failures:
            FailsFirst.failures -= 1
            raise tf.errors.ResourceExhaustedError(
                None, None, "Out of memory while trying to allocate 45.47GiB.")
        return super().__call__(*inputs)


@pytest.fixture(name="failing")
def failing_fixture(monkeypatch):
    """Lets the next updates fail, as many as are given, with the flags of a run."""
    def failing(count, **flags):
        monkeypatch.setattr(train_step, "FunctionByShape", FailsFirst)
        monkeypatch.setattr(FailsFirst, "failures", count)
        return Run(**flags)
    return failing


def test_lowered_once(failing, capsys):
    """The update that failed is taken, and all are those of micro-batches that were asked for."""
    asked = start(micro_batch_size=4)
    expected = asked.losses()
    lowered = failing(1)
    assert lowered.losses() == expected
    np.testing.assert_array_equal(lowered.weights(), asked.weights())
    assert capsys.readouterr().err == (
        "Memory was too short for 8 sequences at once: going on with micro-batches of 4.\n")
    FailsFirst.failures = 1  # not of the first update
    with pytest.raises(UserError, match="below 4"):
        lowered.losses(1)


def test_an_update_that_was_begun_is_not_taken_again(monkeypatch):
    run = Run()
    take = run.step._global_step

    def take_and_fail(*inputs):
        take(*inputs)
        raise tf.errors.ResourceExhaustedError(
            None, None, "Out of memory while trying to allocate 45.47GiB.")

    monkeypatch.setattr(run.step, "_global_step", take_and_fail)
    with pytest.raises(UserError, match="^Out of memory: .* --micro_batch_size below 8"):
        run.losses(1)


@pytest.mark.parametrize("count, flags, size", [
    (2, {}, 4), (1, {"micro_batch_size": 4}, 4), (1, {"jit_compile": False}, 8),
    (1, {"strategy": "mirrored"}, 4)], ids=str)
def test_no_second_time(failing, count, flags, size):
    with pytest.raises(UserError, match="^Out of memory: 45.5 GiB could not be had and this "
                       f"machine has .* in all; give a --micro_batch_size below {size}[.]$"):
        failing(count, **flags).losses(1)


def test_no_size_below_one(failing):
    with pytest.raises(UserError, match="; make the model smaller .*, or the data's windows"):
        failing(1, micro_batch_size=1).losses(1)
