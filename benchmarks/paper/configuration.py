"""The run of a cell as `gpt_tf.finetune` would make it of its flags."""

from collections.abc import Mapping
import contextlib
import dataclasses
import hashlib
import os
from typing import Any

from benchmarks.paper.results import Cell
from benchmarks.paper.settings import RECIPES, Settings
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.config import (
    FineTuningConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    may_change,
)
from gpt_tf.data.manifest import Manifest
from gpt_tf.runs import checkpoint_files, run_folder
from gpt_tf.tokenizer import SPECIAL_TOKENS
from gpt_tf.training.run_config import FineTuningRunConfig, TrainingData

SELECTION_SEED = 0  # of the runs that choose a learning rate
_FEW_ROWS = 2000  # fewer are not worth a validation each epoch
_PARTS = (ModelConfig, OptimizerConfig, TrainingConfig, FineTuningConfig)
_MAY_CHANGE = may_change(TrainingConfig)


def digest(run: str) -> str:
    """Of a run's weights, those that fine-tuning starts from now; "none" from scratch."""
    if run == run_folder.FROM_SCRATCH:
        return run
    found = None
    while found is None:  # a run in training takes the newest away for one that is newer
        folder = run_folder.weights_folder(run)
        found = checkpoint_digest(folder, checkpoint_files.steps(folder)[-1])
    return found


class Weights:
    """The weights that runs start from, as a command has first found them."""

    def __init__(self):
        self._found: dict[str, str] = {}

    def digest(self, run: str) -> str:
        """`digest`, of the weights that were there first."""
        if run not in self._found:
            self._found[run] = digest(run)
        return self._found[run]

    def check(self, run: str) -> None:
        """Raises UserError where others are there now."""
        if digest(run) != self.digest(run):
            raise UserError(f"The weights of {run} have changed meanwhile: wait until it is "
                            "trained, and name another --work_dir.")


def checkpoint_digest(folder: str, step: int) -> str | None:
    """Of the checkpoint of an update in a folder of checkpoints; None where it is not kept."""
    files, seen = _files(folder, step), hashlib.sha256()
    with contextlib.suppress(FileNotFoundError):
        for name in files:
            with open(os.path.join(folder, name), "rb") as stream:
                seen.update(hashlib.file_digest(stream, "sha256").digest())
    # Of one that was taken away or replaced meanwhile parts were read, or none.
    return seen.hexdigest()[:16] if files and files == _files(folder, step) else None


def _files(folder: str, step: int) -> dict[str, checkpoint_files.File]:
    return {name: file for name, file in checkpoint_files.listing(folder).items()
            if name.startswith(f"ckpt-{step}.")}


def num_epochs(settings: Settings, cell: Cell) -> float:
    """Epochs of a cell."""
    return cell.num_epochs or settings.num_epochs(cell.task)


def flags_of(settings: Settings, shape: ModelConfig, manifest: Manifest, cell: Cell, rate: float,
             seed: int) -> dict[str, Any]:
    """Every flag that decides a run, by name.

    Args:
      settings: of the command.
      shape: of the pre-trained run.
      manifest: of the whole task.
      cell, rate, seed: which run.
    """
    rows = cell.rows or manifest.splits["train"].records
    return (dataclasses.asdict(shape) | {"num_special_tokens": len(SPECIAL_TOKENS)}
            | {field.name: field.default for part in _PARTS[1:]
               for field in dataclasses.fields(part) if "help" in field.metadata}
            | RECIPES[settings.recipe].flags
            | {"evaluations_per_epoch": float(rows >= _FEW_ROWS)}
            | {"num_epochs": num_epochs(settings, cell), "learning_rate": rate, "seed": seed}
            | dict(cell.arm.flags))


def identity(flags: Mapping[str, Any], weights: str, manifest: Manifest,
             cell: Cell) -> dict[str, Any]:
    """What tells a run from another: its flags but those of speed, its weights and its data.

    Args:
      flags: of `flags_of`.
      weights: `digest` of those that it starts from.
      manifest: of the whole task.
      cell: the run's.
    """
    return {name: value for name, value in flags.items() if name not in _MAY_CHANGE} | {
        "init_from": weights, "data": manifest.fingerprint[:16],
        "rows": cell.rows}


def make_config(flags: Mapping[str, Any], data: TrainingData, init_from: str,
                model_dir: str) -> FineTuningRunConfig:
    """The run with these flags.

    Args:
      flags: of `flags_of`.
      data: what it is trained on.
      init_from: the arm's.
      model_dir: where it goes.

    Raises:
      ValueError: a value is out of its range.
      TypeError: a flag is none of fine-tuning's.
    """
    parts, known = [], set()
    for part in _PARTS:
        names = {field.name for field in dataclasses.fields(part)}
        parts.append(part(**{name: flags[name] for name in names & flags.keys()}))
        known |= names
    if flags.keys() - known:
        raise TypeError(f"No flags of gpt_tf.finetune: {sorted(flags.keys() - known)}")
    model, optimizer, training, fine_tuning = parts
    text = cli.flags_text({"data_dir": data.folder, "init_from": init_from,
                           "model_dir": model_dir, **flags})
    return FineTuningRunConfig(data, model_dir, init_from, model, optimizer, training, text,
                               _MAY_CHANGE, fine_tuning)
