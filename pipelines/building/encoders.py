"""Worker processes with a tokenizer, which never import TensorFlow."""

import contextlib
import functools
import os

from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer import Tokenizer
from pipelines.building.workers import WorkerPool


class Encoders(WorkerPool):
    """Processes that load the tokenizer as soon as this object is made.

    Example:
      with Encoders("bpe", num_workers=2) as encoders:
          for encoded in encoders.map(functools.partial(encode_text, "bpe"), chunks):
              ...
    """

    def __init__(self, tokenizer_dir: str | os.PathLike, num_workers: int):
        super().__init__(num_workers)
        self._tokenizer_dir = os.fspath(tokenizer_dir)
        for _ in range(self._num_workers):
            self._pool.submit(_load, self._tokenizer_dir)


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
