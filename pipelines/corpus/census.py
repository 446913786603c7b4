"""How much text the documents of a corpus have, and which of it is validation."""

import dataclasses
import heapq

from pipelines.building.plan import HASHES, both_sides

# Documents that may be cut at the most; more than so many are small beside all of the text.
_MOST_CUT = 10_000
# A document is large if its text is more than this share of the validation that is asked for.
_LARGE = 0.1


@dataclasses.dataclass
class _Extreme:
    """The lowest hash, or the highest, and how much text has it."""

    place: int
    size: int = 0

    def add(self, place: int, size: int, is_beyond: bool) -> None:
        if is_beyond:
            self.place, self.size = place, 0
        self.size += size if place == self.place else 0


class Census:
    """What must be known of all documents to choose the validation.

    Args:
      fraction: the share of the text that is asked for.
    """

    def __init__(self, fraction: float):
        self._fraction = fraction
        self._threshold = int(fraction * HASHES)
        self._total = self._below = 0  # characters, and those of documents below the threshold
        self._lowest, self._highest = _Extreme(HASHES), _Extreme(-1)
        self._largest: list[tuple[int, int]] = []  # a heap of (characters, hash)

    def add(self, place: int, size: int) -> None:
        """Counts a document.

        Args:
          place: the hash of its content.
          size: its characters.
        """
        self._total += size
        self._below += size * (place < self._threshold)
        self._lowest.add(place, size, place < self._lowest.place)
        self._highest.add(place, size, place > self._highest.place)
        if len(self._largest) < _MOST_CUT:
            heapq.heappush(self._largest, (size, place))
        else:
            heapq.heappushpop(self._largest, (size, place))

    def choose(self) -> tuple[int, tuple[tuple[int, int], ...]]:
        """The hash below which documents are validation; and of those that are cut, (hash, the
        characters after which their validation begins).

        Whole documents are validation, chosen by their hashes alone, where their text is near the
        share that is asked for, and neither side is empty. Else each large document gives its last
        part, and the others go by their hashes.
        """
        if not self._threshold:
            return 0, ()
        threshold = both_sides(self._threshold, self._lowest.place, self._highest.place)
        if self._lowest.place < self._highest.place and is_near(
                self._share(threshold), self._fraction):
            return threshold, ()
        least = _LARGE * self._fraction * self._total
        large = {place: size for size, place in sorted(self._largest) if size > least}
        return self._threshold, tuple(sorted(
            (place, max(1, size - max(1, round(size * self._fraction))))
            for place, size in large.items()))

    def _share(self, threshold: int) -> float:
        """Of the text, where the threshold is moved by one document at the most."""
        if threshold > self._threshold:
            return self._lowest.size / self._total
        if threshold < self._threshold:
            return 1 - self._highest.size / self._total
        return self._below / self._total


def is_near(share: float, asked: float) -> bool:
    """Whether a share is half to twice what is asked for, and not the larger part."""
    most = min(2 * asked, 0.5) if asked < 0.5 else (1 + asked) / 2
    return asked / 2 <= share <= most
