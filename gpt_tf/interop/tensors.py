"""Files of the safetensors layout, in numpy."""

import collections
import os

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_write

# Every value of these is a float32 value. TensorFlow makes the last one known to numpy.
_NARROW = (np.dtype(np.float16), np.dtype(tf.bfloat16.as_numpy_dtype))


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a file by name, as they are, and its metadata.

    Raises:
      UserError: the file is missing, cut short or not of this layout.
    """
    try:
        with safetensors.safe_open(path, framework="np") as source:
            return ({name: source.get_tensor(name) for name in source.keys()},
                    source.metadata() or {})
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error}.") from error
    except (safetensors.SafetensorError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged, or no safetensors file of numbers that can be read "
                        f"here ({error}): copy it again.") from error


def write(path: str | os.PathLike, arrays: dict[str, np.ndarray],
          metadata: dict[str, str]) -> None:
    """Writes the arrays, whole or not at all.

    Raises:
      UserError: the disk is full or the place cannot be written.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with atomic_write(path) as stream:
        stream.write(safetensors.numpy.save(arrays, metadata))


def to_float32(arrays: dict[str, np.ndarray],
               where: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """Exact float32 arrays, and a note for each narrower type that was among them.

    Args:
      arrays: by name.
      where: names their file in notes and errors.

    Raises:
      UserError: an array is of another type.
    """
    narrow: collections.Counter[str] = collections.Counter()
    result = {}
    for name, array in arrays.items():
        if array.dtype not in (np.float32, *_NARROW):
            raise UserError(f"{where}: {name} is of type {array.dtype}; float32, float16 or "
                            "bfloat16 is expected: save the model in one of them.")
        if array.dtype in _NARROW:
            narrow[array.dtype.name] += 1
        result[name] = array.astype(np.float32, copy=False)
    return result, [f"{where}: {count} of {len(arrays)} arrays are {name}; their values are kept "
                    "as float32." for name, count in narrow.items()]
