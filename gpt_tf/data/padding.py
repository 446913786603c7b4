"""Sequences -> batches of one width, and what is found of their rows -> the order of the split.

B rows of K sequences each, T tokens wide. Rows that only fill a batch up have no sequences, and
the position -1.
"""

from collections.abc import Iterable, Sequence

import numpy as np

_NARROWEST = 16


def batch_width(longest: int, sequence_length: int) -> int:
    """The least of 16, 24, 32, 48, 64, 96, 128, ... that holds `longest` tokens, or the limit.

    Few widths, because a step is compiled once for each.
    """
    power = max(_NARROWEST, 1 << (longest - 1).bit_length())
    width = power * 3 // 4 if _NARROWEST < longest <= power * 3 // 4 else power
    return min(width, sequence_length)


def pad(rows: Sequence[Sequence[Sequence[int]]], width: int,
        batch_size: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pads sequences with zeros at their ends, and the batch with empty rows.

    Args:
      rows: at least one, each of K sequences of token ids.
      width: T, at least the longest sequence.
      batch_size: B, at least the number of rows, which it is by default.

    Returns:
      (token ids int32 [B, K, T], lengths int32 [B, K]).

    Example:
      pad([[[7, 8], [9]]], width=3, batch_size=2)
      -> [[[7, 8, 0], [9, 0, 0]], [[0, 0, 0], [0, 0, 0]]], [[2, 1], [0, 0]]
    """
    token_ids = np.zeros((batch_size or len(rows), len(rows[0]), width), np.int32)
    lengths = np.zeros(token_ids.shape[:2], np.int32)
    for place, sequences in enumerate(rows):
        for k, ids in enumerate(sequences):
            token_ids[place, k, :len(ids)] = ids
            lengths[place, k] = len(ids)
    return token_ids, lengths


def in_split_order(parts: Iterable[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """What was found of the rows of a split's batches, put into the order of the split.

    Args:
      parts: of each batch the position of its rows in the split, int [B], -1 of a row that only
        fills the batch up; and columns of what was found of them, [B, ...].

    Returns:
      The columns, [N, ...].

    Example:
      in_split_order([([2, 0], [5.0, 6.0]), ([1, -1], [7.0, 0.0])]) -> [[6.0, 7.0, 5.0]]
    """
    kept = [[column[positions >= 0] for column in (positions, *columns)]
            for positions, *columns in (map(np.asarray, part) for part in parts)]
    positions, *columns = (np.concatenate(column) for column in zip(*kept))
    order = np.argsort(positions)
    return [column[order] for column in columns]
