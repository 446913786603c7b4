"""Text to token ids and back, exactly as the program released with GPT-1 does it.

The path (section 4.1 of the paper): ftfy, the released standardisation, spaCy's rule tokenizer,
lower case, then byte-pair encoding of each word's characters with `</w>` at its end. It is fast
because a whitespace-separated chunk of text has the same ids wherever it stands: they are kept,
and most text is one dictionary look-up per chunk.
"""

from collections.abc import Mapping, Sequence
import functools

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer import cleaning, files
from gpt_tf.tokenizer.characters import CharacterRules, CharacterSplitter
from gpt_tf.tokenizer.spacing import join_words
from gpt_tf.tokenizer.tokenizer import SPECIAL_TOKENS, Remembering, Tokenizer, WordBounds
from gpt_tf.tokenizer.words import WordRules, WordSplitter, splitter_of

UNKNOWN = "<unk>"
END_OF_WORD = "</w>"
NEWLINE = "\n" + END_OF_WORD


class WordTokenizer(Tokenizer):
    """GPT-1's tokenizer: the published vocabulary or one made by `pipelines.train_bpe`.

    Text is lower case and standardised; a line break is one id, however long; what the vocabulary
    lacks is `<unk>`. Text of `decode` is lower case, too, with punctuation joined to its words.

    Attributes:
      language: the spaCy language code whose rules split words.

    Args:
      vocabulary: token -> id; ids 0..n-1, `<unk>` is 0.
      merges: pairs of tokens, first merged first.
      language: a spaCy language code.

    Raises:
      UserError: the vocabulary is not such a table, or a merge is not made of its tokens.
    """

    kind = "gpt1"
    layouts = {"openai": files.GPT1, "huggingface": files.HUGGING_FACE}
    settings = ("language",)
    libraries = ("ftfy", "spacy")
    needed = frozenset({UNKNOWN})
    words = "words and punctuation marks"
    unknown_id = 0

    split_text = staticmethod(cleaning.split_text)
    _cut = staticmethod(cleaning.cut)

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]],
                 language: str = "en"):
        if vocabulary.get(UNKNOWN) != self.unknown_id:
            raise UserError(f"The tokenizer's vocabulary does not give {UNKNOWN} the id 0, as "
                            "GPT-1's does; take a vocabulary of that kind.")
        super().__init__(vocabulary, merges, unk_token=UNKNOWN, end_of_word_suffix=END_OF_WORD)
        self.language = language
        self.newline_id = vocabulary.get(NEWLINE, self.unknown_id)
        self._newline = self._to_bytes([self.newline_id])
        self._forget()

    @property
    def _rules(self) -> str:
        return self.language

    @property
    def word_rules(self) -> WordRules | CharacterRules:
        """The rules of the language."""
        return self._splitter.rules

    def settled(self, ids: Sequence[int]) -> int:
        """How many of the first `ids` are whole words."""
        count = len(ids)
        while count and not self._ends_word(ids[count - 1]):
            count -= 1
        return count

    def _ends_word(self, token_id: int) -> bool:
        return (token_id == self.unknown_id or token_id >= self.vocabulary_size
                or self._tokens[token_id].endswith(END_OF_WORD))

    def joined(self, texts: Sequence[str]) -> list[str]:
        """The texts as they are: a word ends with each."""
        return list(texts)

    def label(self, token_id: int) -> str:
        """The token, and a hyphen where its word goes on."""
        token = self._tokens[token_id].removesuffix(END_OF_WORD).replace("\n", "\\n")
        return token if self._ends_word(token_id) else f"{token}-"

    def word_bounds(self) -> WordBounds:
        """See `Tokenizer`."""
        ends = np.array(list(map(self._ends_word, range(self.vocabulary_size))))
        is_text = np.array([token != NEWLINE for token in self._tokens])
        return WordBounds(np.zeros_like(ends), ends, is_text)

    def _decode(self, ids: list[int]) -> str:
        # An unknown piece is mostly a symbol of its own: it ends a word, and so do special tokens.
        whole_words = dict(enumerate(SPECIAL_TOKENS, self.vocabulary_size)) | {
            self.unknown_id: UNKNOWN}
        text = "".join(whole_words[index] + END_OF_WORD if index in whole_words
                       else self._tokens[index] for index in ids)
        return join_words(text.removesuffix(END_OF_WORD).split(END_OF_WORD) if text else [],
                          self.language)

    def _forget(self) -> None:
        """Starts with an empty memory; ids are kept as bytes, which join fast."""
        self._chunks = Remembering(self._encode_chunk)
        self._chunks[cleaning.NEWLINE] = self._newline
        self._parts = Remembering(self._encode_part)
        self._words = Remembering(self._encode_word)

    @functools.cached_property
    def _splitter(self) -> WordSplitter | CharacterSplitter:
        return splitter_of(self.language)  # may load spaCy

    def _encode_block(self, piece: cleaning.Piece) -> bytes:
        if self._chunks.is_full:
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
