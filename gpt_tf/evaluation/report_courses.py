"""The pictures of what runs reported as they went, from their metrics.jsonl alone."""

from collections.abc import Mapping, Sequence

from gpt_tf.evaluation.pictures import Line, courses_figure
from gpt_tf.evaluation.report_page import Picture
from gpt_tf.runs.metrics_log import Row, curve

Rows = Sequence[Row]
_TRAIN = "train/"
# What says how training went, whatever is trained: name of the scalar -> label of its axis.
_PROGRESS = {"train/learning_rate": "learning rate", "train/gradient_norm": "gradient norm",
             "train/tokens_per_second": "tokens/s"}


def language_model_pictures(runs: Mapping[str, Rows]) -> list[Picture]:
    """The loss of pre-training runs, with its perplexity.

    Args:
      runs: name -> its rows.
    """
    if not runs:
        return []
    panels = {"loss (nats per token)": _lines(runs, "train/loss", "loss")}
    about = ("Cross-entropy of a token over the updates, and its exponential, the perplexity. "
             "Training: the mean of the updates since the last point, with dropout. Validation: "
             "held-out text, without. Runs compare if their tokenizer is the same.")
    gains = [Line(run, *curve(rows, "induction/gain"), color, is_measured=True)
             for color, (run, rows) in enumerate(runs.items())]
    if any(len(line.steps) for line in gains):
        panels["induction gain (nats)"] = gains
        about += (" Induction gain: the loss of random tokens less that of the same tokens "
                  "repeated (--probe_induction).")
    return [Picture("loss", f"Pre-training of {_names(runs)}", about,
                    courses_figure(panels, perplexity=True))]


def task_pictures(runs: Mapping[str, Rows]) -> list[Picture]:
    """The loss and the metrics of fine-tuning runs.

    Args:
      runs: name -> its rows.
    """
    if not runs:
        return []
    metrics = dict.fromkeys(
        name.partition("/")[2] for rows in runs.values() for row in rows for name in row.values
        if not name.startswith(_TRAIN) and not name.endswith("/loss"))
    panels = {"task loss (nats)": _lines(runs, "train/task_loss", "loss")}
    panels |= {metric: _lines(runs, "", metric) for metric in metrics}
    return [Picture("finetuning", f"Fine-tuning of {_names(runs)}",
                    "Cross-entropy of a row's label, in training the mean of the updates since "
                    "the last point, with dropout; and the task's metrics on the validation rows.",
                    courses_figure(panels))]


def progress_pictures(runs: Mapping[str, Rows]) -> list[Picture]:
    """Learning rate, gradient norm and speed of any runs.

    Args:
      runs: name -> its rows.
    """
    lines = {label: [Line(run, *curve(rows, name), color)
                     for color, (run, rows) in enumerate(runs.items())]
             for name, label in _PROGRESS.items()}
    if not any(len(line.steps) for line in sum(lines.values(), [])):
        return []
    return [Picture("progress", f"Progress of {_names(runs)}",
                    "The learning rate, the norm of the newest update's gradient before clipping, "
                    "and the tokens trained on in a second of training.",
                    courses_figure(lines))]


def _lines(runs: Mapping[str, Rows], train: str, measure: str) -> list[Line]:
    """The curve `train` of each run, and its `measure` on every other split that it reports."""
    found = []
    for number, (run, rows) in enumerate(runs.items()):
        names = {name for row in rows for name in row.values}
        splits = sorted(name for name in names if not name.startswith(_TRAIN)
                        and name.endswith(f"/{measure}"))
        for place, name in enumerate([train, *splits]):
            if name in names:
                split = name.partition("/")[0]
                # Of one run the splits have a colour each; of several the runs have one.
                label, color = (split, place) if len(runs) == 1 else (f"{run}, {split}", number)
                found.append(Line(label, *curve(rows, name), color, is_measured=name != train))
    return found


def _names(runs: Mapping[str, Rows]) -> str:
    return ", ".join(runs)
