"""The released program's names and files (github.com/openai/finetune-transformer-lm).

Its folder `model/` holds `params_shapes.json` and `params_0.npy` .. `params_9.npy`: all arrays as
one flat float32 vector, cut into ten pieces anywhere. Heads, rates and epsilons stand in the
program and not in the folder.
"""

import dataclasses
import itertools
import json
import math
import os

import numpy as np

from gpt_tf.common import npy
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_write
from gpt_tf.common.small_files import read_json
from gpt_tf.config import ModelConfig
from gpt_tf.interop.kept import SPECIAL_ROWS, Kept
from gpt_tf.interop.mapping import Entry, Found, Leftover, Tuned, collect
from gpt_tf.interop.targets import FILES, OPENAI, PIECES, SHAPES
from gpt_tf.interop.vocabularies import Vocabulary
from gpt_tf.model.gpt import GPT
from gpt_tf.model.layers import DecoderBlock
from gpt_tf.model.task_model import TaskHead

# The released layers of a block in the order of the files, each with its arrays' names and the
# attributes of our layers that they are.
_DENSE, _NORM = {"w": "kernel", "b": "bias"}, {"g": "gamma", "b": "beta"}
_LAYERS = {"attn/c_attn": _DENSE, "attn/c_proj": _DENSE, "ln_1": _NORM,
           "mlp/c_fc": _DENSE, "mlp/c_proj": _DENSE, "ln_2": _NORM}
# The two parts of the released table `we` stand apart in the files; these names are ours.
_POSITIONS, _TOKENS = "positions", "tokens"

# Of a task's head: [D, C] and [C].
HEAD_KERNEL, HEAD_BIAS = "model/clf/w", "model/clf/b"

# What of a configuration the arrays show; the rest is kept beside them.
_SHOWN = {"vocabulary_size", "num_special_tokens", "num_layers", "hidden_dim", "intermediate_dim",
          "max_sequence_length"}


def _block_names(index: int) -> list[str]:
    return [f"model/h{index}/{layer}/{kind}" for layer, kinds in _LAYERS.items() for kind in kinds]


def _block_entries(index: int, block: DecoderBlock) -> list[Entry]:
    attention, feed_forward = block.attention, block.feed_forward
    ours = {"attn/c_attn": (attention.query, attention.key, attention.value),
            "attn/c_proj": (attention.output_projection,), "ln_1": (block.attention_norm,),
            "mlp/c_fc": (feed_forward.intermediate,),
            "mlp/c_proj": (feed_forward.output_projection,), "ln_2": (block.feed_forward_norm,)}
    variables = [tuple(getattr(layer, attribute) for layer in ours[name])
                 for name, kinds in _LAYERS.items() for attribute in kinds.values()]
    return [Entry(name, each, is_convolution=name.endswith("/w"))
            for name, each in zip(_block_names(index), variables)]


def head_entries(head: TaskHead) -> list[Entry]:
    """The variables of a task's head under their released names."""
    return [Entry(HEAD_KERNEL, (head.projection.kernel,)),
            Entry(HEAD_BIAS, (head.projection.bias,))]


def entries(model: GPT, head: TaskHead | None = None) -> list[Entry]:
    """Every variable of the model (and head) exactly once, under its released name.

    The released table `we` holds vocabulary, special and position rows, in this order.
    """
    table = (model.embedding.token.embeddings, model.embedding.position.embeddings)
    return [Entry("model/we", table, axis=0),
            *(entry for index, block in enumerate(model.blocks)
              for entry in _block_entries(index, block)),
            *(head_entries(head) if head is not None else ())]


def folder_entries(model: GPT) -> list[Entry]:
    """Every variable of the model exactly once, in the order of the released files.

    Special rows are the last of the tokens, here; the files have no place for them.
    """
    table, *blocks = entries(model)
    tokens, positions = table.variables
    return [Entry(_POSITIONS, (positions,)), Entry(_TOKENS, (tokens,)), *blocks]


def write(folder: str, model: GPT, tuned: Tuned | None) -> Leftover:
    """Writes a model's files; returns what they have no place for beside what fine-tuning added.

    Raises:
      UserError: the disk is full or the place cannot be written.
    """
    del tuned
    arrays = collect(folder_entries(model))
    tokens = arrays[_TOKENS]
    arrays[_TOKENS] = tokens[:model.config.vocabulary_size]
    with atomic_write(os.path.join(folder, SHAPES)) as stream:
        stream.write(json.dumps([array.shape for array in arrays.values()]).encode())
    flat = np.concatenate([array.ravel() for array in arrays.values()])
    for name, piece in zip(PIECES, np.array_split(flat, len(PIECES))):
        with atomic_write(os.path.join(folder, name)) as stream:
            np.save(stream, piece, allow_pickle=False)
    special = tokens[model.config.vocabulary_size:]
    settings = {name: value for name, value in dataclasses.asdict(model.config).items()
                if name not in _SHOWN}
    return Leftover(settings, {SPECIAL_ROWS: special} if len(special) else {}, [])


def read(folder: str, kept: Kept | None, num_heads: int | None, vocabulary: Vocabulary) -> Found:
    """Reads a folder's arrays, and what they and `kept` say of the model.

    Args:
      folder: with `params_shapes.json` and ten pieces.
      kept: what we once wrote beside them.
      num_heads: the user's word; None takes what was kept, or the published model's.
      vocabulary: the folder's; nothing is read by it.

    Raises:
      UserError: a file is missing, too much, cut short or of another model, or the heads do not
        divide the width.
    """
    del vocabulary
    shapes = _read_shapes(os.path.join(folder, SHAPES))
    arrays = _cut(folder, shapes)
    tokens = arrays[_TOKENS]
    special = kept.arrays.get(SPECIAL_ROWS, tokens[:0]) if kept else tokens[:0]
    if special.shape[1:] != tokens.shape[1:]:
        raise UserError(f"{folder}: the special tokens' rows that were kept have shape "
                        f"{special.shape}, and the tokens' {tokens.shape}: take all files from one "
                        "conversion.")
    arrays[_TOKENS] = np.concatenate([tokens, special])
    try:
        config = ModelConfig(
            vocabulary_size=len(tokens), num_special_tokens=len(special),
            num_layers=(len(shapes) - 2) // len(_block_names(0)), hidden_dim=tokens.shape[1],
            intermediate_dim=arrays["model/h0/mlp/c_fc/b"].size,
            max_sequence_length=len(arrays[_POSITIONS]), **_settings(folder, kept, num_heads))
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder}: {error} Give the model's own --num_heads.") from error
    notes = [] if kept else [
        f"{folder} does not say heads, rates and epsilon: {config.num_heads} heads and the paper's "
        "values are taken."]
    return Found(config, arrays, folder, notes, kept and kept.tuned)


def _settings(folder: str, kept: Kept | None, num_heads: int | None) -> dict:
    settings = kept.settings if kept else {}
    if num_heads is None:
        return settings
    if settings.get("num_heads", num_heads) != num_heads:
        raise UserError(f"--num_heads={num_heads}, but the model in {folder} has "
                        f"{settings['num_heads']}: leave the flag out.")
    return {**settings, "num_heads": num_heads}


def _read_shapes(path: str) -> list[tuple[int, ...]]:
    """The shapes of all arrays: two tables and whole blocks."""
    shapes = read_json(path, "shapes of the released arrays")
    if not isinstance(shapes, list) or not all(
            isinstance(shape, list) and shape and all(type(size) is int and size > 0
                                                      for size in shape) for shape in shapes):
        raise UserError(f"{path} is not a list of shapes: copy it again.")
    per_block = len(_block_names(0))
    if len(shapes) < 2 + per_block or (len(shapes) - 2) % per_block:
        raise UserError(f"{path} has {len(shapes)} shapes; of a GPT-1 there are two tables and "
                        f"{per_block} arrays a block: take the folder from its source again.")
    if [len(shape) for shape in shapes[:2]] != [2, 2]:
        raise UserError(f"{path} does not begin with two tables, of positions and of tokens: take "
                        "the folder from its source again.")
    return [tuple(shape) for shape in shapes]


def _cut(folder: str, shapes: list[tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The folder's vector, cut into arrays by name."""
    num_blocks = (len(shapes) - 2) // len(_block_names(0))
    names = [_POSITIONS, _TOKENS, *(name for index in range(num_blocks)
                                    for name in _block_names(index))]
    extra = sorted(name for name in os.listdir(folder)
                   if name.startswith("params_") and name not in FILES[OPENAI])
    if extra:
        raise UserError(f"{folder} holds {extra[0]}, which is none of the pieces {PIECES[0]} .. "
                        f"{PIECES[-1]}: take the folder from its source again.")
    flat = np.concatenate([_read_piece(os.path.join(folder, name)) for name in PIECES])
    ends = list(itertools.accumulate(map(math.prod, shapes)))  # Python's numbers never overflow
    if len(flat) != ends[-1]:
        raise UserError(f"The pieces in {folder} hold {len(flat):,} values and {SHAPES} needs "
                        f"{ends[-1]:,}: take all files from one folder again.")
    return {name: values.reshape(shape)
            for name, values, shape in zip(names, np.split(flat, ends[:-1]), shapes)}


def _read_piece(path: str) -> np.ndarray:
    try:
        with open(path, "rb") as stream:
            count = npy.vector_length(stream, os.path.getsize(path), np.dtype(np.float32))
            return np.fromfile(stream, np.float32, count)
    except OSError as error:
        raise UserError(f"Cannot read the piece {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path} is cut short or no piece of a model, {error}: take the folder "
                        "from its source again.") from error
