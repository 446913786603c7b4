"""A function as two programs, of which the second computes again what the first did not keep.

XLA decides by itself what a program of forward and backward pass keeps in between. Here the
function says it (`keep`): the results of matrix products, which are dear, and nothing of what
follows from them element by element. And where one function stands for many equal parts, as a
decoder's blocks, its two programs are compiled once for all.
"""

from collections.abc import Callable, Iterator
import contextlib
import threading

import tensorflow as tf

from gpt_tf.model.by_shape import FunctionByShape


class _Keeping(threading.local):  # replicas are traced in threads of their own
    kept: list[tf.Tensor] | None = None
    known: Iterator[tf.Tensor] | None = None


_keeping = _Keeping()


def keep(x: tf.Tensor) -> tf.Tensor:
    """`x`, which the backward pass of a `Recomputed` gets from the forward pass.

    Elsewhere nothing happens.
    """
    if _keeping.kept is not None:
        _keeping.kept.append(x)
    elif _keeping.known is not None:
        return _in_place_of(x, next(_keeping.known))
    return x


def is_compiled() -> bool:
    """Whether this is a `Recomputed`, which XLA compiles, being traced."""
    return _keeping.kept is not None or _keeping.known is not None


@tf.custom_gradient
def _in_place_of(computed, known):
    """`known`, with the gradient of `computed`, whose value nobody needs: it is not computed."""
    return tf.identity(known), lambda upstream: (upstream, None)


@contextlib.contextmanager
def _keep(kept: list | None = None, known: Iterator | None = None) -> Iterator[None]:
    _keeping.kept, _keeping.known = kept, known
    try:
        yield
    finally:
        _keeping.kept = _keeping.known = None


class Recomputed:
    """A differentiable function in two programs of XLA, forward and backward.

    Each is compiled once for each shape of the inputs, however often it is called in a graph.

    Args:
      function: (list of float tensors, *other tensors or None) -> a tensor; the first are what
        gradients are of. Its parts may `keep` what they compute.
    """

    def __init__(self, function: Callable[..., tf.Tensor]):
        self._function = function
        self._forward = FunctionByShape(self._run_forward, jit_compile=True)
        self._backward = FunctionByShape(self._run_backward, jit_compile=True)

    def __call__(self, tensors: list[tf.Tensor], *others: tf.Tensor) -> tf.Tensor:
        """What the function returns."""
        @tf.custom_gradient
        def run(*tensors):
            output, kept = self._forward(list(tensors), *others)

            def gradient(*upstream):
                return self._backward(list(tensors), kept, upstream[0], *others)

            return output, gradient

        return run(*tensors)

    def _run_forward(self, tensors, *others):
        kept = []
        with _keep(kept=kept):
            output = self._function(tensors, *others)
        return output, kept

    def _run_backward(self, tensors, kept, upstream, *others):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            with _keep(known=iter(kept)):
                output = self._function(tensors, *others)
        return tape.gradient(output, tensors, upstream, unconnected_gradients="zero")
