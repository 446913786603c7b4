"""Times a plain PyTorch GPT of an exported step's shape; for a machine with a GPU and PyTorch.

  python3 -m benchmarks.gpu.torch_there step-a step-b

`benchmarks.peers` has the model: flash attention, fused AdamW, torch.compile, bfloat16 by
autocast, and dropout as in our step.
"""

import argparse
import json
import os
import time

import numpy as np
import torch

from benchmarks import peers
from benchmarks.gpu import arithmetic
from gpt_tf.config import ModelConfig, OptimizerConfig

_WARMUP = 5
_SCHEDULE = 10_000  # updates of the schedule


def time_step(folder: str, updates: int) -> dict[str, float | str]:
    """Trains on random tokens; figures by name."""
    with open(os.path.join(folder, "step.json"), encoding="utf-8") as stream:
        described = json.load(stream)
    config = ModelConfig(**described["model"])
    shape = (described["training"]["batch_size"], described["sequence_length"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    torch.set_float32_matmul_precision("high")
    model = peers.TorchGPT(config).to(device).train()
    loss = model.loss

    def loss_in_bfloat16(token_ids, labels):
        with torch.autocast(device, torch.bfloat16):
            return loss(token_ids, labels)

    model.loss = loss_in_bfloat16
    trainer = peers.PeerTrainer(model, OptimizerConfig(**described["optimizer"]),
                                _SCHEDULE, compiled=True)
    token_ids = torch.tensor(np.random.default_rng(0).integers(config.vocabulary_size, size=shape),
                             device=device)
    start = time.monotonic()
    for _ in range(_WARMUP):
        value = float(trainer.update(token_ids, token_ids))
    compiling = time.monotonic() - start
    start = time.monotonic()
    for _ in range(updates):
        value = trainer.update(token_ids, token_ids)
    value = float(value)  # waits for the end
    figures = arithmetic.figures(described, shape[0], (time.monotonic() - start) / updates, name)
    if device == "cuda":
        figures["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
    return figures | {"loss": value, "compile_seconds": compiling}


def main() -> None:
    """Prints a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="+", help="folders of benchmarks.gpu.export")
    parser.add_argument("--updates", type=int, default=20, help="timed updates of a step")
    arguments = parser.parse_args()
    for folder in arguments.steps:
        figures = time_step(folder, arguments.updates)
        print(json.dumps({"step": os.path.basename(os.path.normpath(folder)), "side": "torch",
                          "torch": torch.__version__, **figures}), flush=True)


if __name__ == "__main__":
    main()
