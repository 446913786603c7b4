"""How the cost of a training step grows with layers, length and vocabulary, against its FLOPs.

  python -m benchmarks.growth --output=growth

Around a small shape one of layers, tokens of a sequence and vocabulary takes other values; tokens
of an update stay the same. Each shape trains in a fresh process. Time is shown over FLOPs, relative
to the small shape: above 1 the cost has grown faster than the work. Memory is what updates add to a
process with the weights and moments in it: activations, gradients, and the compiled programs, but
not what compiling them took at its peak. Writes growth.md, growth.csv and growth.svg.
"""

import csv
import dataclasses
import json
import os
import re
import statistics
import sys
import time

from absl import flags

from benchmarks import report
from benchmarks.our_step import Shape, build_ours
from gpt_tf.common import cli
from gpt_tf.config import ModelConfig
from gpt_tf.training import products

_TOKENS = 4096  # of an update
_BASE = ModelConfig(vocabulary_size=8000, num_layers=2, num_heads=4, hidden_dim=256,
                    intermediate_dim=1024, max_sequence_length=256)
# Field -> (what it is, its values).
_GROWN = {"num_layers": ("layers", (1, 2, 4, 8)),
          "max_sequence_length": ("tokens of a sequence", (128, 256, 512, 1024, 2048)),
          "vocabulary_size": ("vocabulary", (8_000, 20_000, 40_000, 80_000))}
_COLUMNS = ("tokens_per_second", "mflop_per_token", "time_over_flops", "update_memory_mib",
            "peak_memory_mib")

_ROUNDS = flags.DEFINE_integer("rounds", 1, "How often the shapes take turns.")
_SECONDS = flags.DEFINE_float("seconds", 6.0, "Timed updates of a shape and round, in seconds.")
_OUTPUT = flags.DEFINE_string("output", "growth", "Folder for the table and the plot.")
_SIDE = flags.DEFINE_string("side", None, "Measure this one shape here, such as num_layers=8, and "
                            "print JSON.")


def shapes() -> dict[str, Shape]:
    """`field=value` -> the shape; the small one stands once in each field's row."""
    found = {}
    for field, (_, values) in _GROWN.items():
        for value in values:
            model = dataclasses.replace(_BASE, **{field: value})
            found[f"{field}={value}"] = Shape(model, _TOKENS // model.max_sequence_length)
    return found


def resident_mib(field: str) -> float:
    """This process's memory in MiB: now ("VmRSS"), or at its peak ("VmHWM")."""
    with open("/proc/self/status", encoding="utf-8") as stream:
        return int(re.search(rf"{field}:\s+(\d+) kB", stream.read())[1]) / 1024


def measure_here(shape: Shape) -> dict[str, float]:
    """Trains in this process.

    Returns:
      tokens_per_second; update_memory_mib, the peak during updates that are compiled less what was
      resident before the first; peak_memory_mib of the process.
    """
    update = build_ours(shape)
    before = resident_mib("VmRSS")
    update()
    update()
    peak = report.peak_memory_mib()
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as stream:
        stream.write("5")  # the peak begins anew
    seconds = []
    while len(seconds) < 2 or sum(seconds) < _SECONDS.value:
        start = time.perf_counter()
        update()
        seconds.append(time.perf_counter() - start)
    return {"tokens_per_second": shape.tokens / statistics.median(seconds),
            "update_memory_mib": resident_mib("VmHWM") - before, "peak_memory_mib": peak}


def summary(results: dict[str, list[dict]]) -> list[dict[str, float]]:
    """A row for each field and value: medians of the rounds, and time over FLOPs."""
    rows = []
    for side, shape in shapes().items():
        field, _, value = side.partition("=")
        row = {name: statistics.median(run[name] for run in results[side])
               for name in results[side][0]}
        work = products.flops_per_token(shape.model, shape.model.max_sequence_length)
        row |= {"grown": _GROWN[field][0], "value": int(value), "mflop_per_token": work / 1e6,
                "time_over_flops": 1 / (row["tokens_per_second"] * work)}
        rows.append(row)
        if shape.model == _BASE:
            of_base = row["time_over_flops"]
    for row in rows:
        row["time_over_flops"] /= of_base
    return rows


def draw(rows: list[dict[str, float]], path: str) -> None:
    """A column of panels for each field: tokens/s, time over FLOPs, memory of an update."""
    from gpt_tf.evaluation import pictures

    @pictures.styled
    def figure():
        made, grid = pictures.make(11, 7.5, 3, ncols=len(_GROWN), sharex="col", sharey="row")
        for column, (what, values) in enumerate(_GROWN.values()):
            mine = [row for row in rows if row["grown"] == what]
            for axes, (name, label) in zip(grid[:, column], (
                    ("tokens_per_second", "tokens/s"),
                    ("time_over_flops", "time over FLOPs"),
                    ("update_memory_mib", "memory of updates, MiB"))):
                axes.plot(values, [row[name] for row in mine], marker="o", color=pictures.COLORS[0])
                axes.set_xscale("log", base=2)
                axes.set_xticks(values, [f"{value:,}" for value in values])
                axes.minorticks_off()
                axes.yaxis.set_major_formatter("{x:,.2f}" if name == "time_over_flops"
                                               else "{x:,.0f}")
                if column == 0:
                    axes.set_ylabel(label)
            grid[1, column].axhline(1, color="0.5", linewidth=1, linestyle=":")
            grid[2, column].set_xlabel(what)
        for axes in grid[:, 0]:  # now that all of a row is drawn, which has one axis
            axes.set_ylim(bottom=0)
        return made

    figure().savefig(path, metadata={"Date": None})


def main() -> None:
    """Measures the shapes in turns and writes the table and the plot, or measures one."""
    made = shapes()
    if _SIDE.value:
        report.check_sides([_SIDE.value], list(made))
        print(json.dumps(measure_here(made[_SIDE.value])))
        return
    distinct = {}  # the small shape is measured once for all fields
    for side, shape in made.items():
        distinct.setdefault(shape, side)
    results = report.alternate(list(distinct.values()), _ROUNDS.value, lambda side: report.run_side(
        "benchmarks.growth", [f"--seconds={_SECONDS.value}"], side))
    rows = summary({side: results[distinct[shape]] for side, shape in made.items()})
    table = report.markdown_table(
        ["grown", "to", "tokens/s", "MFLOP a token", "time over FLOPs", "memory of updates, MiB",
         "peak of the process, MiB"],
        [[row["grown"], f"{row['value']:,}", *(
            f"{row[name]:.2f}" if name == "time_over_flops" else f"{row[name]:,.0f}"
            for name in _COLUMNS)] for row in rows])
    table = report.describe_machine(["tensorflow"]) + "\n\n" + table + "\n"
    sys.stdout.write(table)
    os.makedirs(_OUTPUT.value, exist_ok=True)
    with open(os.path.join(_OUTPUT.value, "growth.md"), "w", encoding="utf-8") as stream:
        stream.write(table)
    with open(os.path.join(_OUTPUT.value, "growth.csv"), "w", encoding="utf-8",
              newline="") as stream:
        writer = csv.DictWriter(stream, ["grown", "value", *_COLUMNS], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, os.path.join(_OUTPUT.value, "growth.svg"))


if __name__ == "__main__":
    cli.run(main)
