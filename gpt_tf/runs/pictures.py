"""Pictures of a task's predictions, for TensorBoard, and of zero-shot answers, for a file."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
import numpy as np

# Of a picture for TensorBoard, which can show it in its full size.
_TENSORBOARD_DPI = 160
_MOST_CLASSES = 30  # of a confusion matrix that has room for numbers, and for every name


def _axes(size: float, dpi: int = 100) -> tuple[Figure, Axes]:
    # Not through pyplot, which keeps every figure and needs a screen.
    figure = Figure(figsize=(size, size), dpi=dpi, layout="constrained")
    return figure, figure.subplots()


def confusion_matrix_figure(matrix: np.ndarray, labels: Sequence[str]) -> Figure:
    """Which class was taken for which: counts, coloured by their share of the row.

    Of many classes the colours alone, and some of the names.

    Args:
      matrix: int [C, C] of `metrics.confusion_matrix`; rows are the labels.
      labels: names of the C classes.
    """
    count = len(labels)
    shown = np.unique(np.linspace(0, count - 1, min(count, _MOST_CLASSES)).round().astype(int))
    size = max(4.0, 1.5 + 0.7 * count) if len(shown) == count else 9.0
    figure, axes = _axes(size, _TENSORBOARD_DPI)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for row in range(count if len(shown) == count else 0):
        for column in range(count):
            axes.text(column, row, f"{matrix[row, column]:,}\n{shares[row, column]:.0%}",
                      ha="center", va="center", fontsize=9,
                      color="white" if shares[row, column] > 0.6 else "black")
    names = [labels[each] for each in shown]
    axes.set_xticks(shown, names, parse_math=False)  # a name may hold two $
    if max(map(len, labels)) > 8 or len(shown) < count:
        axes.tick_params("x", rotation=45)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(shown, names, parse_math=False)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    return figure


def scatter_figure(labels: np.ndarray, predictions: np.ndarray,
                   score_range: tuple[int, int]) -> Figure:
    """Predicted scores over true ones, and the diagonal on which they would be equal.

    Args:
      labels, predictions: float [N].
      score_range: (low, high).
    """
    low, high = score_range
    margin = 0.05 * (high - low)
    figure, axes = _axes(5.0, _TENSORBOARD_DPI)
    axes.plot([low, high], [low, high], color="0.7", linewidth=1)
    axes.scatter(labels, predictions, s=16, alpha=0.4, edgecolors="none")
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin),
             xlabel="label", ylabel="prediction")
    return figure


Course = tuple[Sequence[int], Sequence[float]]


def zero_shot_figure(curves: Mapping[str, Course], dashed: Mapping[str, Course] | None = None,
                     best: str = "all right") -> Figure:
    """The paper's Figure 2, right: zero-shot performance over the updates of pre-training.

    Args:
      curves: name -> updates, ascending, and the relative performance after each: 0 at a random
        guess, 1 at what `best` says.
      dashed: the same of another model, in the colours of the curves of these names.
      best: in words.
    """
    figure, axes = _axes(6.0)
    axes.axhline(0.0, color="0.7", linewidth=1)
    for index, (name, (updates, values)) in enumerate(curves.items()):
        color = f"C{index}"
        axes.plot(updates, values, marker="o", markersize=4, color=color, label=name)
        if dashed and name in dashed:
            axes.plot(*dashed[name], "--", marker="o", markersize=3, color=color)
    axes.set_xscale("log")
    # Plain numbers; a short course has no power of ten to speak of.
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.set(xlabel="updates of pre-training",
             ylabel=f"relative performance (0: random guess, 1: {best})")
    if curves:
        axes.legend()
    return figure
