"""The released 2018 program's numbers on a small random model, dropout 0: ours must agree."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import schedules
from gpt_tf.config import ModelConfig, OptimizerConfig
from gpt_tf.interop import openai
from gpt_tf.losses import class_losses, shift_targets, weighted_lm_loss
from gpt_tf.model import GPT, TaskHead
from gpt_tf.optimizer import Adam

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
    """The golden model in our classes, with its joint loss (multiple choice form)."""

    def __init__(self, golden):
        hyper = golden["hyper"]
        self.hyper = hyper
        width = hyper["n_embd"]
        config = ModelConfig(
            vocabulary_size=hyper["n_vocab"], num_special_tokens=hyper["n_special"],
            num_layers=hyper["n_layer"], num_heads=hyper["n_head"], hidden_dim=width,
            intermediate_dim=golden["param/model/h0/mlp/c_fc/b"].shape[0],
            max_sequence_length=hyper["n_ctx"], softmax_over_positions=True)
        self.model = GPT(config)
        self.head = TaskHead(config, num_outputs=1)
        self.entries = openai.entries(self.model, self.head)
        for entry in self.entries:
            for variable, value in zip(entry.variables, entry.split(golden[f"param/{entry.name}"])):
                variable.assign(value)
        self.tokens = golden["X"][..., 0]  # [B, K, T]
        self.lengths = golden["M"].sum(axis=-1).astype(np.int32)
        self.labels = golden["Y"]
        # The extract token is the last one.
        self.extract = self.lengths - 1

    def variables(self):
        return [variable for entry in self.entries for variable in entry.variables]

    def forward(self):
        """(choice logits [B, K], example losses [B], sequence LM losses [B K], joint loss)."""
        b, k, t = self.tokens.shape
        tokens = tf.reshape(self.tokens, [b * k, t])
        lengths = tf.reshape(self.lengths, [b * k])
        hidden = self.model(tokens)
        width = hidden.shape[-1]
        targets, mask = shift_targets(tokens, lengths)
        lm_losses = tf.stack([
            weighted_lm_loss(hidden[row], self.model.output_table(), targets[row],
                             mask[row] / tf.reduce_sum(mask[row])) for row in range(b * k)])
        logits = self.head(tf.reshape(hidden, [b, k, t, width]), self.extract)[:, :, 0]
        losses = class_losses(logits, self.labels)
        loss = tf.cast(tf.reduce_mean(losses), tf.float32) + self.hyper["lm_coef"] * tf.reduce_mean(lm_losses)
        return logits, losses, lm_losses, loss

    def gradients(self):
        variables = self.variables()
        with tf.GradientTape() as tape:
            loss = self.forward()[-1]
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        return loss, [tf.convert_to_tensor(gradient) for gradient in gradients]


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
    logits, losses, lm_losses, loss = Released(golden).forward()
    assert relative(logits, golden["clf_logits"]) < 1e-5
    assert relative(losses, golden["clf_losses"]) < 1e-5
    assert relative(lm_losses, golden["lm_losses"]) < 1e-5
    assert relative(loss, golden["loss"]) < 1e-5


def test_every_gradient(golden):
    released = Released(golden)
    _, gradients = released.gradients()
    gradients = iter(gradients)
    names = set()
    for entry in released.entries:
        ours = entry.join([next(gradients) for _ in entry.variables])
        assert_close(entry.name, ours, golden[f"grad/{entry.name}"], absolute=1e-7)
        names.add(entry.name)
    assert names == {key.removeprefix("grad/") for key in golden if key.startswith("grad/")}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_eight_updates(golden, jit_compile):
    released = Released(golden)
    hyper = released.hyper
    config = OptimizerConfig(
        learning_rate=hyper["lr"], schedule="linear",
        warmup_steps=round(hyper["warmup"] * hyper["t_total"]), beta_1=hyper["b1"],
        beta_2=hyper["b2"], epsilon=hyper["e"], l2=hyper["l2"], clip_norm=hyper["max_grad_norm"])
    optimizer = Adam(released.variables(), config, hyper["t_total"], jit_compile)
    strategy = tf.distribute.get_strategy()
    losses = []
    for step in range(1, len(golden["losses_over_8_updates"]) + 1):
        loss, gradients = released.gradients()
        losses.append(float(loss))
        scale = optimizer.clip_scale(tf.linalg.global_norm(gradients))
        optimizer.apply(strategy, gradients, scale,
                        tf.constant(optimizer.corrected_rate(step), tf.float32))
    assert relative(losses, golden["losses_over_8_updates"]) < 1e-5
    for entry in released.entries:
        ours = entry.join([variable.numpy() for variable in entry.variables])
        assert_close(entry.name, ours, golden[f"after8/{entry.name}"], _ZERO_GRADIENT_BOUND)


@pytest.mark.parametrize("name", ["warmup_cosine", "warmup_linear", "warmup_constant"])
def test_schedules(golden, name):
    ours = [getattr(schedules, name)(x, 0.02) for x in golden["schedule/x"].tolist()]
    np.testing.assert_allclose(ours, golden[f"schedule/{name}"], rtol=1e-5, atol=1e-7)
