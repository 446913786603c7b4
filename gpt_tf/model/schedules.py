"""Learning rates of the updates (section 4.1): arithmetic alone, without TensorFlow."""

import math

from gpt_tf.config import OptimizerConfig


def scheduled_rate(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """The rate of update `step`, counted from 1, of `num_steps`, without Adam's correction."""
    schedule = SCHEDULES[config.schedule]
    if config.schedule == "constant":
        num_steps = 1  # whose rates are those of any other number, to the last bit
    return config.learning_rate * schedule(step / num_steps, config.warmup_steps / num_steps)


def corrected_rate(config: OptimizerConfig, step: int, num_steps: int) -> float:
    """`lr_k` of `update`; computed in Python, because float32 cannot hold 1 - 0.999^k well."""
    correction = (1.0 - config.beta_2 ** step) ** 0.5 / (1.0 - config.beta_1 ** step)
    return scheduled_rate(config, step, num_steps) * correction


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
