"""Which documents are validation, and which shard and worker each piece of text goes to.

Everything here is a pure function of the documents, their order and the flags, never of the number
of workers: so are the shards.
"""

import collections
from collections.abc import Iterable, Iterator
import dataclasses
import hashlib
import itertools

from gpt_tf.common.errors import UserError
from gpt_tf.common.progress import Progress
from gpt_tf.tokenizer.cleaning import Piece, split_text
from pipelines.building.plan import HASHES, TRAIN, VALIDATION, both_sides, content_hash, take_same
from pipelines.corpus.corpus import Corpus
from pipelines.corpus.encoding import ChunkOrigin, TextChunk
from pipelines.corpus.sources import Document, Position

# A worker's share at a time, in characters.
_CHUNK_SIZE = 1 << 18


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """A document is validation if the hash of its content lies below `threshold`.

    With `tail_bytes` every document gives its text from there on to validation instead, but always
    begins in training: the rule for a corpus of one document. piece_size: of `split_text`.
    """

    threshold: int
    tail_bytes: int = 0
    piece_size: int = _CHUNK_SIZE

    def parts(self, document: Document) -> Iterator[tuple[str, Piece, bool]]:
        """(split, piece, whether the document's part in this split ends) in order."""
        blocks = document.blocks()
        first = next(blocks)
        whole = VALIDATION if content_hash(first) < self.threshold else TRAIN
        position, held = 0, None
        for piece in split_text(itertools.chain([first], blocks), self.piece_size):
            begin, position = position, position + len(piece.text.encode("utf-8"))
            tail = self.tail_bytes and begin and position > self.tail_bytes
            split = VALIDATION if tail else whole
            if held:
                yield *held, held[0] != split
            held = split, piece
        yield *held, True


def choose_rule(corpus: Corpus, fraction: float) -> SplitRule:
    """The rule for about `fraction` of the documents, such that neither side is empty.

    Reads only until it has seen one document of each side. Where there is none of a side, the one
    document whose hash is nearest crosses over; where all are the same, each gives its last part.

    Raises:
      UserError: there is no document.
    """
    threshold = int(fraction * HASHES)
    lowest, highest = HASHES, -1
    for document in corpus.documents():
        value = content_hash(next(document.blocks()))
        lowest, highest = min(lowest, value), max(highest, value)
        if not threshold or lowest < threshold <= highest:
            return SplitRule(threshold)
    if highest < 0:
        raise UserError("--input holds no text: every file and row is empty or was skipped.")
    if lowest < highest:
        return SplitRule(both_sides(threshold, lowest, highest))
    size = sum(len(block.encode("utf-8")) for block in next(corpus.documents()).blocks())
    # Pieces much shorter than the part, as the cut comes between two of them.
    piece_size = max(1, min(_CHUNK_SIZE, int(size * fraction / 8)))
    return SplitRule(0, tail_bytes=max(1, size - int(size * fraction)), piece_size=piece_size)


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


def plan_slices(corpus: Corpus, slice_bytes: int) -> list[Slice]:
    """Reads everything once: slices of whole documents, each of at least `slice_bytes` of text.

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
            collections.deque(document.blocks(), maxlen=0)
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


def cut_chunks(documents: Iterable[Document], rule: SplitRule, unit: str) -> Iterator[TextChunk]:
    """The documents of a unit of work in chunks; within a split they hold them in order."""
    gathering: dict[str, _Gathering] = {}
    for document in documents:
        source_bytes = 0
        for split, piece, ends in rule.parts(document):
            gathered = gathering.setdefault(split, _Gathering(unit, split))
            gathered.add(piece, ends, len(piece.text.encode("utf-8")),
                         document.source_bytes - source_bytes)
            source_bytes = document.source_bytes
            if gathered.size >= _CHUNK_SIZE:
                yield gathering.pop(split).chunk()
    yield from (gathered.chunk() for gathered in gathering.values())
