"""What names a model -> the run folder that a command takes. No TensorFlow until it is needed.

A run folder names itself, and a handle or the name of a model that comes with gpt_tf is looked up
(`hub.models`). Of a Keras preset and of a `.keras` file a run folder is made in the user's cache,
under a name that their content decides, and found there the next time.
"""

import os
import sys

from gpt_tf.common import apart, cache, cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import read_json
from gpt_tf.hub import files, models, packaged
from gpt_tf.hub.handles import is_handle
from gpt_tf.runs import run_folder as runs


def run_folder(source: str) -> str:
    """The path of a run folder with the model that `source` names.

    Args:
      source: a run folder, a folder that a Keras model's `save_to_preset` wrote, a `.keras` file,
        a handle of what is published, or the name of a model that comes with gpt_tf. What is none
        of them comes back as it is, to be refused as a run folder.

    Raises:
      UserError: a Keras model that is damaged, is not of gpt_tf, or that a run folder cannot hold;
        what a name stands for cannot be had (`hub.models.local`); or the cache cannot be written.
    """
    path = models.local(source)
    if is_keras(path):
        saved = path
        path = cache.folder(f"keras-{cache.digest(_files(saved))}",
                            lambda path: _convert(saved, path))
        print(f"{source} is a model of Keras; its run folder is {path}.", file=sys.stderr)
    elif models.is_name(source):
        print(f"The run folder of {source} is {path}.", file=sys.stderr)
    return path


def fine_tuned_run(source: str) -> str:
    """The path of the run folder of a fine-tuned model that `source` names; see `run_folder`.

    Raises:
      UserError: see `run_folder`; or what a name or a Keras model stands for has no head of a task.
    """
    path = run_folder(source)
    if path != source and not runs.is_fine_tuned(path):
        told = (", or one that was left out, as said above"
                if is_handle(source) and "the head of" in runs.conversion_notes(path) else "")
        raise UserError(f"{source} is a language model without a head of a task{told}: fine-tune "
                        f"it with python -m gpt_tf.finetune --init_from={source} ...")
    return path


def refuse_name(model_dir: str) -> None:
    """Sees that a new run folder hides no model that comes with gpt_tf.

    Raises:
      UserError: it has the name of one.
    """
    if packaged.is_packaged(model_dir):
        raise UserError(f"--model_dir={model_dir} is the name of a model that comes with gpt_tf, "
                        f"and this folder would hide it: name another, as runs/{model_dir}.")


def tokenizer_folder(source: str) -> str:
    """The folder of the tokenizer that `source` names.

    Args:
      source: such a folder, a folder of `save_to_preset`, the name of a model that comes with
        gpt_tf, or a handle, of which the weights are not fetched.

    Raises:
      UserError: what a name stands for cannot be had, or the description of a preset is damaged.
    """
    path = models.local_tokenizer(source)
    return os.path.join(path, files.ASSETS) if is_keras(path) else path


def is_keras(source: str) -> bool:
    """Whether a Keras model was saved as `source`.

    Raises:
      UserError: the folder's description of a model is damaged.
    """
    if os.path.isfile(source):
        return source.endswith(".keras")
    path = os.path.join(source, files.CONFIG)
    return os.path.exists(path) and files.is_keras(read_json(path, "the description of a model"))


def _files(source: str) -> dict[str, str]:
    """Name -> path of a file, or of a folder's files."""
    paths = [source] if os.path.isfile(source) else [
        os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    return {os.path.relpath(path, source): path for path in paths}


def _convert(source: str, path: str) -> None:
    flags = cli.flags_text({"from": "keras", "input": os.path.abspath(source), "output_dir": path})
    apart.call("gpt_tf.keras_models.conversion", "import_run", source, path, flags)
