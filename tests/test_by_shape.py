"""Functions with a program for each shape: traced once each, and nobody is warned."""

import pytest
import tensorflow as tf

from gpt_tf.model.by_shape import FunctionByShape


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_trace_for_each_shape(caplog, jit_compile):
    traced = []

    def double(batch, scale):
        traced.append(batch["x"].shape[0])
        return {"y": scale * batch["x"]}

    function = FunctionByShape(double, jit_compile)
    for _ in range(2):
        for width in range(1, 9):
            found = function({"x": tf.ones([width])}, tf.constant(2.0))
            assert found["y"].numpy().tolist() == [2.0] * width
    assert traced == list(range(1, 9))
    assert "retracing" not in caplog.text


def test_tensorflow_does_warn(caplog):
    function = tf.function(lambda x: x + 1)
    for width in range(1, 9):
        function(tf.ones([width]))
    assert "retracing" in caplog.text
