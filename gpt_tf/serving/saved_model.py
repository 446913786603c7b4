"""Run folder -> SavedModel, in the numbered folders that TensorFlow Serving reads.

  exported/sst2/1/    the first version; 2/, 3/, ... later ones

A version is written under another name and renamed: it is whole or absent.
"""

import os
import re
from typing import NamedTuple

import tensorflow as tf

from gpt_tf.common.errors import UserError, reason
from gpt_tf.common.files import atomic_folder, explain_disk_errors, lock_folder, tidy_folder
from gpt_tf.common.memory import is_out_of_memory
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import run_folder, weights
from gpt_tf.serving import graph_tokenizer
from gpt_tf.serving.language_model_signatures import LanguageModelServing
from gpt_tf.serving.signatures import Signature
from gpt_tf.serving.task_signatures import TaskServing
from gpt_tf.tasks.forms import SpecialTokens
from gpt_tf.tokenizer import Tokenizer

_VERSION = r"\d+"  # a folder's name
DEFAULT = tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY


class Served(NamedTuple):
    """What is written.

    root: what holds the variables and tables.
    signatures: name -> concrete function.
    step: of the checkpoint.
    no_text: why no signature takes strings; "" where some do.
    """

    root: tf.Module
    signatures: dict[str, tf.types.experimental.ConcreteFunction]
    step: int
    no_text: str


def build(model_dir: str, which: str = run_folder.BEST, jit_compile: bool = False) -> Served:
    """Loads a run and traces its signatures.

    Of a pre-trained run "serving_default" is "logits", of a fine-tuned one "classify". Of a
    language whose rules fit no graph there are no signatures that take strings.

    Args:
      model_dir: the run folder.
      which: weights, `config.BEST` or `config.NEWEST`.
      jit_compile: whether signatures that generate are compiled with XLA where they run.

    Raises:
      UserError: the folder is not a run's, or has no checkpoint that is whole.
    """
    if run_folder.is_fine_tuned(model_dir):
        model, _, step = weights.load_task_model(model_dir, weights=which)
    else:
        model, step = weights.load_model(model_dir, weights=which)
    tokenizer = Tokenizer.load(model_dir)
    text, no_text = None, ""
    try:
        text = graph_tokenizer.build(tokenizer)
    except UserError as error:
        no_text = str(error)
    # Both stay here until all is traced: a method's tf.function does not keep its object.
    language_model, task = LanguageModelServing(
        getattr(model, "gpt", model), text, jit_compile), None
    signatures, default = language_model.signatures(), "logits"
    if isinstance(model, TaskModel):
        _, max_length = run_folder.load_task(model_dir)
        task = TaskServing(model, max_length, SpecialTokens.after(tokenizer.vocabulary_size), text)
        signatures, default = signatures | task.signatures(), "classify"
    root = tf.Module(name="gpt_tf")
    # The variables alone: whoever loads them needs no layers of ours.
    root.weights = weights.model_variables(model)
    root.text = text
    traced = {name: trace(signature) for name, signature in signatures.items()}
    return Served(root, traced | {DEFAULT: traced[default]}, step, no_text)


def trace(signature: Signature):
    """A concrete function whose inputs have the signature's names."""
    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name)
             for name, spec in signature.inputs.items()}
    return tf.function(lambda **inputs: signature.function(**inputs)).get_concrete_function(**specs)


def next_version(output_dir: str) -> int:
    """One more than the highest number there is, one that a kill has moved away among them."""
    with explain_disk_errors(output_dir):
        names = os.listdir(output_dir) if os.path.isdir(output_dir) else []
    found = [re.fullmatch(rf"({_VERSION})(\.old-\d+)?", name) for name in names]
    return 1 + max((int(match[1]) for match in found if match), default=0)


def save(served: Served, output_dir: str, version: int, overwrite: bool) -> str:
    """Writes one version; returns its folder.

    Raises:
      UserError: it is there already, another process writes there, or the place cannot be written.
    """
    with lock_folder(output_dir):
        tidy_folder(output_dir, _VERSION)
        target = os.path.join(output_dir, str(version))
        check_free(target, overwrite)
        try:
            with atomic_folder(target) as folder:
                tf.saved_model.save(served.root, folder, signatures=served.signatures)
        except (tf.errors.OpError, OSError) as error:
            if is_out_of_memory(error):
                raise
            raise UserError(f"Cannot write {target}: {reason(error)}; make room or choose another "
                            "folder, then run the same command again.") from error
    return target


def check_free(target: str, overwrite: bool) -> None:
    """Raises UserError if a version stands in `target` that may not be replaced."""
    if os.path.exists(target) and not overwrite:
        raise UserError(f"{target} holds an exported model: give another --version, or replace "
                        "this one with --overwrite.")
