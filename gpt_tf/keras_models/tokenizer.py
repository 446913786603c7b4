"""The tokenizers as a KerasHub layer.

It calls `gpt_tf.tokenizer.Tokenizer`, which is Python, so it runs eagerly, in `tf.data` and in
Grain, and not in a SavedModel (`python -m gpt_tf.export` writes one that takes strings).
"""

from collections.abc import Iterable, Mapping
import os

import keras_nlp
import numpy as np
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.hub import models
from gpt_tf.interop import tokenizer_json
from gpt_tf.interop.targets import TOKENIZER
from gpt_tf.keras_models.backbone import GPTBackbone, register
from gpt_tf.keras_models.preset import RecordedPreset, explain
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.tokenizer.files import is_tokenizer_file, read_merges, read_vocabulary

_ASSETS = ("vocab.json", "merges.txt", "tokenizer_info.json")


@register
class GPTTokenizer(RecordedPreset, keras_nlp.tokenizers.Tokenizer):
    """Texts to token ids and back, as the program released with the paper does it, or GPT-2's.

    The paper's kind cleans text, splits it into words by spaCy's rules and puts them into lower
    case; the characters of a word, the last with `</w>` behind it, are then merged pair by pair.
    GPT-2's, for any language, merges the bytes of what its rule splits text into, and gives every
    text back as it was.

    Args:
      vocabulary: token -> id, a dict, or the path of a JSON file with one: `vocab.json`. The ids
        are 0 .. n-1. It says the kind: GPT-2's has the 256 symbols of bytes, of the paper's `<unk>`
        is 0. None in a layer whose assets are loaded next.
      merges: two tokens with a space between for each, first merged first, a list, or the path of
        a file with one a line: `merges.txt`. None where `vocabulary` is.
      language: of the paper's kind, the spaCy code of the language whose rules split words; None
        is "en".
      **kwargs: those of `keras.Layer`, such as `name`.

    Attributes:
      tokenizer: the `gpt_tf.tokenizer.Tokenizer` that does the work.
      start_token_id, end_token_id: None; the language model has neither.

    Raises:
      ValueError: one is given without the other, they are no vocabulary and its merges, or
        GPT-2's kind is given a language.

    Call with a string, or B of them, a list or a tensor: token ids int32 [T], or a list of B lists
    (in `tf.data`, a ragged tensor [B, T]).

    Example:
      from gpt_tf import GPTTokenizer

      tokens = ["<unk>", "a", "c", "t", "a</w>", "t</w>", "at</w>", "cat</w>"]
      tokenizer = GPTTokenizer({token: index for index, token in enumerate(tokens)},
                               merges=["a t</w>", "c at</w>"])
      ids = tokenizer("A cat")                       # [4, 7], int32
      assert tokenizer.detokenize(ids) == "a cat"
      assert tokenizer(["a cat", "a"]) == [[4, 7], [4]]

      tokenizer = GPTTokenizer.from_preset("runs/books")
    """

    backbone_cls = GPTBackbone
    start_token_id = end_token_id = None
    pad_token_id = 0

    def __init__(self, vocabulary=None, merges=None, language=None, **kwargs):
        super().__init__(dtype=kwargs.pop("dtype", "int32"), **kwargs)
        if (vocabulary is None) != (merges is None):
            raise ValueError("vocabulary and merges go together: give both, or neither to load "
                             "them as assets.")
        self.file_assets = list(_ASSETS)
        self.tokenizer = None if vocabulary is None else _make(vocabulary, merges, language)
        self.built = True

    @classmethod
    def from_preset(cls, preset, **kwargs):
        """The tokenizer of a preset.

        Args:
          preset: folder that `save_to_preset` wrote, a run folder of `gpt_tf`, any that
            `gpt_tf.tokenizer.Tokenizer.load` reads, a name of `presets`, or a handle,
            "hf://owner/name" or "kaggle://owner/model/keras/variation".
          **kwargs: those of the constructor but for the vocabulary's.

        Raises:
          UserError: the preset is damaged, or holds no tokenizer of ours; or what a handle names
            cannot be had.
        """
        preset = models.local_tokenizer(preset)
        if os.path.isdir(preset) and any(map(is_tokenizer_file, os.listdir(preset))):
            tokenizer = cls(**kwargs)
            tokenizer.load_assets(preset)
            return tokenizer
        with explain(preset):
            return super().from_preset(preset, **kwargs)

    def get_config(self):
        """Everything the constructor takes, vocabulary and merges as data."""
        ours = self.tokenizer
        return super().get_config() | ({} if ours is None else {
            "vocabulary": {token: index for index, token in enumerate(ours.tokens)},
            "merges": list(map(" ".join, ours.merges)),
            **{name: getattr(ours, name) for name in ours.settings}})

    @classmethod
    def from_config(cls, config):
        """The layer that `get_config` described.

        Raises:
          ValueError: it names files, which whoever wrote it may not choose here.
        """
        for name in ("vocabulary", "merges"):
            if isinstance(config.get(name), str):
                raise ValueError(f"The tokenizer's config names a file as its {name}: a config "
                                 "holds the data itself; give files to the constructor.")
        return super().from_config(config)

    def save_assets(self, dir_path):
        """Writes the tokenizer's files into the folder `dir_path`."""
        self._loaded().save(dir_path, layout="huggingface")

    def load_assets(self, dir_path):
        """Reads the tokenizer in the folder `dir_path`."""
        self.tokenizer = Tokenizer.load(dir_path)

    def export_to_transformers(self, path):
        """Writes the files by which transformers' `AutoTokenizer` gives this tokenizer's ids.

        Of text that cleaning changes they may differ, see `interop/README.md`.

        Args:
          path: folder to make, or that of an exported backbone.

        Raises:
          ValueError: a tokenizer stands there.
          UserError: the place cannot be written.
        """
        if os.path.exists(os.path.join(path, TOKENIZER)):
            raise ValueError(f"{path} holds a tokenizer: name another folder.")
        self._loaded().save(path, layout="huggingface")
        tokenizer_json.write(path, self.tokenizer)

    def get_vocabulary(self) -> list[str]:
        """The tokens in the order of their ids."""
        return list(self._loaded().tokens)

    def vocabulary_size(self) -> int:
        """Entries of the BPE vocabulary; the special tokens are not among them."""
        return self._loaded().vocabulary_size

    def id_to_token(self, id) -> str:
        """The token of an id.

        Raises:
          ValueError: the id is not in the vocabulary.
        """
        if not 0 <= id < self.vocabulary_size():
            raise ValueError(f"Token id {id} is outside 0..{self.vocabulary_size() - 1}.")
        return self._loaded().tokens[id]

    def token_to_id(self, token) -> int:
        """The id of a token as the vocabulary writes it: with its `</w>`, or in symbols of bytes.

        Raises:
          ValueError: the vocabulary has no such token.
        """
        try:
            return self._loaded().tokens.index(token)
        except ValueError as error:
            raise ValueError(f"There is no token {token!r} in the vocabulary.") from error

    def tokenize(self, inputs):
        """Token ids of texts.

        Args:
          inputs: a string, or B of them: a list, tuple, array or tensor [B].

        Returns:
          int32 [T], or ragged int32 [B, T].

        Raises:
          ValueError: they are no strings, or a list of lists.
        """
        self._loaded()
        texts = to_strings(inputs)
        flat, lengths = tf.numpy_function(self._encode, [tf.reshape(texts, [-1])],
                                          [tf.int32, tf.int64], stateful=False)
        flat.set_shape([None])
        if texts.shape.rank == 0:
            return flat
        lengths.set_shape([None])
        return tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)

    def detokenize(self, inputs):
        """The text of token ids.

        Args:
          inputs: ids [T], or [B, T]: dense, ragged or lists.

        Returns:
          A string, or a list of B.

        Raises:
          ValueError: an id is neither in the vocabulary nor a special token's.
        """
        if isinstance(inputs, tf.RaggedTensor):
            inputs = inputs.to_list()
        if hasattr(inputs, "numpy"):
            inputs = inputs.numpy()
        rows = [np.asarray(row).tolist() for row in inputs]
        if rows and not isinstance(rows[0], list):
            return self._loaded().decode(rows)
        return [self._loaded().decode(row) for row in rows]

    def _loaded(self) -> Tokenizer:
        if self.tokenizer is None:
            raise ValueError("The tokenizer has no vocabulary yet: give vocabulary and merges, or "
                             "take one with GPTTokenizer.from_preset.")
        return self.tokenizer

    def _encode(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        token_ids = self.tokenizer.encode_batch(text.decode("utf-8") for text in texts)
        return (np.array([index for ids in token_ids for index in ids], np.int32),
                np.array(list(map(len, token_ids)), np.int64))


def _make(vocabulary, merges, language: str | None) -> Tokenizer:
    try:
        if isinstance(vocabulary, (str, os.PathLike)):
            vocabulary = read_vocabulary(vocabulary)
        if isinstance(merges, (str, os.PathLike)):
            merges = read_merges(merges)
        elif isinstance(merges, Iterable) and all(isinstance(merge, str) for merge in merges):
            merges = [tuple(merge.split(" ")) for merge in merges]
        else:
            raise ValueError("merges is a list of strings, two tokens with a space between, or the "
                             "path of a file of them.")
        if not (isinstance(vocabulary, Mapping)
                and all(isinstance(index, int) for index in vocabulary.values())):
            raise ValueError("vocabulary is a dict of tokens and their ids, or the path of a JSON "
                             "file of one.")
        return Tokenizer.of(vocabulary, merges, **({} if language is None else
                                                   {"language": language}))
    except UserError as error:
        raise ValueError(str(error)) from error


def to_strings(inputs) -> tf.Tensor:
    """A string tensor [] or [B]."""
    try:
        texts = tf.convert_to_tensor(inputs, tf.string)
        is_flat = texts.shape.rank is None or texts.shape.rank < 2
    except (TypeError, ValueError):
        is_flat = False
    if not is_flat:
        raise ValueError("The tokenizer takes a string, or a list or tensor [B] of strings, and "
                         f"neither came but {inputs!r:.200}; give each text as one string.")
    return texts
