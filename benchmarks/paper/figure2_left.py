"""Figure 2, left: what each transferred layer adds, from the embeddings alone to all blocks.

  python -m benchmarks.paper.figure2_left --pretrained=runs/english --tasks_dir=tasks \\
      --work_dir=paper

The paper shows MultiNLI and RACE. The same command goes on where it was stopped; what it has made
so far stands in figure2_left.md, figure2_left.json and figure2_left.png of --output.
"""

import dataclasses

from benchmarks import report
from benchmarks.paper import arms
from benchmarks.paper.campaign import Campaign
from benchmarks.paper.comparison import gap, p_value
from benchmarks.paper.output import draw_ranges, p_text, points, write
from benchmarks.paper.results import Cell
from benchmarks.paper.settings import TaskSettings
from gpt_tf.common import cli
from gpt_tf.config import option

# RACE's passages are a hundred times SST-2's tokens.
TASKS = ("qnli", "sst2")
_FINDING = ("The paper: transferring the embeddings helps, and every further block adds to it, on "
            "MultiNLI up to 9 points with all of them.")


@dataclasses.dataclass(frozen=True)
class Figure2LeftSettings(TaskSettings):
    """Flags of this figure."""

    tasks: str = option(",".join(TASKS), "Tasks, separated by commas.", required=True)


def cells_of(campaign: Campaign, task: str) -> list[Cell]:
    """No block, one, ..., all of them."""
    shape, rows = campaign.shape, campaign.rows(task)
    return [Cell(task, arms.first_layers(campaign.pretrained, count, shape), rows)
            for count in range(shape.num_layers + 1)]


def table(campaign: Campaign, names: list[str]) -> str:
    """A row for each number of blocks; of a task also what the last block has added."""
    header, columns = ["blocks transferred"], []
    for task in names:
        metric = campaign.metric(task)
        outcomes = list(map(campaign.outcome, cells_of(campaign, task)))
        header += [f"{task} ({metric})", "over the embeddings alone", "p"]
        columns += [[found.cell(metric) for found in outcomes],
                    [points(gap(found, outcomes[0], metric)) for found in outcomes],
                    [p_text(p_value(found, outcomes[0], metric)) for found in outcomes]]
        columns[-1][0] = columns[-2][0] = ""
    return report.markdown_table(header, [
        [str(count), *cells] for count, cells in enumerate(zip(*columns))])


def picture(campaign: Campaign, names: list[str]):
    """Medians and ranges over the number of blocks, a curve for each task: a Figure."""
    from gpt_tf.evaluation import pictures  # matplotlib takes a second

    curves = {}
    for task in names:
        metric = campaign.metric(task)
        curves[f"{task} ({metric})"] = [
            [100 * score for score in campaign.outcome(cell).scores(metric)]
            for cell in cells_of(campaign, task)]
    return draw(pictures, curves)


def draw(pictures, curves: dict[str, list[list[float]]]):
    """The figure of `picture`: name -> percentages of the runs, for 0, 1, ... blocks."""
    figure, axes = pictures.styled(pictures.make)(7.0, 4.5)
    counts = range(len(next(iter(curves.values()))))
    draw_ranges(axes, counts, curves, pictures.COLORS)
    axes.set_xticks(counts)
    axes.set_xlabel("blocks transferred")
    axes.set_ylabel("percent, validation")
    if axes.lines:
        axes.legend()
    return figure


def make(campaign: Campaign, names: list[str]) -> str:
    """Writes what there is; returns the table with its caption."""
    settings = campaign.settings
    cells = [cell for task in names for cell in cells_of(campaign, task)]
    text = "\n".join([
        "# Figure 2, left: transferred blocks", "",
        f"{settings.pretrained}: {campaign.shape.num_parameters:,} parameters, of which the "
        "embeddings and the first blocks are taken over, and the rest is random; recipe "
        f"{settings.recipe}. {settings.reductions(names)} Percent on the whole validation set: "
        "median (range) over the seeds, at the last update; points over the embeddings alone, and "
        "p of a paired permutation test over the validation rows."
        f"{campaign.trained_elsewhere(cells)}", "",
        table(campaign, names), "", "![figure2_left](figure2_left.png)", "", _FINDING, "",
        report.describe_machine(["tensorflow"]), ""])
    write(settings, "figure2_left", text, {
        "settings": dataclasses.asdict(settings),
        "runs": [result.summary for result in campaign.results(cells)]}, picture(campaign, names))
    return text


def main() -> None:
    """Builds and fine-tunes what is missing, and draws what there is."""
    settings = cli.from_flags(Figure2LeftSettings)
    names = settings.names()
    campaign = Campaign(settings)
    campaign.build(*names)
    campaign.publish([cell for task in names for cell in cells_of(campaign, task)],
                     lambda: make(campaign, names))


if __name__ == "__main__":
    cli.define_flags(Figure2LeftSettings)
    cli.run(main, makes_files=True)
