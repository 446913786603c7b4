"""Run folders as presets that KerasHub's own classes read."""

import keras

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder, explain_disk_errors
from gpt_tf.keras_models.causal_lm import GPTCausalLM
from gpt_tf.keras_models.text_classifier import GPTTextClassifier
from gpt_tf.runs import run_folder

MARK = "metadata.json"  # every preset has it


def write(model_dir: str, target: str, weights: str) -> keras.Model:
    """Writes a run as a preset, whole or not at all.

    Args:
      model_dir: the run folder, of a language model or a fine-tuned one.
      target: folder to make; one that stands there is replaced.
      weights: `config.BEST` or `config.NEWEST`.

    Returns:
      The model.

    Raises:
      UserError: the run has no whole checkpoint, or its form is none of the Keras classifier's.
    """
    task = GPTTextClassifier if run_folder.is_fine_tuned(model_dir) else GPTCausalLM
    try:
        model = task.from_preset(model_dir, weights=weights)
    except ValueError as error:
        raise UserError(f"{model_dir} cannot be a preset: {error}") from error
    with explain_disk_errors(target), atomic_folder(target) as folder:
        model.save_to_preset(folder)
    return model
