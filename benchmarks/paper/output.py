"""The files of a table or a figure, each whole or absent, and how the bar reads."""

from collections.abc import Iterable, Mapping, Sequence
import io
import math
import os
import statistics
from typing import Any, NamedTuple

from benchmarks.paper.settings import Places
from gpt_tf.common.files import atomic_write, make_folder
from gpt_tf.common.small_files import write_json


class Item(NamedTuple):
    """Something that was to be reached: what, what was found, and whether that is it."""

    what: str
    found: str
    is_met: bool


def bar_lines(items: Iterable[Item]) -> str:
    """A line for each item, met or not met."""
    return "\n".join(f"- {'met' if item.is_met else 'not met'}: {item.what} ({item.found})"
                     for item in items)


def points(value: float) -> str:
    """A difference of percentages, with its sign; "" of none."""
    return "" if math.isnan(value) else f"{100 * value:+.1f}"


def p_text(value: float) -> str:
    """A p-value as tables show it; "" of none."""
    return "" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def draw_ranges(axes, x: Sequence[float], curves: Mapping[str, Sequence[Sequence[float]]],
                colors: Sequence[str]) -> None:
    """Draws for each name the medians of the values at each `x`, and a band from lowest to highest;
    nothing where there are none."""
    for color, (name, values) in zip(colors, curves.items()):
        there = [(place, statistics.median(each), min(each), max(each))
                 for place, each in zip(x, values, strict=True) if each]
        if there:
            places, middle, low, high = zip(*there)
            axes.plot(places, middle, marker="o", color=color, label=name)
            axes.fill_between(places, low, high, color=color, alpha=0.2, linewidth=0)


def draw_bars(names: Sequence[str], groups: Mapping[str, Sequence[Sequence[float]]], label: str):
    """Bars of medians with lines from lowest to highest, side by side for each name.

    Args:
      names: of the N groups of bars.
      groups: what each color stands for -> of each name the values, which may be none.
      label: of the vertical axis.

    Returns:
      A matplotlib Figure.
    """
    from gpt_tf.evaluation import pictures  # matplotlib takes a second

    figure, axes = pictures.styled(pictures.make)(max(6.0, 1.4 * len(names) + 1), 4.5)
    width = 0.8 / len(groups)
    for number, (color, (name, values)) in enumerate(zip(pictures.COLORS, groups.items())):
        there = [(place + (number + 0.5) * width - 0.4, statistics.median(each), min(each),
                  max(each)) for place, each in enumerate(values) if each]
        places, middle, low, high = zip(*there) if there else ((),) * 4
        axes.bar(places, middle, width, color=color, label=name)
        axes.vlines(places, low, high, color="0.2", linewidth=1.2)
    axes.set_xticks(range(len(names)), names)
    axes.axhline(0, color="0.2", linewidth=0.8)
    axes.set_ylabel(label)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=len(groups))
    return figure


def write(settings: Places, name: str, text: str, values: dict[str, Any], figure) -> None:
    """Writes NAME.md, NAME.json and NAME.png into --output.

    Args:
      settings: of the command.
      name: of the table or figure.
      text: Markdown.
      values: JSON.
      figure: a matplotlib Figure.
    """
    folder = settings.output or settings.work_dir
    make_folder(folder)
    path = os.path.join(folder, name)
    with atomic_write(f"{path}.md") as stream:
        stream.write(text.encode("utf-8"))
    write_json(f"{path}.json", values)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    with atomic_write(f"{path}.png") as stream:
        stream.write(picture.getvalue())
