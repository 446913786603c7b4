"""What tokenizers of both kinds share: ids, files, a memory of what was encoded before.

The kinds differ in how text becomes pieces that byte-pair encoding takes, and in how tokens become
text again: `word_level`, `byte_level`.
"""

import abc
import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import functools
import hashlib
import json
import os
from typing import ClassVar, NamedTuple

import numpy as np
import tokenizers

from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer import files
from gpt_tf.tokenizer.cleaning import Piece

SPECIAL_TOKENS = ("<start>", "<delimiter>", "<extract>")

# Chunks remembered, in characters: some 100 MB at the 9 characters of an English chunk.
_MEMORY = 3_000_000

# Characters looked up at a time, few enough for their chunks to stay in the processor's cache.
_BLOCK = 10_000


class WordBounds(NamedTuple):
    """Each bool [V], of the tokens of a vocabulary.

    begins, ends: whether a word begins or ends with the token, whatever stands beside it.
    is_text: False for what is no part of a word, as line breaks.
    """

    begins: np.ndarray
    ends: np.ndarray
    is_text: np.ndarray


class Tokenizer(abc.ABC):
    """Text to token ids and back, by a vocabulary of one of two kinds.

    `WordTokenizer` is the paper's, `ByteLevelTokenizer` GPT-2's.

    Example:
      tokenizer = Tokenizer.load("bpe")  # of the kind that the folder is of
      ids = tokenizer.encode("Hello world")  # [3570, 1276] with the vocabulary of the paper
      tokenizer.decode(ids)  # "hello world"

    Attributes:
      kind: "gpt1" or "byte_level".
      vocabulary_size: entries of the BPE vocabulary; the special tokens are not among them.
      start_id, delimiter_id, extract_id: the three ids after the vocabulary.
      unknown_id: that of `<unk>`; None of a kind that has none.
      newline_id: that of a line break; of `<unk>` where the vocabulary has none.
      fingerprint: hexadecimal digest of what decides the ids: vocabulary, merges, rules.
      dtype: of `encode_array`, uint16 where all ids fit, else int32.

    Args:
      vocabulary: token -> id; ids 0..n-1.
      merges: pairs of tokens, first merged first.
      **bpe: what else `tokenizers.models.BPE` is to know.

    Raises:
      UserError: the vocabulary is not such a table, or a merge is not made of its tokens.
    """

    kind: ClassVar[str]
    layouts: ClassVar[Mapping[str, tuple[str, str]]]  # of `save`, its own first
    settings: ClassVar[tuple[str, ...]] = ()  # arguments that a folder's description holds
    libraries: ClassVar[tuple[str, ...]]  # whose releases decide ids
    needed: ClassVar[frozenset[str]]  # tokens of every vocabulary of the kind
    unknown_id: ClassVar[int | None]
    words: ClassVar[str]  # what `word_bounds` tells words apart as
    newline_id: int

    _kinds: ClassVar[dict[str, type["Tokenizer"]]] = {}

    def __init_subclass__(cls):
        super().__init_subclass__()
        Tokenizer._kinds[cls.kind] = cls

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]],
                 **bpe: str):
        if set(vocabulary.values()) != set(range(len(vocabulary))):
            raise UserError("The ids of the tokenizer's vocabulary are not "
                            f"0..{len(vocabulary) - 1}, one a token; take the vocabulary from its "
                            "source again.")
        self._tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        self._merges = list(merges)
        self.vocabulary_size = len(self._tokens)
        self.start_id, self.delimiter_id, self.extract_id = range(
            self.vocabulary_size, self.vocabulary_size + len(SPECIAL_TOKENS))
        self.dtype = np.dtype(np.uint16 if self.extract_id < 2**16 else np.int32)
        try:
            self._bpe = tokenizers.models.BPE(vocab=dict(vocabulary), merges=self._merges, **bpe)
        except Exception as error:  # the library raises no other
            raise UserError(f"The merges do not fit the vocabulary: {error}; take both from the "
                            "same tokenizer.") from error

    @staticmethod
    def of(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]],
           **settings: str) -> "Tokenizer":
        """A tokenizer of the kind that the vocabulary is of.

        Args:
          vocabulary, merges: see the class.
          **settings: of a `WordTokenizer`, `language`.

        Raises:
          UserError: see the class; or the kind has no such setting.
        """
        kinds = [kind for kind in Tokenizer._kinds.values() if vocabulary.keys() >= kind.needed]
        if not kinds:
            raise UserError("The tokenizer's vocabulary is of neither kind: GPT-1's has <unk> with "
                            "the id 0, GPT-2's the 256 symbols of bytes; take such a one.")
        kind = max(kinds, key=lambda kind: len(kind.needed))
        if other := settings.keys() - set(kind.settings):
            raise UserError(f"A tokenizer of kind {kind.kind} has no {', '.join(other)}: leave it "
                            "out.")
        return kind(vocabulary, merges, **settings)

    @staticmethod
    def load(folder: str | os.PathLike) -> "Tokenizer":
        """Reads a folder of any layout, made by `save` or downloaded.

        Warns if `save` ran with other versions of the libraries that decide ids.

        Raises:
          UserError: the folder holds no tokenizer, half of one, or one that was altered.
        """
        vocabulary_file, merges_file = files.find(folder)
        info = files.read_info(folder)
        make = Tokenizer.of
        if info:
            kind = Tokenizer._kinds.get(str(info["kind"]))
            if kind is None or not info.keys() >= set(kind.settings):
                raise UserError(f"{files.INFO_FILE} in {folder} does not describe a tokenizer of a "
                                "kind that this program knows; use the release that wrote it.")
            make = functools.partial(kind, **{name: info[name] for name in kind.settings})
        vocabulary = files.read_vocabulary(vocabulary_file)
        merges = files.read_merges(merges_file)
        try:
            tokenizer = make(vocabulary, merges)
        except UserError as error:
            raise UserError(f"{vocabulary_file} and {merges_file}: {error}") from error
        if not info:
            return tokenizer
        if tokenizer.fingerprint != info["fingerprint"]:
            raise UserError(f"The tokenizer in {folder} was altered: its files do not have the "
                            f"fingerprint in {files.INFO_FILE}; make or copy it again.")
        files.warn_of_other_libraries(info, kind.libraries, folder)
        return tokenizer

    def save(self, folder: str | os.PathLike, layout: str | None = None) -> None:
        """Writes the tokenizer; where it stands already, it stays as it is.

        Args:
          folder: made if need be.
          layout: "openai" (the names that OpenAI published) or "huggingface"; None: the one that
            most programs read this kind in.

        Raises:
          UserError: the folder holds another tokenizer, or cannot be written.
        """
        info = files.read_info(folder)
        if info and info["fingerprint"] == Tokenizer.load(folder).fingerprint == self.fingerprint:
            return
        names = self.layouts[layout or next(iter(self.layouts))]
        # A description without a kind is of the paper's, as when there was no other.
        kind = {} if self.kind == files.FIRST_KIND else {"kind": self.kind}
        files.write(folder, names, self._tokens, self._merges, {
            **kind, "fingerprint": self.fingerprint,
            **{name: getattr(self, name) for name in self.settings},
            "vocabulary_size": self.vocabulary_size, **files.library_versions(self.libraries)})

    @functools.cached_property
    def fingerprint(self) -> str:
        content = json.dumps([self._rules, self._tokens, self._merges])
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    @abc.abstractmethod
    def _rules(self) -> str:
        """What decides ids beside vocabulary and merges."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """The vocabulary, by id."""
        return tuple(self._tokens)

    @property
    def merges(self) -> tuple[tuple[str, str], ...]:
        """Pairs of tokens, first merged first."""
        return tuple(self._merges)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens.

        Raises:
          UserError: the text is none that this kind can tell in tokens.
        """
        return self.encode_array(text).tolist()

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [self.encode(text) for text in texts]

    def encode_array(self, text: str) -> np.ndarray:
        """As `encode`, a read-only array [T] of `dtype`: the fast door for long texts."""
        return self.encode_piece(Piece(text))

    def encode_piece(self, piece: Piece) -> np.ndarray:
        """Ids [T] of one piece that `split_text` cut from a document.

        The pieces' ids one after the other are the document's, whichever process made them.
        """
        return np.frombuffer(b"".join(map(self._encode_block, self._cut(piece, _BLOCK))),
                             self.dtype)

    @staticmethod
    @abc.abstractmethod
    def split_text(blocks: Iterable[str], piece_size: int = 1_000_000) -> Iterator[Piece]:
        """Cuts one document into pieces whose ids, one after the other, are the document's ids.

        Args:
          blocks: the document in parts of any length, e.g. `[text]`.
          piece_size: characters.
        """

    @staticmethod
    @abc.abstractmethod
    def _cut(piece: Piece, piece_size: int) -> Iterable[Piece]:
        """A piece in smaller ones."""

    @abc.abstractmethod
    def _encode_block(self, piece: Piece) -> bytes:
        """Ids of a piece, as the bytes of an array of `dtype`."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens, special ones as `SPECIAL_TOKENS` writes them.

        Raises:
          ValueError: an id is neither in the vocabulary nor one of the special tokens.
        """
        ids = np.asarray(list(ids), np.int64)
        outside = ids[(ids < 0) | (ids > self.extract_id)]
        if outside.size:
            raise ValueError(f"Token id {outside[0]} is outside 0..{self.extract_id}.")
        return self._decode(ids.tolist())

    @abc.abstractmethod
    def _decode(self, ids: list[int]) -> str:
        """As `decode`, of ids that are in the vocabulary or special."""

    @abc.abstractmethod
    def settled(self, ids: Sequence[int]) -> int:
        """How many of the first `ids` have text that no later token changes."""

    @abc.abstractmethod
    def joined(self, texts: Sequence[str]) -> list[str]:
        """Texts as they stand one after the other in one text, so that their ids do, too."""

    @abc.abstractmethod
    def label(self, token_id: int) -> str:
        """How pictures show a token of the vocabulary."""

    @abc.abstractmethod
    def word_bounds(self) -> WordBounds:
        """Where words begin and end, as far as a token alone tells it."""

    def _to_bytes(self, ids: Iterable[int]) -> bytes:
        return array.array("H" if self.dtype == np.uint16 else "i", ids).tobytes()


class Remembering(dict):
    """A table that fills itself: what is not in it yet is `function(key)`.

    Attributes:
      characters: of the keys that were asked for and not there.
    """

    def __init__(self, function: Callable[[str], bytes]):
        super().__init__()
        self._function = function
        self.characters = 0

    def __missing__(self, key: str) -> bytes:
        self.characters += len(key)
        value = self[key] = self._function(key)
        return value

    @property
    def is_full(self) -> bool:
        """Whether it is time to forget."""
        return self.characters > _MEMORY
