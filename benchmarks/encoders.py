"""The text encoders that ours is measured against, and the text they all get.

`ReleasedEncoder` takes the steps of the paper's program (section 4.1) straight: ftfy, its
standardisation of punctuation and white space, spaCy's rule tokenizer, lower case, BPE of each
word. No speed tricks beyond a cache of words, which the released program has too.
"""

from collections.abc import Mapping, Sequence
import glob
import json
import re

from gpt_tf.common.errors import UserError

_REPLACED = str.maketrans({"\u2014": "-", "\u2013": "-", "\u2015": "-", "\u2026": "...",
                           "\u00b4": "'"})
# Runs of one of these stand as words of their own. The backslash is not among them: the released
# pattern names it in a string that is not raw, where it only escapes the plus.
_RUNS = re.compile("(" + "|".join(re.escape(mark) + "+" for mark in "-~!\";?+,)(/*[]}{|_") + ")")


def standardize(text: str) -> str:
    """Spaces around punctuation runs; newlines kept, as words; other white space single."""
    text = _RUNS.sub(r" \1 ", text.translate(_REPLACED))
    text = re.sub(r"\s*\n\s*", " \n ", text)
    return re.sub(r"[^\S\n]+", " ", text).strip()


class ReleasedEncoder:
    """Text -> ids, as the paper's program makes them; the tests' yardstick, too.

    Args:
      vocabulary: token -> id.
      merges: pairs, in order.
      language: a spaCy language code.
    """

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]],
                 language: str = "en"):
        import ftfy  # here, so that a process which only starts others stays small
        import spacy
        self._vocabulary = vocabulary
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._fix_text = ftfy.fix_text
        self._split = spacy.blank(language).tokenizer
        self._cache: dict[str, list[str]] = {}
        self.rules = self._split.rules

    @classmethod
    def from_files(cls, vocabulary: str, merges: str) -> "ReleasedEncoder":
        """Reads `encoder_bpe_40000.json` and `vocab_40000.bpe` (one header line)."""
        with open(vocabulary, encoding="utf-8") as stream:
            ids = json.load(stream)
        with open(merges, encoding="utf-8") as stream:
            lines = stream.read().split("\n")[1:-1]
        return cls(ids, [tuple(line.split()) for line in lines])

    def words(self, text: str) -> list[str]:
        """The lower-case words that BPE gets."""
        return [token.text.lower() for token in self._split(standardize(self._fix_text(text)))]

    def pieces(self, word: str) -> list[str]:
        """One word's BPE pieces."""
        if word not in self._cache:
            self._cache[word] = self._merge(word)
        return self._cache[word]

    def encode(self, text: str) -> list[int]:
        """The ids of one text, however long."""
        return [self._vocabulary.get(piece, 0) for word in self.words(text)
                for piece in self.pieces(word)]

    def _merge(self, word: str) -> list[str]:
        parts = [*word[:-1], word[-1] + "</w>"]
        # spaCy makes one word of a newline and the space after it.
        if parts == ["\n", " </w>"]:
            return ["\n</w>"]
        while len(parts) > 1:
            pairs = set(zip(parts, parts[1:]))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            joined, index = [], 0
            while index < len(parts):
                if tuple(parts[index:index + 2]) == best:
                    joined.append(parts[index] + parts[index + 1])
                    index += 2
                else:
                    joined.append(parts[index])
                    index += 1
            parts = joined
        return parts


def bert_split_encoder(vocabulary: str, merges: str):
    """A `tokenizers.Tokenizer` that splits as transformers' `OpenAIGPTTokenizer` does.

    Lower case, BERT's splitting, then the same BPE: fast, and not the paper's ids.
    """
    import tokenizers
    encoder = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(
        vocabulary, merges, unk_token="<unk>", end_of_word_suffix="</w>"))
    encoder.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    encoder.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    return encoder


def byte_level_encoder(vocabulary: str, merges: str):
    """A `tokenizers.Tokenizer` that splits and merges as GPT-2 does."""
    import tokenizers
    encoder = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(vocabulary, merges))
    encoder.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return encoder


def read_documents(pattern: str, skip_bytes: int, num_bytes: int) -> list[str]:
    """The texts of the files that match, in the order of their names, as if they were one text.

    Args:
      pattern: a glob of UTF-8 files, one document each.
      skip_bytes: text before this place is left out.
      num_bytes: how much to return at most; the first and the last document may be parts.

    Raises:
      UserError: nothing is left to return.
    """
    documents, place = [], 0
    for path in sorted(glob.glob(pattern)):
        with open(path, "rb") as stream:
            content = stream.read()
        start, stop = (min(max(edge - place, 0), len(content))
                       for edge in (skip_bytes, skip_bytes + num_bytes))
        place += len(content)
        if stop > start:
            documents.append(content[start:stop].decode("utf-8", errors="ignore"))
    if not documents:
        raise UserError(f"--input={pattern} has no text after its first {skip_bytes} bytes.")
    return documents
