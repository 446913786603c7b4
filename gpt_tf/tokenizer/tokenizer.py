"""Text to token ids and back, exactly as the program released with GPT-1 does it.

The path (section 4.1 of the paper): ftfy, the released standardisation, spaCy's rule tokenizer,
lower case, then byte-pair encoding of each word's characters with `</w>` at its end. It is fast
because a whitespace-separated chunk of text has the same ids wherever it stands: they are kept,
and most text is one dictionary look-up per chunk.
"""

import array
from collections.abc import Callable, Iterable, Mapping, Sequence
import functools
import hashlib
import json
import os

import numpy as np
import tokenizers

from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer import cleaning, files
from gpt_tf.tokenizer.words import WordRules, WordSplitter, join_words

UNKNOWN = "<unk>"
END_OF_WORD = "</w>"
NEWLINE = "\n" + END_OF_WORD
SPECIAL_TOKENS = ("<start>", "<delimiter>", "<extract>")

# Chunks remembered, in characters: some 100 MB at the 9 characters of an English chunk.
_MEMORY = 3_000_000

# Characters looked up at a time, few enough for their chunks to stay in the processor's cache.
_BLOCK = 10_000


class Tokenizer:
    """GPT-1's tokenizer: the published vocabulary or one made by `pipelines.train_bpe`.

    Example:
      tokenizer = Tokenizer.load("bpe")
      ids = tokenizer.encode("Hello world")  # [3570, 1276] with the published vocabulary
      tokenizer.decode(ids)  # "hello world"

    Attributes:
      vocabulary_size: entries of the BPE vocabulary; the special tokens are not among them.
      start_id, delimiter_id, extract_id: the three ids after the vocabulary.
      newline_id: that of a line break; of `<unk>` where the vocabulary has none.
      language: the spaCy language code whose rules split words.
      fingerprint: hexadecimal digest of vocabulary, merges and language.
      dtype: of `encode_array`, uint16 where all ids fit, else int32.

    Args:
      vocabulary: token -> id; ids 0..n-1, `<unk>` is 0.
      merges: pairs of tokens, first merged first.
      language: a spaCy language code.

    Raises:
      UserError: the vocabulary is not such a table, or a merge is not made of its tokens.
    """

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]],
                 language: str = "en"):
        self._tokens = _check_vocabulary(vocabulary)
        self._merges = list(merges)
        self.language = language
        self.vocabulary_size = len(self._tokens)
        self.start_id, self.delimiter_id, self.extract_id = range(
            self.vocabulary_size, self.vocabulary_size + len(SPECIAL_TOKENS))
        self.dtype = np.dtype(np.uint16 if self.extract_id < 2**16 else np.int32)
        try:
            self._bpe = tokenizers.models.BPE(
                vocab=dict(vocabulary), merges=self._merges, unk_token=UNKNOWN,
                end_of_word_suffix=END_OF_WORD)
        except Exception as error:  # the library raises no other
            raise UserError(f"The merges do not fit the vocabulary: {error}; take both from the "
                            "same tokenizer.") from error
        self.newline_id = vocabulary.get(NEWLINE, 0)
        self._newline = self._to_bytes([self.newline_id])
        self._forget()

    @classmethod
    def from_openai(cls, encoder_json: str | os.PathLike, merges: str | os.PathLike,
                    language: str = "en") -> "Tokenizer":
        """Reads the layout released with the paper: `encoder_bpe_40000.json`, `vocab_40000.bpe`.

        Raises:
          UserError: a file is missing or is not of that layout.
        """
        vocabulary = files.read_vocabulary(encoder_json)
        pairs = files.read_merges(merges)
        try:
            return cls(vocabulary, pairs, language)
        except UserError as error:
            raise UserError(f"{encoder_json} and {merges}: {error}") from error

    @classmethod
    def from_huggingface(cls, vocab_json: str | os.PathLike, merges: str | os.PathLike,
                         language: str = "en") -> "Tokenizer":
        """Reads Hugging Face's `vocab.json` and `merges.txt`: the same content, other names.

        Raises:
          UserError: a file is missing or is not of that layout.
        """
        return cls.from_openai(vocab_json, merges, language)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Tokenizer":
        """Reads a folder of either layout, made by `save` or downloaded.

        Warns if `save` ran with other versions of ftfy or spaCy.

        Raises:
          UserError: the folder holds no tokenizer, half of one, or one that was altered.
        """
        encoder_json, merges = files.find(folder)
        info = files.read_info(folder)
        if info is None:
            return cls.from_openai(encoder_json, merges)
        tokenizer = cls.from_openai(encoder_json, merges, info["language"])
        if tokenizer.fingerprint != info["fingerprint"]:
            raise UserError(f"The tokenizer in {folder} was altered: its files do not have the "
                            f"fingerprint in {files.INFO_FILE}; make or copy it again.")
        files.warn_of_other_libraries(info, folder)
        return tokenizer

    def save(self, folder: str | os.PathLike, layout: str = "openai") -> None:
        """Writes the tokenizer; where it stands already, it stays as it is.

        Args:
          folder: made if need be.
          layout: "openai" (the published one) or "huggingface".

        Raises:
          UserError: the folder holds another tokenizer, or cannot be written.
        """
        info = files.read_info(folder)
        if info and info["fingerprint"] == Tokenizer.load(folder).fingerprint == self.fingerprint:
            return
        files.write(folder, layout, self._tokens, self._merges, {
            "fingerprint": self.fingerprint, "language": self.language,
            "vocabulary_size": self.vocabulary_size})

    @functools.cached_property
    def fingerprint(self) -> str:
        content = json.dumps([self.language, self._tokens, self._merges])
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def tokens(self) -> tuple[str, ...]:
        """The vocabulary, by id."""
        return tuple(self._tokens)

    @property
    def merges(self) -> tuple[tuple[str, str], ...]:
        """Pairs of tokens, first merged first."""
        return tuple(self._merges)

    @property
    def word_rules(self) -> WordRules:
        """The rules of the language."""
        return self._splitter.rules

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without special tokens; a line break is one id, however long."""
        return self.encode_array(text).tolist()

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [self.encode(text) for text in texts]

    def encode_array(self, text: str) -> np.ndarray:
        """As `encode`, a read-only array [T] of `dtype`: the fast door for long texts."""
        return self.encode_piece(cleaning.Piece(text))

    def encode_piece(self, piece: cleaning.Piece) -> np.ndarray:
        """Ids [T] of one piece that `cleaning.split_text` cut from a document.

        The pieces' ids one after the other are the document's, whichever process made them.
        """
        blocks = cleaning.cut(piece, _BLOCK)
        return np.frombuffer(b"".join(map(self._encode_block, blocks)), self.dtype)

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text: lower case, punctuation joined to its words, line breaks kept.

        Raises:
          ValueError: an id is neither in the vocabulary nor one of the special tokens.
        """
        ids = np.asarray(list(ids), np.int64)
        outside = ids[(ids < 0) | (ids > self.extract_id)]
        if outside.size:
            raise ValueError(f"Token id {outside[0]} is outside 0..{self.extract_id}.")
        # An unknown piece is mostly a symbol of its own: it ends a word, and so do special tokens.
        whole_words = dict(enumerate(SPECIAL_TOKENS, self.vocabulary_size)) | {0: UNKNOWN}
        text = "".join(whole_words[index] + END_OF_WORD if index in whole_words
                       else self._tokens[index] for index in ids.tolist())
        return join_words(text.removesuffix(END_OF_WORD).split(END_OF_WORD) if text else [])

    def ends_word(self, token_id: int) -> bool:
        """Whether what follows this token begins a word of its own."""
        return (token_id == 0 or token_id >= self.vocabulary_size
                or self._tokens[token_id].endswith(END_OF_WORD))

    def _to_bytes(self, ids: list[int]) -> bytes:
        return array.array("H" if self.dtype == np.uint16 else "i", ids).tobytes()

    def _forget(self) -> None:
        """Starts with an empty memory; ids are kept as bytes, which join fast."""
        self._chunks = _Remembering(self._encode_chunk)
        self._chunks[cleaning.NEWLINE] = self._newline
        self._parts = _Remembering(self._encode_part)
        self._words = _Remembering(self._encode_word)
        self._remembered = 0  # characters of chunks

    @functools.cached_property
    def _splitter(self) -> WordSplitter:
        return WordSplitter(self.language)  # loads spaCy

    def _encode_block(self, piece: cleaning.Piece) -> bytes:
        if self._remembered > _MEMORY:
            self._forget()
        chunks = cleaning.chunks(cleaning.clean(piece.text, piece.unescape_html))
        try:
            ids = b"".join(map(self._chunks.__getitem__, chunks))
        except _Unsettled:
            ids = self._encode_lines(chunks)
        return self._newline + ids if piece.continues else ids

    def _encode_lines(self, chunks: list[str]) -> bytes:
        """Chunks of which some are split by what stands beside them in their line."""
        lines, start = [], 0
        breaks = [place for place, chunk in enumerate(chunks) if chunk == cleaning.NEWLINE]
        for end in [*breaks, len(chunks)]:
            line = chunks[start:end]
            try:
                lines.append(b"".join(map(self._chunks.__getitem__, line)))
            except _Unsettled:
                words = self._splitter.split_line(cleaning.standardise(" ".join(line)))
                lines.append(b"".join(self._words[word.lower()] for word in words))
            start = end + 1
        return self._newline.join(lines)

    def _encode_chunk(self, chunk: str) -> bytes:
        """Ids of a whitespace-separated chunk of clean text."""
        self._remembered += len(chunk)
        if chunk.isascii() and chunk.isalpha():
            return self._parts[chunk]
        parts = cleaning.standardise(chunk).split()
        return b"".join(map(self._parts.__getitem__, parts))

    def _encode_part(self, part: str) -> bytes:
        """Ids of a chunk of standardised text."""
        words = self._splitter.split_chunk(part)
        if words is None:
            raise _Unsettled
        return b"".join([self._words[word.lower()] for word in words])

    def _encode_word(self, word: str) -> bytes:
        return self._to_bytes([token.id for token in self._bpe.tokenize(word)])


class _Unsettled(Exception):
    """The ids of a chunk depend on the chunks beside it."""


class _Remembering(dict):
    """A table that fills itself: what is not in it yet is `function(key)`."""

    def __init__(self, function: Callable[[str], bytes]):
        super().__init__()
        self._function = function

    def __missing__(self, key: str) -> bytes:
        value = self[key] = self._function(key)
        return value


def _check_vocabulary(vocabulary: Mapping[str, int]) -> list[str]:
    """The tokens by id."""
    if vocabulary.get(UNKNOWN) != 0:
        raise UserError(f"The tokenizer's vocabulary does not give {UNKNOWN} the id 0, as GPT-1's "
                        "does; take a vocabulary of that kind.")
    if set(vocabulary.values()) != set(range(len(vocabulary))):
        raise UserError(f"The ids of the tokenizer's vocabulary are not 0..{len(vocabulary) - 1}, "
                        "one a token; take the vocabulary from its source again.")
    return sorted(vocabulary, key=vocabulary.__getitem__)
