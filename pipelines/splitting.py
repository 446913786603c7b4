"""Which documents are validation, and which shard and worker each piece of text goes to.

Everything here is a pure function of the documents, their order and the flags, never of the number
of workers: so are the shards.
"""

from collections.abc import Iterable, Iterator
import dataclasses
import hashlib
import itertools

from gpt_tf.files import UserError
from gpt_tf.text import Piece, split_text
from pipelines.encoding import Place, Task
from pipelines.readers import Corpus
from pipelines.sources import Document

TRAIN = "train"
VALIDATION = "validation"

# A worker's share at a time, in characters.
_TASK_SIZE = 1 << 18
# Less than a reader's block, so that the first block decides.
_HASHED_BYTES = 1 << 19
HASHES = 1 << 64


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """A document is validation if the hash of its content lies below `threshold`.

    With `tail_bytes` every document gives its text from there on to validation instead, but always
    begins in training: the rule for a corpus of one document. piece_size: of `split_text`.
    """

    threshold: int
    tail_bytes: int = 0
    piece_size: int = _TASK_SIZE

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


def content_hash(first_block: str) -> int:
    """A document's place in 0 .. 2**64 - 1, by its first half MiB."""
    data = first_block[:_HASHED_BYTES].encode("utf-8")[:_HASHED_BYTES]
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def both_sides(threshold: int, lowest: int, highest: int) -> int:
    """The threshold nearest to `threshold` with `lowest` below it and `highest` not."""
    return min(max(threshold, lowest + 1), highest)


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
    piece_size = max(1, min(_TASK_SIZE, int(size * fraction / 8)))
    return SplitRule(0, tail_bytes=max(1, size - int(size * fraction)), piece_size=piece_size)


class _Gathering:
    """The next task of one split, as it fills."""

    def __init__(self, slice_number: int, split: str):
        self._place = slice_number, split
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

    def task(self) -> Task:
        return Task(Place(*self._place, self._text_bytes, self._source_bytes),
                    tuple(self._pieces), tuple(self._ends))


def cut_tasks(documents: Iterable[Document], rule: SplitRule, slice_bytes: int) -> Iterator[Task]:
    """Slices of consecutive whole documents, each of at least `slice_bytes` of text, as tasks.

    Slice k makes the shards train-k and validation-k. Within a slice and split, the tasks hold the
    documents in order.
    """
    number, size = 0, 0
    gathering: dict[str, _Gathering] = {}
    for document in documents:
        source_bytes = 0
        for split, piece, ends in rule.parts(document):
            text_bytes = len(piece.text.encode("utf-8"))
            gathered = gathering.setdefault(split, _Gathering(number, split))
            gathered.add(piece, ends, text_bytes, document.source_bytes - source_bytes)
            source_bytes = document.source_bytes
            size += text_bytes
            if gathered.size >= _TASK_SIZE:
                yield gathering.pop(split).task()
        if size >= slice_bytes:
            yield from (gathered.task() for gathered in gathering.values())
            gathering.clear()
            number, size = number + 1, 0
    yield from (gathered.task() for gathered in gathering.values())
