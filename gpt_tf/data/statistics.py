"""What a data folder holds, counted: labels, and tokens a word. No TensorFlow here."""

from collections.abc import Iterator, Sequence
import contextlib

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.data import records
from gpt_tf.data.manifest import rebuild
from gpt_tf.data.reader import SplitReader
from gpt_tf.data.wire import read_example


def spread(size: int, most: int) -> np.ndarray:
    """At most `most` positions, evenly spread over `size` records: int64, ascending."""
    return np.linspace(0, size - 1, min(size, most)).round().astype(np.int64)


def read_labels(reader: SplitReader, positions: Sequence[int] | np.ndarray) -> np.ndarray:
    """The labels of a task's records: int64 [N], or float32 [N] of scores.

    Raises:
      UserError: a record is not what was written, or not of the kind of the data.
    """
    with _explained(reader):
        return np.concatenate([read_example(record)[records.LABEL]
                               for record in reader.read(positions)])


def word_sizes(reader: SplitReader, positions: Sequence[int] | np.ndarray, begins: np.ndarray,
               ends: np.ndarray, is_text: np.ndarray) -> np.ndarray:
    """How many tokens words are made of.

    A word whose beginning or end is in another record is not counted.

    Args:
      reader: of the split.
      positions: of the records to count in.
      begins, ends: bool [V], whether a word begins or ends with the token, whatever is beside it.
      is_text: bool [V], False for what is no part of a word, as line breaks. Tokens from V on are
        special ones, which end words and are not of them.

    Returns:
      int64; entry n counts the words of n tokens.

    Raises:
      UserError: see `read_labels`.

    Example: where tokens 2 and 3 end words, the record 3 1 1 2 2 1 has a word of three tokens and
      one of one: [0, 1, 0, 1].
    """
    beyond = max(reader.manifest.vocabulary_size + 3 - len(ends), 0)
    begins, ends = (np.append(each, np.ones(beyond, bool)) for each in (begins, ends))
    is_text = np.append(is_text, np.zeros(beyond, bool))
    counts = np.zeros(reader.manifest.sequence_length + 1, np.int64)
    with _explained(reader):
        for record in reader.read(positions):
            features = read_example(record)
            length = features[records.LENGTHS if reader.manifest.task else records.LENGTH].sum()
            token_ids = features[records.TOKEN_IDS][:length]
            is_last = ends[token_ids]
            is_last[:-1] |= begins[token_ids[1:]]
            last = np.flatnonzero(is_last)
            sizes = np.diff(last)[is_text[token_ids[last[1:]]]]
            counts += np.bincount(sizes, minlength=len(counts))
    return counts[:counts.nonzero()[0].max(initial=0) + 1]


@contextlib.contextmanager
def _explained(reader: SplitReader) -> Iterator[None]:
    try:
        yield
    except (ValueError, LookupError) as error:
        # Its checksum is right, so it was written so.
        raise UserError(f"{reader.folder} has a record that is not of the kind that its manifest "
                        f"says: {rebuild(reader.manifest.kind)}.") from error
