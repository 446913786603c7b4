"""Functions that are meant to be traced again for each shape of their inputs."""

from collections.abc import Callable
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
