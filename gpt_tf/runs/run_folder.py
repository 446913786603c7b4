"""A run folder: what it holds, how a run starts in it, how its model is loaded from it.

  model.json        shape of the model (`config.ModelConfig`)
  task.json         of a fine-tuned run: its `task.Task`, and the longest sequence of its data
  pretrain.flags    the resolved flagfile: the same command again; or finetune.flags; or
                    convert.flags of weights from elsewhere, which no command trains on in place
  tokenizer files   as in the data folder
  metrics.jsonl, and TensorBoard's events.out.tfevents.* and plugins/
  checkpoints/      to go on from
  best/             of a fine-tuned run: the weights of its best validation
"""

import contextlib
import dataclasses
import os

import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_write, read_json, read_text, write_json
from gpt_tf.common.names import check_folder
from gpt_tf.config import ModelConfig
from gpt_tf.data.manifest import LANGUAGE_MODEL, TASK, Manifest
from gpt_tf.model.gpt import GPT
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs.checkpoint import Checkpoints
from gpt_tf.tasks.task import Task
from gpt_tf.tokenizer import Tokenizer

FROM_SCRATCH = "none"  # in place of a run folder to start from
_MODEL = "model.json"
_TASK = "task.json"
_COMMANDS = {LANGUAGE_MODEL: "pretrain", TASK: "finetune"}
_CONVERTED = "convert.flags"

# The first line of the resolved flagfile, a comment to the flags' parser.
_DATA = "# data_fingerprint="
_SHORTEST = 4  # start, delimiter, extract and a token of text


def checkpoint_folder(model_dir: str) -> str:
    """Where a run keeps its checkpoints."""
    return os.path.join(model_dir, "checkpoints")


def best_folder(model_dir: str) -> str:
    """Where a fine-tuned run keeps the weights of its best validation."""
    return os.path.join(model_dir, "best")


def _parse_flags(text: str) -> dict[str, str]:
    """Flag -> value; a boolean flag's two values are two names, without a value."""
    parts = (line.partition("=") for line in text.splitlines())
    return {name.removeprefix("--"): value for name, _, value in parts}


def begin(model_dir: str, flags_text: str, resumable: set[str], model: ModelConfig,
          manifest: Manifest, tokenizer: Tokenizer) -> None:
    """Makes the run folder of a fresh run, or sees that a run which goes on is the same one.

    Args:
      model_dir: the run folder, owned by this process.
      flags_text: the resolved flagfile of this command.
      resumable: names of the flags that may differ from the run's.
      model: shape of the model.
      manifest: of the data folder.
      tokenizer: of the data folder; it is copied.

    Raises:
      UserError: the folder holds another run: other flags, another shape or other data.
    """
    command = _COMMANDS[manifest.kind]
    path = os.path.join(model_dir, f"{command}.flags")
    flags_text = f"{_DATA}{manifest.fingerprint}\n{flags_text}"
    if os.path.exists(path):
        _check_same(path, flags_text, resumable, model_dir, model)
        return
    if is_converted(model_dir):
        raise UserError(f"{model_dir} holds converted weights, which have no course to go on with: "
                        f"start from them with --init_from={model_dir} and another --model_dir.")
    if any(os.path.exists(os.path.join(model_dir, f"{other}.flags"))
           for other in _COMMANDS.values()):
        raise UserError(f"{model_dir} holds a run that python -m gpt_tf.{command} did not make: "
                        "name another --model_dir.")
    _describe(model_dir, model, manifest.task, manifest.sequence_length, tokenizer)
    with atomic_write(path) as stream:  # last: it says that the others are there
        stream.write(flags_text.encode("utf-8"))


def _describe(model_dir: str, model: ModelConfig, task: Task | None, max_length: int,
              tokenizer: Tokenizer) -> None:
    write_json(os.path.join(model_dir, _MODEL), dataclasses.asdict(model))
    if task:
        write_json(os.path.join(model_dir, _TASK), {
            "task": dataclasses.asdict(task), "max_length": max_length})
    tokenizer.save(model_dir)


def write_converted(model_dir: str, flags_text: str, model: GPT | TaskModel, max_length: int,
                    tokenizer: Tokenizer, step: int) -> None:
    """Makes the run folder of weights that no command here has trained.

    Args:
      model_dir: an empty folder.
      flags_text: the flagfile of the command that converted them.
      model: with its weights; a `TaskModel` makes a fine-tuned run.
      max_length: of a fine-tuned run, the longest sequence, in tokens, that it was trained for.
      tokenizer: the model's.
      step: the update that the weights are of, as far as it is known.

    Raises:
      UserError: the folder cannot be written.
    """
    task = model.task if isinstance(model, TaskModel) else None
    config = model.gpt.config if task else model.config
    _describe(model_dir, config, task, max_length, tokenizer)
    folder = best_folder(model_dir) if task else checkpoint_folder(model_dir)
    Checkpoints(folder, {"model": model_variables(model)}).save(step)
    with atomic_write(os.path.join(model_dir, _CONVERTED)) as stream:
        stream.write(flags_text.encode("utf-8"))


def is_converted(model_dir: str) -> bool:
    """Whether the run folder is one of `write_converted`."""
    return os.path.exists(os.path.join(model_dir, _CONVERTED))


def _check_same(path: str, flags_text: str, resumable: set[str], model_dir: str,
                model: ModelConfig) -> None:
    before = _parse_flags(read_text(path, "the run's flagfile"))
    now = _parse_flags(flags_text)
    data = _DATA.rstrip("=")
    if before.get(data) != now[data]:
        raise UserError(f"{model_dir} holds a run on other data than --data_dir holds: give the "
                        "run's data to go on with it, or another --model_dir.")
    for name in sorted(before.keys() | now.keys()):
        if {name, name.removeprefix("no")} & resumable or before.get(name) == now.get(name):
            continue
        was, is_now = (f"--{name}={values[name]}" if values.get(name) else
                       f"--{name}" if name in values else f"no --{name}"
                       for values in (before, now))
        raise UserError(f"{model_dir} holds a run with {was} and this command says {is_now}: "
                        "give the run's value to go on with it, or another --model_dir.")
    if _read_config(model_dir) != model:
        raise UserError(f"{model_dir} holds a model of another shape than these flags and this "
                        "data give: name another --model_dir.")


def load_flags(model_dir: str) -> dict[str, str]:
    """The values of the flags that a run was started with; those of booleans are empty.

    Raises:
      UserError: the folder is not a run's.
    """
    for command in _COMMANDS.values():
        path = os.path.join(model_dir, f"{command}.flags")
        if os.path.exists(path):
            return _parse_flags(read_text(path, "the run's flagfile"))
    check_folder(model_dir)
    raise UserError(f"{model_dir} has no flagfile of a run: name the folder of one.")


def load_config(model_dir: str) -> ModelConfig:
    """The shape of a run's model, which is no larger than its checkpoints.

    Raises:
      UserError: the folder is not a run's, has not saved yet, or its model.json was altered.
    """
    config, folder = _read_config(model_dir), _weights_folder(model_dir)
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as files:
        size = sum(entry.stat().st_size for entry in files if ".data-" in entry.name)
        if size and size < 4 * config.num_parameters:
            raise UserError(f"{os.path.join(model_dir, _MODEL)} describes a model of "
                            f"{config.num_parameters:,} parameters, and all checkpoints in "
                            f"{folder} have {size:,} bytes: take both from one run.")
        if size:
            return config
    raise UserError(f"No checkpoint in {folder}: the run has not saved yet; wait for it, or start "
                    "it again.")


def _read_config(model_dir: str) -> ModelConfig:
    path = os.path.join(model_dir, _MODEL)
    if not os.path.exists(path):
        check_folder(model_dir)
        raise UserError(f"No {_MODEL} in {model_dir}: it is not a run folder; make one with "
                        f"python -m gpt_tf.pretrain --model_dir={model_dir} ...")
    values = read_json(path, "the model's shape")
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    if not isinstance(values, dict) or set(values) != known:
        odd = ", ".join(sorted(known ^ set(values))) if isinstance(values, dict) else "all"
        raise UserError(f"{path} does not describe a model: {odd} missing or not known. Take the "
                        "file from a copy of the run.")
    try:
        return ModelConfig(**values)
    except ValueError as error:
        raise UserError(f"{path} does not describe a model: {error}") from error


def is_fine_tuned(model_dir: str) -> bool:
    """Whether the run folder is one of fine-tuning."""
    return os.path.exists(os.path.join(model_dir, _TASK))


def load_task(model_dir: str) -> tuple[Task, int]:
    """The task of a fine-tuned run, and the longest sequence, in tokens, that it was trained for.

    Raises:
      UserError: the folder is not a fine-tuned run's, or its task.json was altered.
    """
    path = os.path.join(model_dir, _TASK)
    if not is_fine_tuned(model_dir):
        check_folder(model_dir)
        raise UserError(f"No {_TASK} in {model_dir}: it is not a fine-tuned run; make one with "
                        f"python -m gpt_tf.finetune --model_dir={model_dir} ...")
    value, limit = read_json(path, "the run's task"), _read_config(model_dir).max_sequence_length
    length = value.get("max_length") if isinstance(value, dict) else None
    if type(length) is not int or not _SHORTEST <= length <= limit:
        raise UserError(f"{path} says a max_length of {length!r:.40}, and {_SHORTEST} to {limit} "
                        "tokens are what the run's model takes: fine-tune again.")
    return Task.from_json(value.get("task"), path), length


def load_model(model_dir: str, dtype: str = "float32") -> tuple[GPT, int]:
    """Builds a run's language model with the weights that it ended with.

    Returns:
      (GPT, step of the checkpoint): the newest; of a fine-tuned run, the best.

    Raises:
      UserError: the folder is not a run's, or has no checkpoint that is whole.
    """
    model = GPT(load_config(model_dir), dtype=dtype)
    return model, _restore(model_dir, model)


def load_task_model(model_dir: str, dtype: str = "float32") -> tuple[TaskModel, Task, int]:
    """Builds a fine-tuned run's model with the weights of its best validation.

    Returns:
      (TaskModel, Task, step of the checkpoint).

    Raises:
      UserError: the folder is not a fine-tuned run's, or has no checkpoint that is whole.
    """
    task, _ = load_task(model_dir)
    model = TaskModel(load_config(model_dir), task, dtype=dtype)
    return model, task, _restore(model_dir, model)


def kept_checkpoints(model_dir: str, model: GPT) -> Checkpoints:
    """The checkpoints of a run's course, each of which can be restored into `model`.

    Args:
      model_dir: the run folder.
      model: of `load_model` of the same folder.
    """
    return Checkpoints(checkpoint_folder(model_dir), {"model": model_variables(model)})


def _weights_folder(model_dir: str) -> str:
    return best_folder(model_dir) if is_fine_tuned(model_dir) else checkpoint_folder(model_dir)


def _restore(model_dir: str, model: GPT | TaskModel) -> int:
    folder = _weights_folder(model_dir)
    step = Checkpoints(folder, {"model": model_variables(model)}).restore_latest()
    if step is None:
        raise UserError(f"No checkpoint in {folder}: the run has not saved yet; wait for it, or "
                        "start it again.")
    return step


def model_variables(model: GPT | TaskModel) -> dict[str, tf.Variable]:
    """Name -> `tf.Variable` of every weight, as checkpoints hold them."""
    return {variable.path: variable.value for variable in model.trainable_variables}
