"""The files of a conversion, and whether a folder may be made of them. No TensorFlow here."""

import os

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import SUMS
from gpt_tf.runs import run_folder
from gpt_tf.tokenizer.files import is_tokenizer_file

# The layout released with the paper, and Hugging Face's.
OPENAI, HUGGING_FACE = "openai", "huggingface"
SHAPES, PIECES = "params_shapes.json", tuple(f"params_{index}.npy" for index in range(10))
CONFIG, WEIGHTS, PICKLE = "config.json", "model.safetensors", "pytorch_model.bin"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
FILES = {OPENAI: (SHAPES, *PIECES),
         HUGGING_FACE: (CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG)}
KEPT = "gpt_tf.safetensors"  # beside them: what the layout has no place for

# Files of weights in Hugging Face's layout, as patterns of names. The second are pickles: of use
# only where there is none of the first.
WEIGHT_FILES = (WEIGHTS, "model-*.safetensors", f"{WEIGHTS}.index.json")
PICKLES = (PICKLE, "pytorch_model-*.bin", f"{PICKLE}.index.json")

# What a folder of converted weights may hold to be replaced; commands leave the lock.
_RUN_FILES = run_folder.RUN_FILES | {".lock"}


def model_folder(layout: str, source: str) -> str:
    """The folder of the model in what a user names: of the released repository `model/`."""
    inner = os.path.join(source, "model")
    is_cloned = (layout == OPENAI and os.path.exists(os.path.join(inner, SHAPES))
                 and not os.path.exists(os.path.join(source, SHAPES)))
    return inner if is_cloned else source


def check(target: str, source: str, layout: str | None, overwrite: bool) -> None:
    """Sees that a folder may be made, before anything is read.

    Args:
      target: the folder.
      source: the folder that is converted.
      layout: one of `FILES`, or None for a run folder.
      overwrite: whether an earlier conversion may be replaced.

    Raises:
      UserError: it may not.
    """
    real = os.path.realpath(target)
    if os.path.commonpath([real, os.path.realpath(source)]) == real:
        raise UserError(f"--output_dir={target} is or holds --input={source}: name another folder.")
    if os.path.isdir(target) and not os.path.islink(target):
        names = set(os.listdir(target))
    elif os.path.lexists(target):
        raise UserError(f"--output_dir={target} is no folder of its own: name another.")
    else:
        return
    own = {*FILES[layout], KEPT} if layout else _RUN_FILES
    mark = KEPT if layout else run_folder.CONVERTED
    other = {name for name in names - {SUMS} if name not in own and not is_tokenizer_file(name)}
    if names and (other or mark not in names):
        raise UserError(f"--output_dir={target} holds other files, such as {min(other or names)}: "
                        "name a new or empty folder.")
    if names and not overwrite:
        raise UserError(f"--output_dir={target} holds an earlier conversion: name another folder, "
                        "or replace this one with --overwrite.")
