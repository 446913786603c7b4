"""The one door: a handle, or the name of a model that comes with gpt_tf -> a folder here.

A Keras model's preset stays where its hub's client keeps it, and goes through the same checks as
any other. Of a model in transformers' layout a run folder is made in the user's cache, and of its
tokenizer alone a tokenizer's folder, under a name that the content of the files decides.
"""

from collections.abc import Callable
import os
import sys

from gpt_tf.common import apart, cache, cli
from gpt_tf.common.files import atomic_folder
from gpt_tf.hub import packaged
from gpt_tf.hub.files import Fetched
from gpt_tf.hub.handles import HUGGINGFACE, Handle, is_handle
from gpt_tf.interop import vocabularies
from gpt_tf.interop.targets import HUGGING_FACE
from gpt_tf.runs import run_folder


def is_name(name: str) -> bool:
    """Whether `name` is a handle, or of a model that comes with gpt_tf, and not a path."""
    return is_handle(name) or packaged.is_packaged(name)


def fetch(name: str, tokenizer_only: bool = False) -> Fetched:
    """What a name of `is_name` means, as it is published.

    Args:
      name: the handle, or the model's name.
      tokenizer_only: whether the weights can stay where they are.

    Raises:
      UserError: it is no handle; there is no such model or tokenizer, or it is not for who asks; or
        it cannot be fetched, or is damaged.
    """
    if packaged.is_packaged(name):
        return packaged.fetch(name, tokenizer_only)
    handle = Handle.parse(name)
    # Here, as the clients take their time.
    if handle.hub == HUGGINGFACE:
        from gpt_tf.hub import huggingface as client
    else:
        from gpt_tf.hub import kaggle as client
    return client.fetch(handle, tokenizer_only)


def local(name: str | os.PathLike) -> str:
    """The run folder, or the preset of a Keras model, that `name` names.

    Args:
      name: one of `is_name`, fetched where it is not here yet. What is none comes back as it is.
        What the run folder of a handle lacks of what is published is said on standard error.

    Raises:
      UserError: see `fetch`; or the model is none that a run folder can hold, the cache cannot be
        written, or the name of a model that comes with gpt_tf is mistyped.
    """
    name = os.fspath(name)
    if not is_name(name):
        packaged.check_spelling(name)
        return name
    found = fetch(name)
    if found.is_keras:
        return found.folder
    path = _ours("huggingface", found, lambda path: _convert(name, found.folder, path))
    if is_handle(name):  # what comes with gpt_tf is taken whole
        print(run_folder.conversion_notes(path), end="", file=sys.stderr)
    return path


def local_tokenizer(name: str | os.PathLike) -> str:
    """A folder with the tokenizer of what `name` names, or the preset of a Keras model, whose
    weights may be elsewhere. Of a model that comes with gpt_tf it is the run folder, which says how
    many positions there are, too.

    Args:
      name: see `local`.

    Raises:
      UserError: see `local`; or the tokenizer is of no kind that is known.
    """
    name = os.fspath(name)
    if not is_handle(name):
        return local(name)
    found = fetch(name, tokenizer_only=True)
    return found.folder if found.is_keras else _ours(
        "tokenizer", found, lambda path: _save_tokenizer(found.folder, path))


def _ours(kind: str, found: Fetched, make: Callable[[str], object]) -> str:
    """The folder of our cache that is made of what was fetched."""
    paths = {name: os.path.join(found.folder, name) for name in found.names}
    return cache.folder(f"{kind}-{cache.digest(paths)}", make)


def _save_tokenizer(folder: str, path: str) -> None:
    with atomic_folder(path) as target:
        vocabularies.load(HUGGING_FACE, folder).tokenizer.save(target)


def _convert(name: str, folder: str, path: str) -> None:
    flags = cli.flags_text({"from": HUGGING_FACE, "input": name, "output_dir": path})
    apart.call("gpt_tf.interop.conversion", "import_run", HUGGING_FACE, folder, path, None, flags)
