"""The released 2018 program's numbers on a small random model, dropout 0: ours must agree."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig
from gpt_tf.interop import openai
from gpt_tf.model import schedules, task_model
from gpt_tf.model.objectives import example_losses, joint_loss
from gpt_tf.model.optimizer import Adam
from gpt_tf.tasks.task import Task
from gpt_tf.training import distribution
from gpt_tf.training.train_step import TrainStep

# Softmax is unchanged by one number added to all its inputs, so these gradients are zero and the
# golden file holds rounding noise, which Adam's normalisation makes visible.
_ZERO_GRADIENT_BOUND = 5e-4


@pytest.fixture(scope="module")
def golden(request):
    path = request.config.getoption("--golden")
    if path is None:
        path = request.getfixturevalue("shared_data") / "golden" / "openai_tf1_small.npz"
    with np.load(pathlib.Path(path)) as arrays:
        values = dict(arrays)
    values["hyper"] = json.loads(str(values["hyper"]))
    return values


class Released:
    """The golden model and batch in our classes, with our joint loss."""

    def __init__(self, golden, jit_compile=False):
        hyper = golden["hyper"]
        self.hyper = hyper
        config = ModelConfig(
            vocabulary_size=hyper["n_vocab"], num_special_tokens=hyper["n_special"],
            num_layers=hyper["n_layer"], num_heads=hyper["n_head"], hidden_dim=hyper["n_embd"],
            intermediate_dim=golden["param/model/h0/mlp/c_fc/b"].shape[0],
            max_sequence_length=hyper["n_ctx"], softmax_over_positions=True,
            dropout=0.0, embedding_dropout=0.0, attention_dropout=0.0)
        rows, choices, _ = golden["M"].shape
        task = Task("golden", "multiple_choice", choices, tuple(map(str, range(choices))), (),
                    ("accuracy",))
        self.model = task_model.TaskModel(config, task, classifier_dropout=0.0)
        self.entries = openai.entries(self.model.gpt, self.model.head)
        for entry in self.entries:
            for variable, value in zip(entry.variables, entry.split(golden[f"param/{entry.name}"])):
                variable.assign(value)
        self.batch = {
            "token_ids": tf.constant(golden["X"][..., 0], tf.int32),  # [B, K, T]
            "lengths": tf.constant(golden["M"].sum(axis=-1), tf.int32),
            "labels": tf.constant(golden["Y"], tf.int32), "batch_rows": tf.range(rows),
            "step": tf.constant(1, tf.int64)}
        self.joint_loss = joint_loss(self.model, hyper["lm_coef"], 0, jit_compile)

    def variables(self):
        return [variable for entry in self.entries for variable in entry.variables]

    def row(self, index):
        return {name: value[index:index + 1] if value.shape.rank else value
                for name, value in self.batch.items()}

    def gradients(self):
        with tf.GradientTape() as tape:
            sums = self.joint_loss(self.batch)
            loss = sums.loss / sums.weight
        gradients = tape.gradient(loss, [variable.value for variable in self.variables()])
        return [tf.convert_to_tensor(gradient) for gradient in gradients]


def relative(ours, theirs):
    """Norm of the difference over the golden's norm."""
    return np.linalg.norm(np.asarray(ours, np.float64) - theirs) / np.linalg.norm(theirs)


def without_zero_gradients(name, array):
    """Leaves out what has a true gradient of zero: `clf/b` and the keys' bias."""
    if name == "model/clf/b":
        return array[:0]
    if name.endswith("attn/c_attn/b"):
        third = len(array) // 3
        return np.concatenate([array[:third], array[2 * third:]])
    return array


def only_zero_gradients(name, array):
    if name == "model/clf/b":
        return array
    if name.endswith("attn/c_attn/b"):
        return array[len(array) // 3: 2 * len(array) // 3]
    return array[:0]


def assert_close(name, ours, theirs, absolute):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    determined = without_zero_gradients(name, theirs)
    if determined.size:
        assert relative(without_zero_gradients(name, ours), determined) < 1e-5, name
    np.testing.assert_allclose(only_zero_gradients(name, ours), only_zero_gradients(name, theirs),
                               rtol=0, atol=absolute, err_msg=name)


def test_logits_and_losses(golden):
    released = Released(golden)
    model, batch = released.model, released.batch
    logits = model(batch["token_ids"], batch["lengths"])
    assert relative(logits, golden["clf_logits"]) < 1e-5
    losses = example_losses(model.task, logits, batch["labels"])
    assert relative(losses, golden["clf_losses"]) < 1e-5
    lm_losses = golden["lm_losses"].reshape(golden["clf_logits"].shape).mean(axis=1)
    rows = [released.joint_loss(released.row(index)).parts for index in range(len(lm_losses))]
    assert relative([row["task_loss"] for row in rows], golden["clf_losses"]) < 1e-5
    assert relative([row["lm_loss"] for row in rows], lm_losses) < 1e-5
    sums = released.joint_loss(batch)
    assert relative(sums.loss / sums.weight, golden["loss"]) < 1e-5


def test_every_gradient(golden):
    released = Released(golden)
    gradients = iter(released.gradients())
    names = set()
    for entry in released.entries:
        ours = entry.join([next(gradients) for _ in entry.variables])
        assert_close(entry.name, ours, golden[f"grad/{entry.name}"], absolute=1e-7)
        names.add(entry.name)
    assert names == {key.removeprefix("grad/") for key in golden if key.startswith("grad/")}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_eight_updates(golden, jit_compile):
    released = Released(golden, jit_compile)
    hyper = released.hyper
    config = OptimizerConfig(
        learning_rate=hyper["lr"], schedule="linear",
        warmup_steps=round(hyper["warmup"] * hyper["t_total"]), beta_1=hyper["b1"],
        beta_2=hyper["b2"], epsilon=hyper["e"], l2=hyper["l2"], clip_norm=hyper["max_grad_norm"])
    optimizer = Adam(released.variables(), config, hyper["t_total"], jit_compile)
    step_function = TrainStep(
        distribution.make_strategy("one_device"), released.variables(), released.joint_loss,
        optimizer, TrainingConfig(jit_compile=jit_compile))
    losses = [float(step_function(released.batch, step)["loss"])
              for step in range(1, len(golden["losses_over_8_updates"]) + 1)]
    assert relative(losses, golden["losses_over_8_updates"]) < 1e-5
    for entry in released.entries:
        ours = entry.join([variable.numpy() for variable in entry.variables])
        assert_close(entry.name, ours, golden[f"after8/{entry.name}"], _ZERO_GRADIENT_BOUND)


@pytest.mark.parametrize("name", ["warmup_cosine", "warmup_linear", "warmup_constant"])
def test_schedules(golden, name):
    ours = [getattr(schedules, name)(x, 0.02) for x in golden["schedule/x"].tolist()]
    np.testing.assert_allclose(ours, golden[f"schedule/{name}"], rtol=1e-5, atol=1e-7)
