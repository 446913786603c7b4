"""How a run begins in its folder, or is found there. No TensorFlow here."""

from collections.abc import Collection
import os
import shutil

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import explain_disk_errors
from gpt_tf.common.small_files import json_bytes, read_json, read_text, write_recorded
from gpt_tf.config import ModelConfig
from gpt_tf.data.manifest import Manifest
from gpt_tf.runs import checkpoint_files, run_folder
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.tokenizer.files import is_tokenizer_file

# The first line of the resolved flagfile, a comment to the flags' parser.
_DATA = "# data_fingerprint="
_OTHER = "name another --model_dir, or replace the run with --overwrite"


def begin(model_dir: str, flags_text: str, resumable: Collection[str], model: ModelConfig,
          manifest: Manifest, tokenizer: Tokenizer, overwrite: bool = False) -> None:
    """Makes the run folder of a fresh run, or sees that a run which goes on is the same one.

    A run that has saved nothing binds nobody: what is left of it is removed. So is with `overwrite`
    another run; the same one goes on, as it would end with the same numbers.

    Args:
      model_dir: the run folder, owned by this process.
      flags_text: the resolved flagfile of this command.
      resumable: names of the flags that may differ from the run's.
      model: shape of the model.
      manifest: of the data folder.
      tokenizer: of the data folder; it is copied.
      overwrite: whether another run that stands there is removed.

    Raises:
      UserError: the folder holds another run: other flags, another shape or other data; or a
        folder of it is a link.
    """
    for name in run_folder.FOLDERS:
        run_folder.refuse_link(os.path.join(model_dir, name))
    if not _has_saved(model_dir):
        remove_run(model_dir)
    try:
        check_same(model_dir, flags_text, resumable, model, manifest)
    except UserError:
        if not overwrite:
            raise
        remove_run(model_dir)
    path = os.path.join(model_dir, f"{run_folder.COMMANDS[manifest.kind]}.flags")
    if os.path.exists(path):
        return
    run_folder.describe(model_dir, model, manifest.task, manifest.sequence_length, tokenizer)
    record_flags(model_dir, flags_text, manifest)  # last: it says that the others are there


def check_same(model_dir: str, flags_text: str, resumable: Collection[str], model: ModelConfig,
               manifest: Manifest) -> None:
    """Sees that a folder holds no run that has saved, or the one that these values begin.

    Args:
      model_dir, flags_text, resumable, model, manifest: of `begin`.

    Raises:
      UserError: the folder holds another run: other flags, another shape or other data.
    """
    if not _has_saved(model_dir):
        return
    command = run_folder.COMMANDS[manifest.kind]
    path = os.path.join(model_dir, f"{command}.flags")
    if os.path.exists(path):
        _check_same(path, _with_data(flags_text, manifest), resumable, model_dir, model)
        return
    if run_folder.is_converted(model_dir):
        raise UserError(f"{model_dir} holds converted weights, which have no course to go on with: "
                        f"start from them with --init_from={model_dir} and another --model_dir.")
    if any(os.path.exists(os.path.join(model_dir, f"{other}.flags"))
           for other in run_folder.COMMANDS.values()):
        raise UserError(f"{model_dir} holds a run that python -m gpt_tf.{command} did not make: "
                        f"{_OTHER}.")


def record_flags(model_dir: str, flags_text: str, manifest: Manifest) -> None:
    """Writes the run's flagfile, in place of the one that is there.

    Args:
      model_dir, flags_text, manifest: of `begin`.
    """
    write_recorded(os.path.join(model_dir, f"{run_folder.COMMANDS[manifest.kind]}.flags"),
                   run_folder.text_bytes(_with_data(flags_text, manifest)))


def remove_run(model_dir: str) -> None:
    """Removes the run in a folder, if there is one, and nothing else that stands there.

    Args:
      model_dir: the run folder, owned by this process.

    Raises:
      UserError: a file cannot be removed.
    """
    names = os.listdir(model_dir)
    marks = [name for name in run_folder.MARKS if name in names]
    if not marks:
        return
    weights = [name for name in run_folder.WEIGHTS if name in names]
    others = [name for name in names
              if is_tokenizer_file(name) or name.startswith(run_folder.EVENTS)
              or name in run_folder.RUN_FILES.difference(weights, marks)]
    # In this order: what a kill leaves is a run that has saved nothing, which binds nobody.
    with explain_disk_errors(model_dir):
        for name in [*weights, *others, *marks]:
            path = os.path.join(model_dir, name)
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.remove(path)


def micro_batch_size(model_dir: str) -> int:
    """Sequences in memory at once that the run began with; 0 where that was a device's share."""
    path = os.path.join(model_dir, run_folder.MICRO_BATCHES)
    if not os.path.exists(path):
        return 0
    size = read_json(path, "how the run's batches were cut")
    if type(size) is not int or size < 1:
        raise UserError(f"{path} does not say how many sequences are in memory at once: remove "
                        "it, and as many as fit are.")
    return size


def keep_micro_batch_size(model_dir: str, size: int) -> None:
    """Writes what `micro_batch_size` reads: a run that goes on ends with the same bits so."""
    write_recorded(os.path.join(model_dir, run_folder.MICRO_BATCHES), json_bytes(size))


def _has_saved(model_dir: str) -> bool:
    """Whether there are weights of a run, whole or damaged."""
    return bool(checkpoint_files.steps(run_folder.checkpoint_folder(model_dir))
                or checkpoint_files.steps(run_folder.best_folder(model_dir)))


def _check_same(path: str, flags_text: str, resumable: Collection[str], model_dir: str,
                model: ModelConfig) -> None:
    before = run_folder.parse_flags(read_text(path, "the run's flagfile", "surrogateescape"))
    now = run_folder.parse_flags(flags_text)
    data = _DATA.rstrip("=")
    if before.get(data) != now[data]:
        raise UserError(f"{model_dir} holds a run on other data than --data_dir holds: give the "
                        f"run's data to go on with it, {_OTHER}.")
    for name in sorted(before.keys() | now.keys()):
        if {name, name.removeprefix("no")} & resumable or before.get(name) == now.get(name):
            continue
        was, is_now = (f"--{name}={values[name]}" if values.get(name) else
                       f"--{name}" if name in values else f"no --{name}"
                       for values in (before, now))
        raise UserError(f"{model_dir} holds a run with {was} and this command says {is_now}: "
                        f"give the run's value to go on with it, {_OTHER}.")
    if run_folder.read_config(model_dir) != model:
        raise UserError(f"{model_dir} holds a model of another shape than these flags and this "
                        f"data give: {_OTHER}.")


def _with_data(flags_text: str, manifest: Manifest) -> str:
    return f"{_DATA}{manifest.fingerprint}\n{flags_text}"
