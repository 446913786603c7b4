"""The released program's three courses of the learning rate, over the fraction of updates done.

Update k of `total`, counted from 1, is taken at `x = k / total`.
"""

import math


def warmup_cosine(x: float, warmup: float) -> float:
    """Linear from 0 to 1 over `warmup`, then half a cosine in x itself (not re-anchored)."""
    return x / warmup if x <= warmup and warmup > 0 else 0.5 * (1.0 + math.cos(math.pi * x))


def warmup_linear(x: float, warmup: float) -> float:
    """(1 - x) throughout, times x / warmup during the warm-up."""
    return (x / warmup if x <= warmup and warmup > 0 else 1.0) * (1.0 - x)


def warmup_constant(x: float, warmup: float) -> float:
    """Linear from 0 to 1 over `warmup`, then 1."""
    return x / warmup if x <= warmup and warmup > 0 else 1.0


SCHEDULES = {"cosine": warmup_cosine, "linear": warmup_linear, "constant": warmup_constant}
