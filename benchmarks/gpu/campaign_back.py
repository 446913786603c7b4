"""Puts the answers of `benchmarks.gpu.campaign_there` among the results of benchmarks.paper.

  python -m benchmarks.gpu.campaign_back --input=out --pretrained=runs/english --tasks_dir=tasks \\
      --work_dir=paper --commands=tables,table5,labels

The flags are those of `benchmarks.gpu.campaign_export`, but that --pretrained is the run that
`benchmarks.gpu.bring_back` has made. After that `benchmarks.paper` finds these runs finished; its
tables say how they were made.
"""

import dataclasses
import hashlib
import json
import os
import zipfile

import numpy as np

from benchmarks.gpu.campaign_export import CampaignSettings, cells_of
from benchmarks.paper.campaign import Campaign, Run
from benchmarks.paper.results import Cell
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.config import option
from gpt_tf.data.manifest import TASK
from gpt_tf.tasks.metrics import METRICS
from gpt_tf.training.run_config import TrainingData, validation_splits


@dataclasses.dataclass(frozen=True)
class BackSettings(CampaignSettings):
    """Which answers."""

    input: str = option(None, "Folder that benchmarks.gpu.campaign_there has left.", required=True,
                        path=True)


def _weights_digest(run: str) -> str:
    """As `campaign_there.Pretrained` has it, of the variables one after the other."""
    cli.import_tensorflow()
    from gpt_tf.runs import weights

    seen = hashlib.sha256()
    for variable in weights.load_model(run)[0].trainable_variables:
        seen.update(variable.numpy().astype(np.float32).tobytes())
    return seen.hexdigest()[:16]


def _labels(campaign: Campaign, task: str) -> np.ndarray:
    from gpt_tf.data.batches import evaluation_batches

    manifest = TrainingData.load(campaign.data(task), TASK).manifest
    found = {}
    for batch in evaluation_batches(campaign.data(task), validation_splits(manifest)[0], 256,
                                    manifest=manifest):
        found |= dict(zip(batch["split_positions"].numpy(), batch["labels"].numpy()))
    return np.array([found[place] for place in range(len(found) - (-1 in found))])


def keep(campaign: Campaign, told: dict, arrays, cells: tuple[Cell, ...]) -> int:
    """Saves the results of the arms of a table's row; returns how many there are."""
    name, task = cells[0].data_name, campaign.manifest(cells[0].task).task
    group = told["groups"][name]
    if group["data"] != campaign.manifest(cells[0].task).fingerprint:
        raise UserError(f"{campaign.data(cells[0].task)} is not the data that {name} was "
                        "trained on: name the --work_dir of the export.")
    labels, count = _labels(campaign, cells[0].task), 0
    by_name = {cell.arm.name: cell for cell in cells}
    how = f"benchmarks.gpu (JAX, {told['dtype']}, {told['device']})"
    for number, call in enumerate(group["calls"]):
        for (arm, rate, seed), answers in zip(call["runs"], arrays[f"{name}-{number}"]):
            cell = by_name.get(group["arms"][arm])
            if cell is None:
                continue
            is_finite = bool(np.isfinite(answers).all())
            scores = {metric: METRICS[metric](labels, answers)
                      for metric in task.metrics} if is_finite else {}
            campaign.take(Run(cell, rate, seed), scores, labels if is_finite else [],
                          answers if is_finite else [], call["seconds"] / len(call["runs"]), how)
            count += 1
    return count


def main() -> None:
    """Reads the answers and saves them as results."""
    settings = cli.from_flags(BackSettings)
    campaign = Campaign(settings)
    path = os.path.join(settings.input, "answers.json")
    try:
        with open(path, encoding="utf-8") as stream:
            told = json.load(stream)
        arrays = np.load(os.path.join(settings.input, "answers.npz"))
        began_with, groups = told["weights"], told["groups"]
    except OSError as error:
        raise UserError(f"Cannot read {error.filename} ({error.strerror}): give the folder that "
                        "benchmarks.gpu.campaign_there has left.") from error
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"{settings.input} is damaged: fetch it again.") from error
    if began_with != _weights_digest(campaign.pretrained):
        raise UserError(f"{campaign.pretrained} has other weights than the campaign of "
                        f"{settings.input} began with: give the run that was made of them.")
    count = sum(keep(campaign, told, arrays, cells) for cells in cells_of(campaign)
                if cells[0].data_name in groups)
    print(f"{count} runs are in {settings.work_dir}.")


if __name__ == "__main__":
    cli.define_flags(BackSettings)
    cli.run(main, makes_files=True)
