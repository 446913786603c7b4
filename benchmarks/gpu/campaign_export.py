"""Writes a campaign of benchmarks.paper as files from which a GPU without TensorFlow can run it.

  python -m benchmarks.gpu.campaign_export --pretrained=runs/english --tasks_dir=tasks \\
      --work_dir=paper --commands=tables,table5,labels --output_dir=campaign

Takes the flags of `benchmarks.paper tables` and builds its data folders in --work_dir. --commands
says whose runs are wanted: --tasks is for all of them but labels, which is of SST-2. Of
--pretrained the shape and the tokenizer count here, not the weights: a run folder that is not
trained yet will do. With --weights they are written, too, and `campaign_there --weights=campaign`
starts from them. `benchmarks.gpu.campaign_there` runs what this writes, and
`benchmarks.gpu.campaign_back` puts its answers into --work_dir.
"""

from collections.abc import Sequence
import dataclasses
import functools
import itertools
import json
import os

import numpy as np

from benchmarks.gpu import packed
from benchmarks.gpu.export import check_new, variables_of
from benchmarks.paper import figure2_left, table5, tables, tasks
from benchmarks.paper.campaign import Campaign
from benchmarks.paper.configuration import (
    SELECTION_SEED,
    flags_of,
    identity,
    make_config,
    num_epochs,
)
from benchmarks.paper.labels import LabelsSettings, numbers_of
from benchmarks.paper.labels import cells_of as labels_cells
from benchmarks.paper.results import Cell
from benchmarks.paper.settings import Settings, TaskSettings
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder
from gpt_tf.config import option
from gpt_tf.data.manifest import TASK, Manifest
from gpt_tf.runs.run_folder import FROM_SCRATCH
from gpt_tf.training.run_config import FineTuningRunConfig, TrainingData, validation_splits

_MOST_TOKENS = 65_500  # of 16 bits, with the special tokens of a task
# The tasks that the commands with --tasks know.
_TASKS = {"tables": tuple(tasks.TASKS), "table5": table5.TASKS, "figure2_left": figure2_left.TASKS}
_COMMANDS = (*_TASKS, "labels")


@dataclasses.dataclass(frozen=True)
class CampaignSettings(TaskSettings):
    """Which runs."""

    commands: str = option("tables,labels", "Commands of benchmarks.paper, separated by commas, "
                           f"of {', '.join(_COMMANDS)}.", required=True)
    counts: str = option(LabelsSettings.counts, "Numbers of labelled rows of labels.")

    def __post_init__(self):
        super().__post_init__()
        if unknown := set(self.commands.split(",")) - set(_COMMANDS):
            raise ValueError(f"--commands={self.commands} names {', '.join(sorted(unknown))}, and "
                             f"there are {', '.join(_COMMANDS)}.")
        self.labels  # noqa: B018  to see that --counts parses

    @functools.cached_property
    def labels(self) -> LabelsSettings:
        """Of labels."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(Settings)}
        return LabelsSettings(**own | {"counts": self.counts, "max_rows": ""})


@dataclasses.dataclass(frozen=True)
class ExportSettings(CampaignSettings):
    """Where to."""

    output_dir: str = option(None, "Folder to make.", required=True, path=True)
    weights: bool = option(False, "Write the weights of --pretrained, too.")


def cells_of(campaign: Campaign) -> list[tuple[Cell, ...]]:
    """The arms that are trained on the same rows, which are those of one row of a table; their data
    are built."""
    settings = campaign.settings
    commands = settings.commands.split(",")
    rows = [(command, task) for command in commands if command != "labels"
            for task in settings.names() if task in _TASKS[command]]
    campaign.build(*dict.fromkeys(task for _, task in rows))
    found = [cell for command, task in rows for cell in _cells_of_task(campaign, command, task)]
    if "labels" in commands:
        labels = Campaign(settings.labels)
        labels.build(labels.settings.task)
        found += [cell for rows in numbers_of(labels) for cell in labels_cells(labels, rows)]
    groups: dict[str, dict[str, Cell]] = {}
    for cell in found:
        groups.setdefault(name_of(settings, cell), {})[cell.arm.name] = cell
    if not groups:
        raise UserError(f"--commands={settings.commands} has no runs of --tasks={settings.tasks}.")
    return [tuple(group.values()) for group in groups.values()]


def name_of(settings: Settings, cell: Cell) -> str:
    """Of the arms that are trained on the same rows as often."""
    return f"{cell.data_name}-epochs-{num_epochs(settings, cell):g}"


def configuration(campaign: Campaign, cell: Cell) -> dict:
    """What decides the runs of a cell, beside the weights that they start from."""
    manifest = campaign.manifest(cell.task)
    flags = flags_of(campaign.settings, campaign.shape, manifest, cell, 0.0, SELECTION_SEED)
    return identity(flags, "", manifest, cell)


def _cells_of_task(campaign: Campaign, command: str, task: str) -> Sequence[Cell]:
    if command == "tables":
        return tables.cells_of(campaign, task)
    if command == "table5":
        return [table5.cell_of(campaign, task, arm) for arm in table5.decoder_arms(campaign)]
    return figure2_left.cells_of(campaign, task)


def described(campaign: Campaign, cells: tuple[Cell, ...], folder: str) -> dict:
    """What `campaign_there` needs to know of the arms of a row."""
    cell, settings = cells[0], campaign.settings
    manifest = campaign.manifest(cell.task)
    data = TrainingData.load(campaign.data(cell.task), TASK)

    def config_of(each: Cell, seed: int) -> FineTuningRunConfig:
        flags = flags_of(settings, campaign.shape, manifest, each, settings.chosen_rates[0], seed)
        return make_config(flags, data, FROM_SCRATCH, folder)

    config, task = config_of(cell, SELECTION_SEED), manifest.task
    records = manifest.splits["train"].records
    total = config.training.total_steps(min(cell.rows or records, records))
    initial = {seed: _initial(config_of(cell, seed)) for seed in (SELECTION_SEED, *settings.seeds)}
    return {
        "name": name_of(settings, cell), "task": cell.task, "rows": cell.rows,
        "num_steps": total, "form": task.form,
        "num_sequences": task.num_sequences, "num_classes": task.num_classes,
        "score_range": task.score_range, "metric": task.metrics[0],
        "model": dataclasses.asdict(config.model),
        "optimizer": dataclasses.asdict(config.course(total)),
        "batch_size": config.training.batch_size,
        "classifier_dropout": config.fine_tuning.classifier_dropout,
        "arms": [{"name": each.arm.name, "is_pretrained": each.arm.init_from != FROM_SCRATCH,
                  "configuration": configuration(campaign, each)} for each in cells],
        "initial": initial}


def _initial(config: FineTuningRunConfig) -> list[dict]:
    from gpt_tf.model.task_model import TaskModel

    return variables_of(TaskModel(config.model, config.data.manifest.task,
                                  config.fine_tuning.classifier_dropout, config.training.seed))


def rows_of(data_dir: str, split: str) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """The sequences of each row of a split, int32 [tokens], and the labels [N], in its order."""
    from gpt_tf.evaluation.task_scores import records_of

    records, labels, positions = records_of(data_dir, split)
    order = np.argsort(positions)
    return [records[place] for place in order], labels[order]


def write_rows(path: str, data_dir: str, manifest: Manifest) -> None:
    """The sequences and labels of a task: `train_tokens`, `train_lengths` [N, K], `train_labels`
    [N], and those of the first validation split as `validation_...`."""
    arrays = {}
    for split, name in (("train", "train"), ("validation", validation_splits(manifest)[0])):
        rows, labels = rows_of(data_dir, name)
        arrays |= {f"{split}_tokens": np.concatenate(
                       list(itertools.chain(*rows))).astype(np.uint16),
                   f"{split}_lengths": np.array([list(map(len, row)) for row in rows], np.uint16),
                   f"{split}_labels": labels}
    np.savez_compressed(path, **arrays)


def write_weights(folder: str, run: str) -> None:
    """Those of a run's language model, as `benchmarks.gpu.there` leaves those of a training."""
    from gpt_tf.runs import weights

    model, step = weights.load_model(run)
    packed.write_weights(
        folder, [variable.numpy() for variable in model.trainable_variables],
        {"model": dataclasses.asdict(model.config), "variables": variables_of(model),
         "updates": step, "kept": []})


def check_shape(campaign: Campaign) -> None:
    """Raises UserError where the model is none that the programs there know."""
    if campaign.shape.softmax_over_positions:
        raise UserError(f"{campaign.pretrained} has its softmax over positions, too, which "
                        "benchmarks.gpu does not know.")
    if campaign.shape.num_special_tokens:
        raise UserError(f"{campaign.pretrained} has rows of special tokens, which a pre-trained "
                        "model of benchmarks.gpu has not: give a run of gpt_tf.pretrain.")
    if campaign.shape.num_token_rows > _MOST_TOKENS:
        raise UserError(f"{campaign.pretrained} has {campaign.shape.num_token_rows:,} entries in "
                        f"its vocabulary, and benchmarks.gpu takes {_MOST_TOKENS:,} at the most.")


def main() -> None:
    """Writes the folder."""
    settings = cli.from_flags(ExportSettings)
    output = settings.output_dir
    check_new("output_dir", output)
    campaign = Campaign(settings)
    check_shape(campaign)
    cli.import_tensorflow()
    with atomic_folder(output) as folder:
        groups = []
        for cells in cells_of(campaign):
            path = os.path.join(folder, f"{cells[0].task}.npz")
            if not os.path.exists(path):
                write_rows(path, campaign.data(cells[0].task), campaign.manifest(cells[0].task))
            groups.append(described(campaign, cells, folder))
        if settings.weights:
            write_weights(folder, campaign.pretrained)
        with open(os.path.join(folder, "campaign.json"), "w", encoding="utf-8") as stream:
            json.dump({"rates": settings.chosen_rates, "seeds": list(settings.seeds),
                       "selection_seed": SELECTION_SEED, "groups": groups}, stream)
    print(f"Wrote {output}: {len(groups)} rows of tables.")


if __name__ == "__main__":
    cli.define_flags(ExportSettings)
    cli.run(main, makes_files=True)
