"""The one door: a handle -> a folder of this machine.

A Keras model's preset stays where its hub's client keeps it, and goes through the same checks as
any other. Of a model in transformers' layout a run folder is made in the user's cache, under a name
that the content of its files decides.
"""

import os
import sys

from gpt_tf.common import cache, cli
from gpt_tf.common.small_files import read_json
from gpt_tf.hub import files
from gpt_tf.hub.files import Fetched
from gpt_tf.hub.handles import HUGGINGFACE, Handle, is_handle


def fetch(name: str, tokenizer_only: bool = False) -> Fetched:
    """What a handle names, as it is published.

    Args:
      name: the handle.
      tokenizer_only: whether the weights can stay where they are.

    Raises:
      UserError: it is no handle; there is no such model or tokenizer, or it is not for who asks; or
        it cannot be fetched.
    """
    handle = Handle.parse(name)
    # Here, as the clients take their time.
    if handle.hub == HUGGINGFACE:
        from gpt_tf.hub import huggingface as client
    else:
        from gpt_tf.hub import kaggle as client
    return client.fetch(handle, tokenizer_only)


def local(name: str) -> str:
    """The run folder, or the preset of a Keras model, that `name` names.

    Args:
      name: a handle, fetched where it is not here yet. What is none comes back as it is.

    Raises:
      UserError: see `fetch`; or the model is none that a run folder can hold, or the cache cannot
        be written.
    """
    if not is_handle(name):
        return name
    found = fetch(name)
    if found.is_keras:
        return found.folder
    paths = {each: os.path.join(found.folder, each) for each in found.names}
    return cache.folder(f"huggingface-{cache.digest(paths)}",
                        lambda path: _convert(name, found.folder, path))


def is_gpt1(folder: str) -> bool:
    """Whether a folder of `fetch` is of GPT-1 in transformers' layout, with its weights or without.

    Raises:
      UserError: the description of the model is damaged.
    """
    path = os.path.join(folder, files.CONFIG)
    return os.path.exists(path) and files.is_gpt1(read_json(path, "the model's configuration"))


def _convert(name: str, folder: str, path: str) -> None:
    cli.import_tensorflow()
    from gpt_tf.interop import conversion

    flags = cli.flags_text({"from": "huggingface", "input": name, "output_dir": path})
    _, *notes = conversion.import_run("huggingface", folder, path, None, flags)
    print("".join(f"{note}\n" for note in notes), end="", file=sys.stderr)
