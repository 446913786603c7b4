"""Data sets that tensorflow-datasets has prepared: opened, never downloaded."""

from collections.abc import Iterator
import contextlib
import os
import tempfile
from typing import Any

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError

# The library's own answer to a name, version or split it does not know is either of these.
_UNKNOWN = (ValueError, AssertionError)


def open_builder(name: str, folder: str) -> Any:
    """The tfds.core.DatasetBuilder of `name`; an empty `folder` is the library's own place.

    Raises:
      UserError: the catalogue has no such data set.
    """
    cli.import_tensorflow()
    import tensorflow_datasets as tfds
    try:
        with _its_temporary_folders_removed():
            return tfds.builder(name, **_data_dir(folder))
    except _UNKNOWN as error:
        raise UserError(f"--input: tensorflow-datasets cannot open {name!r}: "
                        f"{str(error).strip().splitlines()[0]}") from error


@contextlib.contextmanager
def _its_temporary_folders_removed() -> Iterator[None]:
    """A builder makes a folder for what Google's storage has prepared, never asks that for any, and
    leaves the folder."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def open_split(builder: Any, name: str, folder: str, split: str) -> Any:
    """A split as a tf.data.Dataset of examples in a fixed order, never downloading.

    Raises:
      UserError: the data set is not prepared; the command that prepares it is named.
    """
    try:
        return builder.as_dataset(split=split, shuffle_files=False)
    except _UNKNOWN as error:
        where = "".join(f", {key}={value!r}" for key, value in _data_dir(folder).items())
        raise UserError(
            f"tfds:{name}: no split {split!r} in {builder.data_dir}; where there is a network, "
            "fetch it with: python -c \"import tensorflow_datasets as tfds; "
            f"tfds.builder({name!r}{where}).download_and_prepare()\"") from error


def _data_dir(folder: str) -> dict[str, str]:
    return {"data_dir": os.path.expanduser(folder)} if folder else {}
