"""Floating-point operations of a training step, and the share of a GPU's peak."""

from gpt_tf.config import ModelConfig
from gpt_tf.training.products import flops_per_token

# bfloat16 matrix products without sparsity, FLOP/s, by what a device's name holds (data sheets).
_PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


def figures(described: dict, batch_size: int, seconds: float,
            device_name: str | None = None) -> dict[str, float | str]:
    """Rates of an update that takes `seconds`.

    Args:
      described: `step.json` of an export.
      batch_size: sequences of an update.
      seconds: of one update.
      device_name: None asks JAX.
    """
    if device_name is None:
        import jax
        device_name = jax.devices()[0].device_kind
    length = described["sequence_length"]
    rate = batch_size * length / seconds
    flops = rate * flops_per_token(ModelConfig(**described["model"]), length)
    peak = next((peak for name, peak in _PEAKS.items() if name in device_name), None)
    return {"device": device_name, "update_ms": 1e3 * seconds, "tokens_per_second": rate,
            "tflops": flops / 1e12, "share_of_peak": flops / peak if peak else float("nan")}
