"""The order of the training records: numpy alone, for whoever reads them without TensorFlow."""

from collections.abc import Callable
import functools

import numpy as np

_GOLDEN = np.uint64(0x9e3779b97f4a7c15)


def _mix(values: np.ndarray) -> np.ndarray:
    """uint64 -> uint64, a bijection that scatters (SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
    return values ^ (values >> np.uint64(31))


def permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    """The order of `size` records in `epoch`, a pure function of the arguments.

    Sorting by distinct 64-bit hashes needs no generator whose stream a new numpy might change.

    Returns:
      int64 [size]; entry i is the record at place i.
    """
    key = _mix(_mix(np.array([seed % (1 << 64)], np.uint64) + _GOLDEN)
               ^ np.array([epoch], np.uint64) * _GOLDEN)
    return np.argsort(_mix(_mix(np.arange(size, dtype=np.uint64) * _GOLDEN + key) ^ key))


def stream(size: int, seed: int) -> Callable[[int, int], np.ndarray]:
    """(start, stop) -> int64 [stop - start], the records at these places of the endless stream."""
    # A batch may run over the end of an epoch, so two orders are kept.
    order = functools.lru_cache(maxsize=2)(functools.partial(permutation, size, seed))

    def positions(start: int, stop: int) -> np.ndarray:
        epochs, places = np.divmod(np.arange(start, stop), size)
        return np.concatenate([order(epoch)[places[epochs == epoch]]
                               for epoch in range(epochs[0], epochs[-1] + 1)])

    return positions
