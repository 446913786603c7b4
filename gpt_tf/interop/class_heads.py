"""Heads of tasks in transformers' classes for this model, and here.

`OpenAIGPTDoubleHeadsModel` gives each choice a score by a linear layer with a bias, as a
multiple-choice task here does. `OpenAIGPTForSequenceClassification` has no bias. But what it reads
comes from a layer normalisation, whose outputs h = g x + b (Ba et al. 2016) all lie on one plane,
as the x of an input sum to 0: sum(h / g) = sum(b / g) = s. So (c / s) / g is a row of weights that
gives the constant c for every input, and a bias can be added to the kernel.
"""

from typing import Any

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.interop.mapping import Tuned
from gpt_tf.interop.openai import HEAD_BIAS, HEAD_KERNEL
from gpt_tf.interop.targets import KEPT
from gpt_tf.tasks import answers
from gpt_tf.tasks.forms import MULTIPLE_CHOICE, SIMILARITY
from gpt_tf.tasks.task import Task

LANGUAGE_MODEL = "OpenAIGPTLMHeadModel"
CLASSIFIER, DOUBLE_HEADS = "OpenAIGPTForSequenceClassification", "OpenAIGPTDoubleHeadsModel"
_SCORE = "score.weight"
_CHOICE = "multiple_choice_head.summary.weight", "multiple_choice_head.summary.bias"
NAMES = {_SCORE, *_CHOICE}

# Of logits whose bias stands in the kernel, the most that rounding may change them by.
_ROUNDING = 1e-5

# The key of a configuration under which transformers keeps what it does not know itself.
_KEY, _PROGRAM = "task_specific_params", "gpt_tf"

# What makes their head another function than a linear layer on one state.
_SUMMARY = {"summary_type": "cls_index", "summary_use_proj": True, "summary_activation": None,
            "summary_proj_to_labels": True}


def describe(tuned: Tuned) -> dict[str, Any]:
    """What `config.json` says of a fine-tuned model."""
    task = tuned.task
    values = {_KEY: {_PROGRAM: {"task": task.to_json(), "max_length": tuned.max_length}}}
    if task.form == MULTIPLE_CHOICE:
        return {**values, "architectures": [DOUBLE_HEADS], **_SUMMARY}
    names = answers.class_names(task)
    return {**values, "architectures": [CLASSIFIER],
            "id2label": {str(index): name for index, name in enumerate(names)},
            "label2id": {name: index for index, name in enumerate(names)},
            "problem_type": "single_label_classification"}


def write(tuned: Tuned, gamma: np.ndarray,
          beta: np.ndarray) -> tuple[dict[str, np.ndarray], list[str]]:
    """A head for their classes.

    Args:
      tuned: with the head.
      gamma, beta: [D] of the layer normalisation whose outputs it reads, the decoder's last.

    Returns:
      (arrays by their names, lines that tell the user how the answers are the run's).
    """
    kernel, bias = tuned.head[HEAD_KERNEL], tuned.head[HEAD_BIAS]
    if tuned.task.form == MULTIPLE_CHOICE:
        return dict(zip(_CHOICE, (kernel.T, bias))), [
            f"transformers' {DOUBLE_HEADS} scores each answer as the run does, with mc_token_ids "
            "at <extract>."]
    notes = [f"transformers' {CLASSIFIER} answers as the run does"
             + {"classification": ".", "entailment": ", with text_pair as the second text."}.get(
                 tuned.task.form, ": the sum of the logits of both orders of a pair.")]
    if tuned.task.is_score:
        notes.append("Its classes are the whole numbers of the score, which is their mean.")
    added = bias / 2 if tuned.task.form == SIMILARITY else bias  # its two sequences both have it
    folded = fold_bias(kernel, added, gamma, beta)
    if folded is None:
        notes.append("Its head has no bias, and this model's cannot be added to the kernel without "
                     f"loss: the classes' logits lack {', '.join(f'{each:.3g}' for each in bias)}.")
        folded = kernel
    return {_SCORE: np.ascontiguousarray(folded.T)}, notes


def fold_bias(kernel: np.ndarray, bias: np.ndarray, gamma: np.ndarray,
              beta: np.ndarray) -> np.ndarray | None:
    """A kernel [D, C] that gives with no bias what `kernel` gives with one.

    Args:
      kernel: [D, C], of outputs of a layer normalisation.
      bias: [C].
      gamma, beta: [D], gains and biases of the normalisation.

    Returns:
      float32 [D, C]; None if float32 cannot hold it to `_ROUNDING`.
    """
    if not bias.any():
        return kernel
    gamma, beta = gamma.astype(np.float64), beta.astype(np.float64)
    with np.errstate(all="ignore"):  # gains of 0, and biases that sum to 0
        row = 1 / gamma / np.sum(beta / gamma)
        # The size of a term times the root of their number: rounding goes both ways.
        error = np.abs(bias).max() * np.linalg.norm(row * np.hypot(gamma, beta)) * 2.0**-24
        if not error < _ROUNDING:
            return None
    return (kernel + row[:, None] * bias).astype(np.float32)


def read(values: dict[str, Any], num_positions: int, arrays: dict[str, np.ndarray],
         has_special_tokens: bool, where: str) -> tuple[Tuned | None, list[str]]:
    """The head of a model that somebody fine-tuned.

    Args:
      values: of `config.json`.
      num_positions: of the model.
      arrays: those of `NAMES` that the weights have; float32.
      has_special_tokens: whether the model has rows for start, delimiter and extract.
      where: names the file in errors.

    Returns:
      (what can be held, or None; notes that say what is left out and why).

    Raises:
      UserError: what we wrote into the configuration was altered.
    """
    if not arrays:
        return None, []
    params = values.get(_KEY)
    ours = params.get(_PROGRAM) if isinstance(params, dict) else None
    task, max_length = None, num_positions
    if isinstance(ours, dict):
        task = Task.from_json(ours.get("task"), where)
        max_length = ours.get("max_length")
        if type(max_length) is not int or not 0 < max_length <= num_positions:
            raise UserError(f"{where} is beside a configuration with a max_length of "
                            f"{max_length!r:.40}: take the folder from its source again.")
    if _SCORE in arrays:
        labels = _labels(values, len(arrays[_SCORE]))
        if not (has_special_tokens and task and task.form != MULTIPLE_CHOICE and len(labels) > 1):
            return None, [f"{where}: the head of {CLASSIFIER} ({', '.join(labels):.200}) is left "
                          "out: it reads the last token of a text that stands alone, and a "
                          "classifier here the token <extract> behind <start> and a text, with "
                          "which that model was not trained."]
        if labels != list(answers.class_names(task)):
            task = Task.from_json(task.to_json() | {
                "labels": labels, "label_names": [], "score_range": [], "metrics": ["accuracy"]},
                where)
        kernel, bias, notes = arrays[_SCORE].T, np.zeros(len(labels), np.float32), []
    else:
        other = [name for name, value in _SUMMARY.items() if (values.get(name, value) or None)
                 != (value or None)]
        if not has_special_tokens or other:
            why = (f"{other[0]} is {values[other[0]]!r:.40}, and {_SUMMARY[other[0]]!r} is what a "
                   "task here has" if other else
                   "the vocabulary has no tokens _start_, _delimiter_ and _classify_ or <start>, "
                   "<delimiter> and <extract>, between which a task here puts its texts")
            return None, [f"{where}: the head of {DOUBLE_HEADS} is left out: {why}."]
        notes = []
        if task is None or task.form != MULTIPLE_CHOICE:
            task = Task("choice", MULTIPLE_CHOICE, 2, ("0", "1"), (), ("accuracy",))
            notes = [f"{where} does not say how many answers a question has: two are taken."]
        if _CHOICE[0] not in arrays:
            raise UserError(f"{where} has {_CHOICE[1]} without {_CHOICE[0]}: take the file from "
                            "its source again.")
        kernel, bias = arrays[_CHOICE[0]].T, arrays.get(_CHOICE[1], np.zeros(1, np.float32))
    return Tuned(task, max_length, {HEAD_KERNEL: kernel, HEAD_BIAS: bias}), notes


def _labels(values: dict[str, Any], count: int) -> list[str]:
    """The names of the classes, in the order of their numbers."""
    names = values.get("id2label")
    names = names if isinstance(names, dict) else {}
    return [str(names.get(str(index), f"LABEL_{index}")) for index in range(count)]


def check_same(kept: Tuned, arrays: dict[str, np.ndarray], gamma: np.ndarray, beta: np.ndarray,
               where: str) -> None:
    """Sees that a folder's head, if it has one, is that of what was kept beside it.

    Args:
      kept: what we kept.
      arrays: those of `NAMES` that the weights have.
      gamma, beta: see `write`.
      where: names the file in errors.

    Raises:
      UserError: it is another, as somebody trained it further.
    """
    written, _ = write(kept, gamma, beta)
    if arrays and not (written.keys() == arrays.keys() and all(
            written[name].shape == array.shape and np.allclose(written[name], array, 1e-5, 1e-6)
            for name, array in arrays.items())):
        raise UserError(f"{where} has another head than {KEPT} beside it, as of a model that was "
                        "trained on: remove that file to take the other files alone.")
