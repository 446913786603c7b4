"""The other programs that ours is measured against: a plain PyTorch GPT and transformers' own.

The PyTorch GPT is what a competent engineer would write today for the paper's model (Radford et
al. 2018): fused query-key-value projection, `scaled_dot_product_attention`, fused AdamW. Nothing
of it is shared with `gpt_tf` but the configuration classes, so that agreement means something.

B batch, T time, D width, H heads, V vocabulary.
"""

from collections.abc import Callable
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from gpt_tf.config import ModelConfig, OptimizerConfig

if TYPE_CHECKING:
    from gpt_tf.model.gpt import GPT  # whoever measures PyTorch alone does not wait for TensorFlow

IGNORED = -100  # F.cross_entropy's mark of a position that predicts nothing


class Block(nn.Module):
    """Post-norm: `h = LN(x + attention(x))`, then `LN(h + mlp(h))`."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width, self.num_heads = config.hidden_dim, config.num_heads
        self.attention_dropout = config.attention_dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        self.expand = nn.Linear(width, config.intermediate_dim)
        self.contract = nn.Linear(config.intermediate_dim, width)
        self.mlp_norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, T, D] -> [B, T, D]."""
        batch, time, width = x.shape
        heads = self.query_key_value(x).view(batch, time, 3, self.num_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each [B, H, T, D/H]
        mixed = F.scaled_dot_product_attention(
            query, key, value, is_causal=True,
            dropout_p=self.attention_dropout if self.training else 0.0)
        mixed = mixed.transpose(1, 2).reshape(batch, time, width)
        h = self.attention_norm(x + self.dropout(self.project(mixed)))
        inner = F.gelu(self.expand(h), approximate="tanh")
        return self.mlp_norm(h + self.dropout(self.contract(inner)))


class TorchGPT(nn.Module):
    """The paper's decoder with its tied head, in plain PyTorch."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.tokens = nn.Embedding(config.num_token_rows, config.hidden_dim)
        self.positions = nn.Embedding(config.max_sequence_length, config.hidden_dim)
        self.dropout = nn.Dropout(config.embedding_dropout)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config.num_layers)))
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=config.initializer_range)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Token ids [B, T] -> logits [B, T, V] of each next token."""
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        h = self.dropout(self.tokens(token_ids) + self.positions(positions))
        return F.linear(self.blocks(h), self.tokens.weight)

    def loss(self, token_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean negative log-likelihood, in nats, of the labels that are not `IGNORED`.

        Args:
          token_ids: [B, T] int64.
          labels: [B, T] int64: `token_ids` with `IGNORED` where there is padding; a label at
            position t is predicted from position t - 1.
        """
        logits = self(token_ids[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def named_parameters(model: "GPT") -> dict[str, np.ndarray]:
    """Our weights under the PyTorch peer's names and in its layout, each exactly once."""
    def dense(*layers):
        return {"weight": np.concatenate([layer.kernel.numpy().T for layer in layers]),
                "bias": np.concatenate([layer.bias.numpy() for layer in layers])}

    def norm(layer):
        return {"weight": layer.gamma.numpy(), "bias": layer.beta.numpy()}

    parts = {"tokens": {"weight": model.embedding.token.embeddings.numpy()},
             "positions": {"weight": model.embedding.position.embeddings.numpy()}}
    for index, block in enumerate(model.blocks):
        attention, feed_forward = block.attention, block.feed_forward
        parts |= {f"blocks.{index}.{name}": value for name, value in {
            "query_key_value": dense(attention.query, attention.key, attention.value),
            "project": dense(attention.output_projection),
            "attention_norm": norm(block.attention_norm),
            "expand": dense(feed_forward.intermediate),
            "contract": dense(feed_forward.output_projection),
            "mlp_norm": norm(block.feed_forward_norm)}.items()}
    return {f"{part}.{name}": value for part, values in parts.items()
            for name, value in values.items()}


def torch_copy(model: "GPT") -> TorchGPT:
    """The PyTorch GPT with the weights of ours."""
    copy = TorchGPT(model.config)
    copy.load_state_dict({name: torch.tensor(value)
                          for name, value in named_parameters(model).items()}, strict=True)
    return copy


def transformers_gpt(config: ModelConfig) -> nn.Module:
    """transformers' `OpenAIGPTLMHeadModel` of the same shape, with a method `loss` like ours.

    Raises:
      ValueError: the inner width is not 4 times the width; that model knows no other.
    """
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel
    if config.intermediate_dim != 4 * config.hidden_dim:
        raise ValueError("OpenAIGPTLMHeadModel's inner width is always 4 times its width.")
    model = OpenAIGPTLMHeadModel(OpenAIGPTConfig(
        vocab_size=config.num_token_rows, n_positions=config.max_sequence_length,
        n_embd=config.hidden_dim, n_layer=config.num_layers, n_head=config.num_heads,
        resid_pdrop=config.dropout, embd_pdrop=config.embedding_dropout,
        attn_pdrop=config.attention_dropout, layer_norm_epsilon=config.layer_norm_epsilon,
        initializer_range=config.initializer_range))
    model.loss = lambda token_ids, labels: model(input_ids=token_ids, labels=labels).loss
    return model.train()


def learning_rate(config: OptimizerConfig, update: int, total_updates: int) -> float:
    """The cosine schedule with linear warm-up at `update`, counted from 1.

    The cosine is taken over the whole run, warm-up included (the released `warmup_cosine`).
    """
    if config.schedule != "cosine":
        raise ValueError(f"The peers know the cosine schedule only, not {config.schedule}.")
    if update <= config.warmup_steps:
        return config.learning_rate * update / config.warmup_steps
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * update / total_updates))


class PeerTrainer:
    """One update at a time: loss, gradients, clipping, Adam with decoupled L2.

    `torch.optim.AdamW` scales L2 by the plain learning rate and adds epsilon to the corrected
    root; the paper's released program does both with the bias-corrected rate. Giving AdamW each
    update's weight decay and epsilon accordingly makes the two the same formula, so the fused
    kernel serves for speed and for the comparison of losses.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig, total_updates: int,
                 compiled: bool):
        self.model = model
        self._config = config
        self._total_updates = total_updates
        self.update_count = 0
        self._loss: Callable = torch.compile(model.loss) if compiled else model.loss
        matrices = [p for p in model.parameters() if p.dim() > 1]
        vectors = [p for p in model.parameters() if p.dim() <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": matrices, "l2": config.l2}, {"params": vectors, "l2": 0.0}],
            lr=config.learning_rate, betas=(config.beta_1, config.beta_2), fused=True)

    def update(self, token_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Trains on one global batch, [B, T] each, and returns its loss."""
        self.update_count += 1
        loss = self._loss(token_ids, labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._config.clip_norm)
        self._set_rates()
        self._optimizer.step()
        return loss.detach()

    def _set_rates(self) -> None:
        config, k = self._config, self.update_count
        root_correction = math.sqrt(1 - config.beta_2 ** k)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(config, k, self._total_updates)
            group["weight_decay"] = group["l2"] * root_correction / (1 - config.beta_1 ** k)
            group["eps"] = config.epsilon / root_correction
