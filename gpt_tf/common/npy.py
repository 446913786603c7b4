"""Headers of numpy's .npy files, of which nothing is believed before it is seen."""

from typing import BinaryIO

import numpy as np


def vector_length(stream: BinaryIO, size: int, dtype: np.dtype) -> int:
    """Reads the header of a file that holds one vector; the stream then stands at its values.

    Nothing is unpickled, and nothing is allocated for what the header declares.

    Args:
      stream: the file, at its beginning.
      size: of the file, in bytes.
      dtype: of the values.

    Returns:
      The number of values, which fill the rest of the file.

    Raises:
      ValueError: the file is none of such a vector, or holds more or fewer values than it says.
    """
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("another version of the format")
        shape, _, found = np.lib.format.read_array_header_1_0(stream)
    # The header is a Python literal, and what its parser raises is not numpy's to say.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"it does not begin as a .npy file does ({reason:.80})") from error
    if found != dtype or len(shape) != 1:
        raise ValueError(f"it holds {found} of shape {shape!r:.40} and not one flat "
                         f"{dtype} vector")
    if size != stream.tell() + shape[0] * dtype.itemsize:
        raise ValueError(f"it has {size:,} bytes, which is not what its header declares")
    return shape[0]
