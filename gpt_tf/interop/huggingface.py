"""Names and files of Hugging Face's `openai-gpt` (the classes `OpenAIGPT...` of transformers).

`config.json` says the shape and the settings, `model.safetensors` holds the arrays, with the
prefix "transformer." where a head stands on the trunk. Its names are the released ones, spelt
otherwise; its kernels are [in, out], as ours. The output head is the token table itself, of which
some files have the one and some the other.
"""

import dataclasses
import os
import re
from typing import Any

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import read_json, write_json
from gpt_tf.config import ModelConfig
from gpt_tf.interop import class_heads, openai, tensors, weight_files
from gpt_tf.interop.kept import Kept
from gpt_tf.interop.mapping import Entry, Found, Leftover, Tuned, collect
from gpt_tf.interop.targets import CONFIG, WEIGHTS
from gpt_tf.interop.vocabularies import Vocabulary
from gpt_tf.model.gpt import GPT
from gpt_tf.tokenizer import SPECIAL_TOKENS

_PREFIX = "transformer."
_TOKENS, _POSITIONS, _HEAD = "tokens_embed.weight", "positions_embed.weight", "lm_head.weight"
_KINDS = {"w": "weight", "g": "weight", "b": "bias"}
# Causal masks and position numbers, which older releases saved with the weights.
_BUFFER = re.compile(r"h\.\d+\.attn\.bias|position_ids")

# Our settings -> theirs, whose defaults are the paper's, too; and their settings' second names.
_SETTINGS = {"num_layers": "n_layer", "num_heads": "n_head", "hidden_dim": "n_embd",
             "max_sequence_length": "n_positions", "dropout": "resid_pdrop",
             "embedding_dropout": "embd_pdrop", "attention_dropout": "attn_pdrop",
             "layer_norm_epsilon": "layer_norm_epsilon", "initializer_range": "initializer_range"}
_SECOND_NAMES = {"n_layer": "num_hidden_layers", "n_head": "num_attention_heads",
                 "n_embd": "hidden_size", "n_positions": "max_position_embeddings"}
# What must be so: a model with other values is another function. `n_special` is not theirs any
# more; they keep it, and it tells the rows of special tokens from those of the vocabulary.
_REQUIRED = {"model_type": "openai-gpt", "afn": "gelu", "tie_word_embeddings": True}
_INNER = 4  # their inner width, in widths
# Rows of a token table without a token: a few that were added, filled up to a multiple of 128 at
# most. With more, the vocabulary is another model's.
_MOST_ADDED = 256


def folder_entries(model: GPT) -> list[Entry]:
    """Every variable of the model exactly once, under its name without prefix."""
    table, *blocks = openai.entries(model)
    tokens, positions = table.variables
    result = [Entry(_TOKENS, (tokens,)), Entry(_POSITIONS, (positions,))]
    for entry in blocks:
        block, *layer, kind = entry.name.removeprefix("model/h").split("/")
        name = ".".join(["h", block, *layer, _KINDS[kind]])
        result.append(dataclasses.replace(entry, name=name, is_convolution=False))
    return result


def write(folder: str, model: GPT, tuned: Tuned | None) -> Leftover:
    """Writes a model's files but its tokenizer's; returns what they have no place for.

    Args:
      folder: to write into.
      model: the decoder.
      tuned: of a fine-tuned model.

    Raises:
      UserError: the model is none that their program can be, or the place cannot be written.
    """
    config = model.config
    if config.intermediate_dim != _INNER * config.hidden_dim:
        raise UserError(f"Hugging Face's openai-gpt has an inner width of {_INNER} times its width "
                        f"and this model has {config.intermediate_dim} and {config.hidden_dim}: "
                        "only --to=openai can hold it.")
    if config.softmax_over_positions:
        raise UserError("Hugging Face's openai-gpt has no softmax over positions, as this model "
                        "has: only --to=openai can hold it.")
    arrays = collect(folder_entries(model))
    described, notes = {"architectures": [class_heads.LANGUAGE_MODEL]}, []
    head: dict[str, np.ndarray] = {}
    if tuned:
        head, notes = class_heads.write(tuned, *_last_norm(arrays, config))
        described = class_heads.describe(tuned) | {"pad_token_id": config.vocabulary_size}
    arrays = {_PREFIX + name: array for name, array in arrays.items()} | head
    tensors.write(os.path.join(folder, WEIGHTS), arrays, {"format": "pt"})
    write_json(os.path.join(folder, CONFIG), {
        **described, **_REQUIRED, "dtype": "float32",
        "vocab_size": config.num_token_rows, "n_special": config.num_special_tokens,
        **{theirs: getattr(config, ours) for ours, theirs in _SETTINGS.items()}})
    return Leftover({}, {}, notes)


def read(folder: str, kept: Kept | None, num_heads: int | None, vocabulary: Vocabulary) -> Found:
    """Reads a folder's configuration and arrays.

    Rows of the token table that are of no token of the vocabulary and of none of the three special
    ones are left out: `resize_token_embeddings` makes them for a pad token, for others that are
    added, and to fill the table up.

    Args:
      folder: with `config.json` and weights (see `weight_files`).
      kept: what we once wrote beside them; of a fine-tuned model it is taken for what it adds.
      num_heads: must be None: `config.json` says it.
      vocabulary: the folder's.

    Raises:
      UserError: a file is missing, cut short, of another model or one that we are not.
    """
    path = os.path.join(folder, CONFIG)
    if num_heads is not None:
        raise UserError(f"--num_heads={num_heads}: {path} says how many heads there are; leave the "
                        "flag out.")
    values, config = _read_config(path)
    raw, weights = weight_files.read(folder)
    arrays, notes = tensors.to_float32(_without_buffers(_without_prefix(raw, weights)), weights)
    output = arrays.pop(_HEAD, None)
    if output is not None and not np.array_equal(output, arrays.setdefault(_TOKENS, output),
                                                 equal_nan=True):
        raise UserError(f"{weights}: {_HEAD} is not the token table, to which GPT-1's output is "
                        "tied: such a model cannot be held here.")
    head = {name: arrays.pop(name) for name in class_heads.NAMES & arrays.keys()}
    _check_sizes(config, arrays, path, weights)
    found = _with_our_rows(Found(config, arrays, weights, notes), vocabulary)
    if kept and kept.tuned:
        norm = _last_norm(arrays, config)
        if head and all(each is not None for each in norm):
            class_heads.check_same(kept.tuned, head, *norm, weights)
        return found._replace(tuned=kept.tuned)
    tuned, left_out = class_heads.read(values, found.config.max_sequence_length, head,
                                       bool(found.config.num_special_tokens), weights)
    return found._replace(tuned=tuned, notes=[*found.notes, *left_out])


def _last_norm(arrays: dict[str, np.ndarray], config: ModelConfig) -> list[np.ndarray | None]:
    """Gains and biases of the normalisation whose outputs are the decoder's."""
    return [arrays.get(f"h.{config.num_layers - 1}.ln_2.{kind}") for kind in ("weight", "bias")]


def _with_our_rows(found: Found, vocabulary: Vocabulary) -> Found:
    """What was found with the rows of the vocabulary and of the three special tokens alone.

    More others than a resized table has are left for whoever compares it with the vocabulary.
    """
    config, table, notes = found.config, found.arrays[_TOKENS], found.notes
    size = vocabulary.tokenizer.vocabulary_size
    special = [size + index for index in range(config.num_special_tokens)]
    if not special and (named := vocabulary.special_ids) and max(named) < len(table):
        names = [name for name, index in vocabulary.added.items() if index in named]
        special, notes = named, [*notes, f"{found.where}: {', '.join(names)} are the three tokens "
                                 f"{', '.join(SPECIAL_TOKENS)}."]
    config = dataclasses.replace(config, vocabulary_size=len(table) - len(special),
                                 num_special_tokens=len(special))
    added = config.vocabulary_size - size
    if 0 < added <= _MOST_ADDED:
        other = [name for name, index in vocabulary.added.items() if index not in special]
        named = f" ({', '.join(other):.200})" if other else ""
        notes = [*notes, f"{found.where}: {added} of {len(table)} rows of the token table{named} "
                 f"are behind the vocabulary of {size:,} tokens, as in a table that was resized; "
                 "they are left out, of the softmax, too."]
        config = dataclasses.replace(config, vocabulary_size=size)
    if config.vocabulary_size == size:
        table = table[[*range(size), *special]]
    return found._replace(config=config, arrays=found.arrays | {_TOKENS: table}, notes=notes)


def _read_config(path: str) -> tuple[dict[str, Any], ModelConfig]:
    """A configuration as it is, and the shape and settings in it."""
    values = read_json(path, "the model's configuration")
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a JSON object: take the folder from its source "
                        "again.")
    for name, expected in _REQUIRED.items():
        if values.get(name, None if name == "model_type" else expected) != expected:
            raise UserError(f"{path} says {name} {values.get(name)!r} and only {expected!r} is "
                            "GPT-1: such a model cannot be held here.")
    settings = {ours: _number(values, theirs, getattr(ModelConfig, ours), path)
                for ours, theirs in _SETTINGS.items()}
    rows = _number(values, "vocab_size", ModelConfig.vocabulary_size, path)
    special = _number(values, "n_special", 0, path)
    length = settings["max_sequence_length"]
    if _number(values, "n_ctx", length, path) != length:
        raise UserError(f"{path} says n_ctx {values['n_ctx']} and n_positions {length}, which are "
                        "one number: take the folder from its source again.")
    try:
        return values, ModelConfig(
            vocabulary_size=rows - special, num_special_tokens=special,
            intermediate_dim=_INNER * settings["hidden_dim"], **settings)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def _number(values: dict[str, Any], name: str, default: int | float, path: str) -> int | float:
    """A setting, of the type of its default."""
    value = values.get(name, values.get(_SECOND_NAMES.get(name), default))
    if type(value) not in (int, type(default)) or abs(value) >= 1 << 31:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise UserError(f"{path} says {name} {value!r:.40} and not {kind}: take the folder "
                        "from its source again.")
    return type(default)(value)


def _without_prefix(arrays: dict[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    result = {name.removeprefix(_PREFIX): array for name, array in arrays.items()}
    if len(result) != len(arrays):
        twice = min(name for name in arrays if name.startswith(_PREFIX)
                    and name.removeprefix(_PREFIX) in arrays)
        raise UserError(f"{path} holds {twice} with and without its prefix: take the file from "
                        "its source again.")
    return result


def _without_buffers(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without what can be computed. Other values under these names are not passed over."""
    def is_computed(name, array):
        if name == "position_ids":
            return np.array_equal(array.ravel(), np.arange(array.size))
        size = array.shape[-1] if array.ndim == 4 else 0
        # An array without values may say that it is as wide as it likes.
        return array.size == size * size > 0 and np.array_equal(array, np.tri(size)[None, None])

    return {name: array for name, array in arrays.items()
            if not (_BUFFER.fullmatch(name) and is_computed(name, array))}


def _check_sizes(config: ModelConfig, arrays: dict[str, np.ndarray], path: str,
                 weights: str) -> None:
    """Sees that the configuration's sizes are those of the arrays, before a model is made."""
    shapes = {name: array.shape for name, array in arrays.items()}
    blocks = {name.split(".")[1] for name in shapes if name.startswith("h.")}
    for name, expected, found in (
            ("n_layer", config.num_layers, len(blocks)),
            ("vocab_size and n_embd", (config.num_token_rows, config.hidden_dim),
             shapes.get(_TOKENS)),
            ("n_positions and n_embd", (config.max_sequence_length, config.hidden_dim),
             shapes.get(_POSITIONS))):
        if expected != found:
            raise UserError(f"{path} says {name} {expected} and {weights} has {found}: take both "
                            "from one model.")
