"""Accuracy over the number of labelled rows: pre-trained, scratch, and a bag of words.

  python -m benchmarks.paper.labels --pretrained=runs/english --tasks_dir=tasks --work_dir=paper

Each seed has rows of its own, drawn at random; those of a smaller number are among those of a
larger one. Each is measured on the whole validation set. The same command goes on where it was
stopped; what it has made so far stands in labels.md, labels.json and labels.png of --output.
"""

from collections.abc import Sequence
import dataclasses
import functools
import statistics

from benchmarks import report
from benchmarks.paper import arms, tasks
from benchmarks.paper.campaign import Campaign
from benchmarks.paper.comparison import baseline_scores, gap, missing, p_value
from benchmarks.paper.output import Item, bar_lines, draw_ranges, p_text, points, write
from benchmarks.paper.results import Cell, percent
from benchmarks.paper.settings import Settings
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.config import option

_ALL = "all"
# The bar, of SST-2: fixed before the first run.
_TASK, _ROWS, _POINTS = "sst2", 500, 0.08


@dataclasses.dataclass(frozen=True)
class LabelsSettings(Settings):
    """Flags of this figure."""

    task: str = option(_TASK, "The task.", choices=tuple(tasks.TASKS))
    counts: str = option("100,500,2000,10000,all", "Numbers of labelled rows.")
    few_epochs: float = option(20.0, "Epochs where these are not all rows.", above=0)

    def __post_init__(self):
        super().__post_init__()
        if self.max_rows:
            raise ValueError(f"--max_rows={self.max_rows} is not for this figure: --counts says "
                             "of how many rows it is.")
        self._numbers  # noqa: B018  to see that they parse

    @functools.cached_property
    def _numbers(self) -> tuple[int, ...]:
        parts = set(self.counts.split(","))
        if not all(part == _ALL or part.isascii() and part.isdecimal() and int(part)
                   for part in parts):
            raise ValueError(f"--counts={self.counts} must be numbers of rows and {_ALL}, as "
                             f"100,500,{_ALL}.")
        return (*sorted(set(map(int, parts - {_ALL}))), *([0] if _ALL in parts else ()))

    def numbers(self, rows: int) -> tuple[int, ...]:
        """The numbers, smallest first; 0, which stands last, is all.

        Args:
          rows: those of the task; as many or more are left out.

        Raises:
          UserError: none is left.
        """
        found = tuple(number for number in self._numbers if number < rows)
        if not found:
            raise UserError(f"--counts={self.counts}: {self.task} has {rows:,} training rows; name "
                            f"fewer, or {_ALL}.")
        return found


def numbers_of(campaign: Campaign) -> tuple[int, ...]:
    """Of --counts, those of which the task has more rows; 0 is all."""
    settings = campaign.settings
    return settings.numbers(campaign.manifest(settings.task).splits["train"].records)


def cells_of(campaign: Campaign, rows: int) -> tuple[Cell, Cell]:
    """Pre-trained and scratch."""
    settings = campaign.settings
    epochs = settings.few_epochs if rows else 0
    return tuple(Cell(settings.task, arm, rows, epochs) for arm in (
        arms.pretrained(campaign.pretrained), arms.scratch()))


def bag_scores(campaign: Campaign, rows: int) -> list[float]:
    """Of the bag of words."""
    return baseline_scores(campaign, "bag of words", campaign.settings.task, rows)


def row_of(campaign: Campaign, rows: int) -> list[str]:
    """A number's row of the table."""
    metric = campaign.metric(campaign.settings.task)
    ours, scratch = map(campaign.outcome, cells_of(campaign, rows))
    return [f"{rows:,}" if rows else _ALL,
            percent([100 * score for score in bag_scores(campaign, rows)]),
            scratch.cell(metric), ours.cell(metric), points(gap(ours, scratch, metric)),
            p_text(p_value(ours, scratch, metric))]


def bar(campaign: Campaign) -> list[Item]:
    """What was to be reached with few rows of SST-2; nothing where these were not run."""
    if campaign.settings.task != _TASK or _ROWS not in numbers_of(campaign):
        return []
    metric = campaign.metric(_TASK)
    ours, scratch = map(campaign.outcome, cells_of(campaign, _ROWS))
    bag, found = statistics.median(bag_scores(campaign, _ROWS)), gap(ours, scratch, metric)
    seeds = missing(ours, scratch)
    return [Item(f"{_ROWS} rows: at least {100 * _POINTS:g} points ahead of scratch",
                 f"gap {points(found) or 'unknown'}{seeds}", found >= _POINTS and not seeds),
            Item(f"{_ROWS} rows: ahead of the bag of words",
                 f"medians {100 * ours.median(metric):.1f} and {100 * bag:.1f}{missing(ours)}",
                 ours.median(metric) > bag and not missing(ours))]


def picture(campaign: Campaign):
    """Medians and ranges over the number of rows: a matplotlib Figure."""
    from gpt_tf.evaluation import pictures  # matplotlib takes a second

    settings, metric = campaign.settings, campaign.metric(campaign.settings.task)
    numbers = numbers_of(campaign)
    everything = campaign.manifest(settings.task).splits["train"].records
    outcomes = [tuple(map(campaign.outcome, cells_of(campaign, rows)))
                for rows in numbers]
    curves = {"pre-trained": [ours.scores(metric) for ours, _ in outcomes],
              "scratch": [scratch.scores(metric) for _, scratch in outcomes],
              "bag of words": [bag_scores(campaign, rows) for rows in numbers]}
    return draw(pictures, [rows or everything for rows in numbers], curves,
                f"{settings.task}: {metric}, validation")


def draw(pictures, rows: Sequence[int], curves: dict[str, list[list[float]]], label: str):
    """The figure of `picture`: a curve for each name, of the scores at each number of rows."""
    figure, axes = pictures.styled(pictures.make)(7.0, 4.5)
    draw_ranges(axes, rows, curves, pictures.COLORS)
    axes.set_xscale("log")
    axes.set_xticks(rows, [f"{each:,}" for each in rows])
    axes.minorticks_off()
    axes.set_xlabel("labelled rows")
    axes.set_ylabel(label)
    axes.legend()
    return figure


def make(campaign: Campaign) -> str:
    """Writes what there is; returns the table with its caption and the bar."""
    settings, numbers = campaign.settings, numbers_of(campaign)
    cells = [cell for rows in numbers for cell in cells_of(campaign, rows)]
    items = bar(campaign)
    text = "\n".join([
        f"# {settings.task} over the number of labelled rows", "",
        f"{settings.pretrained}: {campaign.shape.num_parameters:,} parameters; recipe "
        f"{settings.recipe}. {settings.reductions([settings.task])} Of fewer rows than all: "
        f"{settings.few_epochs:g} epochs, each seed on rows of its own, drawn at random. Percent "
        f"of {campaign.metric(settings.task)} on the whole validation set: median (range) over the "
        "seeds, at the last update. p: paired permutation test over the validation rows, "
        f"pre-trained against scratch.{campaign.trained_elsewhere(cells)}", "",
        report.markdown_table(("rows", "bag of words", "scratch", "pre-trained", "gap", "p"),
                              [row_of(campaign, rows) for rows in numbers]), "",
        *(["The bar:", "", bar_lines(items), ""] if items else ()),
        "![labels](labels.png)", "", report.describe_machine(["tensorflow"]), ""])
    write(settings, "labels", text, {
        "settings": dataclasses.asdict(settings), "bar": [item._asdict() for item in items],
        "bag of words": {rows or _ALL: bag_scores(campaign, rows) for rows in numbers},
        "runs": [result.summary for result in campaign.results(cells)]}, picture(campaign))
    return text


def main() -> None:
    """Draws and fine-tunes what is missing, and writes the picture of what there is."""
    settings = cli.from_flags(LabelsSettings)
    campaign = Campaign(settings)
    campaign.build(settings.task)
    numbers = numbers_of(campaign)
    for rows in numbers:
        bag_scores(campaign, rows)  # now: a stop should not wait for it
    cells = [cell for rows in numbers for cell in cells_of(campaign, rows)]
    campaign.publish(cells, lambda: make(campaign))


if __name__ == "__main__":
    cli.define_flags(LabelsSettings)
    cli.run(main, makes_files=True)
