"""Fine-tuning of many runs at once, in JAX: a decoder with a task's head, with numpy and jax alone.

Runs of one task differ in their weights, rows, rates and weight of the auxiliary loss, and not in
shape. `jax.vmap` makes one product of theirs, without which a GPU would wait between the small
products of each. The equations are those of `gpt_tf.model`; two things are laid out anew:

- Sequences are packed into bins of one length, where each attends to itself alone and counts its
  positions from 0. So a batch of any lengths has one shape, with little padding.
- Rows come in the order of the seed's stream (`gpt_tf.data.order`), not sorted by length in pools.

Letters: R runs, M bins of L tokens, D width, H heads, B rows of K sequences, S = B K, C classes.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gpt_tf.config import ModelConfig, OptimizerConfig

Parameters = dict[str, jax.Array]

_MASKED = -1e9
_BLOCK = re.compile(r"gpt/block_(\d+)/(.+)")
# In memory at once, over all runs.
_LOGITS_BYTES = 2**31
_TOKENS_KEPT = 2**17


def from_variables(names: Sequence[str], values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Variables of a `TaskModel` as arrays by name, those of its blocks stacked: "blocks/..." is
    [layers, ...]."""
    found, blocks = {}, {}
    for name, value in zip(names, values, strict=True):
        if match := _BLOCK.match(name):
            blocks.setdefault(f"blocks/{match[2]}", []).append(value)
        else:
            found[name.removeprefix("gpt/")] = value
    return found | {name: np.stack(each) for name, each in blocks.items()}


class Places(NamedTuple):
    """Where the sequences of a batch lie in M bins.

    sequences: int32 [..., S], their numbers in the store; -1: none.
    starts: int32 [..., S], the place of the first token in the bins laid out flat; of none, a
      place behind all bins.
    """

    sequences: np.ndarray
    starts: np.ndarray


def pack(sequences: np.ndarray, lengths: np.ndarray, bin_length: int) -> tuple[Places, int]:
    """Lays the sequences of each batch into bins: the longest first, each into the first bin that
    has room for it (first fit decreasing, Johnson 1973).

    Args:
      sequences: int [N, S], numbers of sequences, N batches; -1: none.
      lengths: int [number of sequences], at most `bin_length`.
      bin_length: L.

    Returns:
      The places, and the number of bins that the fullest batch has.
    """
    found = np.where(sequences < 0, 0, lengths[sequences])
    order = np.argsort(-found, axis=1, kind="stable")
    batches = np.arange(len(sequences))
    loads = np.zeros(sequences.shape, np.int32)  # of the bins
    starts = np.empty(sequences.shape, np.int32)
    for chosen in order.T:
        length = found[batches, chosen]
        number = np.argmax(loads + length[:, None] <= bin_length, axis=1)
        starts[batches, chosen] = number * bin_length + loads[batches, number]
        loads[batches, number] += length
    starts[sequences < 0] = np.iinfo(np.int32).max
    return Places(sequences.astype(np.int32), starts), int((loads > 0).sum(axis=1).max())


class Store(NamedTuple):
    """The sequences of a split on the device.

    tokens: int32 [all tokens].
    offsets, lengths: int32 [number of sequences], of each in `tokens`.
    labels: float32 [rows, C], shares of the classes.
    """

    tokens: jax.Array
    offsets: jax.Array
    lengths: jax.Array
    labels: jax.Array


def make_store(tokens: np.ndarray, lengths: np.ndarray, labels: np.ndarray) -> Store:
    """Args:
      tokens: int [all tokens].
      lengths: int [number of sequences].
      labels: float [rows, C].
    """
    offsets = np.cumsum(lengths) - lengths
    return Store(*map(jnp.asarray, (tokens.astype(np.int32), offsets.astype(np.int32),
                                    lengths.astype(np.int32), labels.astype(np.float32))))


class Bins(NamedTuple):
    """A batch in its bins.

    tokens, targets, positions, segments: int32 [M, L].
    weights: float32 [M, L], of the language model's loss; they sum up to 1 for each row.
    extract: int32 [S], places of the last tokens, in the bins laid out flat.
    labels: float32 [B, C].
    exists: float32 [B]; 0 where there is no row.
    """

    tokens: jax.Array
    targets: jax.Array
    positions: jax.Array
    segments: jax.Array
    weights: jax.Array
    extract: jax.Array
    labels: jax.Array
    exists: jax.Array


def fill(store: Store, places: Places, bins: int, bin_length: int, count: int) -> Bins:
    """The batch that lies at these places; `count` is K."""
    starts, sequences = places.starts, jnp.maximum(places.sequences, 0)
    lengths = jnp.where(places.sequences < 0, 0, store.lengths[sequences])
    flat = jnp.arange(bins * bin_length)
    # Of each place the last sequence that begins there or before.
    begun = jnp.cumsum(jnp.zeros(len(flat), jnp.int32).at[starts].add(1, mode="drop"))
    owner = jnp.argsort(starts)[begun - 1]
    position = flat - starts[owner]
    inside = position < lengths[owner]
    tokens = jnp.where(inside, store.tokens[store.offsets[sequences[owner]]
                                            + jnp.where(inside, position, 0)], 0)
    predicts = inside & (position + 1 < lengths[owner])
    weights = predicts / jnp.maximum(count * (lengths[owner] - 1), 1)
    shape = [bins, bin_length]
    rows = places.sequences.reshape(-1, count)[:, 0] // count
    return Bins(tokens.reshape(shape), jnp.roll(tokens, -1).reshape(shape),
                jnp.where(inside, position, 0).reshape(shape),
                jnp.where(inside, owner, -1).reshape(shape),
                weights.astype(jnp.float32).reshape(shape),
                jnp.where(lengths > 0, starts + lengths - 1, 0),
                store.labels[jnp.maximum(rows, 0)], (rows >= 0).astype(jnp.float32))


def _mix(x: jax.Array) -> jax.Array:
    """The hash of `gpt_tf.model.dropout`, uint32."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _dropout(x: jax.Array, rate: float, key: jax.Array | None, site) -> jax.Array:
    """Inverted dropout whose mask is a function of (key, site, element)."""
    if key is None or rate == 0.0:
        return x
    place = jax.lax.iota(jnp.uint32, x.size).reshape(x.shape) * jnp.uint32(0x9E3779B9)
    bits = _mix(_mix(place + _mix(key + jnp.uint32(site))) ^ key)
    return jnp.where(bits >= jnp.uint32(rate * 2**32), x * jnp.asarray(1 / (1 - rate), x.dtype), 0)


@dataclasses.dataclass(frozen=True)
class Shape:
    """What all runs of a program share.

    model: the decoder, and its dropout.
    count: K.
    form: of the task.
    classifier_dropout: rate on the head's input.
    bins, bin_length: M and L.
    runs: R.
    dtype: of the products' factors and the states between them.
    """

    model: ModelConfig
    count: int
    form: str
    classifier_dropout: float
    bins: int
    bin_length: int
    runs: int
    dtype: str

    @property
    def recomputes(self) -> bool:
        """Whether a block's backward pass computes its forward pass again, for want of memory."""
        return self.runs * self.bins * self.bin_length > _TOKENS_KEPT


def _norm(x, gain, bias, epsilon):
    """Layer normalisation, in float32."""
    wide = x.astype(jnp.float32)
    wide -= wide.mean(-1, keepdims=True)
    wide *= jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + epsilon)
    return (wide * gain + bias).astype(x.dtype)


def hidden_states(shape: Shape, parameters: Parameters, batch: Bins,
                  key: jax.Array | None = None) -> jax.Array:
    """States of the last block, [M, L, D]; with a key, uint32, under dropout."""
    config, dtype = shape.model, shape.dtype
    heads, width = config.num_heads, config.hidden_dim // config.num_heads

    def project(x, kernel, bias):
        return jnp.dot(x, kernel.astype(dtype)) + bias.astype(dtype)

    def split(x):
        return x.reshape(*x.shape[:2], heads, width)

    earlier = jnp.tril(jnp.ones([shape.bin_length, shape.bin_length], bool))
    visible = (batch.segments[:, :, None] == batch.segments[:, None, :]) & earlier

    def block(x, layer):
        part, number = layer
        site = 1 + 3 * number
        query, keys, values = (
            split(project(x, part[f"blocks/attention/{name}/kernel"],
                          part[f"blocks/attention/{name}/bias"]))
            for name in ("query", "key", "value"))
        scores = jnp.einsum("mqhc,mkhc->mhqk", query * jnp.asarray(width ** -0.5, dtype), keys,
                            preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(jnp.where(visible[:, None], scores, _MASKED)).astype(dtype)
        weights = _dropout(weights, config.attention_dropout, key, site)
        attended = jnp.einsum("mhqk,mkhc->mqhc", weights, values).reshape(x.shape)
        attended = project(attended, part["blocks/attention/output/kernel"],
                           part["blocks/attention/output/bias"])
        attended = _dropout(attended, config.dropout, key, site + 1)
        x = _norm(x + attended, part["blocks/attention_norm/gamma"],
                  part["blocks/attention_norm/beta"], config.layer_norm_epsilon)
        inner = jax.nn.gelu(project(x, part["blocks/feed_forward/intermediate/kernel"],
                                    part["blocks/feed_forward/intermediate/bias"]),
                            approximate=True)
        fed = project(inner, part["blocks/feed_forward/output/kernel"],
                      part["blocks/feed_forward/output/bias"])
        fed = _dropout(fed, config.dropout, key, site + 2)
        return _norm(x + fed, part["blocks/feed_forward_norm/gamma"],
                     part["blocks/feed_forward_norm/beta"], config.layer_norm_epsilon), None

    x = (parameters["embedding/token/embeddings"][batch.tokens]
         + parameters["embedding/position/embeddings"][batch.positions]).astype(dtype)
    x = _dropout(x, config.embedding_dropout, key, 0)
    blocks = {name: value for name, value in parameters.items() if name.startswith("blocks/")}
    layers = jnp.arange(config.num_layers, dtype=jnp.uint32)
    if shape.recomputes:
        block = jax.checkpoint(block)
    return jax.lax.scan(block, x, (blocks, layers))[0]


def logits_of(shape: Shape, parameters: Parameters, hidden: jax.Array, batch: Bins,
              key: jax.Array | None = None) -> jax.Array:
    """Logits of the classes, float32 [B, C] (equation 3, Figure 1)."""
    states = hidden.reshape(-1, hidden.shape[-1])[batch.extract]
    states = states.reshape(-1, shape.count, states.shape[-1])  # [B, K, D]
    if shape.form == "similarity":
        states = states.sum(1, keepdims=True)
    mask = _dropout(jnp.ones_like(states[:, :1]), shape.classifier_dropout, key,
                    1 + 3 * shape.model.num_layers)
    kernel, bias = (parameters[f"task_head/projection/{name}"] for name in ("kernel", "bias"))
    logits = jnp.dot(states * mask, kernel.astype(shape.dtype)) + bias.astype(shape.dtype)
    return logits.astype(jnp.float32).reshape(len(states), -1)


def lm_loss(shape: Shape, parameters: Parameters, hidden: jax.Array, batch: Bins) -> jax.Array:
    """The weighted sum of the language model's losses, by parts of the tokens."""
    table = parameters["embedding/token/embeddings"].astype(shape.dtype)

    @jax.checkpoint
    def part(total, tokens):
        states, targets, weights = tokens
        logits = jnp.dot(states, table.T, preferred_element_type=jnp.float32)
        likelihoods = jnp.take_along_axis(logits, targets[:, None], 1)[:, 0]
        losses = jax.nn.logsumexp(logits, axis=-1) - likelihoods
        return total + (weights * losses).sum(), None

    size = shape.bins * shape.bin_length
    parts = -(-4 * shape.runs * size * len(table) // _LOGITS_BYTES)
    parts = next(each for each in range(parts, size + 1) if size % each == 0)
    tokens = [value.reshape(parts, size // parts, *value.shape[2:])
              for value in (hidden, batch.targets, batch.weights)]
    return jax.lax.scan(part, jnp.float32(0), tokens)[0]


def joint_loss(shape: Shape, parameters: Parameters, batch: Bins, lm_coef: jax.Array,
               key: jax.Array | None = None) -> jax.Array:
    """L3 = L2 + lambda L1 (equation 5), the mean over the rows."""
    hidden = hidden_states(shape, parameters, batch, key)
    logits = logits_of(shape, parameters, hidden, batch, key)
    total = -(batch.exists[:, None] * batch.labels * jax.nn.log_softmax(logits)).sum()
    total += lm_coef * lm_loss(shape, parameters, hidden, batch)
    return total / jnp.maximum(batch.exists.sum(), 1)


class State(NamedTuple):
    """Weights and Adam's moments, each [R, ...]."""

    weights: Parameters
    mean: Parameters
    square: Parameters


class Updates(NamedTuple):
    """What U updates of R runs take.

    places: of their batches, [U, R, S].
    rates: float32 [U, R], of `schedules.corrected_rate`.
    keys: uint32 [U, R], of their dropout.
    """

    places: Places
    rates: np.ndarray
    keys: np.ndarray


def train(shape: Shape, optimizer: OptimizerConfig, state: State, store: Store, updates: Updates,
          lm_coefs: jax.Array) -> tuple[State, jax.Array]:
    """U updates of R runs; `lm_coefs` is float32 [R]. Returns the state and the losses [U, R]."""
    def update(weights, mean, square, places, rate, key, lm_coef):
        batch = fill(store, places, shape.bins, shape.bin_length, shape.count)
        loss, gradient = jax.value_and_grad(
            lambda each: joint_loss(shape, each, batch, lm_coef, key))(weights)
        if optimizer.clip_norm:
            norm = jnp.sqrt(sum((value ** 2).sum() for value in gradient.values()))
            scale = optimizer.clip_norm / jnp.maximum(norm, optimizer.clip_norm)
            gradient = {name: scale * value for name, value in gradient.items()}
        changed = {name: _adam(optimizer, name, weights[name], mean[name], square[name],
                               gradient[name], rate) for name in weights}
        return *({name: value[part] for name, value in changed.items()} for part in range(3)), loss

    def step(state, taken):
        *groups, losses = jax.vmap(update)(*state, *taken, lm_coefs)
        return State(*groups), losses

    return jax.lax.scan(step, state, (updates.places, updates.rates, updates.keys))


def _adam(config: OptimizerConfig, name: str, parameter, mean, square, gradient, rate):
    """As `gpt_tf.model.optimizer.update`."""
    mean = config.beta_1 * mean + (1 - config.beta_1) * gradient
    square = config.beta_2 * square + (1 - config.beta_2) * gradient ** 2
    direction = mean / (jnp.sqrt(square) + config.epsilon)
    if name.endswith(("kernel", "embeddings")):
        direction += config.l2 * parameter
    return parameter - rate * direction, mean, square


def predict(shape: Shape, weights: Parameters, store: Store, places: Places) -> jax.Array:
    """Logits of N batches of R runs, float32 [R, N, B, C]; all have the same `places`, [N, S]."""
    def of_batch(_, each):
        batch = fill(store, each, shape.bins, shape.bin_length, shape.count)
        found = jax.vmap(lambda run: logits_of(
            shape, run, hidden_states(shape, run, batch), batch))(weights)
        return None, found

    return jnp.moveaxis(jax.lax.scan(of_batch, None, places)[1], 1, 0)


@functools.cache
def compiled_train(shape: Shape, optimizer: OptimizerConfig):
    """`train` of a shape, to be compiled: it takes the memory of the state it is given."""
    return jax.jit(functools.partial(train, shape, optimizer), donate_argnums=0)


@functools.cache
def compiled_predict(shape: Shape):
    """`predict` of a shape, to be compiled."""
    return jax.jit(functools.partial(predict, shape))


def soft_labels(labels: np.ndarray, num_classes: int, score_range: Sequence[int]) -> np.ndarray:
    """float32 [N, C]: one of each class; a score is shared by its two neighbours among the whole
    numbers (Tai et al. 2015)."""
    low = score_range[0] if score_range else 0
    distance = np.abs(labels[:, None].astype(np.float64) - low - np.arange(num_classes))
    return np.maximum(1 - distance, 0).astype(np.float32)


def take_over(own: Mapping[str, np.ndarray], source: Mapping[str, np.ndarray],
              num_layers: int) -> dict[str, np.ndarray]:
    """As `GPT.assign`: the tables and the first blocks of a language model, the rest as it was.

    Args:
      own: initial weights of the run.
      source: the language model's, by the same names.
      num_layers: blocks to take; -1: all.
    """
    taken = dict(own)
    for name, value in source.items():
        mixed = own[name].copy()
        rows = len(value) if not name.startswith("blocks/") or num_layers < 0 else num_layers
        mixed[:rows] = value[:rows]
        taken[name] = mixed
    return taken
