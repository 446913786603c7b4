"""`forms` in a TensorFlow graph: a batch of a task's texts -> padded token sequences.

Letters as in `task_model.py`. Texts give way exactly as in `forms`, where examples stand.
"""

from collections.abc import Sequence

import tensorflow as tf

from gpt_tf.tasks import forms
from gpt_tf.tasks.forms import SpecialTokens

Ids = tf.RaggedTensor  # int32 [B, (T)]


def build(form: str, texts: Sequence[Ids], special: SpecialTokens,
          max_length: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The K sequences of each row.

    Args:
      form: one of `forms.FORMS`.
      texts: ids of each text in the order of `forms.FIELDS`; of multiple choice the passage,
        the question and then each answer.
      special: the special tokens.
      max_length: the most tokens of a sequence.

    Returns:
      token_ids int32 [B, K, T], padded with 0, and lengths int32 [B, K].
    """
    function = {forms.CLASSIFICATION: _classification, forms.ENTAILMENT: _entailment,
                forms.SIMILARITY: _similarity,
                forms.MULTIPLE_CHOICE: _multiple_choice}[form]
    sequences = function(texts, special, max_length)
    rows = tf.concat(sequences, axis=0)  # [K B, (T)], the first sequence of every row first
    count = texts[0].nrows()
    token_ids = tf.reshape(rows.to_tensor(), [len(sequences), count, rows.bounding_shape(axis=1)])
    lengths = tf.reshape(_lengths(rows), [len(sequences), count])
    return tf.transpose(token_ids, [1, 0, 2]), tf.transpose(lengths)


def _classification(texts, special, max_length):
    text, = texts
    kept = _first(text, max_length - 2)
    return [tf.concat([_column(text, special.start), kept, _column(text, special.extract)], axis=1)]


def _entailment(texts, special, max_length):
    premise, hypothesis = texts
    second = _first(hypothesis, max_length - 3)
    return [_pair(_first(premise, max_length - 3 - _lengths(second)), second, special)]


def _similarity(texts, special, max_length):
    first, second = texts
    room = max_length - 3
    second = _first(second, tf.maximum(room // 2, room - _lengths(first)))
    first = _first(first, room - _lengths(second))
    return [_pair(first, second, special), _pair(second, first, special)]


def _multiple_choice(texts, special, max_length):
    passage, question, *answers = texts
    room = max_length - 3
    left = tf.maximum(0, room - tf.reduce_max([_lengths(answer) for answer in answers], axis=0))
    question = _first(question, left)
    context = tf.concat([_first(passage, left - _lengths(question)), question], axis=1)
    return [_pair(context, _first(answer, room), special) for answer in answers]


def _pair(first, second, special):
    return tf.concat([_column(first, special.start), first, _column(first, special.delimiter),
                      second, _column(first, special.extract)], axis=1)


def _column(text, token):
    """The same token for each row of `text`, int32 [B, 1]."""
    return tf.fill([text.nrows(), 1], token)


def _lengths(text):
    return tf.cast(text.row_lengths(), tf.int32)


def _first(text, count):
    """The first tokens of each text, as many as `count`, int32 [] or [B], says."""
    kept = tf.minimum(_lengths(text), count)
    places = tf.range(tf.size(text.flat_values, out_type=tf.int64)) - tf.gather(
        text.row_starts(), text.value_rowids())
    stays = tf.cast(places, tf.int32) < tf.gather(kept, text.value_rowids())
    return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(text.flat_values, stays), kept,
                                            validate=False).with_row_splits_dtype(tf.int64)
