"""Programs for each shape of their inputs, and for all models of a process."""

from collections.abc import Callable
import functools
from typing import Any

import tensorflow as tf


class FunctionByShape:
    """A `tf.function` with a program for each shape of its inputs, as for each width of batches.

    Called directly, TensorFlow warns of the fifth trace: it takes them for a mistake.

    Args:
      function: of nested structures of tensors; None may stand in place of one.
      jit_compile: whether to compile with XLA.
    """

    def __init__(self, function: Callable, jit_compile: bool = False):
        # No Python of ours branches on tensors, so none has to be rewritten before it is traced.
        self._function = tf.function(function, jit_compile=jit_compile, autograph=False)
        self._programs: dict[tuple[tuple[tf.TensorShape, tf.DType], ...], Any] = {}

    @property
    def tracing_count(self) -> int:
        """How many programs there are."""
        return self._function.experimental_get_tracing_count()

    def __call__(self, *inputs: Any) -> Any:
        """What the function returns."""
        kinds = tuple((tensor.shape, tensor.dtype) for tensor in tf.nest.flatten(inputs)
                      if tensor is not None)
        if kinds not in self._programs:
            self._programs[kinds] = self._function.get_concrete_function(*inputs)
        return self._programs[kinds](*inputs)


def shared(make: Callable) -> Callable:
    """`make`, whose results are kept, so that models with equal arguments have their programs in
    common: only the first compiles them.

    Args:
      make: (hashable arguments) -> something compiled, which they decide.
    """
    # How products are lowered is decided for the process, and may be decided again.
    found = functools.lru_cache(maxsize=4)(lambda tf32, *arguments: make(*arguments))
    return functools.wraps(make)(lambda *arguments: found(
        tf.config.experimental.tensor_float_32_execution_enabled(), *arguments))
