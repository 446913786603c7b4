"""A run folder: what it holds, and what that says. No TensorFlow here.

  model.json        shape of the model (`config.ModelConfig`)
  task.json         of a fine-tuned run: its `task.Task`, and the longest sequence of its data
  pretrain.flags    the resolved flagfile: the same command again; or finetune.flags; or
                    convert.flags of weights from elsewhere, which no command trains on in place
  convert.notes     of such weights: what of them was left out or taken otherwise, a line each
  tokenizer files   as in the data folder
  SHA256SUMS        of the files above
  micro_batches.json, how batches were cut to fit into memory
  metrics.jsonl, and TensorBoard's events.out.tfevents.* and plugins/
  checkpoints/      to go on from
  best/             the weights of its best validation

`beginning` makes one, and `weights` loads its model.
"""

from collections.abc import Sequence
import dataclasses
import os

from gpt_tf.common import cache
from gpt_tf.common.errors import UserError
from gpt_tf.common.names import check_folder
from gpt_tf.common.small_files import (
    SUMS,
    json_bytes,
    notice_without_sums,
    read_json,
    read_text,
    write_recorded,
)
from gpt_tf.config import BEST, NEWEST, ModelConfig
from gpt_tf.data.manifest import LANGUAGE_MODEL, TASK, Manifest
from gpt_tf.runs import checkpoint_files
from gpt_tf.tasks.task import Task
from gpt_tf.tokenizer import Tokenizer

FROM_SCRATCH = "none"  # in place of a run folder to start from
_MODEL = "model.json"
_TASK = "task.json"
COMMANDS = {LANGUAGE_MODEL: "pretrain", TASK: "finetune"}
CONVERTED = "convert.flags"
_NOTES = "convert.notes"
MICRO_BATCHES = "micro_batches.json"
WEIGHTS = ("checkpoints", "best")
FOLDERS = (*WEIGHTS, "plugins", "evaluations")
MARKS = (*(f"{command}.flags" for command in COMMANDS.values()), CONVERTED)
EVENTS = "events.out.tfevents."  # TensorBoard's; those of older runs are in `tensorboard`
# What a run folder may hold beside its tokenizer and events, of all commands.
RUN_FILES = frozenset({*FOLDERS, *MARKS, _MODEL, _TASK, "metrics.jsonl", "tensorboard",
                       MICRO_BATCHES, _NOTES, SUMS})
_SHORTEST = 4  # start, delimiter, extract and a token of text


def checkpoint_folder(model_dir: str) -> str:
    """Where a run keeps its checkpoints."""
    return os.path.join(model_dir, "checkpoints")


def best_folder(model_dir: str) -> str:
    """Where a run keeps the weights of its best validation."""
    return os.path.join(model_dir, "best")


def weights_folder(model_dir: str, weights: str = BEST) -> str:
    """Where the weights to load stand.

    Of a pre-trained run that has not validated yet, or of converted weights, the newest are taken
    for the best.

    Args:
      model_dir: the run folder.
      weights: `config.BEST` or `config.NEWEST`.

    Raises:
      ValueError: it is neither.
    """
    if weights not in (BEST, NEWEST):
        raise ValueError(f"weights={weights!r} must be {BEST!r} or {NEWEST!r}.")
    if weights == BEST and (is_fine_tuned(model_dir)
                            or checkpoint_files.steps(best_folder(model_dir))):
        return best_folder(model_dir)
    return checkpoint_folder(model_dir)


def name_weights(model_dir: str, step: int, weights: str = BEST) -> str:
    """What to call the weights of update `step`, which were loaded, as "runs/a, update 5 (best)".

    Args:
      model_dir: the run folder.
      step: of what was loaded.
      weights: `config.BEST` or `config.NEWEST`.
    """
    is_best = weights_folder(model_dir, weights) == best_folder(model_dir)
    return f"{model_dir}, update {step:,}{' (best validation)' if is_best else ''}"


def text_bytes(text: str) -> bytes:
    """Of a flagfile or notes: names of files that are not UTF-8 stand there as they are."""
    return text.encode("utf-8", "surrogateescape")


def parse_flags(text: str) -> dict[str, str]:
    """Flag -> value; a boolean flag's two values are two names, without a value."""
    parts = (line.partition("=") for line in text.splitlines())
    return {name.removeprefix("--"): value for name, _, value in parts}


def refuse_link(folder: str) -> None:
    """Sees that what a run writes into one of its folders stays in the run folder.

    Raises:
      UserError: it is a link.
    """
    if os.path.islink(folder):
        raise UserError(f"{folder} is a link, and nothing is written outside of a run folder: put "
                        "what it leads to in its place. A link to the whole run folder is fine.")


def describe(model_dir: str, model: ModelConfig, task: Task | None, max_length: int,
             tokenizer: Tokenizer) -> None:
    """Writes what a run folder says of its model.

    Args:
      model_dir: the run folder.
      model: shape of the model.
      task: of a fine-tuned run.
      max_length: of a fine-tuned run, the longest sequence, in tokens, that it is trained for.
      tokenizer: it is copied.
    """
    write_recorded(os.path.join(model_dir, _MODEL), json_bytes(dataclasses.asdict(model)))
    if task:
        write_recorded(os.path.join(model_dir, _TASK), json_bytes({
            "task": task.to_json(), "max_length": max_length}))
    tokenizer.save(model_dir)


def mark_converted(model_dir: str, flags_text: str, notes: Sequence[str] = ()) -> None:
    """Says that the weights are of no command that trains, which completes their run folder.

    Args:
      model_dir: the run folder.
      flags_text: the flagfile of the command that converted them.
      notes: what was left out or taken otherwise, a line each.
    """
    if notes:
        write_recorded(os.path.join(model_dir, _NOTES),
                       text_bytes("".join(f"{note}\n" for note in notes)))
    write_recorded(os.path.join(model_dir, CONVERTED), text_bytes(flags_text))


def is_converted(model_dir: str) -> bool:
    """Whether the run folder is one of `write_converted`."""
    return os.path.exists(os.path.join(model_dir, CONVERTED))


def conversion_notes(model_dir: str) -> str:
    """The notes of `mark_converted`, each with a line end."""
    path = os.path.join(model_dir, _NOTES)
    if not os.path.exists(path):
        return ""
    return read_text(path, "the notes of a conversion", "surrogateescape")


def load_flags(model_dir: str) -> dict[str, str]:
    """The values of the flags that a run was started with; those of booleans are empty.

    Raises:
      UserError: the folder is not a run's.
    """
    for command in COMMANDS.values():
        path = os.path.join(model_dir, f"{command}.flags")
        if os.path.exists(path):
            return parse_flags(read_text(path, "the run's flagfile", "surrogateescape"))
    check_folder(model_dir)
    raise UserError(f"{model_dir} has no flagfile of a run: name the folder of one.")


def load_config(model_dir: str, weights: str = BEST) -> ModelConfig:
    """The shape of a run's model, which is no larger than its checkpoints.

    Args:
      model_dir: the run folder.
      weights: `config.BEST` or `config.NEWEST`, those that will be loaded.

    Raises:
      UserError: the folder is not a run's, has not saved yet, or its model.json was altered.
    """
    config, folder = read_config(model_dir), weights_folder(model_dir, weights)
    size = checkpoint_files.data_size(folder)
    if not size:
        raise no_checkpoint(folder)
    if size < 4 * config.num_parameters:
        raise UserError(f"{os.path.join(model_dir, _MODEL)} describes a model of "
                        f"{config.num_parameters:,} parameters, and all checkpoints in "
                        f"{folder} have {size:,} bytes: take both from one run.")
    return config


def no_checkpoint(folder: str) -> UserError:
    """The error that there is no checkpoint in `folder`."""
    remedy = cache.remedy(folder, "the run has not saved yet; wait for it, or start it again")
    return UserError(f"No checkpoint in {folder}: {remedy}.")


def read_config(model_dir: str) -> ModelConfig:
    path = os.path.join(model_dir, _MODEL)
    if not os.path.exists(path):
        check_folder(model_dir)
        raise UserError(f"No {_MODEL} in {model_dir}: it is not a run folder; make one with "
                        f"python -m gpt_tf.pretrain --model_dir={model_dir} ...")
    notice_without_sums(model_dir)
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
        flag = "init_from" if os.path.exists(os.path.join(model_dir, _MODEL)) else "model_dir"
        raise UserError(f"No {_TASK} in {model_dir}: it is not a fine-tuned run; make one with "
                        f"python -m gpt_tf.finetune --{flag}={model_dir} ...")
    value, limit = read_json(path, "the run's task"), read_config(model_dir).max_sequence_length
    length = value.get("max_length") if isinstance(value, dict) else None
    if type(length) is not int or not _SHORTEST <= length <= limit:
        raise UserError(f"{path} says a max_length of {length!r:.40}, and {_SHORTEST} to {limit} "
                        "tokens are what the run's model takes: fine-tune again.")
    return Task.from_json(value.get("task"), path), length


def check_data(model_dir: str, data_dir: str, manifest: Manifest, weights: str = BEST) -> None:
    """Sees that a run has weights, and that data was made for its tokenizer, task and length.

    Args:
      model_dir: the run folder.
      data_dir: the data folder.
      manifest: of the data.
      weights: `config.BEST` or `config.NEWEST`, those that will be loaded.

    Raises:
      UserError: they do not fit together.
    """
    limit = load_config(model_dir, weights).max_sequence_length
    if Tokenizer.load(model_dir).fingerprint != manifest.tokenizer_fingerprint:
        raise UserError(f"{data_dir} was made with another tokenizer than {model_dir}: build it "
                        f"again with --tokenizer={model_dir}.")
    if manifest.kind == TASK:
        _check_task(model_dir, data_dir, manifest.task)
    if manifest.sequence_length > limit:
        flag = "sequence_length" if manifest.kind == LANGUAGE_MODEL else "max_length"
        raise UserError(f"{data_dir} has sequences of up to {manifest.sequence_length} tokens and "
                        f"the model of {model_dir} takes {limit}: build it with --{flag}={limit}.")


def _check_task(model_dir: str, data_dir: str, theirs: Task) -> None:
    """Raises UserError unless a run was fine-tuned on a task like that of the data."""
    task, _ = load_task(model_dir)
    for field in ("form", "num_sequences", "labels", "score_range"):
        if getattr(task, field) != getattr(theirs, field):
            raise UserError(f"{data_dir} holds another task than {model_dir} was fine-tuned on: "
                            f"{theirs.name} with {field} {getattr(theirs, field)}, where "
                            f"{task.name} has {getattr(task, field)}; name data of that task.")
