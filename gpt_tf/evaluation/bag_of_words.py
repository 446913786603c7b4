"""A linear model over counted words: what a fine-tuned model has to be better than.

Logistic regression, or ridge regression of scores, over the tokens and pairs of neighbouring
tokens of a record, counted apart before and after the delimiter, and over the tokens that stand on
both sides of it. A multiple choice is a right answer among wrong ones: each gets a score, without
the context's own words, as these are the same for all, and the best score wins.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression, Ridge

from gpt_tf.common.errors import UserError
from gpt_tf.tasks.forms import MULTIPLE_CHOICE, SpecialTokens
from gpt_tf.tasks.task import Task

# The sides of the delimiter, and what is on both, as the first digit of a feature's number.
_FIRST, _SECOND, _SHARED = range(3)

# The K sequences of a record, each int [tokens].
Record = Sequence[np.ndarray]


class BagOfWords:
    """A linear model of a task.

    Example:
      baseline = BagOfWords.fit(manifest.task, manifest.vocabulary_size, records, labels)
      baseline.predict(other_records)

    Args:
      task: says what labels are.
      vocabulary_size: entries of the BPE vocabulary; the special tokens follow.
      features: int64, sorted, the features that are counted.
      model: over their counts.
    """

    def __init__(self, task: Task, vocabulary_size: int, features: np.ndarray,
                 model: LogisticRegression | Ridge):
        self._task = task
        self._vocabulary_size = vocabulary_size
        self._features = features
        self._model = model

    @classmethod
    def fit(cls, task: Task, vocabulary_size: int, records: Sequence[Record],
            labels: np.ndarray) -> "BagOfWords":
        """Fits the model; the same records in the same order give the same model.

        Args:
          task, vocabulary_size: of the data's manifest.
          records: N records.
          labels: [N], class ids or scores.

        Raises:
          UserError: all records are of one class.
        """
        if not task.is_score and len(np.unique(labels)) < 2:
            raise UserError("All training rows are of one class, and a bag of words cannot learn "
                            "from those: leave --bag_of_words out.")
        model = Ridge() if task.is_score else LogisticRegression(max_iter=2000)
        if task.form == MULTIPLE_CHOICE:
            labels = (labels[:, None] == np.arange(task.num_sequences)).ravel()
        rows = _feature_rows(task, vocabulary_size, records)
        features = np.unique(np.concatenate(rows))
        model.fit(_counts(rows, features), labels)
        return cls(task, vocabulary_size, features, model)

    def predict(self, records: Sequence[Record]) -> np.ndarray:
        """The class ids, or the scores in their range, of N records: [N]."""
        counts = _counts(_feature_rows(self._task, self._vocabulary_size, records),
                         self._features)
        if self._task.form == MULTIPLE_CHOICE:
            scores = self._model.decision_function(counts)
            return scores.reshape(-1, self._task.num_sequences).argmax(axis=1)
        predictions = self._model.predict(counts)
        return np.clip(predictions, *self._task.score_range) if self._task.is_score else predictions


def _feature_rows(task: Task, vocabulary_size: int, records: Sequence[Record]) -> list[np.ndarray]:
    """The features of each row of the linear model, as often as they occur."""
    is_choice = task.form == MULTIPLE_CHOICE
    # The second sequence of similarity says the same in the other order.
    sequences = [sequence for record in records for sequence in (record if is_choice
                                                                 else record[:1])]
    return [_features(sequence, vocabulary_size, with_first=not is_choice)
            for sequence in sequences]


def _features(sequence: np.ndarray, vocabulary_size: int, with_first: bool) -> np.ndarray:
    """int64: (side, token, next token or none) as the digits of one number."""
    base = vocabulary_size + 1  # 0: no token

    def number(side: int, tokens, following=-1):
        return (side * base + tokens + 1) * base + following + 1

    text = sequence[1:-1].astype(np.int64)
    delimiter = SpecialTokens.after(vocabulary_size).delimiter
    end = int(np.argmax(np.append(text, delimiter) == delimiter))
    first, second = text[:end], text[end + 1:]
    shared = np.intersect1d(first, second)
    parts = [number(_SHARED, shared), number(_SHARED, np.full(len(shared), -1))]
    for side, tokens in ((_FIRST, first), (_SECOND, second)):
        if side == _SECOND or with_first:
            parts += [number(side, tokens), number(side, tokens[:-1], tokens[1:])]
    return np.concatenate(parts)


def _counts(rows: list[np.ndarray], features: np.ndarray) -> csr_matrix:
    """float64 [rows, features]; features that are not known do not count."""
    flat = np.concatenate(rows)
    columns = np.minimum(np.searchsorted(features, flat), len(features) - 1)
    known = features[columns] == flat
    numbers = np.repeat(np.arange(len(rows)), list(map(len, rows)))
    return csr_matrix((np.ones(known.sum()), (numbers[known], columns[known])),
                      shape=(len(rows), len(features)))
