"""Training speed and peak memory against PyTorch and transformers, all in one run.

  python -m benchmarks.training --shape=books_small
  python -m benchmarks.training --shape=gpt1 --steps=6

Each side trains the same shape on the same random tokens with dropout, clipping and Adam, in a
fresh process, all cores, float32; the sides take turns. Building, compilation and warm-up updates
are outside the rate and shown apart.
"""

from collections.abc import Callable
import dataclasses
import json
import os
import statistics
import tempfile
import time

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig

_ALL_SIDES = ["ours", "torch", "torch_compiled", "transformers", "transformers_compiled"]

_SHAPE = flags.DEFINE_enum("shape", "books_small", ["books_small", "gpt1"],
                           "books_small: 4 layers, 256 wide, batch 16 x 256. gpt1: the paper's "
                           "model, batch 2 x 512.")
_VOCABULARY = flags.DEFINE_integer("vocabulary", 8000, "Vocabulary of books_small.")
_STEPS = flags.DEFINE_integer("steps", 0, "Timed updates of each side and round; 0: 16 of "
                              "books_small, 5 of gpt1.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often the sides take turns.")
_SIDES = flags.DEFINE_list(
    "sides", _ALL_SIDES, "Which sides take part; _compiled means torch.compile.")
_SIDE = flags.DEFINE_string("side", None, "Measure this one side here and print JSON.")

_WARMUP_UPDATES = 3
_TOTAL_UPDATES = 1000  # of the learning-rate schedule; the speed does not depend on it


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is trained: a model and its global batch of `batch_size` rows of full length."""

    model: ModelConfig
    batch_size: int

    @property
    def tokens(self) -> int:
        """Tokens of one update."""
        return self.batch_size * self.model.max_sequence_length


def make_shape(name: str, vocabulary: int) -> Shape:
    """The shape that `--shape` names."""
    if name == "gpt1":
        return Shape(ModelConfig(), batch_size=2)
    return Shape(ModelConfig(vocabulary_size=vocabulary, num_layers=4, num_heads=4, hidden_dim=256,
                             intermediate_dim=1024, max_sequence_length=256), batch_size=16)


def random_tokens(shape: Shape):
    """int64 [B, T], the same for every side."""
    import numpy as np
    return np.random.default_rng(0).integers(
        shape.model.vocabulary_size, size=(shape.batch_size, shape.model.max_sequence_length))


def make_update(model, config: OptimizerConfig, total_updates: int) -> Callable:
    """`gpt_tf`'s own compiled training step over `model`, without data folder and checkpoints.

    Returns:
      (token_ids int [B, T], lengths int [B]) -> the loss, having trained on the batch.
    """
    import itertools

    import tensorflow as tf

    from gpt_tf.model.objectives import language_model_loss
    from gpt_tf.model.optimizer import Adam
    from gpt_tf.training.replicas import one_device
    from gpt_tf.training.train_step import TrainStep
    variables = model.trainable_variables
    optimizer = Adam(variables, config, total_updates)
    step_function = TrainStep(
        one_device(), variables, language_model_loss(model, seed=0, jit_compile=True), optimizer,
        TrainingConfig())
    steps = itertools.count(1)

    def update(token_ids, lengths) -> float:
        step = next(steps)
        batch = {"token_ids": tf.constant(token_ids, tf.int32), "step": tf.constant(step, tf.int64),
                 "lengths": tf.constant(lengths, tf.int32), "batch_rows": tf.range(len(lengths))}
        return float(step_function(batch, step)["loss"])

    return update


def build_ours(shape: Shape) -> Callable[[], float]:
    """An update of ours on the random tokens; returns the loss."""
    from gpt_tf.model.gpt import GPT
    update = make_update(GPT(shape.model), OptimizerConfig(), _TOTAL_UPDATES)
    token_ids = random_tokens(shape)
    lengths = [shape.model.max_sequence_length] * shape.batch_size
    return lambda: update(token_ids, lengths)


def build_peer(name: str, shape: Shape) -> Callable[[], float]:
    """An update of a PyTorch side; returns the loss."""
    import torch

    from benchmarks import peers
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    kind = name.removesuffix("_compiled")
    model = {"torch": peers.TorchGPT, "transformers": peers.transformers_gpt}[kind](shape.model)
    trainer = peers.PeerTrainer(model, OptimizerConfig(), _TOTAL_UPDATES,
                                compiled=kind != name)
    token_ids = torch.from_numpy(random_tokens(shape))
    return lambda: trainer.update(token_ids, token_ids).item()


def measure_here(name: str, shape: Shape, steps: int) -> dict:
    """Trains one side in this process.

    Returns:
      tokens_per_second over `steps` updates after the warm-up, first_update_seconds (building,
      compilation and one update), peak_memory_mib, and the last loss.
    """
    start = time.perf_counter()
    update = build_ours(shape) if name == "ours" else build_peer(name, shape)
    update()
    first_update_seconds = time.perf_counter() - start
    for _ in range(_WARMUP_UPDATES - 1):
        update()
    start = time.perf_counter()
    losses = [update() for _ in range(steps)]
    seconds = time.perf_counter() - start
    return {"tokens_per_second": steps * shape.tokens / seconds,
            "first_update_seconds": first_update_seconds,
            "peak_memory_mib": report.peak_memory_mib(), "loss": losses[-1]}


def make_table(results: dict[str, list[dict]]) -> str:
    """A row for each side, and one for the best peer of each round."""
    rates = {side: [run["tokens_per_second"] for run in runs] for side, runs in results.items()}
    peers = [side for side in rates if side != "ours"]
    rows = []
    for side, runs in results.items():
        against = report.ratio(rates["ours"], rates[side]) if "ours" in rates else ""
        rows.append([side, f"{statistics.median(rates[side]):.0f}", against,
                     f"{max(run['peak_memory_mib'] for run in runs):.0f}",
                     # The first round alone finds no compiled code of an earlier one.
                     f"{runs[0]['first_update_seconds']:.0f}", f"{runs[-1]['loss']:.3f}"])
    if "ours" in rates and peers:
        best = [max(pair) for pair in zip(*(rates[side] for side in peers))]
        rows.append(["best peer of each round", f"{statistics.median(best):.0f}",
                     report.ratio(rates["ours"], best), "", "", ""])
    return report.markdown_table(["side", "tokens/s (median)", "ours / side (range)",
                                  "peak memory, MiB", "first update, s", "last loss"], rows)


def main() -> None:
    """Runs the sides in turns and prints the table, or measures one side."""
    shape = make_shape(_SHAPE.value, _VOCABULARY.value)
    steps = _STEPS.value or (5 if _SHAPE.value == "gpt1" else 16)
    if _SIDE.value:
        print(json.dumps(measure_here(_SIDE.value, shape, steps)))
        return
    report.check_sides(_SIDES.value, _ALL_SIDES)
    arguments = [f"--shape={_SHAPE.value}", f"--vocabulary={_VOCABULARY.value}",
                 f"--steps={steps}"]
    # A cache of this run's own: the first round shows what torch.compile costs.
    with tempfile.TemporaryDirectory() as cache:
        results = report.alternate(_SIDES.value, _ROUNDS.value, lambda side: report.run_side(
            "benchmarks.training", [*arguments, f"--side={side}"],
            {"TORCHINDUCTOR_CACHE_DIR": cache}))
    packages = [name for name in ("tensorflow", "torch", "transformers")
                if name != "tensorflow" or "ours" in results]
    print(report.describe_machine(packages))
    print(f"\n{_SHAPE.value}: {shape.model.num_parameters:,} parameters, batch "
          f"{shape.batch_size} x {shape.model.max_sequence_length}, dropout on, float32, "
          f"{_ROUNDS.value} rounds of {steps} updates\n")
    print(make_table(results))


if __name__ == "__main__":
    cli.run(main)
