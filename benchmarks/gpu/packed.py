"""Training tokens and weights in few files: what travels, read and written with numpy alone.

Only `write` needs `gpt_tf`'s data at hand.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
import glob
import hashlib
import json
import lzma
import math
import os

import numpy as np

from gpt_tf.common.files import atomic_write

_PRESET = 6  # 1 packs 6 % larger in a sixth of the time; what travels is often limited
_PART_BYTES = 15 * 2**20
MOST_TOKENS = 1 << 16  # entries of a vocabulary, whose ids travel in 16 bits

WEIGHTS = "weights.json"  # says what the files of weights are, and is written last
PART = "weights-{}.f32"
MILESTONE = "weights-at-{}.f16"
# Of a campaign: what its runs answered, and what they are.
ANSWERS, ANSWERS_TOLD = "answers.npz", "answers.json"


def flatten(weights: Sequence[np.ndarray]) -> np.ndarray:
    """All of them in one row."""
    return np.concatenate([weight.ravel() for weight in weights])


def digest(flat: np.ndarray) -> str:
    """By which a campaign's answers and the run that they are said to be of are held together."""
    return hashlib.sha256(flat.tobytes()).hexdigest()[:16]


def write_weights(folder: str, weights: Sequence[np.ndarray], described: dict) -> None:
    """Writes what `read_weights` reads: the weights of all variables as one row of float32 in parts
    and, last, what they are."""
    flat = flatten(weights)
    parts = -(-flat.nbytes // _PART_BYTES)
    for part, piece in enumerate(np.array_split(flat, parts)):
        piece.tofile(os.path.join(folder, PART.format(part)))
    with atomic_write(os.path.join(folder, WEIGHTS)) as stream:
        stream.write(json.dumps({**described, "parts": parts}).encode())


def read_weights(folder: str) -> tuple[dict, np.ndarray]:
    """What `benchmarks.gpu.there` leaves of a training, or `write_weights` of a run.

    Returns:
      `WEIGHTS`, and the weights of all variables in one row, float32.

    Raises:
      OSError, ValueError, KeyError, TypeError: it is not there, or damaged.
    """
    with open(os.path.join(folder, WEIGHTS), encoding="utf-8") as stream:
        described = json.load(stream)
    flat = np.concatenate([np.fromfile(os.path.join(folder, PART.format(part)), np.float32)
                           for part in range(described["parts"])])
    expected = sum(math.prod(each["shape"]) for each in described["variables"])
    if len(flat) != expected:
        raise ValueError(f"{folder} has {len(flat):,} weights of {expected:,}")
    return described, flat


def split(flat: np.ndarray, shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """The arrays of these shapes that stand in a row one after the other."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return [value.reshape(shape) for value, shape in zip(np.split(flat, ends[:-1]), shapes,
                                                         strict=True)]


def write(folder: str, data_dir: str, manifest, split: str, parts: int) -> dict:
    """Packs the windows of a split, in its order, without their padding.

    Args:
      folder: where the files `tokens-<part>.xz` and `lengths.xz` go.
      data_dir, manifest: a data folder of a language model, of at most `MOST_TOKENS` entries.
      split: of it.
      parts: files of about equal size, of whole windows.

    Returns:
      What `read` needs to know.
    """
    from gpt_tf.data.batches import evaluation_batches

    tokens, lengths = [], []
    for batch in evaluation_batches(data_dir, split, 512, manifest=manifest):
        length = batch["lengths"].numpy()
        ids = batch["token_ids"].numpy()
        tokens.append(ids[np.arange(ids.shape[1]) < length[:, None]].astype(np.uint16))
        lengths.append(length[length > 0].astype(np.uint16))
    lengths = np.concatenate(lengths)
    ends = np.cumsum(lengths, dtype=np.int64)
    cuts = ends[np.linspace(0, len(ends), parts + 1).astype(int)[1:-1] - 1]
    pieces = np.split(np.concatenate(tokens), cuts)
    _pack(os.path.join(folder, "lengths.xz"), lengths)
    with ThreadPoolExecutor() as pool:
        list(pool.map(_pack, [os.path.join(folder, f"tokens-{part}.xz") for part in range(parts)],
                      pieces))
    return {"windows": len(lengths), "tokens": int(ends[-1]), "parts": parts,
            "sequence_length": manifest.sequence_length}


def _pack(path: str, values: np.ndarray) -> None:
    # The two bytes of a number apart: the upper one says little, and packs well.
    planes = values.view(np.uint8).reshape(-1, 2).T
    with open(path, "wb") as stream:
        stream.write(lzma.compress(np.ascontiguousarray(planes).tobytes(), preset=_PRESET))


def _unpack(path: str) -> np.ndarray:
    with open(path, "rb") as stream:
        try:
            planes = np.frombuffer(lzma.decompress(stream.read()), np.uint8)
        except lzma.LZMAError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    return np.ascontiguousarray(planes.reshape(2, -1).T).view(np.uint16)[:, 0]


def read(folders: list[str], described: dict) -> tuple[np.ndarray, np.ndarray]:
    """What `write` packed; the parts may stand in different folders.

    Returns:
      Token ids uint16 [N, T] padded with 0, and lengths int32 [N].

    Raises:
      FileNotFoundError: a part is in none of the folders.
      ValueError: one is damaged.
    """
    def find(name: str) -> str:
        found = [path for folder in folders for path in glob.glob(os.path.join(folder, name))]
        if not found:
            raise FileNotFoundError(f"{name} is in none of {', '.join(folders)}")
        return found[0]

    lengths = _unpack(find("lengths.xz")).astype(np.int32)
    with ThreadPoolExecutor() as pool:
        flat = np.concatenate(list(pool.map(
            _unpack, [find(f"tokens-{part}.xz") for part in range(described["parts"])])))
    token_ids = np.zeros([len(lengths), described["sequence_length"]], np.uint16)
    token_ids[np.arange(token_ids.shape[1]) < lengths[:, None]] = flat
    return token_ids, lengths
