"""Texts -> what the Keras models take: preprocessors in the sense of KerasHub.

Like the tokenizer they run eagerly, in `tf.data` and in Grain, on one text or a batch of them.
"""

import functools
import warnings

import keras
from keras_hub.src.utils.tensor_utils import preprocessing_function  # knows tf.data from Grain
import keras_nlp
import numpy as np
import tensorflow as tf

from gpt_tf.data.padding import batch_width, pad
from gpt_tf.hub import models
from gpt_tf.keras_models.backbone import GPTBackbone, is_run_folder, register
from gpt_tf.keras_models.preset import RecordedPreset, explain
from gpt_tf.keras_models.tokenizer import GPTTokenizer, to_strings
from gpt_tf.runs import run_folder
from gpt_tf.tasks.forms import (
    CLASSIFICATION,
    FIELDS,
    MULTIPLE_CHOICE,
    SpecialTokens,
    build,
    num_sequences,
)


class _FromPreset(RecordedPreset):
    """How both preprocessors are made of presets: as long as the model takes."""

    backbone_cls = GPTBackbone
    tokenizer_cls = GPTTokenizer

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """The preprocessor of a preset, with the preset's tokenizer.

        Args:
          preset: folder that `save_to_preset` wrote, a run folder of `gpt_tf`, a name of `presets`,
            or a handle.
          **kwargs: arguments of the constructor that differ from the preset's. Where neither says
            it, `sequence_length` is the model's number of positions.

        Raises:
          UserError: the preset is damaged, or is none of ours.
        """
        preset = models.local(preset)
        if is_run_folder(preset):
            return cls(GPTTokenizer.from_preset(preset), **cls._of_run(preset) | kwargs)
        with explain(preset):
            return super().from_preset(preset, **kwargs)

    @classmethod
    def _of_run(cls, model_dir):
        return {"sequence_length": run_folder.load_config(model_dir).max_sequence_length}

    @classmethod
    def _add_missing_kwargs(cls, loader, kwargs):
        """KerasHub asks for what a preset of another kind of preprocessor does not say."""
        kwargs.setdefault("sequence_length", loader.config["config"]["max_sequence_length"])
        return super()._add_missing_kwargs(loader, kwargs)


@register
class GPTCausalLMPreprocessor(_FromPreset, keras_nlp.models.CausalLMPreprocessor):
    """Texts -> padded windows of tokens, and the tokens that follow each.

    GPT-1's language model has no start and no end token: a window holds the text alone.

    Args:
      tokenizer: a `GPTTokenizer`.
      sequence_length: T, tokens of a window; what a text has more is cut. May be set later, too.
      add_start_token, add_end_token: False.
      **kwargs: those of `keras.Layer`, such as `name`.

    Raises:
      ValueError: a start or end token is asked for.

    Call with a string, or B of them; in place of [B, T] one string gives [T].

    Output: (x, y, sample_weight): x = {"token_ids": int32 [B, T], "padding_mask": bool [B, T], true
    on the text}; y int32 [B, T], the next tokens; sample_weight bool [B, T], true where there is
    one.

    Example:
      from gpt_tf import GPTCausalLMPreprocessor

      preprocessor = GPTCausalLMPreprocessor.from_preset("runs/books", sequence_length=8)
      x, y, sample_weight = preprocessor(["The cat sat.", "And the dog ran."])
      assert x["token_ids"].shape == y.shape == (2, 8)

      import tensorflow as tf
      texts = tf.data.Dataset.from_tensor_slices(["The cat sat.", "And the dog ran."])
      windows = texts.map(preprocessor).batch(2)
    """

    def __init__(self, tokenizer, sequence_length=512, add_start_token=False, add_end_token=False,
                 **kwargs):
        if add_start_token or add_end_token:
            raise ValueError("GPT-1's language model has no start and no end token.")
        super().__init__(tokenizer, sequence_length, False, False, **kwargs)

    def generate_preprocess(self, x, sequence_length=None):
        """Prompts -> what `GPTCausalLM.generate_step` continues.

        An empty prompt has no tokens; a text of nothing begins as after a line break, whose token
        stands in its first column, outside the mask. Prompts that leave no room are warned of, and
        characters that the vocabulary lacks.

        Args:
          x: a string, or B of them.
          sequence_length: T, if not that of the layer.

        Returns:
          {"token_ids": int32 [B, T], "padding_mask": bool [B, T], true on the prompts}.
        """
        x = super().generate_preprocess(x, sequence_length=sequence_length)
        token_ids, mask = x["token_ids"], x["padding_mask"]
        if tf.executing_eagerly():
            self._warn(np.asarray(token_ids), np.asarray(mask))
        is_start = (tf.range(tf.shape(mask)[-1]) == 0) & ~tf.reduce_any(mask, -1, keepdims=True)
        newline = self.tokenizer.tokenizer.newline_id
        return x | {"token_ids": tf.where(is_start, newline, token_ids)}

    def _warn(self, token_ids, mask):
        """Warns of prompts [B, T] that are cut, and of what the vocabulary lacks in them."""
        if (full := mask.all(axis=-1)).any():
            warnings.warn(f"{np.sum(full)} of {full.size} prompts have max_length={mask.shape[-1]} "
                          "tokens or more: they are cut there and not continued; give a larger "
                          "max_length.", stacklevel=3)
        unknown_id = self.tokenizer.tokenizer.unknown_id
        if unknown_id is not None and (unknown := np.sum(mask & (token_ids == unknown_id))):
            warnings.warn(f"The vocabulary lacks {unknown:,} characters of the prompts, which the "
                          "model reads as <unk>.", stacklevel=3)


@register
class GPTTextClassifierPreprocessor(_FromPreset, keras_nlp.models.TextClassifierPreprocessor):
    """Texts -> the token sequences of a task's form (Figure 1 of the paper).

    Args:
      tokenizer: a `GPTTokenizer`.
      sequence_length: T, tokens of a sequence; texts give way as the form says, start, delimiter
        and extract never do. May be set later, too.
      form: "classification" of one text, "entailment" of a premise and a hypothesis, or
        "similarity" of two texts, read in both orders.
      **kwargs: those of `keras.Layer`, such as `name`.

    Raises:
      ValueError: the form is another.

    Call with B strings, or for a form of two texts with a tuple of B and B; and with labels [B] and
    sample weights [B], if there are some. One row without the batch's axis is taken, too.

    Output: x, (x, y) or (x, y, sample_weight), with x = {"token_ids": int32 [B, K, T],
    "padding_mask": int32 [B, K, T], ones on the sequence}; K is 2 for similarity, else 1.

    Example:
      from gpt_tf import GPTTextClassifierPreprocessor

      preprocessor = GPTTextClassifierPreprocessor.from_preset("runs/books", sequence_length=16)
      x, y = preprocessor(["The cat sat.", "And the dog ran."], [0, 1])
      assert x["token_ids"].shape == (2, 1, 16)

      pairs = GPTTextClassifierPreprocessor.from_preset("runs/books", form="similarity")
      x = pairs((["The cat sat."], ["A cat was sitting."]))
      assert x["token_ids"].shape[:2] == (1, 2)
    """

    def __init__(self, tokenizer, sequence_length=512, form=CLASSIFICATION, **kwargs):
        if form not in FIELDS or form == MULTIPLE_CHOICE:
            raise ValueError(f"form={form!r} is none of classification, entailment, similarity; "
                             "multiple choice is fine-tuned with python -m gpt_tf.finetune.")
        kwargs.pop("truncate", None)  # the form says which text gives way
        super().__init__(tokenizer, sequence_length, **kwargs)
        self.form = form

    @classmethod
    def _of_run(cls, model_dir):
        if not run_folder.is_fine_tuned(model_dir):
            return super()._of_run(model_dir)
        task, length = run_folder.load_task(model_dir)
        return {"sequence_length": length, "form": task.form}

    def build(self, input_shape):
        """Nothing is packed by Keras."""
        self.built = True

    def __call__(self, x, *args, **kwargs):
        """See the class."""
        if isinstance(x, tuple) and not isinstance(x[0], tuple) and len(FIELDS[self.form]) > 1:
            args = args or (kwargs.pop("y", None),)  # or KerasHub takes the second text for them
        return super().__call__(x, *args, **kwargs)

    @preprocessing_function
    def call(self, x, y=None, sample_weight=None):
        """See the class."""
        texts = x if isinstance(x, tuple) else (x,)
        expected = FIELDS[self.form]
        if len(texts) != len(expected):
            raise ValueError(f"{self.form} takes {len(expected)} texts ({', '.join(expected)}) and "
                             f"{len(texts)} came.")
        texts = tf.stack(list(map(to_strings, texts)), axis=-1)
        is_one = texts.shape.rank == 1
        count = num_sequences(self.form, num_answers=0)  # multiple choice is not among the forms
        found = tf.numpy_function(
            functools.partial(self._sequences, length=self.sequence_length),
            [texts[None] if is_one else texts], [tf.int32] * 2, stateful=False)
        for value in found:
            value.set_shape([None, count, self.sequence_length])
        x = {name: value[0] if is_one else value
             for name, value in zip(("token_ids", "padding_mask"), found)}
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def _sequences(self, texts: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """[B, texts of a row] -> token ids and mask, int32 [B, K, T]."""
        tokenizer = self.tokenizer.tokenizer
        special = SpecialTokens.after(tokenizer.vocabulary_size)
        token_ids, lengths = pad([
            build(self.form, tokenizer.encode_batch(text.decode("utf-8") for text in row),
                  special, length).token_ids for row in texts], length)
        return token_ids, (np.arange(length) < lengths[..., None]).astype(np.int32)

    def get_config(self):
        """Everything the constructor takes."""
        return super().get_config() | {"form": self.form}


def cut_padding(x):
    """The outputs of a preprocessor without the columns that no row of the batch needs.

    Args:
      x: {"token_ids", "padding_mask"}, [..., T] each, numpy or tensors.

    Returns:
      The same, [..., U]: U is one of few widths (`padding.batch_width`), because a step is compiled
      once for each.
    """
    mask = x["padding_mask"]
    limit = mask.shape[-1]

    def width_of(mask):
        return np.int32(batch_width(int(np.sum(mask, axis=-1).max()), limit))

    is_graph = tf.is_tensor(mask) and not tf.executing_eagerly()
    width = tf.numpy_function(width_of, [mask], tf.int32) if is_graph else width_of(mask)
    return {name: value[..., :width] for name, value in x.items()}
