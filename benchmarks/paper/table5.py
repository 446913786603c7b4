"""Table 5: what the auxiliary loss, pre-training and the decoder are worth, each taken away.

  python -m benchmarks.paper.table5 --pretrained=runs/english --lstm=runs/lstm \\
      --tasks_dir=tasks --work_dir=paper

The arms are the paper's: full; without pre-training; without the auxiliary loss; and an LSTM with
it, which is to be pre-trained by `benchmarks.paper.lstm` as the decoder was. Without --lstm the
first three. The same command goes on where it was stopped; what it has made so far stands in
table5.md, table5.json and table5.png of --output.
"""

from collections.abc import Sequence
import dataclasses
import math

from benchmarks import report
from benchmarks.paper import arms, tasks
from benchmarks.paper.campaign import Campaign
from benchmarks.paper.comparison import gap, p_value
from benchmarks.paper.output import draw_bars, p_text, points, write
from benchmarks.paper.results import Cell
from benchmarks.paper.settings import Settings
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.config import option
from gpt_tf.runs import checkpoint_files, run_folder
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import Tokenizer

# The tasks in the order of the paper's table, and its rows in percent, with the averages
# that it prints.
TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")
_PAPER = {
    "pretrained": ("full", (45.4, 91.3, 82.3, 82.0, 70.3, 81.8, 88.1, 56.0), 74.7),
    "scratch": ("without pre-training", (18.9, 84.0, 79.4, 30.9, 65.5, 75.7, 71.2, 53.8),
                59.9),
    "no_lm": ("without auxiliary loss", (47.9, 92.0, 84.9, 83.2, 69.8, 81.1, 86.9, 54.4),
              75.0),
    "lstm": ("LSTM", (30.3, 90.5, 83.2, 71.8, 68.1, 73.7, 81.1, 54.6), 69.1),
}
_FINDING = ("The paper, over its eight tasks: without pre-training the average is 14.8 points "
            "lower, with the LSTM 5.6; the auxiliary loss helps on QQP, MNLI, QNLI "
            "and RTE, and not on CoLA, SST-2, MRPC and STS-B; the LSTM is ahead on MRPC alone.")


@dataclasses.dataclass(frozen=True)
class Table5Settings(Settings):
    """Flags of this table."""

    tasks: str = option("", "Tasks, separated by commas; empty: all of the paper's table whose "
                            "files are at hand.")
    lstm: str = option("", "Run folder that benchmarks.paper.lstm has pre-trained, on the data of "
                           "--pretrained; empty: the table is made without it.", path=True)

    def names(self) -> list[str]:
        """The tasks, in the order of the paper's table.

        Raises:
          UserError: one is not in it, or none is at hand.
        """
        at_hand = set(TASKS) & set(tasks.at_hand(self.tasks_dir))
        given = set(self.tasks.split(",")) if self.tasks else at_hand
        if not given or given - set(TASKS):
            raise UserError(f"--tasks={self.tasks} must name some of {', '.join(TASKS)}, of which "
                            f"--tasks_dir has {', '.join(sorted(at_hand)) or 'none'}.")
        return sorted(given, key=TASKS.index)


def decoder_arms(campaign: Campaign) -> list[arms.Arm]:
    """The table's arms but the LSTM, the full model first."""
    run = campaign.pretrained
    return [arms.pretrained(run), arms.scratch(), arms.without_lm(run)]


def arms_of(campaign: Campaign) -> list[arms.Arm]:
    """The table's arms, the full model first.

    Raises:
      UserError: --lstm is no run of an LSTM with the tokenizer of --pretrained.
    """
    run, lstm = campaign.pretrained, campaign.settings.lstm
    found = decoder_arms(campaign)
    if lstm:
        lstm = resolve.run_folder(lstm)
        found.append(arms.lstm(lstm, run_folder.load_config(lstm)))
        if Tokenizer.load(lstm).fingerprint != Tokenizer.load(run).fingerprint:
            raise UserError(f"{lstm} has another tokenizer than {run}: pre-train both on one data "
                            "folder.")
    return found


def check_lstm(arm: arms.Arm) -> None:
    """Loads the weights that the LSTM's arm begins with, hours before they are needed.

    Raises:
      UserError: they are of another model.
    """
    cli.import_tensorflow()
    from benchmarks.paper.lstm_block import in_place_of_blocks
    from gpt_tf.runs import weights

    with in_place_of_blocks():
        weights.load_model(arm.init_from)


def cell_of(campaign: Campaign, task: str, arm: arms.Arm) -> Cell:
    """An arm on a task."""
    return Cell(task, arm, campaign.rows(task))


def average(values: Sequence[float]) -> str:
    """Mean of percentages; "" where one is missing."""
    return "" if any(map(math.isnan, values)) else f"{sum(values) / len(values):.1f}"


def rows_of(campaign: Campaign, names: list[str], arm: arms.Arm) -> list[list[str]]:
    """Two rows: what was measured, and the paper's."""
    said, figures, printed = _PAPER[arm.name]
    metrics = list(map(campaign.metric, names))
    outcomes = [campaign.outcome(cell_of(campaign, task, arm)) for task in names]
    theirs = [figures[TASKS.index(task)] for task in names]
    medians = [100 * found.median(metric) for found, metric in zip(outcomes, metrics)]
    return [[said, average(medians),
             *(found.cell(metric) for found, metric in zip(outcomes, metrics))],
            ["the paper's", f"{printed:.1f}" if len(names) == len(TASKS) else average(theirs),
             *(f"{value:.1f}" for value in theirs)]]


def differences(campaign: Campaign, names: list[str], full: arms.Arm,
                arm: arms.Arm) -> list[str]:
    """A row: an arm's medians less those of the full model, and p; below the paper's."""
    row = [_PAPER[arm.name][0]]
    for task in names:
        ours, other = (campaign.outcome(cell_of(campaign, task, each)) for each in (full, arm))
        metric, place = campaign.metric(task), TASKS.index(task)
        theirs = _PAPER[arm.name][1][place] - _PAPER["pretrained"][1][place]
        found, p = points(gap(other, ours, metric)), p_text(p_value(other, ours, metric))
        row.append(f"{found} (p {p}; {theirs:+.1f})" if found else f"({theirs:+.1f})")
    return row


def picture(campaign: Campaign, names: list[str], found: list[arms.Arm]):
    """Bars of each task's metric, an arm a color: a matplotlib Figure."""
    groups = {_PAPER[arm.name][0]: [
        [100 * score for score in campaign.outcome(cell_of(campaign, task, arm)).scores(
            campaign.metric(task))] for task in names] for arm in found}
    return draw_bars([f"{task}\n({campaign.metric(task)})" for task in names], groups,
                     "percent, validation")


def make(campaign: Campaign, names: list[str], found: list[arms.Arm]) -> str:
    """Writes what there is; returns the table with its caption."""
    settings, full = campaign.settings, found[0]
    cells = [cell_of(campaign, task, arm) for task in names for arm in found]
    header = [f"{task} ({campaign.metric(task)})" for task in names]
    text = "\n".join([
        "# Table 5: ablations", "",
        f"{settings.pretrained}: {campaign.shape.num_parameters:,} parameters; recipe "
        f"{settings.recipe}. {settings.reductions(names)} Percent on the whole validation set: "
        "median (range) over the seeds, at the last update, and the unweighted mean of the medians "
        "over these tasks; the paper's figures are of the test sets."
        f"{campaign.trained_elsewhere(cells)}", "",
        report.markdown_table(("", "average", *header), [
            row for arm in found for row in rows_of(campaign, names, arm)]), "",
        "Less the full model: points, p of a paired permutation test over the validation rows, and "
        "the paper's difference.", "",
        report.markdown_table(("", *names), [
            differences(campaign, names, full, arm) for arm in found[1:]]), "",
        _FINDING, "", lstm_line(campaign), "", "![table5](table5.png)", "",
        report.describe_machine(["tensorflow"]), ""])
    write(settings, "table5", text, {
        "settings": dataclasses.asdict(settings), "paper": _PAPER, "tasks": TASKS,
        "runs": [result.summary for result in campaign.results(cells)]},
          picture(campaign, names, found))
    return text


def lstm_line(campaign: Campaign) -> str:
    """What the LSTM is; or, where there is none, what to pre-train."""
    if campaign.settings.lstm:
        lstm, decoder = (checkpoint_files.steps(run_folder.weights_folder(run))[-1] for run in (
            resolve.run_folder(campaign.settings.lstm), campaign.pretrained))
        units = run_folder.load_config(campaign.settings.lstm).intermediate_dim
        return (f"The LSTM ({campaign.settings.lstm}): one layer of {units} units, of update "
                f"{lstm:,}; the decoder is of update {decoder:,}.")
    return ("No --lstm was given. One with as many parameters as the decoder's blocks: "
            "`python -m benchmarks.paper.lstm pretrain` with the flags of the pre-trained run, "
            "another --model_dir, and `--num_layers=1 --num_heads=1 "
            f"--intermediate_dim={arms.equal_units(campaign.shape)}`.")


def main() -> None:
    """Builds and fine-tunes what is missing, and writes the table of what there is."""
    settings = cli.from_flags(Table5Settings)
    names = settings.names()
    campaign = Campaign(settings)
    found = arms_of(campaign)
    if settings.lstm:
        check_lstm(found[-1])
    campaign.build(*names)
    campaign.publish([cell_of(campaign, task, arm) for task in names for arm in found],
                     lambda: make(campaign, names, found))


if __name__ == "__main__":
    cli.define_flags(Table5Settings)
    cli.run(main, makes_files=True)
