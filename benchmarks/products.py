"""The libraries that make the matrix products of a training step alone: PyTorch beside XLA."""

from collections.abc import Callable, Sequence
import os

from gpt_tf.training.products import Product, measure, with_xla


def with_torch(product: Product) -> Callable[[], object]:
    """A call that has PyTorch make the product: float32, all cores."""
    import torch
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    left, right = map(torch.randn, product.shapes())
    result = torch.matmul(left, right)
    return lambda: torch.matmul(left, right, out=result)


_MAKERS = {"torch": with_torch, "xla": with_xla}
LIBRARIES = tuple(_MAKERS)


def measure_with(library: str, products: Sequence[Product]) -> list[float]:
    """FLOP/s of each product by one of `LIBRARIES`."""
    return measure(products, _MAKERS[library])
