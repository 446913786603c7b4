"""Perplexity of any text: a window of the model's length that moves over each file.

The first window predicts all of its tokens but the first; each later one begins `stride` tokens
behind the one before it and predicts those that it adds. So every token but a file's first is
predicted once, with at least length - stride tokens before it, save in the first window.

Example: length 4 and stride 2 read the tokens 0 1 2 3 4 5 6 as
  [0 1 2 3] predicts 1 2 3,  [2 3 4 5] predicts 4 5,  [4 5 6] predicts 6.
"""

from collections.abc import Iterable, Iterator
import functools
import itertools
import os

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import open_to_read
from gpt_tf.common.progress import Progress
from gpt_tf.common.text_files import NotUtf8, decode_blocks
from gpt_tf.data.padding import pad
from gpt_tf.evaluation.scoring import Scorer
from gpt_tf.model.gpt import GPT
from gpt_tf.tasks.metrics import language_scores
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.tokenizer.cleaning import check_lines
from gpt_tf.tokenizer.unknown import UnknownCount

_BLOCK_BYTES = 1 << 16  # read, and about as many characters encoded, at a time


def read_blocks(path: str, progress: Progress) -> Iterator[str]:
    """A file's text in blocks; `progress` is told the bytes.

    Raises:
      UserError: it cannot be read, or is not UTF-8.
    """
    try:
        with open_to_read(path) as stream:
            blocks = iter(functools.partial(stream.read, _BLOCK_BYTES), b"")
            for text, size in decode_blocks(blocks):
                if text:
                    yield text
                progress.update(size)
    except NotUtf8 as error:
        raise UserError(f"{path}, byte {error.byte}: not UTF-8; convert the file.") from error


def windows(parts: Iterable[np.ndarray], length: int,
            stride: int) -> Iterator[tuple[np.ndarray, int]]:
    """Windows of a document, and the first token that each predicts; the module's text says which.

    Args:
      parts: int [n], the document's tokens one after the other, in parts of any size.
      length: tokens of a window.
      stride: 1 .. length - 1.
    """
    held, start = np.zeros(0, np.int32), 1
    for part in parts:
        held = np.concatenate([held, part])
        while len(held) > length:
            yield held[:length], start
            held, start = held[stride:], length - stride
    if len(held) > start:
        yield held, start


class TextEvaluator:
    """Perplexity and bits per byte of files.

    Attributes:
      stride: tokens between windows.
      unknown: the `UnknownCount` of the files so far.

    Args:
      model: measured without dropout.
      tokenizer: the model's.
      stride: tokens between windows; 0: half of the model's positions.
      batch_size: windows at once.
      jit_compile: whether to compile with XLA.

    Raises:
      UserError: the stride is not below the model's number of positions.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer, stride: int = 0, batch_size: int = 32,
                 jit_compile: bool = True):
        self._length = model.config.max_sequence_length
        self.stride = stride or max(1, self._length // 2)
        if self.stride >= self._length:
            raise UserError(f"--stride={stride} must be below the {self._length} positions of the "
                            "model, so that every token has one before it.")
        self.unknown = UnknownCount(tokenizer.unknown_id)
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._score = Scorer(model, jit_compile)

    def __call__(self, paths: list[str]) -> dict[str, float]:
        """Measures files, each a document of its own; prints how far it is.

        Returns:
          `metrics.language_scores` of all files together;
          predicted_tokens: all tokens but the first of each file.

        Raises:
          UserError: a file cannot be read or is not UTF-8, or there is nothing to predict.
        """
        total, predicted = 0.0, 0
        size = sum(map(os.path.getsize, paths))
        with Progress(size, "B", "measuring") as progress:
            found = itertools.chain.from_iterable(
                windows(self._parts(path, progress), self._length, self.stride) for path in paths)
            for batch in self._batches(found):
                scores = self._score(batch)
                total -= float(scores.log_probabilities.sum())
                predicted += int(scores.counts.sum())
        if not predicted:
            raise UserError(f"{', '.join(paths[:3])}: there is nothing to predict, as no file has "
                            "two tokens; give more text.")
        return language_scores(total / predicted, predicted, size) | {
            "predicted_tokens": predicted}

    def _parts(self, path: str, progress: Progress) -> Iterator[np.ndarray]:
        blocks = check_lines(read_blocks(path, progress), path)
        for piece in self._tokenizer.split_text(blocks, _BLOCK_BYTES):
            token_ids = self._tokenizer.encode_piece(piece)
            self.unknown.add(token_ids)
            yield token_ids

    def _batches(self, found: Iterator[tuple[np.ndarray, int]]) -> Iterator[dict]:
        """Batches for `Scorer`, all of one shape, which is smaller where there are few windows."""
        rows = 0
        while taken := list(itertools.islice(found, self._batch_size)):
            rows = rows or len(taken)
            token_ids, lengths = pad([[ids] for ids, _ in taken], self._length, rows)
            starts = np.ones((rows, 1), np.int32)
            starts[:len(taken), 0] = [start for _, start in taken]
            yield {"token_ids": token_ids, "lengths": lengths, "starts": starts}
