"""Puts the answers of `benchmarks.gpu.campaign_there` among the results of benchmarks.paper.

  python -m benchmarks.gpu.campaign_back --input=out --pretrained=runs/english --tasks_dir=tasks \\
      --work_dir=paper --commands=tables,table5,labels

The flags are those of `benchmarks.gpu.campaign_export`, but that --pretrained is the run that
`benchmarks.gpu.bring_back` has made. After that `benchmarks.paper` finds these runs finished; its
tables say how they were made.
"""

import dataclasses
import json
import os
import zipfile
import zlib

import numpy as np

from benchmarks.gpu import packed
from benchmarks.gpu.campaign_export import (
    CampaignSettings,
    cells_of,
    configuration,
    name_of,
    rows_of,
)
from benchmarks.paper.campaign import Campaign, Run
from benchmarks.paper.results import Cell, check_same
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.config import option
from gpt_tf.tasks.metrics import METRICS
from gpt_tf.training.run_config import validation_splits


@dataclasses.dataclass(frozen=True)
class BackSettings(CampaignSettings):
    """Which answers."""

    input: str = option(None, "Folder that benchmarks.gpu.campaign_there has left.", required=True,
                        path=True)


def _weights_digest(run: str) -> str:
    cli.import_tensorflow()
    from gpt_tf.runs import weights

    return packed.digest(packed.flatten(
        [variable.numpy() for variable in weights.load_model(run)[0].trainable_variables]))


class Answers:
    """What `benchmarks.gpu.campaign_there` has left.

    groups: what it says of each row of a table.
    arrays: the answers of each call.
    weights: digest of those that the pre-trained arms started from.
    how: what made them.

    Raises:
      UserError: it is not there, or damaged.
    """

    def __init__(self, folder: str):
        path = os.path.join(folder, packed.ANSWERS_TOLD)
        try:
            with open(path, encoding="utf-8") as stream:
                told = json.load(stream)
            with np.load(os.path.join(folder, packed.ANSWERS)) as arrays:
                self.arrays = dict(arrays)
            self.groups, self.weights = told["groups"], told["weights"]
            self.how = f"benchmarks.gpu (JAX, {told['dtype']}, {told['device']})"
        except OSError as error:
            raise UserError(f"Cannot read {error.filename} ({error.strerror}): give the folder "
                            "that benchmarks.gpu.campaign_there has left.") from error
        except (ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{folder} is damaged: fetch it again.") from error


def keep(campaign: Campaign, answers: Answers, name: str, cells: tuple[Cell, ...]) -> list[bool]:
    """Saves the results of a row of a table; returns whether each run was not there yet.

    Raises:
      UserError: they were trained on other data, or with other flags.
    """
    task, manifest = cells[0].task, campaign.manifest(cells[0].task)
    group = answers.groups[name]
    _, labels = rows_of(campaign.data(task), validation_splits(manifest)[0])
    by_name, found = {cell.arm.name: cell for cell in cells}, []
    for number, call in enumerate(group["calls"]):
        for (arm, rate, seed), given in zip(call["runs"], answers.arrays[f"{name}-{number}"]):
            described = group["arms"][arm]
            if described["name"] not in by_name:
                continue
            cell = by_name[described["name"]]
            check_same(f"{name} in the answers", described["configuration"],
                       configuration(campaign, cell))
            is_finite = bool(np.isfinite(given).all())
            scores = {metric: METRICS[metric](labels, given)
                      for metric in manifest.task.metrics} if is_finite else {}
            found.append(campaign.take(
                Run(cell, rate, seed), scores, labels if is_finite else [],
                given if is_finite else [], call["seconds"] / len(call["runs"]), answers.how))
    return found


def main() -> None:
    """Reads the answers and saves them as results."""
    settings = cli.from_flags(BackSettings)
    answers, campaign = Answers(settings.input), Campaign(settings)
    if answers.weights != _weights_digest(campaign.pretrained):
        raise UserError(f"{campaign.pretrained} has other weights than the campaign of "
                        f"{settings.input} began with: give the run that was made of them.")
    cells = {name_of(settings, group[0]): group for group in cells_of(campaign)}
    kept = [is_new for name in answers.groups if name in cells
            for is_new in keep(campaign, answers, name, cells[name])]
    print(f"{sum(kept)} runs are in {settings.work_dir} now; {len(kept) - sum(kept)} were before.")
    told = sum(len(call["runs"]) for group in answers.groups.values() for call in group["calls"])
    if told > len(kept):
        print(f"Left out: {told - len(kept)} runs of {settings.input} that --commands, --tasks and "
              "--counts do not name.")


if __name__ == "__main__":
    cli.define_flags(BackSettings)
    cli.run(main, makes_files=True)
