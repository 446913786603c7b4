"""What the figures of a report show, and that nothing of them is cut."""

import numpy as np
import pytest

from gpt_tf.evaluation import data_pictures, pictures
from gpt_tf.evaluation.calibration import reliability
from gpt_tf.evaluation.positions import PositionLosses
from gpt_tf.evaluation.report_page import Picture

LONG = "runs/a_folder_with_quite_a_long_name"
STEPS = np.arange(1, 41)


def courses():
    lines = [pictures.Line(f"{LONG}_{number}, train", STEPS * 1000, 9 / STEPS, number)
             for number in range(6)]
    return pictures.courses_figure({"loss (nats per token)": lines, "tokens/s": lines})


def positions():
    counts = np.full(255, 9)
    losses = 9 * np.log(900 / np.arange(1, 256) ** 0.3)
    return pictures.positions_figure({f"{LONG}, update 10,000": PositionLosses(losses, counts),
                                      "other": PositionLosses(losses * 1.1, counts)})


def calibration(classes=3):
    probabilities = np.random.default_rng(0).dirichlet([1] * classes, 99)
    return pictures.reliability_figure(reliability(probabilities, np.zeros(99)), classes)


def attention(layers=2, heads=3, tokens=9):
    weights = np.tril(np.ones((layers, heads, tokens, tokens)))
    return pictures.attention_figure(weights / weights.sum(-1, keepdims=True),
                                     [f"token{number}-" for number in range(tokens)])


def lengths():
    return data_pictures.lengths_figure({"validation_mismatched": np.arange(1, 400), "train":
                                         np.arange(1, 513)}, 512)


def words():
    return data_pictures.word_sizes_figure({
        f"{split}: 1.23 tokens a word, 3.76 bytes a token": np.array([0, 900, 70, 20, 9, 0, 3, 4])
        for split in ("train", "validation", "test")})


def classes(count=30):
    return data_pictures.classes_figure(
        {split: np.arange(count) for split in ("train", "test")},
        [f"rather_long_label_{number}" for number in range(count)])


def scores():
    return data_pictures.scores_figure({"train": np.linspace(0, 5, 50)}, (0, 5))


FIGURES = [courses, positions, calibration, attention, lambda: attention(3, 8, 3),
           lambda: attention(1, 1, 32), lengths, words, classes, lambda: classes(2), scores]


@pytest.mark.parametrize("make", FIGURES)
def test_nothing_is_cut(make):
    figure = make()
    Picture("name", f"A title that is long enough for two lines, of {LONG}", "", figure).png()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()  # of all that is drawn
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
    assert width <= 20 and height <= 20


def test_positions():
    """By hand: the losses 1, 2, 3 and 5 after 1, 2, 3 and 4 tokens, the last of one prediction."""
    found = PositionLosses(np.array([2.0, 4.0, 6.0, 5.0, 0.0]), np.array([2, 2, 2, 1, 0]))
    dots, line, over_all = pictures.positions_figure({"run": found}).axes[0].lines
    np.testing.assert_allclose(dots.get_xydata(), np.transpose(
        [[1, 2, 3, 4], np.exp([1, 2, 3, 5])]))
    np.testing.assert_allclose(line.get_xydata(), np.transpose(
        [[1, 2, np.sqrt(12)], np.exp([1, 2, 11 / 3])]))
    np.testing.assert_allclose(over_all.get_ydata(), np.exp(17 / 7))
    assert line.get_label() == f"run: {np.exp(17 / 7):.1f} over all"


def test_reliability():
    probabilities = np.array([[0.1, 0.9]] * 4 + [[0.45, 0.55]])
    found = reliability(probabilities, np.array([1, 1, 0, 1, 0]))
    top, bottom = pictures.reliability_figure(found, 2).axes
    diagonal, points = top.lines[:2]
    np.testing.assert_allclose(diagonal.get_xydata(), [[0.5, 0.5], [1, 1]])
    np.testing.assert_allclose(points.get_xydata(), [[0.55, 0], [0.9, 0.75]])
    assert top.get_title() == "expected calibration error 0.230"
    bars = {round(bar.get_x() + bar.get_width() / 2, 6): bar.get_height()
            for bar in bottom.patches if bar.get_height()}
    assert bars == {0.55: 20.0, 0.85: 80.0}


def test_attention():
    figure = attention(2, 3, 4)
    *maps, bar = figure.axes
    assert len(maps) == 6 and bar.get_ylabel() == "attention weight"
    np.testing.assert_allclose(maps[4].images[0].get_array()[1], [0.5, 0.5, 0, 0])
    assert [axes.get_title() for axes in maps[:3]] == ["head 1", "head 2", "head 3"]
    assert [axes.get_ylabel() for axes in maps[::3]] == ["layer 1", "layer 2"]
    labels = [[label.get_text() for label in axes.get_yticklabels()] for axes in maps[:2]]
    assert labels == [["token0-", "token1-", "token2-", "token3-"], [""] * 4]


def test_lengths_and_scores():
    axes, = data_pictures.lengths_figure({"train": np.array([1, 3, 4, 100])}, 100).axes
    values, edges, _ = axes.patches[0].get_data()
    assert dict(zip(edges, values)) | {0.5: 0, 2.5: 0, 98.5: 0} == dict.fromkeys(edges[:-1], 0)
    assert (values[0], values[1], values[-1]) == (25, 50, 25)  # bins of two lengths
    assert axes.lines[0].get_xdata() == [100, 100]
    values, edges, _ = data_pictures.scores_figure(
        {"train": np.array([0, 1.1, 5])}, (0, 5)).axes[0].patches[0].get_data()
    assert edges[1] == 0.25 and values[[0, 4, 19]] == pytest.approx([100 / 3] * 3)


def test_bars():
    axes, = data_pictures.classes_figure({"train": np.array([1, 3]), "test": np.array([2, 0])},
                                         ["sad", "$glad$"]).axes
    assert [bar.get_height() for bar in axes.patches] == [25, 75, 100, 0]
    assert [text.get_text() for text in axes.texts] == ["1", "3", "2", "0"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["sad", "$glad$"]
    axes, = data_pictures.word_sizes_figure({"train": np.array([0, 5, 2, 0, 0, 0, 1, 2])}).axes
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([50, 20, 0, 0, 0, 30])
