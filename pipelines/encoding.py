"""Tokenizing in worker processes that never import TensorFlow."""

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import functools
import os

import numpy as np

from gpt_tf.files import UserError
from gpt_tf.text import Piece
from gpt_tf.tokenizer import Tokenizer
from pipelines.workers import Workers


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


class Encoders(Workers):
    """Workers that load the tokenizer as soon as this object is made.

    Example:
      with Encoders("bpe", num_workers=2) as encoders:
          for encoded in encoders.encode(tasks):
              ...
    """

    def __init__(self, tokenizer_dir: str | os.PathLike, num_workers: int):
        super().__init__(num_workers)
        self._tokenizer_dir = os.fspath(tokenizer_dir)
        for _ in range(self._num_workers):
            self._pool.submit(_load, self._tokenizer_dir)

    def encode(self, tasks: Iterable[Task]) -> Iterator[Encoded]:
        """Encodes `tasks`, in order; see `Workers.map`."""
        return self.map(functools.partial(encode_task, self._tokenizer_dir), tasks)


@functools.cache
def load_tokenizer(tokenizer_dir: str) -> Tokenizer:
    """The tokenizer of a folder, ready; loaded once a process."""
    tokenizer = Tokenizer.load(tokenizer_dir)
    tokenizer.encode("It's warm.")  # loads the rules for splitting words
    return tokenizer


def _load(tokenizer_dir: str) -> None:
    # A tokenizer that cannot be loaded is the parent's to report.
    with contextlib.suppress(UserError):
        load_tokenizer(tokenizer_dir)


def encode_task(tokenizer_dir: str, task: Task) -> Encoded:
    """Encodes a task with the tokenizer of a folder."""
    tokenizer = load_tokenizer(tokenizer_dir)
    tokens = [tokenizer.encode_piece(piece) for piece in task.pieces]
    ends = np.cumsum([len(each) for each in tokens])[np.array(task.ends)]
    return Encoded(task.place, np.concatenate(tokens), ends)
