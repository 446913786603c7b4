"""A preset or `.keras` file -> a run folder, which every command takes."""

import os

import keras

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder
from gpt_tf.common.names import check_folder
from gpt_tf.keras_models.backbone import GPTBackbone
from gpt_tf.keras_models.preset import TASK, TOKENIZER, explain, read_part
from gpt_tf.keras_models.text_classifier import GPTTextClassifier
from gpt_tf.keras_models.tokenizer import GPTTokenizer
from gpt_tf.runs import weights
from gpt_tf.tokenizer import Tokenizer


def import_run(source: str, target: str, flags_text: str) -> list[str]:
    """A Keras model as it was saved -> a run folder.

    Args:
      source: folder of `save_to_preset`, or a `.keras` file; of a `GPTCausalLM`, a
        `GPTTextClassifier`, or a `GPTBackbone` with a tokenizer beside it.
      target: run folder to make; one that stands there is replaced.
      flags_text: the flagfile of the command that makes it.

    Returns:
      Lines for the user: what was made.

    Raises:
      UserError: it is damaged, not of gpt_tf, has no tokenizer, or is a model that a run folder
        cannot hold.
    """
    check_folder(source)
    with explain(source):
        model, tokenizer = _load(source)
    if tokenizer is None:
        raise UserError(f"{source} has no tokenizer: save the model with its preprocessor.")
    backbone = model if isinstance(model, GPTBackbone) else model.backbone
    config, is_classifier = backbone.config, isinstance(model, GPTTextClassifier)
    if config.vocabulary_size != tokenizer.vocabulary_size:
        raise UserError(f"{source} has rows for {config.vocabulary_size:,} tokens and a tokenizer "
                        f"of {tokenizer.vocabulary_size:,}: save the model with its own.")
    try:
        ours = model.in_float32() if is_classifier else backbone.in_float32()
    except ValueError as error:
        raise UserError(f"{source} cannot become a run folder: {error}") from error
    with atomic_folder(target) as folder:
        weights.write_converted(folder, flags_text, ours, model.longest if is_classifier else 0,
                                tokenizer, step=0)
    size = (f"{config.num_parameters:,} parameters, {config.num_layers} layers, "
            f"{config.num_heads} heads, {tokenizer.vocabulary_size:,} tokens")
    classes = f", a classifier of {', '.join(ours.task.labels)}" if is_classifier else ""
    return [f"{target}: a model of {size}{classes:.400}."]


def _load(source: str) -> tuple[keras.Model, Tokenizer | None]:
    """A model of one of our classes, and its tokenizer."""
    if os.path.isfile(source):
        model = keras.saving.load_model(source, compile=False)
    elif (name := read_part(source, TASK).get("registered_name")):
        model = keras.saving.get_registered_object(name).from_preset(source)
    else:
        model = GPTBackbone.from_preset(source)
        if read_part(source, TOKENIZER):
            return model, GPTTokenizer.from_preset(source).tokenizer
    preprocessor = getattr(model, "preprocessor", None)
    return model, preprocessor and preprocessor.tokenizer.tokenizer

