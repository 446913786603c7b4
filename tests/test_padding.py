"""Padding to one width, and rows back in the order of their split."""

import numpy as np

from gpt_tf.data.padding import in_split_order, pad


def test_padding():
    token_ids, lengths = pad([[[7, 8], [9]]], width=3, batch_size=2)
    assert token_ids.tolist() == [[[7, 8, 0], [9, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert lengths.tolist() == [[2, 1], [0, 0]]
    assert token_ids.dtype == lengths.dtype == np.int32
    assert pad([[[]], [[4]]], 1)[0].tolist() == [[[0]], [[4]]]


def test_rows_in_the_order_of_the_split():
    column, = in_split_order([([2, 0], [5.0, 6.0]), ([1, -1], [7.0, 0.0])])
    assert column.tolist() == [6.0, 7.0, 5.0]
    rng = np.random.default_rng(0)
    values = rng.normal(size=[10, 3])
    order = np.append(rng.permutation(10), [-1, -1])
    labels, found = in_split_order(
        (part, part * 2, values[part]) for part in np.split(order, [4, 8]))
    np.testing.assert_array_equal(found, values)
    assert labels.tolist() == list(range(0, 20, 2))
