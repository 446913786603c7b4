"""Tables 2-4: every task at hand, pre-trained beside scratch, a bag of words and the majority.

  python -m benchmarks.paper.tables --pretrained=runs/english --tasks_dir=tasks --work_dir=paper
  python -m benchmarks.paper.tables --pretrained=runs/gpt1 --tasks_dir=tasks \\
      --work_dir=paper-gpt1 --recipe=paper

The second gives the paper's own numbers, from its published weights. The same command goes on
where it was stopped; what it has made so far stands in tables.md, tables.json and tables.png of
--output.
"""

import dataclasses

from benchmarks import report
from benchmarks.paper import arms, tasks
from benchmarks.paper.campaign import Campaign
from benchmarks.paper.comparison import baseline_scores, gap, is_ahead, missing, p_value
from benchmarks.paper.output import Item, bar_lines, draw_bars, p_text, points, write
from benchmarks.paper.results import Cell, percent
from benchmarks.paper.settings import TaskSettings
from gpt_tf.common import cli

# The bar: fixed before the first run.
_OF = ("sst2", "stsb", "qnli", "race_middle", "cola", "mrpc")
_AHEAD = 5
_AT_LEAST = {"sst2": 0.83, "stsb": 0.45}
_BASELINES = ("majority", "bag of words")
_HEADER = ("task", "rows", "metric", "paper (test)", *_BASELINES, "scratch",
           "pre-trained", "gap", "p", "rates (scratch, pre-trained)")


def cells_of(campaign: Campaign, task: str) -> tuple[Cell, Cell]:
    """Pre-trained and scratch."""
    rows = campaign.rows(task)
    return (Cell(task, arms.pretrained(campaign.pretrained), rows),
            Cell(task, arms.scratch(), rows))


def baselines_of(campaign: Campaign, task: str) -> dict[str, list[float]]:
    """Name -> of the task's metric, of the rows of each seed."""
    return {name: baseline_scores(campaign, name, task, campaign.rows(task))
            for name in _BASELINES}


def row_of(campaign: Campaign, task: str) -> list[str]:
    """A task's row of the table."""
    metric, rows = campaign.metric(task), campaign.rows(task)
    ours, scratch = map(campaign.outcome, cells_of(campaign, task))
    plain = baselines_of(campaign, task)
    rates = [f"{each.rate:g}" if each.rate else "-" for each in (scratch, ours)]
    train = campaign.manifest(task).splits["train"].records
    return [task, f"{rows or train:,}", metric, f"{tasks.TASKS[task].figure:.1f}",
            *(percent([100 * score for score in plain[name]]) for name in _BASELINES),
            scratch.cell(metric), ours.cell(metric), points(gap(ours, scratch, metric)),
            p_text(p_value(ours, scratch, metric)), ", ".join(rates)]


def bar(campaign: Campaign, names: list[str]) -> list[Item]:
    """What was to be reached, of the tasks that were run."""
    items, ahead = [], []
    for task in filter(_OF.__contains__, names):
        metric = campaign.metric(task)
        ours, scratch = map(campaign.outcome, cells_of(campaign, task))
        found_ahead = is_ahead(ours, scratch, metric)
        if not missing(ours, scratch):
            ahead.append(found_ahead)
        items.append(Item(f"{task}: pre-trained ahead of scratch by more than both ranges",
                          f"gap {points(gap(ours, scratch, metric)) or 'unknown'}, ranges "
                          f"{points(ours.spread(metric)).lstrip('+') or 'unknown'} and "
                          f"{points(scratch.spread(metric)).lstrip('+') or 'unknown'}"
                          + missing(ours, scratch), found_ahead))
        if task in _AT_LEAST:
            found = ours.median(metric)
            items.append(Item(f"{task}: {metric} at or above {_AT_LEAST[task]:g}",
                              f"median {found:.3f}{missing(ours)}",
                              found >= _AT_LEAST[task] and not missing(ours)))
    return [*items, Item(f"ahead on at least {_AHEAD} of {', '.join(_OF)}",
                         f"{sum(ahead)} of {len(ahead)} that were run", sum(ahead) >= _AHEAD)]


def picture(campaign: Campaign, names: list[str]):
    """Bars of each task's metric: a matplotlib Figure."""
    groups = {"pre-trained": [], "scratch": [], **{name: [] for name in reversed(_BASELINES)}}
    for task in names:
        metric, plain = campaign.metric(task), baselines_of(campaign, task)
        for name, cell in zip(groups, cells_of(campaign, task)):
            groups[name].append([100 * score for score in campaign.outcome(cell).scores(metric)])
        for name in _BASELINES:
            groups[name].append([100 * score for score in plain[name]])
    return draw_bars([f"{task}\n({campaign.metric(task)})" for task in names], groups,
                     "percent, validation")


def make(campaign: Campaign, names: list[str]) -> str:
    """Writes what there is; returns the table with its caption and the bar."""
    settings = campaign.settings
    cells = [cell for task in names for cell in cells_of(campaign, task)]
    items = bar(campaign, names)
    text = "\n".join([
        "# Tables 2-4: the tasks of the paper", "",
        f"{settings.pretrained}: {campaign.shape.num_parameters:,} parameters; recipe "
        f"{settings.recipe}. {settings.reductions(names)} Rows: to train on. Percent on the whole "
        "validation set: median (range) over the seeds, at the last update. The paper's figures "
        "are of the test sets. p: paired permutation test over the validation rows, pre-trained "
        f"against scratch.{campaign.trained_elsewhere(cells)}",
        "", report.markdown_table(_HEADER, [row_of(campaign, task) for task in names]), "",
        "The bar:", "", bar_lines(items), "", "![tables](tables.png)", "",
        report.describe_machine(["tensorflow"]), ""])
    write(settings, "tables", text, {
        "settings": dataclasses.asdict(settings), "bar": [item._asdict() for item in items],
        "baselines": {task: baselines_of(campaign, task) for task in names},
        "runs": [result.summary for result in campaign.results(cells)]},
          picture(campaign, names))
    return text


def main() -> None:
    """Builds and fine-tunes what is missing, and writes the table of what there is."""
    settings = cli.from_flags(TaskSettings)
    names = settings.names()
    campaign = Campaign(settings)
    campaign.build(*names)
    for task in names:
        baselines_of(campaign, task)  # now: a stop should not wait for it
    cells = [cell for task in names for cell in cells_of(campaign, task)]
    campaign.publish(cells, lambda: make(campaign, names))


if __name__ == "__main__":
    cli.define_flags(TaskSettings)
    cli.run(main, makes_files=True)
