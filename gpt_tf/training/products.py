"""The matrix products of a training step: their FLOPs, and how fast this machine makes them.

Letters: B batch, T time, D width, F inner width, H heads, L blocks, V rows of the LM softmax.
TensorFlow is imported by what measures with it: FLOPs are counted without.
"""

from collections.abc import Callable, Sequence
import math
import statistics
import time
from typing import NamedTuple

from gpt_tf.config import ModelConfig

_CALLS, _SECONDS = 5, 0.15  # of a product: at least so many calls, and so long


class Product(NamedTuple):
    """A kind of product of the step, [batch, rows, depth] x [batch, depth, columns].

    what: what it belongs to.
    count: how many of them an update has; the last chunk of the LM softmax may be a part of one.
    """

    what: str
    count: float
    rows: int
    depth: int
    columns: int
    batch: int = 1

    @property
    def flops(self) -> int:
        """Of one: a multiplication and an addition for each of its terms."""
        return 2 * self.batch * self.rows * self.depth * self.columns

    def shapes(self) -> tuple[list[int], list[int]]:
        """Of the two factors; a batch of 1 is left out."""
        batch = [self.batch] if self.batch > 1 else []
        return [*batch, self.rows, self.depth], [*batch, self.depth, self.columns]

    def __str__(self) -> str:
        size = f"{self.rows} x {self.depth} x {self.columns}"
        return f"{self.what}, " + (f"{self.batch} of {size}" if self.batch > 1 else size)


def flops_per_token(model: ModelConfig, length: int, below_diagonal: bool = False) -> float:
    """6 N + 12 L D T, forward and backward (Chowdhery et al. 2022, PaLM, appendix B).

    N are the parameters that stand in products: no biases, gains and positions, the token table
    once, for the LM softmax. Nothing counts that is computed again for the backward pass.

    Args:
      model: the shape.
      length: T, tokens of a sequence.
      below_diagonal: count only the pairs that causal attention lets through, (T + 1) / 2 of a
        query's T. The convention counts all.
    """
    width, blocks = model.hidden_dim, model.num_layers
    in_products = (blocks * (4 * width**2 + 2 * width * model.intermediate_dim)
                   + model.num_token_rows * width)
    keys = (length + 1) / 2 if below_diagonal else length
    return 6 * in_products + 12 * blocks * width * keys


def of_step(model: ModelConfig, length: int, batch_size: int, chunk: int) -> list[Product]:
    """The products that `flops_per_token` counts: forward, and both gradients of each.

    Args:
      model: the shape.
      length: T, tokens of a sequence.
      batch_size: B, sequences of full length.
      chunk: `losses.chunk_length`, the most tokens whose logits are in memory at once.
    """
    width, blocks, inner = model.hidden_dim, model.num_layers, model.intermediate_dim
    tokens, found = batch_size * length, []

    def add(what, count, rows, depth, columns):
        """A product with weights, and those that give the gradients of its factors."""
        found.extend([Product(what, count, rows, depth, columns),
                      Product(what, count, rows, columns, depth),
                      Product(what, count, depth, rows, columns)])

    add("query, key, value", blocks, tokens, width, 3 * width)
    add("heads' output", blocks, tokens, width, width)
    add("feed-forward, first", blocks, tokens, width, inner)
    add("feed-forward, second", blocks, tokens, inner, width)
    heads = batch_size * model.num_heads
    found += [  # the scores and the gradient of the weights; four others
        Product("attention", 2 * blocks, length, width // model.num_heads, length, heads),
        Product("attention", 4 * blocks, length, length, width // model.num_heads, heads)]
    size = math.ceil(tokens / math.ceil(tokens / chunk))
    add("LM softmax", tokens / size, size, width, model.num_token_rows)
    return found


def with_xla(product: Product, dtype: str = "float32") -> Callable[[], object]:
    """A call that has XLA make the product, on the first GPU or else on all cores.

    Args:
      product: its factors are random, and lie as a product reads them best, row by row.
      dtype: of the factors.
    """
    import tensorflow as tf

    from gpt_tf.model.losses import on_gpu
    left, right = (tf.cast(tf.random.normal(shape), dtype) for shape in product.shapes())
    multiply = tf.function(lambda a, b: tf.matmul(a, b), jit_compile=True, autograph=False)

    def call():
        result = multiply(left, right)
        if on_gpu():  # which computes while its caller goes on
            result[..., 0].numpy()
    return call


def measure(products: Sequence[Product],
            make: Callable[[Product], Callable[[], object]] = with_xla,
            pick: Callable[[Sequence[float]], float] = statistics.median) -> list[float]:
    """FLOP/s of each product.

    Args:
      products: which.
      make: a product -> a call that makes it, and returns when it is made.
      pick: seconds of some calls -> those of the one that counts.
    """
    return [product.flops / pick(_seconds(make(product))) for product in products]


def _seconds(call: Callable[[], object]) -> list[float]:
    call()
    call()
    seconds = []
    while len(seconds) < _CALLS or sum(seconds) < _SECONDS:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def peak(products: Sequence[Product], rates: Sequence[float]) -> float:
    """FLOP/s of all products of an update one after another, each at its rate."""
    flops = [product.count * product.flops for product in products]
    return sum(flops) / sum(each / rate for each, rate in zip(flops, rates, strict=True))
