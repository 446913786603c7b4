"""Texts for the Keras models: tokenizer and preprocessors in the sense of KerasNLP.

They call `tokenizer.Tokenizer`, which is Python, so they run eagerly and in `tf.data`, and not in
a SavedModel (`python -m gpt_tf.export` writes one that takes strings).
"""

import keras_nlp
import numpy as np
import tensorflow as tf

from gpt_tf.data.padding import batch_width, pad
from gpt_tf.keras_models.backbone import GPTBackbone, is_run_folder, register
from gpt_tf.keras_models.preset import explain
from gpt_tf.runs import run_folder
from gpt_tf.tasks.forms import (
    CLASSIFICATION,
    FIELDS,
    MULTIPLE_CHOICE,
    SpecialTokens,
    build,
    num_sequences,
)
from gpt_tf.tokenizer import Tokenizer

_ASSETS = ("vocab.json", "merges.txt", "tokenizer_info.json")


@register
class GPTTokenizer(keras_nlp.tokenizers.Tokenizer):
    """The paper's tokenizer as a KerasNLP layer.

    Args:
      tokenizer: a `gpt_tf.tokenizer.Tokenizer`; None in a layer whose assets are loaded next.

    Example:
      GPTTokenizer(Tokenizer.load("bpe"))(["It was a dark night."])    # token ids, ragged
    """

    backbone_cls = GPTBackbone
    start_token_id = end_token_id = None  # the language model has neither
    pad_token_id = 0

    def __init__(self, tokenizer: Tokenizer | None = None, **kwargs):
        super().__init__(dtype=kwargs.pop("dtype", "int32"), **kwargs)
        self.file_assets = list(_ASSETS)
        self.tokenizer = tokenizer
        self.built = True

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """Like `keras_nlp`'s; `preset` may also be a run folder of `gpt_tf`."""
        if is_run_folder(preset):
            return cls(Tokenizer.load(preset), **kwargs)
        with explain(preset):
            return super().from_preset(preset, **kwargs)

    def save_assets(self, dir_path):
        """Writes the tokenizer's files."""
        self.tokenizer.save(dir_path, layout="huggingface")

    def load_assets(self, dir_path):
        """Reads what `save_assets` wrote."""
        self.tokenizer = Tokenizer.load(dir_path)

    def vocabulary_size(self) -> int:
        """Entries of the BPE vocabulary; the special tokens are not among them."""
        return self.tokenizer.vocabulary_size

    def tokenize(self, inputs):
        """Strings, a scalar or [B] -> token ids int32 [T], or ragged [B, T]."""
        inputs = tf.convert_to_tensor(inputs, tf.string)
        flat, lengths = tf.numpy_function(self._encode, [tf.reshape(inputs, [-1])],
                                          [tf.int32, tf.int64], stateful=False)
        flat.set_shape([None])
        if inputs.shape.rank == 0:
            return flat
        lengths.set_shape([None])
        return tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)

    def detokenize(self, inputs):
        """Token ids [T], or [B, T] dense, ragged or lists -> a string, or strings."""
        if isinstance(inputs, tf.RaggedTensor):
            inputs = inputs.to_list()
        if hasattr(inputs, "numpy"):
            inputs = inputs.numpy()
        rows = [np.asarray(row).tolist() for row in inputs]
        if rows and not isinstance(rows[0], list):
            return self.tokenizer.decode(rows)
        return [self.tokenizer.decode(row) for row in rows]

    def _encode(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        token_ids = self.tokenizer.encode_batch(text.decode("utf-8") for text in texts)
        return (np.array([index for ids in token_ids for index in ids], np.int32),
                np.array(list(map(len, token_ids)), np.int64))


class _FromPreset:
    """How both preprocessors are made of presets, of models of whatever kind, and run folders."""

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """A preprocessor from a preset of `save_to_preset`, or from a run folder of `gpt_tf`.

        Args:
          preset: folder, or a name as `keras_nlp` has them.
          **kwargs: arguments of the class; `sequence_length` is else the preset's, or as many
            tokens as its model has positions.

        Raises:
          UserError: the preset is damaged.
        """
        if is_run_folder(preset):
            return cls(GPTTokenizer.from_preset(preset), **cls._of_run(preset) | kwargs)
        with explain(preset):
            return super().from_preset(preset, **kwargs)

    @classmethod
    def _of_run(cls, run: str) -> dict:
        return {"sequence_length": run_folder.load_config(run).max_sequence_length}

    @classmethod
    def _add_missing_kwargs(cls, loader, kwargs):
        # KerasHub calls this where the preset has another kind of preprocessor, or none.
        length = loader.config["config"]["max_sequence_length"]
        return super()._add_missing_kwargs(loader, {"sequence_length": length} | kwargs)


@register
class GPTCausalLMPreprocessor(_FromPreset, keras_nlp.models.CausalLMPreprocessor):
    """Texts -> padded windows and what they predict; there is no start or end token.

    Args:
      tokenizer: a `GPTTokenizer`.
      sequence_length: T, tokens of a window.
    """

    backbone_cls = GPTBackbone
    tokenizer_cls = GPTTokenizer

    def __init__(self, tokenizer, sequence_length=512, add_start_token=False, add_end_token=False,
                 **kwargs):
        if add_start_token or add_end_token:
            raise ValueError("GPT-1's language model has no start and no end token.")
        super().__init__(tokenizer, sequence_length, False, False, **kwargs)


@register
class GPTTextClassifierPreprocessor(_FromPreset, keras_nlp.models.TextClassifierPreprocessor):
    """Texts -> the sequences of a task's form (Figure 1), padded to the longest of the batch.

    Args:
      tokenizer: a `GPTTokenizer`.
      sequence_length: the most tokens of a sequence; longer texts give way as in `forms`.
      form: one of `forms.FORMS` but multiple choice.

    Raises:
      ValueError: the form is another.

    Output: {"token_ids": int32 [B, K, T], "padding_mask": int32 [B, K, T]}, with labels if given.
    K is 2 for similarity, else 1.
    """

    backbone_cls = GPTBackbone
    tokenizer_cls = GPTTokenizer

    def __init__(self, tokenizer, sequence_length=512, form=CLASSIFICATION, **kwargs):
        if form not in FIELDS or form == MULTIPLE_CHOICE:
            raise ValueError(f"form={form!r} is none of classification, entailment, similarity; "
                             "multiple choice is fine-tuned with python -m gpt_tf.finetune.")
        kwargs.pop("truncate", None)  # the form says which text gives way
        super().__init__(tokenizer, sequence_length, **kwargs)
        self.form = form

    @classmethod
    def _of_run(cls, run):
        if not run_folder.is_fine_tuned(run):
            return super()._of_run(run)
        task, length = run_folder.load_task(run)
        return {"sequence_length": length, "form": task.form}

    def build(self, input_shape):
        """Nothing is packed by Keras."""
        self.built = True

    def call(self, x, y=None, sample_weight=None):
        """Strings [B], or a tuple of them in the order of `forms.FIELDS[form]`."""
        texts = x if isinstance(x, tuple) else (x,)
        expected = FIELDS[self.form]
        if len(texts) != len(expected):
            raise ValueError(f"{self.form} takes {len(expected)} texts ({', '.join(expected)}) and "
                             f"{len(texts)} came.")
        texts = tf.stack([tf.convert_to_tensor(text, tf.string) for text in texts], axis=-1)
        is_one = texts.shape.rank == 1
        token_ids, mask = tf.numpy_function(
            self._sequences, [texts[None] if is_one else texts], [tf.int32] * 2, stateful=False)
        count = num_sequences(self.form, num_answers=0)  # multiple choice is not among the forms
        for value in (token_ids, mask):
            value.set_shape([None, count, None])
        x = {"token_ids": token_ids, "padding_mask": mask}
        if is_one:
            x = {name: value[0] for name, value in x.items()}
        if y is None:
            return x
        return (x, y) if sample_weight is None else (x, y, sample_weight)

    def _sequences(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[B, texts of a row] -> token ids and mask, int32 [B, K, T]."""
        tokenizer = self.tokenizer.tokenizer
        special = SpecialTokens.after(tokenizer.vocabulary_size)
        rows = [build(self.form, tokenizer.encode_batch(text.decode("utf-8") for text in row),
                      special, self.sequence_length).token_ids for row in texts]
        longest = max(len(sequence) for row in rows for sequence in row)
        width = batch_width(longest, self.sequence_length)
        token_ids, lengths = pad(rows, width)
        return token_ids, (np.arange(width) < lengths[..., None]).astype(np.int32)

    def get_config(self):
        """Everything the constructor takes."""
        return super().get_config() | {"form": self.form}
