"""Which of the files that are published are needed."""

from collections.abc import Callable, Collection, Iterable
import dataclasses
import fnmatch
import os
import re
from typing import Any

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import SUMS, read_json
from gpt_tf.interop.targets import KEPT, PICKLES, WEIGHT_FILES

CONFIG = "config.json"
_MODEL_TYPE = "openai-gpt"

# What `save_to_preset` writes. The weights of a large model are several files, and a table of them.
PARTS = ("metadata.json", "tokenizer.json", "preprocessor.json", "task.json", SUMS)
ASSETS = "assets/tokenizer"
WEIGHTS, SHARDS, HEAD = "model.weights.h5", "model.weights.json", "task.weights.h5"
_SHARD = re.compile(r"model_\d+\.weights\.h5", re.ASCII)
_ASSET = re.compile(rf"{ASSETS}/\w[\w.-]*", re.ASCII)
# The tokenizers of transformers and of GPT-2's program.
_TOKENIZER = re.compile(r"vocab\.(json|bpe)|encoder\.json|merges\.txt|added_tokens\.json|"
                        r"special_tokens_map\.json|tokenizer(_config|_info)?\.json")
_TABLES = {"vocab.json", "encoder.json", "tokenizer.json"}  # one of which holds the vocabulary


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What was fetched.

    Attributes:
      folder: where it is.
      names: of the files in it that were asked for, sorted.
      is_keras: whether they are a preset of a Keras model; else they are as transformers and
        GPT-2's program have them.
      is_gpt1: whether they are, in transformers' layout, of GPT-1.
    """

    folder: str
    names: list[str]
    is_keras: bool
    is_gpt1: bool


def gather(handle: str, names: Collection[str], take: Callable[[str], str],
           tokenizer_only: bool) -> Fetched:
    """Takes the files of a model, after a look at the small one that says what it is.

    Args:
      handle: of the model, for errors.
      names: all that are published, paths with "/"; only those of known patterns are taken.
      take: fetches one, and says where it is.
      tokenizer_only: whether the weights can stay where they are.

    Raises:
      UserError: there is no model of GPT-1 among them, or no tokenizer.
    """
    config = read_json(take(CONFIG), f"of {handle}") if CONFIG in names else None
    is_preset = is_keras(config)
    kind = config.get("model_type") if isinstance(config, dict) else None
    wanted = set(_of_keras(names) if is_preset else
                 {CONFIG, *filter(_TOKENIZER.fullmatch, names)} & set(names) if tokenizer_only else
                 _of_transformers(names))
    if tokenizer_only:
        wanted = {name for name in wanted if not _is_of_weights(name)}
    elif not (is_preset or kind == _MODEL_TYPE):
        raise UserError(f"{handle} is a model of type {kind!r:.80}, and only one of type "
                        f"{_MODEL_TYPE!r}, or a preset of gpt_tf's Keras classes, can be taken: "
                        "name another.")
    elif not any(map(_is_of_weights, wanted)):
        raise UserError(f"{handle} holds no weights in a form that can be read: model.safetensors, "
                        f"pytorch_model.bin or, of a Keras model, {WEIGHTS}; name another.")
    if not (is_preset or wanted & _TABLES):
        raise UserError(f"{handle} holds no tokenizer that can be read: vocab.json and merges.txt, "
                        "or tokenizer.json; name another.")
    wanted = sorted(wanted)
    paths = [take(name) for name in wanted]
    return Fetched(paths[0][:-len(wanted[0])].rstrip(os.sep), wanted, is_preset,
                   kind == _MODEL_TYPE)


def is_keras(config: Any) -> bool:
    """Whether a `config.json` is of a Keras model's preset: KerasHub tells its own by this key."""
    return isinstance(config, dict) and "registered_name" in config


def is_shard(name: str) -> bool:
    """Whether a file is one of several with a Keras model's weights."""
    return bool(_SHARD.fullmatch(name))


def _of_keras(names: Iterable[str]) -> list[str]:
    return [name for name in names if name in (CONFIG, *PARTS, WEIGHTS, SHARDS, HEAD)
            or _SHARD.fullmatch(name) or _ASSET.fullmatch(name)]


def _of_transformers(names: Iterable[str]) -> list[str]:
    weights = ([name for name in names if _is_any(name, WEIGHT_FILES)]
               or [name for name in names if _is_any(name, PICKLES)])
    return weights + [name for name in names
                      if name in (CONFIG, KEPT, SUMS) or _TOKENIZER.fullmatch(name)]


def _is_of_weights(name: str) -> bool:
    return _is_any(name, (*WEIGHT_FILES, *PICKLES)) or name.endswith((".weights.h5", SHARDS))


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return "/" not in name and any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
