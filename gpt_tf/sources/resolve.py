"""What names a model -> the run folder that a command takes. No TensorFlow until it is needed.

A run folder names itself. Of a Keras preset and of a `.keras` file a run folder is made in the
user's cache, under a name that their content decides, and found there the next time.
"""

import hashlib
import os
import sys

import gpt_tf
from gpt_tf.common import cache, cli
from gpt_tf.common.files import open_to_read
from gpt_tf.common.small_files import read_json

_PRESET = "config.json"


def run_folder(source: str) -> str:
    """The path of a run folder with the model that `source` names.

    Args:
      source: a run folder, a folder that a Keras model's `save_to_preset` wrote, or a `.keras`
        file. What is none of them comes back as it is, to be refused as a run folder.

    Raises:
      UserError: a Keras model that is damaged, is not of gpt_tf, or that a run folder cannot hold;
        or the cache cannot be written.
    """
    if not is_keras(source):
        return source
    path = cache.folder(f"keras-{_digest(source)}", lambda path: _convert(source, path))
    print(f"{source} is a model of Keras; its run folder is {path}.", file=sys.stderr)
    return path


def is_keras(source: str) -> bool:
    """Whether a Keras model was saved as `source`.

    Raises:
      UserError: the folder's description of a model is damaged.
    """
    if os.path.isfile(source):
        return source.endswith(".keras")
    path = os.path.join(source, _PRESET)
    if not os.path.exists(path):
        return False
    config = read_json(path, "the description of a model")
    # Other programs' folders have a file of this name, too; KerasHub tells its own by the same key.
    return isinstance(config, dict) and "registered_name" in config


def _digest(source: str) -> str:
    """A name for the content of a file, or of a folder's files, under this release."""
    digest = hashlib.sha256(gpt_tf.__version__.encode())
    paths = [source] if os.path.isfile(source) else sorted(
        os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names)
    for path in paths:
        with open_to_read(path) as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        digest.update(os.fsencode(os.path.relpath(path, source)) + b"\0" + content)
    return digest.hexdigest()[:32]


def _convert(source: str, path: str) -> None:
    cli.import_tensorflow()
    from gpt_tf.keras_models import conversion

    flags = {"from": "keras", "input": os.path.abspath(source), "output_dir": path}
    conversion.import_run(source, path, "".join(f"--{name}={value}\n"
                                                for name, value in flags.items()))
