"""Run folders <-> other programs' folders, whole or absent, with nothing lost on the way."""

import os
from types import ModuleType

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder
from gpt_tf.common.names import check_folder
from gpt_tf.common.small_files import record
from gpt_tf.config import ModelConfig
from gpt_tf.interop import huggingface, openai, targets, tokenizer_json, vocabularies
from gpt_tf.interop.kept import Kept
from gpt_tf.interop.mapping import Found, Leftover, Tuned, collect, fill
from gpt_tf.model.gpt import GPT
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import run_folder, weights
from gpt_tf.tokenizer import SPECIAL_TOKENS, Tokenizer

LAYOUTS: dict[str, ModuleType] = {targets.OPENAI: openai, targets.HUGGING_FACE: huggingface}


def import_run(layout: str, source: str, target: str, num_heads: int | None,
               flags_text: str) -> list[str]:
    """Another program's folder -> a run folder.

    Args:
      layout: one of `LAYOUTS`.
      source: the other program's folder, with its tokenizer.
      target: run folder to make; what `targets.check` lets through is replaced.
      num_heads: attention heads, where the layout does not say them; None: as published.
      flags_text: the flagfile of this command.

    Returns:
      Lines for the user: what was made, and notes.

    Raises:
      UserError: a file is missing, damaged, of another model or one that cannot be held.
    """
    check_folder(source)
    source = targets.model_folder(layout, source)
    beside = Kept.load(source, layout)
    vocabulary = vocabularies.load(layout, source)
    tokenizer = vocabulary.tokenizer
    found = LAYOUTS[layout].read(source, beside, num_heads, vocabulary)
    _check_vocabulary(found.config, tokenizer, found.where, source)
    tuned, step = found.tuned, beside.step if beside else 0
    if tuned and not found.config.num_special_tokens:
        raise UserError(f"{found.where} has no rows of special tokens, and {targets.KEPT} beside "
                        "it is of a fine-tuned run: take all files from one conversion.")
    _check_size(found)
    model = TaskModel(found.config, tuned.task) if tuned else GPT(found.config)
    fill(LAYOUTS[layout].folder_entries(model.gpt if tuned else model), found.arrays, found.where)
    if tuned:
        fill(openai.head_entries(model.head), tuned.head,
             os.path.join(source, targets.KEPT) if beside else found.where)
    notes = [*found.notes, *_not_finite(found.arrays, found.where)]
    found.arrays.clear()  # the model has them; writing it takes memory, too
    with atomic_folder(target) as folder:
        weights.write_converted(folder, flags_text, model, tuned.max_length if tuned else 0,
                                tokenizer, step, notes)
    size = (f"{found.config.num_parameters:,} parameters, {found.config.num_layers} layers, "
            f"{found.config.num_heads} heads, {tokenizer.vocabulary_size:,} tokens")
    return [f"{target}: a model of {size}" + (f", fine-tuned on {tuned.task.name}" if tuned else "")
            + (f"; update {step:,}." if step else "."), *notes]


def export_run(layout: str, source: str, target: str) -> list[str]:
    """A run folder -> another program's folder, and in it a file of ours with the rest.

    The weights are those that the run ended with; of a fine-tuned one, the best.

    Args:
      layout: one of `LAYOUTS`.
      source: the run folder.
      target: folder to make; what `targets.check` lets through is replaced.

    Returns:
      Lines for the user: what was made, and what the layout has no place for.

    Raises:
      UserError: the folder is not a run's, or the layout cannot hold its model.
    """
    tuned = None
    if run_folder.is_fine_tuned(source):
        model, _, step = weights.load_task_model(source)
        _, max_length = run_folder.load_task(source)
        gpt, tuned = model.gpt, tuned_of(model, max_length)
    else:
        gpt, step = weights.load_model(source)
    tokenizer = Tokenizer.load(source)
    _check_vocabulary(gpt.config, tokenizer, source, source)
    with atomic_folder(target) as folder:
        left = write_files(layout, folder, gpt, tokenizer, step, tuned)
    beside = [*(f"rows of {len(left.arrays[name])} special tokens" for name in left.arrays),
              *([f"the head of {tuned.task.name} and its task.json"] if tuned else ()),
              *(name for name in left.settings), f"the update, {step:,}"]
    return [f"{target}: the weights of {source} in {layout}'s layout.", *left.notes,
            f"What it has no place for is kept in {targets.KEPT} there: {', '.join(beside)}.",
            f"The moments of Adam, the metrics and the flagfile stay in {source} alone."]


def tuned_of(model: TaskModel, max_length: int) -> Tuned:
    """What fine-tuning added to a model's decoder; `max_length` as in `Tuned`."""
    return Tuned(model.task, max_length, collect(openai.head_entries(model.head)))


def export_model(path: str | os.PathLike, gpt: GPT, tokenizer: Tokenizer | None,
                 tuned: Tuned | None = None) -> None:
    """Writes a model in Hugging Face's layout, whole or not at all; arguments as `write_files`.

    Raises:
      ValueError: something stands at `path`.
      UserError: the layout cannot hold the model, or the place cannot be written.
    """
    if os.path.exists(path):
        raise ValueError(f"{path} exists: name a folder that is not there yet.")
    if tokenizer:
        _check_vocabulary(gpt.config, tokenizer, "The model", "its tokenizer")
    with atomic_folder(path) as folder:
        write_files(targets.HUGGING_FACE, folder, gpt, tokenizer, tuned=tuned)


def write_files(layout: str, folder: str, gpt: GPT, tokenizer: Tokenizer | None, step: int = 0,
                tuned: Tuned | None = None) -> Leftover:
    """Writes a model in another program's layout, and `targets.KEPT` beside it.

    Args:
      layout: one of `LAYOUTS`.
      folder: to write into.
      gpt: the decoder, in float32.
      tokenizer: the model's; None writes none.
      step: the update that the weights are of, as far as it is known.
      tuned: of a fine-tuned model.

    Returns:
      What the layout has no place for.

    Raises:
      UserError: the layout cannot hold the model, or the place cannot be written.
    """
    left = LAYOUTS[layout].write(folder, gpt, tuned)
    task, max_length, head = tuned or Tuned(None, 0, {})
    Kept(layout, left.settings, step, task, max_length, left.arrays | head).save(folder)
    if tokenizer:
        tokenizer.save(folder, layout)
        if layout == targets.HUGGING_FACE:
            tokenizer_json.write(folder, tokenizer, gpt.config, tuned)
    record(folder, {name for name in targets.FILES[layout] if name.endswith(".json")}
           & set(os.listdir(folder)))
    return left


def _check_vocabulary(config: ModelConfig, tokenizer: Tokenizer, where: str, folder: str) -> None:
    if config.num_special_tokens not in (0, len(SPECIAL_TOKENS)):
        raise UserError(f"{where} has {config.num_special_tokens} rows of special tokens: there "
                        f"are {len(SPECIAL_TOKENS)} or none.")
    if config.vocabulary_size != tokenizer.vocabulary_size:
        raise UserError(f"{where} has rows for {config.vocabulary_size:,} tokens and the "
                        f"vocabulary in {folder} has {tokenizer.vocabulary_size:,}: take both from "
                        "one model.")


def _check_size(found: Found) -> None:
    """Sees that a model is not much larger than its arrays, as one is made before their shapes are
    compared one by one."""
    values = sum(array.size for array in found.arrays.values())
    if found.config.num_parameters > 2 * values:
        raise UserError(f"{found.where} holds {values:,} values and a model of the shape that they "
                        f"give has {found.config.num_parameters:,}: take all files from one GPT-1 "
                        "language model.")


def _not_finite(arrays: dict[str, np.ndarray], where: str) -> list[str]:
    names = [name for name, array in arrays.items() if not np.isfinite(array).all()]
    return [f"{where}: {len(names)} of {len(arrays)} arrays hold values that are not finite, such "
            f"as {names[0]}; they were taken as they are."] if names else []
