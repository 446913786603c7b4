"""Floating-point operations of a training step, and the share of a GPU's peak."""

# bfloat16 matrix products without sparsity, FLOP/s, by what a device's name holds (data sheets).
_PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}


def flops_per_token(model: dict, parameters: int, length: int) -> float:
    """6 N + 12 L D T, forward and backward (Chowdhery et al. 2022, PaLM, appendix B; nanoGPT's).

    N leaves the position rows out, which are looked up only; causal attention counts whole.

    Args:
      model: fields of `config.ModelConfig`.
      parameters: all of them.
      length: T, tokens of a sequence.
    """
    positions = model["max_sequence_length"] * model["hidden_dim"]
    return (6 * (parameters - positions)
            + 12 * model["num_layers"] * model["hidden_dim"] * length)


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
    flops = rate * flops_per_token(described["model"], described["parameters"], length)
    peak = next((peak for name, peak in _PEAKS.items() if name in device_name), None)
    return {"device": device_name, "update_ms": 1e3 * seconds, "tokens_per_second": rate,
            "tflops": flops / 1e12, "share_of_peak": flops / peak if peak else float("nan")}
