"""Text to token ids and back as GPT-2 does it, so that any text comes back as it was.

The path (section 2.2 of Radford et al. 2019, "Language Models are Unsupervised Multitask
Learners"): a splitting rule that keeps every character, then byte-pair encoding of each part's
UTF-8 bytes, which the vocabulary writes as 256 visible symbols. Both are those of `tokenizers`; a
chunk of text that was encoded once is remembered, as in `word_level`.

The rule is `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`:
a space goes with what follows it, and white space before something visible is one part but for
its last character. So a text can be cut before that character.
"""

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
import re

import numpy as np
import tokenizers

from gpt_tf.common.errors import UserError, written_out
from gpt_tf.tokenizer import files
from gpt_tf.tokenizer.cleaning import Piece
from gpt_tf.tokenizer.tokenizer import SPECIAL_TOKENS, Remembering, Tokenizer, WordBounds


def _symbols() -> dict[str, int]:
    """The symbol of each byte: itself where Latin-1 shows something, else one from U+0100 on."""
    shown = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {
        chr(0x100 + index): byte for index, byte in enumerate(hidden)}


# Symbol -> byte, in the order of GPT-2's ids, which is also that of the symbols.
BYTE_OF_SYMBOL = _symbols()
SYMBOLS = {byte: symbol for symbol, byte in BYTE_OF_SYMBOL.items()}

# Unicode's; Python's \s is also U+001C to U+001F.
_SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CHUNK = re.compile(f" ?[^{_SPACE}]+|[{_SPACE}]+(?![^{_SPACE}])|[{_SPACE}]+")
_SPACES = re.compile(f"[{_SPACE}]+")
# Before it a text may be cut.
_LAST_SPACE = re.compile(f"[{_SPACE}](?=[^{_SPACE}])")
_SURROGATE = re.compile("[\ud800-\udfff]")


class ByteLevelTokenizer(Tokenizer):
    """GPT-2's tokenizer: the published vocabulary or one made by `pipelines.train_bpe`.

    `decode(encode(text)) == text` for every text that UTF-8 can hold. Tokens that no text becomes,
    as GPT-2's `<|endoftext|>`, decode as they are written.

    Args:
      vocabulary: token -> id; ids 0..n-1, the `SYMBOLS` of all bytes among them.
      merges: pairs of tokens, first merged first.

    Raises:
      UserError: the vocabulary is not such a table, or a merge is not made of its tokens; or, from
        `encode`, the text holds half of a surrogate pair.
    """

    kind = "byte_level"
    layouts = {"huggingface": files.HUGGING_FACE, "openai": files.GPT2}
    libraries = ("tokenizers",)
    needed = frozenset(BYTE_OF_SYMBOL)
    words = "words, with the punctuation on them,"
    unknown_id = None

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]):
        if not vocabulary.keys() >= self.needed:
            raise UserError("The tokenizer's vocabulary lacks some of the 256 symbols of bytes "
                            "that GPT-2's has; take a vocabulary of that kind.")
        super().__init__(vocabulary, merges)
        self.newline_id = vocabulary[SYMBOLS[ord("\n")]]
        self._bytes = [*map(to_utf8, self._tokens),
                       *(token.encode() for token in SPECIAL_TOKENS)]
        self._encoder = tokenizers.Tokenizer(self._bpe)
        self._encoder.pre_tokenizer = splitter()
        self._chunks = Remembering(self._encode_chunk)

    @property
    def _rules(self) -> str:
        return self.kind

    @staticmethod
    def split_text(blocks: Iterable[str], piece_size: int = 1_000_000) -> Iterator[Piece]:
        """See `Tokenizer`. Memory: one piece and one block, or text without white space."""
        held, length, last = [], 0, ""
        for block in blocks:
            held.append(block)
            length += len(block)
            # What is held is looked through only when there is a new place to cut.
            if length > piece_size and _LAST_SPACE.search(last + block):
                *pieces, rest = cut("".join(held), piece_size)
                yield from pieces
                held, length = [rest.text], len(rest.text)
            last = block[-1:]
        yield Piece("".join(held))

    @staticmethod
    def _cut(piece: Piece, piece_size: int) -> Iterable[Piece]:
        return cut(piece.text, piece_size)

    def settled(self, ids: Sequence[int]) -> int:
        """How many of the first `ids` end with a whole character, or with bytes that are none."""
        after = b""
        for count in range(len(ids), 0, -1):
            before = b"".join(self._bytes[index] for index in ids[max(count - 3, 0):count])
            if _is_boundary(before, after):
                return count
            after = self._bytes[ids[count - 1]] + after
        return 0

    def joined(self, texts: Sequence[str]) -> list[str]:
        """The texts with one space at each joint, which goes with what follows it, and without
        white space at their ends; an empty one stays so."""
        texts = [text.strip() for text in texts]
        return [" " + text if text and any(texts[:place]) else text
                for place, text in enumerate(texts)]

    def label(self, token_id: int) -> str:
        """The token's text, a space as "\u2423", half a character as its bytes."""
        text = self._bytes[token_id].decode("utf-8", errors="backslashreplace")
        return written_out(text.replace(" ", "\u2423"))

    def word_bounds(self) -> WordBounds:
        """See `Tokenizer`: words are what stands between white space."""
        texts = [self.decode([index]) for index in range(self.vocabulary_size)]
        begins = np.array([bool(_SPACES.match(text)) for text in texts])
        ends = np.array([bool(_SPACES.fullmatch(text)) for text in texts])
        return WordBounds(begins, ends, ~ends)

    def _encode_block(self, piece: Piece) -> bytes:
        if self._chunks.is_full:
            self._chunks = Remembering(self._encode_chunk)
        return b"".join(map(self._chunks.__getitem__, chunks(piece.text)))

    def _encode_chunk(self, chunk: str) -> bytes:
        if half := _SURROGATE.search(chunk):
            raise UserError(f"The text holds {half[0]}, which is half of a pair of UTF-16 and no "
                            "character: repair the text.")
        return self._to_bytes(self._encoder.encode(chunk).ids)

    def _decode(self, ids: list[int]) -> str:
        return b"".join([self._bytes[index] for index in ids]).decode("utf-8", errors="replace")


def splitter() -> tokenizers.pre_tokenizers.PreTokenizer:
    """GPT-2's rule; its parts come out as the symbols of their bytes."""
    return tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)


def chunks(text: str) -> list[str]:
    """White space, and what is visible with one space before it: the rule's parts or more of them.

    `chunks("It's\\n\\n  so") == ["It's", "\\n\\n ", " so"]`
    """
    return _CHUNK.findall(text)


def cut(text: str, piece_size: int) -> list[Piece]:
    """Cuts a text before white space that something visible follows: nothing goes over that."""
    start, pieces = 0, []
    while found := _LAST_SPACE.search(text, start + piece_size):
        pieces.append(Piece(text[start:found.start()]))
        start = found.start()
    return [*pieces, Piece(text[start:])]


def to_utf8(token: str) -> bytes:
    """The bytes of text that a token of the vocabulary stands for."""
    try:
        return bytes(map(BYTE_OF_SYMBOL.__getitem__, token))
    except KeyError:  # no text becomes it
        return token.encode()


def _is_boundary(before: bytes, after: bytes) -> bool:
    """Whether bytes stay what they are, whatever follows `after`: they end with no part of a
    character, or of one that `after` breaks off."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(before)
    return not decoder.getstate()[0] or decoder.decode(after).startswith("\ufffd")
