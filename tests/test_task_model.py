"""The forms of tasks, the joint loss and its dropout, computed again by hand; predictions."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig
from gpt_tf.model.objectives import joint_loss, loss_names
from gpt_tf.model.optimizer import Adam
from gpt_tf.model.task_model import TaskModel
from gpt_tf.tasks.task import Task
from gpt_tf.training import distribution
from gpt_tf.training.predictor import Predictor
from gpt_tf.training.train_step import TrainStep
from tests import task_data

CONFIG = ModelConfig(vocabulary_size=50, num_special_tokens=3, num_layers=2, num_heads=2,
                     hidden_dim=32, intermediate_dim=64, max_sequence_length=12,
                     dropout=0.2, embedding_dropout=0.3, attention_dropout=0.15)
CLASSIFIER_DROPOUT = 0.25
SEED = 5
WIDTH = 12
TASKS = {
    "classification": Task("cola", "classification", 1, ("0", "1", "2"), (), ("accuracy",)),
    "entailment": Task("rte", "entailment", 1, ("yes", "no"), (), ("accuracy",)),
    "similarity": Task("mrpc", "similarity", 2, ("0", "1"), (), ("f1",)),
    "scores": Task("stsb", "similarity", 2, (), (1, 5), ("pearson",)),
    "multiple_choice": Task("race", "multiple_choice", 4, tuple("ABCD"), (), ("accuracy",)),
}


def make_batch(task, step=1, rows=8, filling=1):
    """A batch whose last rows only fill it up; a function of its step."""
    rng = np.random.default_rng(step)
    lengths = rng.integers(3, WIDTH + 1, [rows, task.num_sequences]).astype(np.int32)
    real = np.arange(rows) < rows - filling
    lengths[~real] = 0
    ids = rng.integers(0, 53, [*lengths.shape, WIDTH]) * (np.arange(WIDTH) < lengths[..., None])
    labels = rng.integers(0, task.num_classes, rows).astype(np.int32)
    if task.is_score:
        low, high = task.score_range
        labels = np.where(real, rng.uniform(low, high, rows), low).astype(np.float32)
    records = np.where(real, rng.permutation(rows - filling).tolist() + [0] * filling, -1)
    return {"token_ids": tf.constant(ids, tf.int32), "lengths": tf.constant(lengths),
            "labels": tf.constant(labels), "batch_rows": tf.range(rows),
            "split_positions": tf.constant(records, tf.int32),
            "source_rows": tf.constant(np.where(real, 100 + records, -1), tf.int64),
            "step": tf.constant(step, tf.int64)}


# By hand, in float64 of numpy.


def mix(x):
    """The 32-bit hash, in integers of 64 bits so that nothing overflows."""
    x = np.atleast_1d(x).astype(np.uint64) % 2**32
    x = (x ^ (x >> 16)) * 0x7FEB352D % 2**32
    x = (x ^ (x >> 15)) * 0x846CA68B % 2**32
    return x ^ (x >> 16)


def mask(step, row, site, shape, rate):
    """What dropout multiplies `shape` elements by; `row` counts sequences or examples."""
    first, second = (mix(mix(mix(mix(2 * SEED + word) + step) + row) + site) for word in (0, 1))
    elements = np.arange(math.prod(shape), dtype=np.uint64) * 0x9E3779B9
    hashed = (mix(elements + first) ^ second) * 0x2C1B3C6D % 2**32
    hashed ^= hashed >> 15
    return ((hashed >= int(rate * 2**32)) / (1 - rate)).reshape(shape)


def softmax(x):
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def normed(x, layer):
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred ** 2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred / scale * layer.gamma.numpy() + layer.beta.numpy()


def linear(x, layer):
    return x @ layer.kernel.numpy().astype(np.float64) + layer.bias.numpy()


def hidden_by_hand(gpt, ids, drop):
    """[T] -> [T, D]; drop(site, shape, rate) is what dropout multiplies by."""
    config, time = gpt.config, len(ids)
    x = (gpt.embedding.token.embeddings.numpy().astype(np.float64)[ids]
         + gpt.embedding.position.embeddings.numpy()[:time])
    x = x * drop(0, x.shape, config.embedding_dropout)
    for index, block in enumerate(gpt.blocks):
        site, attention = 1 + 3 * index, block.attention
        split = [linear(x, layer).reshape(time, config.num_heads, -1).transpose(1, 0, 2)
                 for layer in (attention.query, attention.key, attention.value)]
        query, key, value = split  # [H, T, C]
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        weights = softmax(np.where(np.tri(time, dtype=bool), scores, -np.inf))
        weights = weights * drop(site, weights.shape, config.attention_dropout)
        attended = linear((weights @ value).transpose(1, 0, 2).reshape(time, -1),
                          attention.output_projection)
        x = normed(x + attended * drop(site + 1, x.shape, config.dropout), block.attention_norm)
        inner = linear(x, block.feed_forward.intermediate)
        inner = 0.5 * inner * (1 + np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        fed = linear(inner, block.feed_forward.output_projection)
        x = normed(x + fed * drop(site + 2, x.shape, config.dropout), block.feed_forward_norm)
    return x


def losses_by_hand(model, batch, with_dropout):
    """(task loss, LM loss) of the real rows, each a mean."""
    task, step = model.task, int(batch["step"])
    table = model.gpt.embedding.token.embeddings.numpy().astype(np.float64)
    count, site = task.num_sequences, 1 + 3 * CONFIG.num_layers
    task_losses, lm_losses = [], []
    for row in np.flatnonzero(batch["lengths"].numpy()[:, 0]):
        states = []
        for k, (ids, length) in enumerate(zip(batch["token_ids"].numpy()[row],
                                              batch["lengths"].numpy()[row])):
            def drop(site, shape, rate, sequence=row * count + k):
                return mask(step, sequence, site, shape, rate) if with_dropout else 1.0
            hidden = hidden_by_hand(model.gpt, ids, drop)
            states.append(hidden[length - 1])
            chances = softmax(hidden[:length - 1] @ table.T)
            lm_losses.append(-np.mean(np.log(chances[np.arange(length - 1), ids[1:length]])))
        shared = mask(step, row, site, [CONFIG.hidden_dim], CLASSIFIER_DROPOUT)
        shared = shared if with_dropout else 1.0
        if task.form == "multiple_choice":
            logits = np.concatenate([linear(state * shared, model.head.projection)
                                     for state in states])
        else:
            logits = linear(sum(states) * shared, model.head.projection)
        label = batch["labels"].numpy()[row]
        if task.is_score:
            below = min(int(label), 4)
            chosen = {below - 1: below + 1 - label, below: label - below}
        else:
            chosen = {label: 1.0}
        task_losses.append(-sum(weight * np.log(softmax(logits)[c])
                                for c, weight in chosen.items()))
    return np.mean(task_losses), np.mean(lm_losses)


def make_model(task, **rates):
    config = dataclasses.replace(CONFIG, **rates)
    model = TaskModel(config, task, CLASSIFIER_DROPOUT, seed=SEED)
    # Larger than initial weights, so that every part shows in the losses.
    rng = np.random.default_rng(3)
    for variable in model.trainable_variables:
        scale = 0.3 if len(variable.shape) > 1 else 0.1
        variable.assign_add(rng.normal(scale=scale, size=variable.shape).astype(np.float32))
    return model


@pytest.mark.parametrize("name", TASKS)
def test_joint_loss_with_every_dropout_by_hand(name):
    task = TASKS[name]
    model, batch = make_model(task), make_batch(task)
    sums = joint_loss(model, 0.5, SEED)(batch)
    task_loss, lm_loss = losses_by_hand(model, batch, with_dropout=True)
    assert float(sums.weight) == 7 and int(sums.tokens) == batch["lengths"].numpy().sum()
    assert float(sums.parts["task_loss"]) / 7 == pytest.approx(task_loss, rel=2e-5)
    assert float(sums.parts["lm_loss"]) / 7 == pytest.approx(lm_loss, rel=2e-5)
    assert float(sums.loss) / 7 == pytest.approx(task_loss + 0.5 * lm_loss, rel=2e-5)


@pytest.mark.parametrize("name", TASKS)
def test_predictions_by_hand(name):
    task = TASKS[name]
    model = make_model(task)
    batches = [make_batch(task, step=1, filling=0), make_batch(task, step=2, filling=3)]
    positions = batches[1]["split_positions"]
    batches[1]["split_positions"] = tf.where(positions < 0, -1, positions + 8)
    found = task_data.predict(model, batches)
    order = np.concatenate([batch["split_positions"].numpy() for batch in batches])
    for field in ("source_rows", "labels"):
        values = np.concatenate([batch[field].numpy() for batch in batches])
        np.testing.assert_array_equal(getattr(found, field),
                                      values[order >= 0][np.argsort(order[order >= 0])])
    task_losses = [losses_by_hand(model, batch, with_dropout=False)[0] for batch in batches]
    assert found.loss == pytest.approx((8 * task_losses[0] + 5 * task_losses[1]) / 13, rel=2e-5)
    assert found.probabilities.dtype == np.float32
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-6)
    if task.is_score:
        np.testing.assert_allclose(found.predictions, found.probabilities @ [1, 2, 3, 4, 5],
                                   rtol=1e-6)
    else:
        np.testing.assert_array_equal(found.predictions, found.probabilities.argmax(axis=1))


@pytest.mark.parametrize("name, absent", [("scores", np.nan), ("entailment", -1)])
def test_predictions_without_labels(name, absent):
    task = TASKS[name]
    batch = make_batch(task)
    labelled = task_data.predict(make_model(task), [batch])
    batch["labels"] = tf.fill([8], tf.constant(absent, batch["labels"].dtype))
    found = task_data.predict(make_model(task), [batch])
    assert math.isnan(found.loss) and found.labels.shape == (7,)
    np.testing.assert_array_equal(found.predictions, labelled.predictions)


@pytest.mark.parametrize("jit_compile", [True, False])
def test_replicas_predict_the_same(jit_compile):
    task = TASKS["multiple_choice"]
    batches = [make_batch(task)]
    one = task_data.predict(make_model(task), batches)
    strategy = distribution.make_strategy("mirrored")
    with strategy.scope():
        model = make_model(task)
    two = Predictor(model, strategy, jit_compile)(batches)
    np.testing.assert_allclose(two.probabilities, one.probabilities, rtol=1e-5)
    np.testing.assert_array_equal(two.source_rows, one.source_rows)


def test_filling_rows_weigh_nothing():
    task = TASKS["scores"]
    loss = joint_loss(make_model(task), 0.5, SEED)
    batch = make_batch(task, filling=3)
    alone = {name: value[:5] if value.shape.rank else value for name, value in batch.items()}
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
                          loss(batch), loss(alone))


def test_without_a_weight_there_is_no_lm_softmax():
    task = TASKS["similarity"]
    model, batch = make_model(task), make_batch(task)

    def widths(lm_coef):
        graph = tf.function(joint_loss(model, lm_coef, SEED)).get_concrete_function(
            batch).graph
        return {shape[-1] for function in (graph, *graph._functions.values())
                for op in function.get_operations() if "ReadVariable" not in op.type
                for shape in (output.shape for output in op.outputs) if shape.rank}

    assert joint_loss(model, 0.0, SEED)(batch).parts.keys() == {"task_loss"}
    assert loss_names(0.0) == ("task_loss",)
    assert CONFIG.num_token_rows not in widths(0.0)


class Run:
    """Updates of the joint loss with everything on, from the model's own initial weights."""

    def __init__(self, task, strategy="one_device", micro_batch_size=0, jit_compile=True):
        strategy = distribution.make_strategy(strategy)
        config = dataclasses.replace(CONFIG, num_layers=1)
        with strategy.scope():
            model = TaskModel(config, task, CLASSIFIER_DROPOUT, seed=SEED)
            optimizer = Adam(model.trainable_variables, OptimizerConfig(
                learning_rate=1e-2, warmup_steps=2, clip_norm=0.5), 6, jit_compile)
        step = TrainStep(
            strategy, model.trainable_variables, joint_loss(model, 0.5, SEED, jit_compile),
            optimizer, TrainingConfig(micro_batch_size=micro_batch_size, jit_compile=jit_compile),
            loss_names(0.5))
        self.values = [{name: float(value) for name, value in
                        step(make_batch(task, number, filling=2), number).items()}
                       for number in range(1, 4)]


@pytest.fixture(scope="module")
def reference():
    return Run(TASKS["multiple_choice"]).values


@pytest.mark.parametrize("change", [
    {"micro_batch_size": 2}, {"jit_compile": False}, {"strategy": "mirrored"},
    {"strategy": "mirrored", "micro_batch_size": 2}], ids=str)
def test_same_updates_with_dropout_on(reference, change):
    assert set(reference[0]) == {"loss", "tokens", "gradient_norm", "flags", "weight", "task_loss",
                                 "lm_loss"}
    for ours, theirs in zip(Run(TASKS["multiple_choice"], **change).values, reference):
        for name, value in theirs.items():
            # As with the language model, rounding grows with the updates.
            assert ours[name] == pytest.approx(value, rel=1e-5), name
