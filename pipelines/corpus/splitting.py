"""Which documents are validation, and which shard and worker each piece of text goes to.

Everything here is a pure function of the documents, their order and the flags, never of the number
of workers: so are the shards.
"""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import functools
import hashlib
import itertools
import re

from gpt_tf.common.progress import Progress
from gpt_tf.tokenizer.cleaning import Piece
from gpt_tf.tokenizer.languages import LetterSample
from pipelines.building.plan import TRAIN, VALIDATION, content_hash, take_same
from pipelines.corpus.census import Census
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.documents import Document, Position
from pipelines.corpus.encoding import ChunkOrigin, TextChunk

Split = Callable[[Iterable[str], int], Iterator[Piece]]  # `Tokenizer.split_text`

# A worker's share at a time, in characters.
_CHUNK_SIZE = 1 << 18

# Where a text is best cut: before a paragraph, a line, a word.
_ENDS = tuple(map(re.compile, (r"\n\s*\n", r"[\n\r]", r"\s")))


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """A document is validation if the hash of its content lies below `threshold`.

    cuts: (hash, characters) of documents that are cut instead: what follows so many characters, and
      the paragraph, line or word that they end in, is validation.
    """

    threshold: int
    cuts: tuple[tuple[int, int], ...] = ()

    def parts(self, document: Document, split_text: Split) -> Iterator[tuple[str, Piece, bool]]:
        """(split, piece, whether the document's part in this split ends) in order."""
        blocks = document.blocks()
        first = next(blocks)
        place = content_hash(first)
        blocks = itertools.chain([first], blocks)
        cut = self._cuts.get(place)
        if cut is None:
            texts = iter([(VALIDATION if place < self.threshold else TRAIN, blocks)])
        else:
            texts = zip((TRAIN, VALIDATION), cut_in_two(blocks, cut))
        for split, text in texts:
            held = None
            for piece in split_text(text, _CHUNK_SIZE):
                if held:
                    yield split, held, False
                held = piece
            if held.text:
                yield split, held, True

    @functools.cached_property
    def _cuts(self) -> dict[int, int]:
        return dict(self.cuts)


def cut_in_two(blocks: Iterator[str], cut: int) -> Iterator[Iterator[str]]:
    """The blocks of a text's first `cut` characters, up to the end of the paragraph, and the rest.

    Of the line where no paragraph ends nearby, or else of the word. The first is to be taken before
    the second is asked for.

    Example: the blocks "One. Tw", "o. Three." and cut 5 give "One. Tw", "o. " and "Three.".
    """
    rest = []

    def head() -> Iterator[str]:
        left = cut
        for block in blocks:
            if len(block) < left:
                left -= len(block)
                yield block
                continue
            text = block
            while len(text) < left + _CHUNK_SIZE and (more := next(blocks, "")):
                text += more
            near = left + min(_CHUNK_SIZE, (len(text) - left) // 2)
            found = (end.search(text, left, near) for end in _ENDS)
            place = next((each.end() for each in found if each), left)
            rest.append(text[place:])
            yield text[:place]
            return

    yield head()
    yield itertools.chain(rest, blocks)


class _Gathering:
    """The next chunk of one split, as it fills."""

    def __init__(self, unit: str, split: str):
        self._from = unit, split
        self._pieces: list[Piece] = []
        self._ends: list[bool] = []
        self._text_bytes = self._source_bytes = 0
        self.size = 0

    def add(self, piece: Piece, ends: bool, text_bytes: int, source_bytes: int) -> None:
        self._pieces.append(piece)
        self._ends.append(ends)
        self._text_bytes += text_bytes
        self._source_bytes += source_bytes
        self.size += len(piece.text)

    def chunk(self) -> TextChunk:
        return TextChunk(ChunkOrigin(*self._from, self._text_bytes, self._source_bytes),
                         tuple(self._pieces), tuple(self._ends))


@dataclasses.dataclass(frozen=True)
class Slice:
    """Consecutive whole documents: what the shards train-k and validation-k are made of.

    first, last: where the first and the last document begin.
    digest: hexadecimal, of all text and where its documents end.
    """

    number: int
    first: Position
    last: Position
    documents: int
    source_bytes: int
    digest: str

    def read(self, documents: Iterator[Document]) -> Iterator[Document]:
        """Takes the slice's documents from those given; each is to be read before the next.

        Raises:
          UserError: they are not the ones that were seen when the slice was planned.
        """
        return take_same(documents, self.documents, lambda document: document.digest, self.digest,
                         f" (slice {self.number})")


def plan_slices(corpus: Corpus, slice_bytes: int, census: Census,
                letters: LetterSample) -> list[Slice]:
    """Reads everything once: slices of whole documents, each of at least `slice_bytes` of text.

    Args:
      corpus: the input.
      slice_bytes: text of a slice at the least.
      census: is told of every document.
      letters: takes some of every document.

    Raises:
      UserError: the input cannot be read.
    """
    slices: list[Slice] = []
    held: list[Position] = []  # of the first and the last document
    count = size = source_bytes = 0
    seen = hashlib.blake2b(digest_size=16)

    def end() -> None:
        slices.append(Slice(len(slices), held[0], held[-1], count, source_bytes, seen.hexdigest()))

    with Progress(corpus.total_bytes, "B", "reading") as progress:
        for document in corpus.documents():
            blocks = document.blocks()
            first = next(blocks)
            letters.add(first)
            census.add(content_hash(first), len(first) + sum(map(len, blocks)))
            held[1:] = [document.position]
            count, size = count + 1, size + document.text_bytes
            source_bytes += document.source_bytes
            progress.update(document.source_bytes)
            seen.update(document.digest)
            if size >= slice_bytes:
                end()
                held, count, size, source_bytes = [], 0, 0, 0
                seen = hashlib.blake2b(digest_size=16)
    if held:
        end()
    return slices


def cut_chunks(documents: Iterable[Document], rule: SplitRule, split_text: Split,
               unit: str) -> Iterator[TextChunk]:
    """The documents of a unit of work in chunks; within a split they hold them in order."""
    gathering: dict[str, _Gathering] = {}
    for document in documents:
        source_bytes = 0
        for split, piece, ends in rule.parts(document, split_text):
            gathered = gathering.setdefault(split, _Gathering(unit, split))
            gathered.add(piece, ends, len(piece.text.encode("utf-8")),
                         document.source_bytes - source_bytes)
            source_bytes = document.source_bytes
            if gathered.size >= _CHUNK_SIZE:
                yield gathering.pop(split).chunk()
    yield from (gathered.chunk() for gathered in gathering.values())
