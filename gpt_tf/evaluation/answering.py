"""Texts -> predictions of a fine-tuned run, without a data folder."""

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.config import BEST
from gpt_tf.data.padding import batch_width, pad
from gpt_tf.runs import run_folder, weights
from gpt_tf.tasks.forms import SpecialTokens, build
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.tokenizer.unknown import UnknownCount
from gpt_tf.training.predictor import Predictions, Predictor
from gpt_tf.training.replicas import one_device


class Answerer:
    """A fine-tuned run that answers.

    Attributes:
      task: the run's.
      answered: texts so far.
      shortened: those that were too long.
      unknown: the `UnknownCount` of these texts.

    Args:
      model_dir: the run folder.
      batch_size: B, texts at once.
      which: `config.BEST` or `config.NEWEST`.

    Raises:
      UserError: the folder is not a fine-tuned run's.
    """

    def __init__(self, model_dir: str, batch_size: int, which: str = BEST):
        self.task, self._max_length = run_folder.load_task(model_dir)
        self._tokenizer = Tokenizer.load(model_dir)
        model, _, _ = weights.load_task_model(model_dir, weights=which)
        # Compiling takes longer than most inputs do.
        self._predict = Predictor(model, one_device(), jit_compile=False)
        self._batch_size = batch_size
        self.answered = self.shortened = 0
        self.unknown = UnknownCount(self._tokenizer.unknown_id)

    def __call__(self, rows: Iterable[tuple[list[str], str]]) -> Predictions:
        """Answers to some rows, in their order.

        Args:
          rows: the texts of each, in the form's order, and where it stands.

        Raises:
          UserError: a text has no tokens.
        """
        encoded = [self._encode(texts, where) for texts, where in rows]
        self.answered += len(encoded)
        return self._predict(self._batches(encoded))

    def _encode(self, texts: list[str], where: str) -> list[list[int]]:
        """The K sequences of one row."""
        token_ids = self._tokenizer.encode_batch(texts)
        if any(text and not ids for text, ids in zip(texts, token_ids)):
            raise UserError(f"{where}: a text has no characters but blanks; correct or remove it.")
        for ids in token_ids:
            self.unknown.add(ids)
        sequences = build(self.task.form, token_ids,
                          SpecialTokens.after(self._tokenizer.vocabulary_size), self._max_length)
        self.shortened += sequences.shortened
        return sequences.token_ids

    def _batches(self, encoded: list[list[list[int]]]) -> Iterator[dict]:
        """Batches as `data.batches.evaluation_batches` makes them, by length."""
        longest = np.array([max(map(len, sequences)) for sequences in encoded])
        order = np.argsort(longest, kind="stable")
        for start in range(0, len(encoded), self._batch_size):
            rows = order[start:start + self._batch_size]
            width = batch_width(int(longest[rows].max()), self._max_length)
            token_ids, lengths = pad([encoded[row] for row in rows], width, self._batch_size)
            positions = np.full(self._batch_size, -1)
            positions[:len(rows)] = rows
            labels = np.full(self._batch_size, np.nan if self.task.is_score else -1)
            yield {"token_ids": tf.constant(token_ids), "lengths": tf.constant(lengths),
                   "split_positions": tf.constant(positions), "source_rows": tf.constant(positions),
                   "labels": tf.constant(labels)}
