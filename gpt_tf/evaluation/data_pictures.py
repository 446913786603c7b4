"""Figures of a data folder: lengths, tokens a word, labels. Colours and fonts are `pictures`'."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from gpt_tf.evaluation.pictures import legend_below, make, styled

_LENGTH_BINS = 50  # at most
_MOST_TOKENS = 6  # a word, that have a bar of their own
_MOST_COUNTS = 18  # bars that are few enough for a number above each


@styled
def lengths_figure(splits: Mapping[str, np.ndarray], limit: int) -> Figure:
    """How long records are.

    Args:
      splits: name -> int [N], tokens.
      limit: the most tokens that a record can have.
    """
    figure, axes = make(7.5, 4.0)
    highest, step = 0.0, -(-limit // _LENGTH_BINS)
    edges = np.arange(0.5, limit + step, step)  # the first bin: 1 .. step tokens
    for name, lengths in splits.items():
        shares = 100 * np.histogram(lengths, edges)[0] / len(lengths)
        highest = max(highest, shares.max())
        axes.stairs(shares, edges, linewidth=1.8,
                    label=f"{name}: {len(lengths):,} records, median {np.median(lengths):,.0f}")
    axes.axvline(limit, color="0.5", linestyle=":", linewidth=1.5, label=f"limit: {limit:,}")
    axes.set(xlabel="tokens of a record", ylabel="% of records", ylim=(0, None))
    if highest > 50:  # nearly all are alike: show the few others, down to a single one
        axes.set(yscale="log", ylim=(50 / max(map(len, splits.values())), 150))
        axes.yaxis.set_major_formatter("{x:g}")
    legend_below(figure, axes)
    return figure


@styled
def word_sizes_figure(splits: Mapping[str, np.ndarray]) -> Figure:
    """How many tokens words are made of.

    Args:
      splits: label in the legend -> int, entry n counts the words of n tokens.
    """
    names = [*map(str, range(1, _MOST_TOKENS)), f"{_MOST_TOKENS} or more"]
    shares = {}
    for name, counts in splits.items():
        few = np.pad(counts, (0, max(0, _MOST_TOKENS + 1 - len(counts))))
        bars = np.append(few[1:_MOST_TOKENS], few[_MOST_TOKENS:].sum())
        shares[name] = 100 * bars / max(bars.sum(), 1)
    figure, axes = make(7.5, 4.0)
    _grouped_bars(axes, names, shares, {name: [f"{share:.1f}" for share in values]
                                        for name, values in shares.items()})
    axes.set(xlabel="tokens of a word", ylabel="% of words")
    legend_below(figure, axes)
    return figure


@styled
def classes_figure(splits: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """How rows are spread over classes.

    Args:
      splits: name -> int [C], rows of each class.
      names: of the C classes.
    """
    figure, axes = make(max(7.5, 1 + 0.3 * len(names)), 4.0)
    shares = {f"{split}: {counts.sum():,} rows": 100 * counts / max(counts.sum(), 1)
              for split, counts in splits.items()}
    _grouped_bars(axes, names, shares, {
        label: [f"{count:,}" for count in counts]
        for label, counts in zip(shares, splits.values())})
    axes.set(xlabel="label", ylabel="% of rows")
    legend_below(figure, axes)
    if len(names) * max(map(len, names)) > 80:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    return figure


@styled
def scores_figure(splits: Mapping[str, np.ndarray], score_range: tuple[int, int]) -> Figure:
    """How rows are spread over scores: splits name -> float [N]."""
    low, high = score_range
    edges = np.linspace(low, high, 21)
    figure, axes = make(7.5, 4.0)
    for name, scores in splits.items():
        axes.stairs(100 * np.histogram(scores, edges)[0] / len(scores), edges, linewidth=1.8,
                    label=f"{name}: {len(scores):,} rows, mean {np.mean(scores):.3g}")
    axes.set(xlabel="label (score)", ylabel="% of rows", ylim=(0, None))
    legend_below(figure, axes)
    return figure


def _grouped_bars(axes: Axes, names: Sequence[str], groups: Mapping[str, np.ndarray],
                  numbers: Mapping[str, Sequence[str]]) -> None:
    """A bar for each name and group, groups side by side, with a number above, if they are few."""
    width = 0.8 / len(groups)
    for place, (label, values) in enumerate(groups.items()):
        bars = axes.bar(np.arange(len(names)) + (place - (len(groups) - 1) / 2) * width, values,
                        0.94 * width, label=label)
        if len(names) * len(groups) <= _MOST_COUNTS:
            axes.bar_label(bars, numbers[label], fontsize=8, padding=2)
    axes.set_xticks(range(len(names)), names)
    axes.grid(False, axis="x")
    axes.margins(y=0.1)
