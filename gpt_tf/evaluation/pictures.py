"""Figures of a report: courses of runs, perplexity by position, reliability, attention."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
import numpy as np

from gpt_tf.evaluation.calibration import Reliability

if TYPE_CHECKING:
    from gpt_tf.evaluation.positions import PositionLosses  # who draws needs no TensorFlow

# Colours that differ for colour-blind eyes, too (Okabe & Ito 2008), black last.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLE = {
    "figure.dpi": 130, "font.size": 11, "axes.grid": True, "grid.color": "0.9",
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "text.parse_math": False,  # a token or a name may hold two $
    "axes.prop_cycle": matplotlib.cycler(color=COLORS)}
_HIGHEST_LOSS = 100.0  # in nats, whose perplexity can be read off an axis

# Before a function that makes a figure: it looks like the others.
styled: Callable[[Any], Any] = matplotlib.rc_context(_STYLE)


class Line(NamedTuple):
    """One curve over the updates of a run.

    label: in the legend.
    steps, values: [N]; a NaN is a gap.
    color: its number in `COLORS`, which begin again after the last.
    is_measured: whether each point is a measurement that deserves a mark, as of a validation.
    """

    label: str
    steps: np.ndarray
    values: np.ndarray
    color: int
    is_measured: bool = False


def make(width: float, height: float, rows: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure, in inches, and its axes: several in rows, one above the other."""
    # Not through pyplot, which keeps every figure and needs a screen.
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, **options)


@styled
def courses_figure(panels: Mapping[str, Sequence[Line]], perplexity: bool = False) -> Figure:
    """Curves over the updates, a panel for each measure.

    Args:
      panels: label of the vertical axis -> curves.
      perplexity: whether the values are losses of tokens, whose exponential stands on the right.
    """
    height = 4.4 if len(panels) == 1 else 0.6 + 2.0 * len(panels)
    figure, grid = make(7.5, height, len(panels), sharex=True, squeeze=False)
    for axes, (name, lines) in zip(grid[:, 0], panels.items()):
        for line in lines:
            look = dict(linewidth=2, marker="o", markersize=4) if line.is_measured else dict(
                linewidth=1, alpha=0.7)
            axes.plot(line.steps, line.values, label=line.label,
                      color=COLORS[line.color % len(COLORS)], **look)
        axes.set_ylabel(name)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        if 1000 <= axes.get_ylim()[1] < 1e8:
            axes.yaxis.set_major_formatter("{x:,.0f}")
    grid[-1, 0].set_xlabel("updates")
    if len(grid[0, 0].lines) > 1:
        legend_below(figure, grid[0, 0])
    if perplexity and grid[0, 0].get_ylim()[1] < _HIGHEST_LOSS:
        right = grid[0, 0].secondary_yaxis("right", functions=(np.exp, _log))
        right.set(yscale="log", ylabel="perplexity")
        for axis_formatter in (right.yaxis.set_major_formatter, right.yaxis.set_minor_formatter):
            axis_formatter(_plain_log())
    return figure


def _log(perplexity: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(perplexity, 1e-300))  # the axis is made from 0 on


def _plain_log() -> LogFormatter:
    """Plain numbers beside a logarithmic axis, and enough of them on a short one."""
    return LogFormatter(minor_thresholds=(2, 0.5))


def legend_below(figure: Figure, axes: Axes) -> None:
    """Puts the legend of `axes` below the figure, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize=10,
                  ncols=1 + (max(map(len, labels)) < 5 * figure.get_size_inches()[0]))


@styled
def positions_figure(runs: Mapping[str, "PositionLosses"]) -> Figure:
    """Perplexity of a token by how many of its window stand before it: a point for each number,
    and a line through the means of 1, 2, 3 - 4, 5 - 8, ... tokens.
    """
    figure, axes = make(7.5, 4.4)
    for color, (name, found) in zip(COLORS * len(runs), runs.items()):
        places = np.arange(1, len(found.counts) + 1)
        seen = found.counts > 0
        axes.plot(places[seen], np.exp(found.losses[seen] / found.counts[seen]), ".", color=color,
                  markersize=3, alpha=0.35)
        axes.plot(*_doubling(found), color=color, linewidth=2, marker="o", markersize=4,
                  label=f"{name}: {np.exp(found.mean):,.1f} over all")
        axes.axhline(np.exp(found.mean), color=color, linewidth=1, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter(_plain_log())
    axes.yaxis.set_minor_formatter(_plain_log())
    axes.set(xlabel="tokens of the window before the predicted one", ylabel="perplexity")
    legend_below(figure, axes)
    return figure


def _doubling(found: "PositionLosses") -> tuple[np.ndarray, np.ndarray]:
    """The middles (geometric) of 1, 2, 3 - 4, 5 - 8, ... tokens, and their perplexities."""
    size = len(found.counts)
    ends = np.minimum(2 ** np.arange(int(np.ceil(np.log2(size))) + 1), size)
    starts = np.append(0, ends[:-1])
    losses, counts = (np.add.reduceat(values, starts) for values in found)
    seen = counts > 0
    return np.sqrt((starts + 1) * ends)[seen], np.exp(losses[seen] / counts[seen])


@styled
def reliability_figure(found: Reliability, num_classes: int) -> Figure:
    """Accuracy over confidence, the diagonal on which they are equal, and where the rows lie."""
    figure, (top, bottom) = make(5.5, 5.8, 2, sharex=True, height_ratios=(4, 1))
    width = 1 / len(found.counts)
    middles = (np.arange(len(found.counts)) + 0.5) * width
    seen = found.counts > 0
    accuracy = found.accuracy[seen]
    # Below an even guess no class is the likeliest.
    low = np.floor(1 / num_classes / width) * width
    top.plot([low, 1], [low, 1], color="0.6", linewidth=1, linestyle="--",
             label="as right as it is sure")
    top.errorbar(found.confidence[seen], accuracy,
                 np.maximum([accuracy - found.low[seen], found.high[seen] - accuracy], 0),
                 fmt="o-", capsize=3, label="model, with 95% intervals")
    top.set(ylabel="accuracy", ylim=(-0.02, 1.02), xlim=(low - 0.02, 1.02))
    top.set_title(f"expected calibration error {found.expected_error:.3f}", fontsize=11)
    legend_below(figure, top)
    bottom.bar(middles, 100 * found.counts / found.counts.sum(), 0.9 * width)
    bottom.set(xlabel="confidence (probability of the predicted class)", ylabel="% of rows")
    return figure


@styled
def attention_figure(weights: np.ndarray, tokens: Sequence[str]) -> Figure:
    """A map for each layer (rows) and head (columns): how much a token looks at an earlier one.

    Args:
      weights: float [L, H, T, T] of `attention.attention_weights`.
      tokens: T texts.
    """
    layers, heads, count, _ = weights.shape
    side = max(1.1, 0.2 + 0.14 * count)
    figure, grid = make(1.8 + side * heads, 1.4 + side * layers, layers, ncols=heads,
                        squeeze=False)
    for (layer, head), axes in np.ndenumerate(grid):
        image = axes.imshow(weights[layer, head], cmap="Blues", vmin=0, vmax=1)
        axes.grid(False)
        axes.tick_params(length=0)
        if layer == 0:
            axes.set_title(f"head {head + 1}", fontsize=10)
        if head == 0:
            axes.set_ylabel(f"layer {layer + 1}")
        axes.set_xticks(range(count), tokens if layer == layers - 1 else [""] * count,
                        rotation=90, fontsize=8)
        axes.set_yticks(range(count), tokens if head == 0 else [""] * count, fontsize=8)
    figure.supylabel("token that looks", fontsize=10)
    figure.supxlabel("token that is looked at", fontsize=10)
    figure.colorbar(image, ax=grid, label="attention weight", pad=0.01, fraction=0.3 / (heads + 1),
                    aspect=12 * layers)
    return figure
