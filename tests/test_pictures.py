"""What the pictures show, and that TensorBoard gets them."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
import numpy as np
import pytest
from tensorboard.compat.proto import event_pb2
import tensorflow as tf

from gpt_tf.runs.pictures import confusion_matrix_figure, scatter_figure
from gpt_tf.runs.reporting import Reporter


def drawn(figure):
    """The figure's axes, and its pixels as TensorBoard would have them."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return figure.axes[0], np.asarray(canvas.buffer_rgba())


def test_confusion_matrix():
    matrix = np.array([[30, 10], [0, 1234]])
    axes, _ = drawn(confusion_matrix_figure(matrix, ("sad", "glad")))
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "30\n75%", (1, 0): "10\n25%", (0, 1): "0\n0%", (1, 1): "1,234\n100%"}
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    for axis in (axes.xaxis, axes.yaxis):
        assert [label.get_text() for label in axis.get_ticklabels()] == ["sad", "glad"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "label")


def test_a_class_without_rows_is_no_error():
    axes, _ = drawn(confusion_matrix_figure(np.array([[0, 0], [1, 3]]), ("a", "b")))
    np.testing.assert_allclose(axes.images[0].get_array(), [[0, 0], [0.25, 0.75]])


@pytest.mark.parametrize("count", [2, 3, 12])
def test_nothing_is_cut_and_counts_fit_their_cells(count):
    labels = [f"a_rather_long_label_{number}" for number in range(count)]
    figure = confusion_matrix_figure(np.full((count, count), 12345), labels)
    axes, pixels = drawn(figure)
    height, width = pixels.shape[:2]
    for text in [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label,
                 axes.yaxis.label]:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    cell = axes.transData.transform((1, 0)) - axes.transData.transform((0, 0))
    assert axes.texts[0].get_window_extent().width < cell[0]


def test_many_classes_are_a_map_without_numbers():
    labels = [f"${number}$" for number in range(200)]
    axes, pixels = drawn(confusion_matrix_figure(np.eye(200, dtype=int), labels))
    assert max(pixels.shape) < 2000 and not axes.texts
    names = [label.get_text() for label in axes.xaxis.get_ticklabels()]
    assert len(names) == 30 and (names[0], names[-1]) == ("$0$", "$199$")


def test_scatter():
    axes, _ = drawn(scatter_figure(np.array([0.0, 2.5, 5.0]), np.array([0.5, 2.0, 4.9]), (0, 5)))
    np.testing.assert_allclose(axes.collections[0].get_offsets(),
                               [[0, 0.5], [2.5, 2.0], [5.0, 4.9]])
    assert axes.get_xlim() == axes.get_ylim() == (-0.25, 5.25)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("label", "prediction")


def test_tensorboard_gets_the_picture(tmp_path):
    # Twice the same: where things stand moves a little when a figure is drawn again.
    figures = [confusion_matrix_figure(np.array([[3, 1], [1, 3]]), ("a", "b")) for _ in range(2)]
    reporter = Reporter(str(tmp_path))
    reporter.figure(7, "validation", figures[0])
    reporter.close()
    path, = tmp_path.glob("events.out.tfevents.*")
    events = [event_pb2.Event.FromString(record.numpy())
              for record in tf.data.TFRecordDataset(str(path))]
    (step, value), = [(event.step, value) for event in events for value in event.summary.value]
    width, height, png = value.tensor.string_val
    assert (step, value.tag) == (7, "validation")
    pixels = tf.io.decode_png(png).numpy()
    assert pixels.shape == (int(height), int(width), 3)
    np.testing.assert_array_equal(pixels, drawn(figures[1])[1][..., :3])
