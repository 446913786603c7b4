"""Folders of `save_to_preset`, looked through before Keras makes models of them."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import re
import sys
from typing import Any
import zipfile

import keras

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import SUMS, parse_json, read_json, record
from gpt_tf.config import ModelConfig
from gpt_tf.hub import packaged

_BACKBONE, _WEIGHTS = "config.json", "model.weights.h5"
TASK, TOKENIZER = "task.json", "tokenizer.json"

# Keras's file of each part -> arguments in it that are parts, and whose file tells of the same.
_PARTS = {_BACKBONE: {}, TOKENIZER: {},
          "preprocessor.json": {"tokenizer": TOKENIZER},
          TASK: {"backbone": _BACKBONE, "preprocessor": "preprocessor.json"}}

# What each may be, by the names under which Keras knows our classes.
_CLASSES = {name: tuple(f"gpt_tf>{each}" for each in classes) for name, classes in {
    _BACKBONE: ("GPTBackbone",), TOKENIZER: ("GPTTokenizer",),
    "preprocessor.json": ("GPTCausalLMPreprocessor", "GPTTextClassifierPreprocessor"),
    TASK: ("GPTCausalLM", "GPTTextClassifier")}.items()}


@contextlib.contextmanager
def hdf5_errors(folder: str) -> Iterator[None]:
    """Errors of the system that HDF5 tells as its own, or, about a file that is taken away before
    all of it is written, to nobody.

    Raises:
      OSError: one of them, about `folder`.
    """
    unheard: list[BaseException] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda event: unheard.append(event.exc_value)
    try:
        yield
    except (OSError, RuntimeError) as error:
        unheard.append(error)
        raise
    finally:
        sys.unraisablehook = before
        for error in unheard:
            if number := re.search(r"errno = (\d+)", str(error)):
                code = int(number[1])
                raise OSError(code, os.strerror(code), folder) from error


class _Packaged:
    """What comes with gpt_tf, as an attribute of a class; it is read when it is asked for."""

    def __get__(self, instance, owner) -> dict[str, dict[str, Any]]:
        return packaged.presets()


class RecordedPreset:
    """A part of a preset that lists the preset's JSON files in its `SUMS`.

    Attributes:
      presets: names that `from_preset` takes for what comes with gpt_tf -> what is said of each:
        {"metadata": {"description", "params", "path"}}.
    """

    presets = _Packaged()

    def save_to_preset(self, preset_dir, *args, **kwargs):
        """Writes this part into a preset.

        Args:
          preset_dir: folder to make or to write into.
          *args, **kwargs: of Keras's method; a model takes `max_shard_size`, the most GB of a
            file of weights, or None.

        Raises:
          OSError: the disk is full or cannot be written.
        """
        with contextlib.suppress(FileNotFoundError):  # the files change; other parts write, too
            os.remove(os.path.join(preset_dir, SUMS))
        with hdf5_errors(preset_dir):
            super().save_to_preset(preset_dir, *args, **kwargs)
        record(preset_dir, (name for name in os.listdir(preset_dir) if name.endswith(".json")))


@contextlib.contextmanager
def explain(preset: str) -> Iterator[None]:
    """Looks through a local preset or `.keras` file, and turns Keras's errors about it into one
    sentence.

    Keras makes whatever class a preset names, of whatever size; here it may only name ours, and no
    larger model than its weights.

    Raises:
      UserError: the preset is damaged, or is none of this project's.
    """
    if os.path.isdir(preset):
        _check_folder(preset)
    elif os.path.isfile(preset):
        _check_archive(preset)
    else:
        yield  # a name that Keras resolves
        return
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Keras and HDF5 raise all kinds
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{preset} cannot be loaded ({reason:.200}): save the preset again.") from error


def _check_folder(preset: str) -> None:
    weights = os.path.join(preset, _WEIGHTS)
    size = os.path.getsize(weights) if os.path.exists(weights) else 0
    for name in _PARTS:
        read_part(preset, name, size)


def _check_archive(path: str) -> None:
    """Of a `.keras` file, which has one description, of a task or of a backbone."""
    try:
        with zipfile.ZipFile(path) as archive:
            value = parse_json(archive.read(_BACKBONE))
            size = archive.getinfo(_WEIGHTS).file_size
    except Exception as error:  # zipfile and its decoders raise all kinds
        raise UserError(f"{path} is damaged, or no file that Keras saved ({error!s:.200}): save "
                        "the model again.") from error
    is_backbone = isinstance(value, dict) and value.get("registered_name") in _CLASSES[_BACKBONE]
    _check_part(value, _BACKBONE if is_backbone else TASK, path, size)


def read_part(preset: str, name: str, size: int = 0) -> dict[str, Any]:
    """A file of a local preset, looked through; {} where there is none.

    Args:
      preset: its folder.
      name: "config.json", `TASK`, ...
      size: bytes of the weights, which the model may not be larger than; 0: of any size.

    Raises:
      UserError: the file is damaged, or describes no part of this project's models.
    """
    path = os.path.join(preset, name)
    if not os.path.exists(path):
        return {}
    value = read_json(path, "a part of the preset")
    _check_part(value, name, path, size)
    return value


def saved_arguments(task: type, preset: str) -> dict[str, Any] | None:
    """The arguments of a `task` that a local preset holds; None where it holds none.

    Of a name that Keras resolves {}.
    """
    if not os.path.isdir(preset):
        return {}
    value = read_part(preset, TASK)
    is_of = value.get("registered_name") == keras.saving.get_registered_name(task)
    return value["config"] if is_of else None


def quantized_dtype(preset: str) -> dict[str, Any] | None:
    """The dtypes of a local preset's quantized layers, as Keras serialises them; None of others."""
    dtype = read_part(preset, _BACKBONE).get("config", {}).get("dtype")
    is_map = isinstance(dtype, dict) and dtype.get("class_name") == "DTypePolicyMap"
    return dtype if is_map else None


def _check_part(value: Any, name: str, path: str, size: int) -> None:
    values = value.get("config") if isinstance(value, dict) else None
    if not isinstance(values, dict) or value.get("registered_name") not in _CLASSES[name]:
        raise UserError(f"{path} describes no {name.removesuffix('.json')} of a model of gpt_tf: "
                        "save the preset again with save_to_preset.")
    dtype = values.get("dtype")
    if isinstance(dtype, dict) and not isinstance(
            getattr(keras.dtype_policies, str(dtype.get("class_name")), None), type):
        # Keras would keep the description in place of a policy, and fail when texts come.
        raise UserError(f"{path} has a dtype that is no policy of Keras: save the preset again.")
    if name == _BACKBONE:
        _check_size(values, path, size)
    for argument, part in _PARTS[name].items():
        if values.get(argument) is not None:
            _check_part(values[argument], part, f"{path}, {argument}", size)


def _check_size(values: dict[str, Any], path: str, size: int) -> None:
    """Sees that the model is no larger than `size`, the bytes of the weights; 0: there are none."""
    shape = {field.name: values[field.name] for field in dataclasses.fields(ModelConfig)
             if field.name in values}
    try:
        parameters = ModelConfig(**shape).num_parameters
    except ValueError as error:
        raise UserError(f"{path} does not describe a model: {error}") from error
    if size and parameters > size:  # a value takes a byte or more
        raise UserError(f"{path} describes a model of {parameters:,} parameters, and {_WEIGHTS} "
                        f"has {size:,} bytes: save the preset again.")
