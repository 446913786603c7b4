"""Tokenizing in worker processes that never import TensorFlow."""

import dataclasses

import numpy as np

from gpt_tf.tokenizer.cleaning import Piece
from pipelines.building.encoders import load_tokenizer


@dataclasses.dataclass(frozen=True)
class Place:
    """Where some text goes, and how much of it there is.

    text_bytes: its UTF-8 bytes. source_bytes: bytes of the input that were read for it.
    """

    slice_number: int
    split: str
    text_bytes: int
    source_bytes: int


@dataclasses.dataclass(frozen=True)
class Task:
    """Text for one worker: consecutive pieces of consecutive documents of one shard.

    ends: for each piece, whether its document ends with it.
    """

    place: Place
    pieces: tuple[Piece, ...]
    ends: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A task's tokens: an integer array [n], and int64 [D], where documents end in it."""

    place: Place
    tokens: np.ndarray
    ends: np.ndarray


def encode_task(tokenizer_dir: str, task: Task) -> Encoded:
    """Encodes a task with the tokenizer of a folder."""
    tokenizer = load_tokenizer(tokenizer_dir)
    tokens = [tokenizer.encode_piece(piece) for piece in task.pieces]
    ends = np.cumsum([len(each) for each in tokens])[np.array(task.ends)]
    return Encoded(task.place, np.concatenate(tokens), ends)
