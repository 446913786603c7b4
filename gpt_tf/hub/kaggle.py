"""Presets of Keras models on Kaggle, by its own client and in its own cache (KAGGLEHUB_CACHE).

They are fetched file by file, by names known before, as KerasHub does it.
"""

from collections.abc import Callable
import functools
import os

from gpt_tf.common.errors import UserError, reason
from gpt_tf.common.small_files import SUMS, read_json
from gpt_tf.hub.files import (
    ASSETS,
    CONFIG,
    HEAD,
    PARTS,
    SHARDS,
    WEIGHTS,
    Fetched,
    gather,
    is_keras,
    is_shard,
)
from gpt_tf.hub.handles import Handle
from gpt_tf.tokenizer.files import HUGGING_FACE, INFO_FILE

_ASSETS = tuple(f"{ASSETS}/{name}" for name in (*HUGGING_FACE, INFO_FILE, SUMS))


def fetch(handle: Handle, tokenizer_only: bool) -> Fetched:
    """Files of a preset, each fetched once; of the newest version where the handle names none.

    Args:
      handle: of the model's variation.
      tokenizer_only: whether the weights can stay where they are.

    Raises:
      UserError: there is no such preset, or it is not for who asks; Kaggle cannot be reached; the
        disk is full; or the client is not installed.
    """
    try:
        import kagglehub
    except ImportError as error:
        raise UserError(f"{handle.text} is fetched by kagglehub, which cannot be imported here "
                        f"({reason(error)}): pip install kagglehub.") from error
    get = functools.partial(_get, handle, kagglehub.model_download)
    config = get("/".join(filter(None, (handle.name, handle.revision))), CONFIG)
    if config is None:
        raise UserError(f"{handle.text}: Kaggle has no such model, variation or version, or it has "
                        f"no {CONFIG}, or is private: check the name; for a private one set "
                        "KAGGLE_API_TOKEN.")
    if not is_keras(read_json(config, f"of {handle.text}")):
        raise UserError(f"{handle.text} is no preset of a Keras model, as save_to_preset writes "
                        "it: name another.")
    # The folder is the version's: all files are taken from one.
    get = functools.partial(get, f"{handle.name}/{os.path.basename(os.path.dirname(config))}")
    found = {CONFIG: config} | _existing(get, [*PARTS, *_ASSETS])
    if not tokenizer_only:
        found |= _existing(get, [WEIGHTS, HEAD])
    if not tokenizer_only and WEIGHTS not in found:
        found |= _existing(get, [SHARDS])
        found |= _existing(get, _shards(found[SHARDS]) if SHARDS in found else [])
    return gather(handle.text, found, found.__getitem__, tokenizer_only)


def _existing(get: Callable[[str], str | None], names: list[str]) -> dict[str, str]:
    """Name -> path of those that are published."""
    return {name: path for name in names if (path := get(name))}


def _shards(table: str) -> list[str]:
    """The files that hold the weights, by the table of them."""
    values = read_json(table, "the table of the weights' files")
    files = values.get("weight_map") if isinstance(values, dict) else None
    names = set()
    for value in files.values() if isinstance(files, dict) else ():
        names.update(value if isinstance(value, list) else [value])
    return sorted(name for name in names if isinstance(name, str) and is_shard(name))


def _get(handle: Handle, download: Callable[[str, str], str], model: str, name: str) -> str | None:
    """The path of a file; None where it is not published."""
    try:
        return download(model, name)
    except Exception as error:  # the client's, its HTTP library's, the disk's
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status == 404 or "is not present in the model files" in str(error):
            return None
        raise UserError(_sentence(handle, name, error, status)) from error


def _sentence(handle: Handle, name: str, error: Exception, status: int | None) -> str:
    if status in (401, 403):
        return (f"{handle.text} is not for who asks ({status}): agree to its terms on Kaggle, and "
                "set KAGGLE_API_TOKEN to a token of the account that did.")
    if status is None and isinstance(error, OSError) and error.errno:
        return (f"Cannot write {name} of {handle.text}: {error.strerror}. Make room, or name "
                "another folder with KAGGLEHUB_CACHE; then run the same again.")
    return (f"{name} of {handle.text} cannot be fetched ({reason(error)}): check the network, and "
            "run the same again.")
