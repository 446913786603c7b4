"""Ours, the plain PyTorch GPT and transformers' OpenAIGPT are one function and one training.

Needs requirements-peers.txt (`make test-peers`). What the benchmarks compare must be the same work.
"""

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs requirements-peers.txt")
pytest.importorskip("transformers", reason="needs requirements-peers.txt")

import tensorflow as tf

from benchmarks import our_step, peers
from gpt_tf.config import ModelConfig, OptimizerConfig
from gpt_tf.model.gpt import GPT
from gpt_tf.model.objectives import language_model_loss

_CONFIG = ModelConfig(vocabulary_size=101, num_layers=3, num_heads=4, hidden_dim=32,
                      intermediate_dim=128, max_sequence_length=24, dropout=0.0,
                      embedding_dropout=0.0, attention_dropout=0.0, initializer_range=0.3)


def _relative(ours, theirs) -> float:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def _batch(rng):
    """Token ids [5, 24] of mixed lengths, one of them 0; padding is 0."""
    lengths = np.array([24, 7, 2, 0, 19])
    token_ids = rng.integers(1, _CONFIG.vocabulary_size, size=(5, 24))
    return np.where(np.arange(24) < lengths[:, None], token_ids, 0), lengths


def _labels(token_ids, lengths):
    return torch.from_numpy(np.where(np.arange(24) < lengths[:, None], token_ids, peers.IGNORED))


def _randomised_gpt(config: ModelConfig = _CONFIG) -> GPT:
    """Our model with biases and gains away from 0 and 1, so that none can be left out unseen."""
    model, rng = GPT(config, seed=3), np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign_add(0.1 * rng.standard_normal(variable.shape).astype(np.float32))
    return model


def test_logits_equal_the_plain_pytorch_gpt():
    ours = _randomised_gpt()
    token_ids, _ = _batch(np.random.default_rng(0))
    with torch.no_grad():
        theirs = peers.torch_copy(ours)(torch.from_numpy(token_ids)).numpy()
    assert _relative(ours.logits(ours(tf.constant(token_ids, tf.int32))), theirs) < 2e-6


def test_the_plain_pytorch_gpt_equals_transformers():
    plain = peers.torch_copy(_randomised_gpt())
    reference = peers.transformers_gpt(_CONFIG).eval()
    state, weights = reference.state_dict(), plain.state_dict()
    names = {"query_key_value": "attn.c_attn", "project": "attn.c_proj", "attention_norm": "ln_1",
             "expand": "mlp.c_fc", "contract": "mlp.c_proj", "mlp_norm": "ln_2"}
    renamed = {"lm_head.weight": weights["tokens.weight"],
               "transformer.tokens_embed.weight": weights["tokens.weight"],
               "transformer.positions_embed.weight": weights["positions.weight"]}
    for name, value in weights.items():
        if name.startswith("blocks."):
            _, index, part, kind = name.split(".")
            # transformers keeps these matrices as [in, out].
            renamed[f"transformer.h.{index}.{names[part]}.{kind}"] = (
                value.T if value.dim() == 2 else value)
    assert renamed.keys() == state.keys()
    reference.load_state_dict(renamed)
    token_ids, lengths = _batch(np.random.default_rng(0))
    token_ids, labels = torch.from_numpy(token_ids), _labels(token_ids, lengths)
    with torch.no_grad():
        assert _relative(plain(token_ids), reference(token_ids).logits) < 2e-6
        assert plain.loss(token_ids, labels).item() == pytest.approx(
            reference.loss(token_ids, labels).item(), rel=2e-6)


def test_training_equals_pytorch_update_for_update():
    """Losses and weights over 12 updates: warm-up, cosine, clipping, L2, padded rows."""
    ours = _randomised_gpt()
    config = OptimizerConfig(learning_rate=1e-3, warmup_steps=4, clip_norm=0.5, l2=0.1)
    trainer = peers.PeerTrainer(peers.torch_copy(ours), config, total_updates=20, compiled=False)
    update = our_step.make_update(ours, config, total_updates=20)
    rng = np.random.default_rng(1)
    for _ in range(12):
        token_ids, lengths = _batch(rng)
        theirs = trainer.update(torch.from_numpy(token_ids), _labels(token_ids, lengths)).item()
        assert update(token_ids, lengths) == pytest.approx(theirs, rel=5e-6)
    weights = trainer.model.state_dict()
    for name, value in peers.named_parameters(ours).items():
        if name.endswith("query_key_value.bias"):
            # The key's part has no gradient but rounding, which Adam magnifies.
            value, weights[name] = np.delete(value, np.s_[32:64]), np.delete(
                weights[name].numpy(), np.s_[32:64])
        assert _relative(value, weights[name]) < 2e-5, name


def test_dropout_raises_the_loss_as_much_as_pytorchs_does():
    """Means over many masks agree to a small part of what dropout changes."""
    config = dataclasses.replace(_CONFIG, dropout=0.3, embedding_dropout=0.3,
                                 attention_dropout=0.3)
    ours = _randomised_gpt(config)
    theirs = peers.torch_copy(ours)
    rng = np.random.default_rng(4)
    token_ids = rng.integers(_CONFIG.vocabulary_size, size=(32, 24))
    batch = {"token_ids": tf.constant(token_ids, tf.int32), "lengths": tf.fill([32], 24),
             "batch_rows": tf.range(32)}
    loss = tf.function(language_model_loss(ours, seed=5), jit_compile=True)
    labels = torch.from_numpy(token_ids)
    torch.manual_seed(5)
    our_losses, their_losses = [], []
    with torch.no_grad():
        for step in range(150):
            sums = loss(batch | {"step": tf.constant(step, tf.int64)})
            our_losses.append(float(sums.loss / sums.weight))
            their_losses.append(theirs.loss(labels, labels).item())
        without = theirs.eval().loss(labels, labels).item()
    effect = np.mean(their_losses) - without
    error = math.hypot(np.std(our_losses), np.std(their_losses)) / math.sqrt(150)
    assert error < 0.02 * abs(effect)
    assert abs(np.mean(our_losses) - np.mean(their_losses)) < 4 * error


def test_adamw_with_rates_of_each_update_is_the_released_formula():
    """Against the formula in float64; `AdamW` as it comes is off by far more."""
    config = OptimizerConfig(learning_rate=0.05, warmup_steps=3, l2=0.3, epsilon=1e-3,
                             clip_norm=0.0)
    rng = np.random.default_rng(2)
    start, gradients = rng.standard_normal((4, 3)), rng.standard_normal((6, 4, 3)) * 0.01
    matrix = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    module = torch.nn.Module()
    module.matrix = matrix
    module.loss = lambda gradient, _: (matrix * gradient).sum()
    trainer = peers.PeerTrainer(module, config, total_updates=10, compiled=False)
    plain_matrix = torch.nn.Parameter(matrix.detach().clone())
    plain = torch.optim.AdamW([plain_matrix], eps=config.epsilon, weight_decay=config.l2)
    p, m, v = start, 0.0, 0.0
    for k, gradient in enumerate(gradients, start=1):
        trainer.update(torch.tensor(gradient, dtype=torch.float32), None)
        rate = 0.05 * (k / 3 if k <= 3 else 0.5 * (1 + math.cos(math.pi * k / 10)))
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        p = p - rate * math.sqrt(1 - 0.999**k) / (1 - 0.9**k) * (
            m / (np.sqrt(v) + 1e-3) + 0.3 * p)
        plain.param_groups[0]["lr"] = rate
        plain_matrix.grad = torch.tensor(gradient, dtype=torch.float32)
        plain.step()
    assert _relative(matrix.detach(), p) < 1e-6
    assert _relative(plain_matrix.detach(), p) > 1e-2
