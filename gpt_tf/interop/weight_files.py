"""The arrays of a folder that transformers' `save_pretrained` wrote, whole or in shards."""

import os

import numpy as np
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import read_json
from gpt_tf.interop import tensors
from gpt_tf.interop.targets import PICKLE, WEIGHTS

_INDEX = ".index.json"  # behind the name of the one file that shards stand for
_OTHERS = (".h5", ".msgpack", ".ot", ".onnx")


def read(folder: str) -> tuple[dict[str, np.ndarray], str]:
    """The arrays by name, as they are, and the path of their file or index.

    `model.safetensors` or its shards; where none of them is there, `pytorch_model.bin` or its
    shards, which are pickles: PyTorch reads them, and of those only numbers.

    Raises:
      UserError: there are none, a file is missing or damaged, or PyTorch is not installed.
    """
    for name, read_file in ((WEIGHTS, _read_safetensors), (PICKLE, _read_pickle)):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return read_file(path), path
        if os.path.exists(path + _INDEX):
            return _read_shards(path + _INDEX, read_file), path + _INDEX
    other = sorted(name for name in os.listdir(folder) if name.endswith(_OTHERS))
    way = (f"; what is there, {other[0]}, is not read here: load it with transformers, whose "
           f"save_pretrained(folder) writes {WEIGHTS}" if other else "")
    raise UserError(f"No {WEIGHTS} in {folder}{way}.")


def _read_shards(index: str, read_file) -> dict[str, np.ndarray]:
    value = read_json(index, "the index of the weights' shards")
    shards = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(shards, dict) or not shards or not all(
            isinstance(name, str) and name == os.path.basename(name) not in ("", ".", "..")
            for name in shards.values()):
        raise UserError(f"{index} does not say which file of its folder holds each array: take the "
                        "folder from its source again.")
    folder, arrays = os.path.dirname(index), {}
    for name in sorted(set(shards.values())):
        arrays |= read_file(os.path.join(folder, name))
    if arrays.keys() != shards.keys():
        odd = min(arrays.keys() ^ shards.keys())
        raise UserError(f"{index} and the files that it names do not agree about {odd}: take all "
                        "of them from one folder again.")
    return arrays


def _read_safetensors(path: str) -> dict[str, np.ndarray]:
    return tensors.read(path)[0]


def _read_pickle(path: str) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f"{path} is a pickle, which only PyTorch reads: pip install torch, or take a folder "
            f"with {WEIGHTS}, which transformers' save_pretrained writes.") from error
    if torch.__version__ < (2, 6):  # before, weights_only let code run (CVE-2025-32434)
        raise UserError(f"{path} is a pickle, which PyTorch {torch.__version__} does not read "
                        "safely: pip install 'torch>=2.6'.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return {name: _to_numpy(tensor, torch) for name, tensor in state.items()}
    except Exception as error:  # pickle, zipfile and PyTorch raise all kinds
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} is damaged, or holds more than named arrays of numbers and is not "
                        f"loaded ({reason:.200}): take it from its source again.") from error


def _to_numpy(tensor, torch) -> np.ndarray:
    if tensor.dtype == torch.bfloat16:  # numpy knows it by TensorFlow alone
        return tensor.contiguous().view(torch.int16).numpy().view(tf.bfloat16.as_numpy_dtype)
    return tensor.detach().numpy()
