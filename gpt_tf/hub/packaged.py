"""Models that come with gpt_tf, by name: a folder of `gpt_tf/presets` for each.

It is as a published one, in transformers' layout with weights in float16, and beside them

  README.md     the model card
  preset.json   what `presets` of the Keras classes says of it
  SHA256SUMS    of all files
"""

import functools
import os
import pathlib
from typing import Any

from gpt_tf.common.errors import UserError
from gpt_tf.common.names import folders_in, nearest
from gpt_tf.common.small_files import SUMS, is_as_recorded, read_json, recorded
from gpt_tf.hub.files import Fetched, gather

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "presets"
DESCRIPTION = "preset.json"


def folders() -> dict[str, str]:
    """Name -> folder of each model, in the order of the names."""
    return {path.parent.name: str(path.parent) for path in sorted(FOLDER.glob(f"*/{DESCRIPTION}"))}


def is_packaged(name: str) -> bool:
    """Whether `name` is that of a model here; something that stands at this path goes first."""
    return name in folders() and not os.path.exists(name)


def check_spelling(name: str) -> None:
    """Sees that `name` is not a model's, mistyped.

    Raises:
      UserError: nothing stands at this path, and of the models here and the folders beside it a
        model has the nearest name.
    """
    bare = name.rstrip(os.sep)
    if os.path.dirname(bare) or os.path.exists(name):
        return
    names = folders()
    for found in nearest(bare, [*names, *folders_in(os.curdir)]):
        if found in names:
            raise UserError(f"{name}: no such folder, and no model that comes with gpt_tf; did you "
                            f"mean {found}?")


def presets() -> dict[str, dict[str, Any]]:
    """Name -> what is said of it, as KerasHub's classes list their presets: "metadata", with its
    "description", "params", the number of its parameters, and "path", its folder.

    Raises:
      UserError: a description is damaged.
    """
    return {name: {"metadata": read_json(os.path.join(path, DESCRIPTION), f"of {name}")
                   | {"path": path}} for name, path in folders().items()}


def fetch(name: str, tokenizer_only: bool = False) -> Fetched:
    """The files of a model, each as its checksum says.

    Args:
      name: one of `folders`.
      tokenizer_only: whether the weights can stay out.

    Raises:
      UserError: a file is damaged or missing.
    """
    folder = folders()[name]
    listed = recorded(folder)
    if DESCRIPTION not in listed:
        raise _damaged(os.path.join(folder, SUMS))
    return gather(name, listed, functools.partial(_take, folder), tokenizer_only)


def _take(folder: str, name: str) -> str:
    path = os.path.join(folder, name)
    if not is_as_recorded(folder, name):
        raise _damaged(path)
    return path


def _damaged(path: str) -> UserError:
    return UserError(f"{path} is not as it came with gpt_tf: install gpt_tf again.")
