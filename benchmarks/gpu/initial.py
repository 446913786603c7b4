"""The initial weights that TensorFlow draws for a seed, with numpy alone.

TensorFlow's stateless normal numbers on a processor: Philox 4x32-10 (Salmon et al. 2011), whose key
and counter are made of the seed by one round of the same, and Box and Muller's method.
"""

from collections.abc import Sequence

import numpy as np

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint32)
_SEED_KEY = np.array([0x3EC8F720, 0x02461E29], np.uint32)
_HALF = np.uint64(32)


def philox(counters: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Philox 4x32 of ten rounds.

    Args:
      counters: uint32 [N, 4].
      key: uint32 [2].

    Returns:
      uint32 [N, 4].
    """
    c0, c1, c2, c3 = counters.T
    for number in range(10):
        k0, k1 = key + np.uint32(number) * _WEYL
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # 64 bits
        c0, c1, c2, c3 = ((second >> _HALF).astype(np.uint32) ^ c1 ^ k0, second.astype(np.uint32),
                          (first >> _HALF).astype(np.uint32) ^ c3 ^ k1, first.astype(np.uint32))
    return np.stack([c0, c1, c2, c3], axis=1)


def normal(shape: Sequence[int], seed: int) -> np.ndarray:
    """float32, as `tf.random.stateless_normal(shape, [seed, 0])` up to rounding.

    Args:
      shape: of the result.
      seed: below 2**32.
    """
    mixed = philox(np.array([[seed, 0, 0, 0]], np.uint32), _SEED_KEY)[0]
    size = int(np.prod(shape))
    counters = np.empty([-(-size // 4), 4], np.uint32)
    counters[:, 0], counters[:, 1] = np.arange(len(counters)), 0
    counters[:, 2:] = mixed[2:]
    bits = philox(counters, mixed[:2])
    # 23 bits are the mantissa of a number from 1 to 2.
    uniform = ((bits & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)).view(np.float32) - 1
    radius = np.sqrt(-2 * np.log(np.maximum(uniform[:, 0::2], np.float32(1e-7))))
    angle = np.float32(2 * np.pi) * uniform[:, 1::2]
    pairs = np.stack([np.sin(angle) * radius, np.cos(angle) * radius], axis=-1)
    return pairs.reshape(-1)[:size].reshape(shape)


def weights(variables: Sequence[dict]) -> list[np.ndarray]:
    """float32 values of variables as `export` describes them.

    Args:
      variables: {"shape"} and either {"seed", "stddev"} of normal numbers or {"value"}.
    """
    return [np.full(each["shape"], each["value"], np.float32) if "value" in each else
            np.float32(each["stddev"]) * normal(each["shape"], each["seed"])
            for each in variables]
