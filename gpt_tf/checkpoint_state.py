"""TensorFlow's file `checkpoint`, which says which checkpoints a folder holds."""

import os
import re

from gpt_tf.files import UserError, read_text

_PATH = re.compile(r'(model_checkpoint_path|all_model_checkpoint_paths): "ckpt-[0-9]{1,18}"')
_TIME = re.compile(r"(all_model_checkpoint_timestamps|last_preserved_timestamp): [0-9.e+]+")


def check_state(folder: str) -> None:
    """Sees that the file, where there is one, names checkpoints `ckpt-<update>` of its own folder.

    TensorFlow reads, and when they are too many deletes, whatever files it names; and what it
    cannot read it takes for the mark of a folder that is new.

    Raises:
      UserError: it names others, or is damaged.
    """
    path = os.path.join(folder, "checkpoint")
    if not os.path.lexists(path):
        return
    lines = read_text(path, "the list of checkpoints").splitlines()
    kept = []
    for number, line in enumerate(lines, 1):
        found = _PATH.fullmatch(line)
        if not found and not _TIME.fullmatch(line):
            raise UserError(f"{path}, line {number}: {line!r:.80} names no checkpoint "
                            f"ckpt-<update> of this folder. {_mend(folder)}")
        kept += [found[1]] if found else []
    if kept[:1] != ["model_checkpoint_path"] or len(set(kept)) < 2 or kept.count(kept[0]) > 1:
        raise UserError(f"{path} does not name the newest checkpoint and then all. {_mend(folder)}")


def _mend(folder: str) -> str:
    """How to write the file anew."""
    steps = sorted(int(found[1]) for found in map(
        re.compile(r"ckpt-([0-9]+)\.index").fullmatch, os.listdir(folder)) if found)
    if not steps:
        return "Restore the folder from a copy."
    return ("Restore it from a copy, or let it hold these two lines: "
            f'model_checkpoint_path: "ckpt-{steps[-1]}" and '
            f'all_model_checkpoint_paths: "ckpt-{steps[-1]}".')
