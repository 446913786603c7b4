"""Runs programs of XLA under JAX's runtime, without TensorFlow: numpy and jax alone."""

from collections.abc import Sequence

import jax
from jax._src.interpreters import mlir
from jax._src.lib import xla_client
from jaxlib import _jax
from jaxlib.mlir import ir
import numpy as np

from benchmarks.gpu import initial

jax.config.update("jax_enable_x64", True)  # the number of an update has 64 bits


class Program:
    """A serialized HLO module, compiled for the first device.

    The arguments that it gives back changed are donated, as the module says: their memory becomes
    that of the results, and the arrays that were given are gone.
    """

    def __init__(self, serialized: bytes):
        # There is no public way from HLO to an executable. Given as text, a module that another
        # thread compiles at the same time ends the process.
        text = _jax.mlir.xla_computation_to_mlir_module(xla_client.XlaComputation(serialized))
        with mlir.make_ir_context():
            module = ir.Module.parse(text)
            _remove_copies(module)
        device = jax.devices()[0]
        devices = getattr(xla_client, "DeviceList", None) or _jax.DeviceList
        self._executable = device.client.compile_and_load(
            module, devices((device,)), xla_client.CompileOptions())

    def __call__(self, arguments: Sequence[jax.Array]) -> list[jax.Array]:
        """Starts the program; does not wait for its end."""
        return self._executable.execute(list(arguments))

    def hlo(self) -> str:
        """The optimized program, as text: what a profile's kernels are."""
        return self._executable.hlo_modules()[0].to_string()


def _remove_copies(module: ir.Module) -> None:
    """Takes out the copies of what is given back, which the form for GPUs does not know."""
    copies = []

    def collect(operation):
        if operation.name == "mhlo.copy":
            copies.append(operation)
        return ir.WalkResult.ADVANCE

    module.operation.walk(collect)
    for copy in copies:
        copy.result.replace_all_uses_with(copy.operands[0])
        copy.erase()


class Step:
    """An exported training step with its weights on the device: see `export.program`.

    Args:
      update: the update, compiled.
      described: `step.json` of the export.
    """

    def __init__(self, update: Program, described: dict):
        self._update = update
        self._places = [tuple(place) for place in described["state"]]
        weights = initial.weights(described["variables"])
        self._state = [
            jax.device_put(weights[place] if group == "model" else np.zeros_like(weights[place]))
            for group, place in self._places]
        self._flag = jax.device_put(np.float32(0))

    def __call__(self, number: int, token_ids: np.ndarray, lengths: np.ndarray,
                 rate: float) -> tuple[jax.Array, jax.Array]:
        """Starts update `number`, counted from 1; returns its loss and gradient norm to come.

        Args:
          number: the update.
          token_ids: int32 [B, T].
          lengths: int32 [B].
          rate: its `schedules.corrected_rate`.
        """
        rows = np.arange(len(lengths), dtype=np.int32)
        inputs = [jax.device_put(value) for value in (
            rows, lengths, np.int64(number), token_ids, np.float32(rate))]
        _, norm, loss, _, _, *self._state = self._update([*inputs, self._flag, *self._state])
        return loss, norm

    def weights(self) -> list[np.ndarray]:
        """The variables in their order, without their moments."""
        found = {place: value for (group, place), value in zip(self._places, self._state)
                 if group == "model"}
        return [np.asarray(found[place]) for place in range(len(found))]
