"""What an exported classifier answers. Letters as in `task_model.py`."""

import tensorflow as tf

from gpt_tf.model.task_model import TaskModel
from gpt_tf.serving import graph_forms, re2
from gpt_tf.serving.graph_tokenizer import GraphTokenizer
from gpt_tf.serving.signatures import Outputs, Signature, checked, spec, widened
from gpt_tf.tasks.answers import class_names
from gpt_tf.tasks.forms import FIELDS, MULTIPLE_CHOICE, SpecialTokens

# What Python's strip takes off a text's ends, as the readers of data and questions do.
_SPACE = re2.character_class([character for character in map(chr, range(0x3001))
                              if character.isspace()])


class TaskServing:
    """A fine-tuned run's answers.

    Args:
      model: its model.
      max_length: the longest sequence it was trained for; longer texts are shortened to it.
      special: ids of the special tokens.
      text: for the signature that takes strings; None leaves it out.
    """

    def __init__(self, model: TaskModel, max_length: int, special: SpecialTokens,
                 text: GraphTokenizer | None):
        self._model = model
        self._max_length = max_length
        self._special = special
        self._text = text

    def signatures(self) -> dict[str, Signature]:
        """Name -> signature; texts have the names of `forms.FIELDS`."""
        task = self._model.task
        found = {"classify": Signature(self.classify, {
            "token_ids": spec(tf.int64, None, task.num_sequences, None),
            "lengths": spec(tf.int64, None, task.num_sequences)})}
        if self._text:
            texts = {field: spec(tf.string, None) for field in FIELDS[task.form]}
            if task.form == MULTIPLE_CHOICE:
                texts["answers"] = spec(tf.string, None, task.num_sequences)
            found["classify_text"] = Signature(self.classify_text, texts)
        return found

    @tf.function(autograph=False)  # traced once, for classify_text as well
    def classify(self, token_ids, lengths) -> Outputs:
        """Answers to sequences that are made as in `forms`.

        Args:
          token_ids: int64 [B, K, T], padded at the end.
          lengths: int64 [B, K].

        Returns:
          probabilities float32 [B, C]; class_names string [B, C]; and label_ids int64 [B] and
          labels string [B], or scores float32 [B].
        """
        logits = self._model(*checked(widened(token_ids), lengths, self._model.gpt.config))
        task, names = self._model.task, tf.constant(class_names(self._model.task))
        shares = tf.nn.softmax(tf.cast(logits, tf.float64))
        answers = {"probabilities": tf.cast(shares, tf.float32),
                   "class_names": tf.broadcast_to(names, tf.shape(logits))}
        if task.is_score:
            low, high = task.score_range
            scores = tf.linalg.matvec(shares, tf.range(low, high + 1, dtype=tf.float64))
            return answers | {"scores": tf.cast(scores, tf.float32)}
        label_ids = tf.argmax(logits, axis=-1, output_type=tf.int64)
        return answers | {"label_ids": label_ids, "labels": tf.gather(names, label_ids)}

    def classify_text(self, **texts) -> Outputs:
        """As `classify`, of strings [B] by field, shortened as `forms` does.

        The answers of a multiple choice are string [B, K].
        """
        columns = [texts[field] for field in FIELDS[self._model.task.form]]
        if self._model.task.form == MULTIPLE_CHOICE:
            columns[-1:] = tf.unstack(columns[-1], axis=1)
        ids = self._text.encode(tf.strings.regex_replace(
            tf.concat(columns, axis=0), f"^{_SPACE}+|{_SPACE}+$", ""))
        count = tf.shape(columns[0])[0]
        parts = [ids[index * count:(index + 1) * count] for index in range(len(columns))]
        token_ids, lengths = graph_forms.build(self._model.task.form, parts, self._special,
                                               self._max_length)
        return self.classify(tf.cast(token_ids, tf.int64), tf.cast(lengths, tf.int64))
