"""Training speed and peak memory against PyTorch and transformers, all in one run.

  python -m benchmarks.training --shape=books_small
  python -m benchmarks.training --shape=gpt1 --steps=6
  python -m benchmarks.training --old=../before --sides=ours

Each side trains the same shape on the same random tokens with dropout, clipping and Adam, in a
fresh process, all cores, float32 (ours_bfloat16: as --dtype=mixed_bfloat16); the sides take turns.
Building, compilation and warm-up updates are outside the rate and shown apart.

In every round PyTorch and XLA also make the update's matrix products alone. The faster of the two
at each, weighted by the products' FLOPs, is the peak whose share each side's rate is.
"""

from collections.abc import Callable
import json
import os
import statistics
import tempfile
import time

from absl import flags

from benchmarks import report
from benchmarks.our_step import TOTAL_UPDATES, Shape, build_ours, products_of, random_tokens
from benchmarks.products import LIBRARIES, measure_with
from gpt_tf.common import cli
from gpt_tf.config import ModelConfig, OptimizerConfig
from gpt_tf.training import products

_PEERS = ["torch", "torch_compiled", "transformers", "transformers_compiled"]
_ALL_SIDES = ["ours", "ours_bfloat16", *_PEERS]
_PEAK = "products_"  # begins the names of the sides that make the products alone

_SHAPE = flags.DEFINE_enum("shape", "books_small", ["books_small", "gpt1"],
                           "books_small: 4 layers, 256 wide, batch 16 x 256. gpt1: the paper's "
                           "model, batch 2 x 512.")
_VOCABULARY = flags.DEFINE_integer("vocabulary", 8000, "Vocabulary of books_small.")
_STEPS = flags.DEFINE_integer("steps", 0, "Timed updates of each side and round; 0: 16 of "
                              "books_small, 5 of gpt1.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often the sides take turns.")
_SIDES = flags.DEFINE_list(
    "sides", ["ours", *_PEERS], f"Which take part, of {', '.join(_ALL_SIDES)}; _compiled means "
    "torch.compile.")
_OLD = report.define_old()
_SIDE = flags.DEFINE_string("side", None, "Measure this one side here and print JSON.")

_WARMUP_UPDATES = 3


def make_shape(name: str, vocabulary: int) -> Shape:
    """The shape that `--shape` names."""
    if name == "gpt1":
        return Shape(ModelConfig(), batch_size=2)
    return Shape(ModelConfig(vocabulary_size=vocabulary, num_layers=4, num_heads=4, hidden_dim=256,
                             intermediate_dim=1024, max_sequence_length=256), batch_size=16)


def build_peer(name: str, shape: Shape) -> Callable[[], float]:
    """An update of a PyTorch side; returns the loss."""
    import torch

    from benchmarks import peers
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    kind = name.removesuffix("_compiled")
    model = {"torch": peers.TorchGPT, "transformers": peers.transformers_gpt}[kind](shape.model)
    trainer = peers.PeerTrainer(model, OptimizerConfig(), TOTAL_UPDATES,
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
    if name.startswith("ours"):
        update = build_ours(shape, "mixed_bfloat16" if name == "ours_bfloat16" else "float32")
    else:
        update = build_peer(name, shape)
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


def make_table(results: dict[str, list[dict]], shape: Shape, peaks: list[float]) -> str:
    """A row for each side, and one for the best peer of each round; `peaks` in FLOP/s."""
    rates = {side: [run["tokens_per_second"] for run in runs] for side, runs in results.items()}
    found = [side for side in rates if side in _PEERS]
    if found:
        rates["best peer of each round"] = [max(each) for each in zip(*map(rates.get, found))]
    length = shape.model.max_sequence_length

    def share(of_side: list[float], below_diagonal: bool) -> str:
        flops = products.flops_per_token(shape.model, length, below_diagonal)
        median = statistics.median(rate * flops / peak for rate, peak in zip(of_side, peaks))
        return f"{median:.1%}"

    rows = []
    for side, of_side in rates.items():
        against = report.ratio(rates["ours"], of_side) if "ours" in rates else ""
        row = [side, f"{statistics.median(of_side):.0f}", share(of_side, False),
               share(of_side, True), against]
        if runs := results.get(side):
            row += [f"{max(run['peak_memory_mib'] for run in runs):.0f}",
                    # The first round alone finds no compiled code of an earlier one.
                    f"{runs[0]['first_update_seconds']:.0f}", f"{runs[-1]['loss']:.3f}"]
        rows.append(row + [""] * (8 - len(row)))
    return report.markdown_table(
        ["side", "tokens/s (median)", "of the peak", "of it, pairs below the diagonal",
         "ours / side (range)", "peak memory, MiB", "first update, s", "last loss"], rows)


def describe_peak(shape: Shape, made: list[products.Product],
                  rates: dict[str, list[list[float]]], peaks: list[float]) -> str:
    """What the shares are of: FLOPs of a token, the peak, and the rate of each product.

    Args:
      shape: what is trained.
      made: its products.
      rates: library -> of each round, FLOP/s of each product.
      peaks: FLOP/s of all of them, of each round.
    """
    length = shape.model.max_sequence_length
    whole, half = (products.flops_per_token(shape.model, length, below) / 1e6
                   for below in (False, True))
    medians = [list(map(statistics.median, zip(*runs))) for runs in rates.values()]
    total = sum(product.count * product.flops for product in made)
    table = report.markdown_table(
        ["product, rows x depth x columns", "share of FLOPs",
         *(f"{library}, GFLOP/s" for library in rates)],
        [[str(product), f"{product.count * product.flops / total:.1%}",
          *(f"{rate / 1e9:.0f}" for rate in each)] for product, *each in zip(made, *medians)])
    return (f"{whole:.1f} MFLOP a token: 6 x the parameters in products + 12 L D T for attention "
            f"over all pairs (PaLM, appendix B); {half:.1f} with the pairs below the diagonal "
            f"alone.\nPeak, the better library at each product: "
            f"{statistics.median(peaks) / 1e9:.0f} GFLOP/s (median of the rounds, "
            f"{min(peaks) / 1e9:.0f}-{max(peaks) / 1e9:.0f}).\n\n{table}")


def main() -> None:
    """Runs the sides in turns and prints the tables, or measures one side."""
    shape = make_shape(_SHAPE.value, _VOCABULARY.value)
    steps = _STEPS.value or (5 if _SHAPE.value == "gpt1" else 16)
    if _SIDE.value:
        library = _SIDE.value.removeprefix(_PEAK)
        print(json.dumps(
            {"flops_per_second": measure_with(library, products_of(shape))}
            if library in LIBRARIES and library != _SIDE.value
            else measure_here(_SIDE.value, shape, steps)))
        return
    report.check_sides(_SIDES.value, _ALL_SIDES)
    sides = report.with_old(_SIDES.value, _OLD.value)
    arguments = [f"--shape={_SHAPE.value}", f"--vocabulary={_VOCABULARY.value}",
                 f"--steps={steps}"]
    # A cache of this run's own: the first round shows what torch.compile costs.
    with tempfile.TemporaryDirectory() as cache:
        results = report.alternate(
            [*sides, *(_PEAK + library for library in LIBRARIES)], _ROUNDS.value,
            lambda side: report.run_side("benchmarks.training", arguments, side, _OLD.value,
                                         {"TORCHINDUCTOR_CACHE_DIR": cache}))
    rates = {library: [run["flops_per_second"] for run in results.pop(_PEAK + library)]
             for library in LIBRARIES}
    made = products_of(shape)
    peaks = [products.peak(made, list(map(max, *each))) for each in zip(*rates.values())]
    print(report.describe_machine(["tensorflow", "torch", "transformers"]))
    print(f"\n{_SHAPE.value}: {shape.model.num_parameters:,} parameters, batch "
          f"{shape.batch_size} x {shape.model.max_sequence_length}, dropout on, float32, "
          f"{_ROUNDS.value} rounds of {steps} updates\n")
    print(make_table(results, shape, peaks))
    print("\n" + describe_peak(shape, made, rates, peaks))


if __name__ == "__main__":
    cli.run(main)
