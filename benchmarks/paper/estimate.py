"""How long the runs that are left will take, from those that are done."""

from collections.abc import Iterable

from benchmarks.paper.results import Result


class Estimate:
    """Seconds of runs, by what runs of the same kind took; else by the tokens that they read.

    Args:
      costs: kind of run -> tokens that a run reads, forward and back.
    """

    def __init__(self, costs: dict[object, float]):
        self._costs = costs
        self._seconds: dict[object, list[float]] = {}

    def add(self, kind: object, result: Result) -> None:
        """Takes a finished run into account."""
        self._seconds.setdefault(kind, []).append(result.seconds)

    def seconds(self, kinds: Iterable[object]) -> float | None:
        """Of these runs; None while nothing of any kind is done."""
        if not self._seconds:
            return None
        read = sum(self._costs[kind] * len(found) for kind, found in self._seconds.items())
        rate = sum(map(sum, self._seconds.values())) / read
        return sum(sum(self._seconds[kind]) / len(self._seconds[kind]) if kind in self._seconds
                   else rate * self._costs[kind] for kind in kinds)


def spoken(seconds: float) -> str:
    """A length of time, as 45 s, 12 min or 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
