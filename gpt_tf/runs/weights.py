"""The weights of a run folder: loaded into its model, and written for one that nothing trained."""

from collections.abc import Sequence

import tensorflow as tf

from gpt_tf.config import BEST
from gpt_tf.model.gpt import GPT
from gpt_tf.model.task_model import TaskHead, TaskModel
from gpt_tf.runs import run_folder
from gpt_tf.runs.checkpoint import Checkpoints
from gpt_tf.runs.run_folder import checkpoint_folder, load_config, load_task
from gpt_tf.tasks.task import Task
from gpt_tf.tokenizer import Tokenizer


def load_model(model_dir: str, dtype: str = "float32", weights: str = BEST) -> tuple[GPT, int]:
    """Builds a run's language model with its weights.

    Args:
      model_dir: the run folder.
      dtype: of the forward pass.
      weights: `config.BEST`, those of its best validation, where it has validated; or
        `config.NEWEST`.

    Returns:
      (GPT, update of the weights).

    Raises:
      UserError: the folder is not a run's, or has no checkpoint that is whole.
    """
    model = GPT(load_config(model_dir, weights), dtype=dtype)
    return model, restore(model_dir, model, weights)


def load_task_model(model_dir: str, dtype: str = "float32",
                    weights: str = BEST) -> tuple[TaskModel, Task, int]:
    """Builds a fine-tuned run's model with its weights.

    Args:
      model_dir, dtype, weights: see `load_model`.

    Returns:
      (TaskModel, Task, update of the weights).

    Raises:
      UserError: the folder is not a fine-tuned run's, or has no checkpoint that is whole.
    """
    task, _ = load_task(model_dir)
    model = TaskModel(load_config(model_dir, weights), task, dtype=dtype)
    return model, task, restore(model_dir, model, weights)


def kept_checkpoints(model_dir: str, model: GPT) -> Checkpoints:
    """The checkpoints of a run's course, each of which can be restored into `model`.

    Args:
      model_dir: the run folder.
      model: of `load_model` of the same folder.
    """
    return Checkpoints(checkpoint_folder(model_dir), {"model": model_variables(model)})


def restore(model_dir: str, part: GPT | TaskModel | TaskHead, weights: str = BEST) -> int:
    """Gives a model, or the part of one, the weights that a run has under the same names.

    Args:
      model_dir, weights: see `load_model`.
      part: of the run's shape.

    Returns:
      The update of the weights.

    Raises:
      UserError: the run has no checkpoint that is whole, or is of another shape.
    """
    folder = run_folder.weights_folder(model_dir, weights)
    other = {}
    if folder == run_folder.best_folder(model_dir):
        other["remedy"] = "restore them from a copy, or take the run's newest with --weights=newest"
    step = Checkpoints(folder, {"model": model_variables(part)}, **other).restore_latest()
    if step is None:
        raise run_folder.no_checkpoint(folder)
    return step


def model_variables(model: GPT | TaskModel | TaskHead) -> dict[str, tf.Variable]:
    """Name -> `tf.Variable` of every weight, as checkpoints hold them."""
    return {variable.path: variable.value for variable in model.weights}  # frozen ones, too


def write_converted(model_dir: str, flags_text: str, model: GPT | TaskModel, max_length: int,
                    tokenizer: Tokenizer, step: int, notes: Sequence[str] = ()) -> None:
    """Makes the run folder of weights that no command here has trained.

    Args:
      model_dir: an empty folder.
      flags_text: the flagfile of the command that converted them.
      model: with its weights; a `TaskModel` makes a fine-tuned run.
      max_length: of a fine-tuned run, the longest sequence, in tokens, that it was trained for.
      tokenizer: the model's.
      step: the update that the weights are of, as far as it is known.
      notes: what was left out or taken otherwise, a line each.

    Raises:
      UserError: the folder cannot be written.
    """
    task = model.task if isinstance(model, TaskModel) else None
    config = model.gpt.config if task else model.config
    run_folder.describe(model_dir, config, task, max_length, tokenizer)
    folder = run_folder.best_folder(model_dir) if task else checkpoint_folder(model_dir)
    Checkpoints(folder, {"model": model_variables(model)}).save(step)
    run_folder.mark_converted(model_dir, flags_text, notes)
