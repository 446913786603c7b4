"""What the labels of a split are, and what in them or its texts is in the way of learning or
measuring."""

import collections

from gpt_tf.tasks import forms
from gpt_tf.tasks.answers import class_names
from gpt_tf.tasks.task import Task
from pipelines.tasks.splits import SplitRows

# Below this many rows one row is more than 5% of every measure.
_FEWEST_ROWS = 20
# A class is rare below this share of what it would have if all were alike: 5% of two classes.
_RARE = 0.1
_MOST_NAMED = 5  # classes that a caution lists


def describe_labels(task: Task, labels: collections.Counter) -> str:
    """The classes' shares, or the scores' mean and range; `labels` is label -> rows."""
    total = labels.total()
    if not total:
        return "-"
    if None in labels:
        return "none"
    if task.is_score:
        mean = sum(label * count for label, count in labels.items()) / total
        return f"{min(labels):g} to {max(labels):g}, mean {mean:.2f}"
    return ", ".join(f"{name}: {labels[label] / total:.1%}"
                     for label, name in enumerate(class_names(task)))


def cautions_of_texts(split: SplitRows) -> list[str]:
    """Rows of a split that a model may know by heart, or that contradict each other."""
    found = []
    if split.seen:
        found.append(f"{split.seen:,} rows of {split.name} have the texts of training rows: what "
                     "is measured on them is memory; take them out of one of the two.")
    if split.contradicted:
        found.append(f"{split.contradicted:,} rows of {split.name} have texts that stand there "
                     "with another label, too: no model can answer both; correct or remove them.")
    return found


def cautions(task: Task, split: str, labels: collections.Counter) -> list[str]:
    """What a user should know before training or measuring on a split, a sentence or more each.

    A split without labels has none, nor do the classes of a choice count: they are places.

    Args:
      task: whose labels they are.
      split: its name.
      labels: label -> rows.
    """
    total = labels.total()
    if not total or None in labels:
        return []
    found = []
    if total < _FEWEST_ROWS:
        found.append(f"{split} has {total} {'row' if total == 1 else 'rows'}, and one is "
                     f"{1 / total:.0%} of every measure: add rows.")
    named = class_names(task) if not task.is_score else ()
    if len(labels) == 1:
        only, = labels
        if task.is_score:
            found.append(f"every score of {split} is {only:g}: there is nothing to tell apart; add "
                         "rows with others.")
        elif _classes_count(task):
            others = [name for name in named if name != named[only]]
            found.append(f"all {total:,} rows of {split} are of one class, {named[only]}: there is "
                         f"nothing to tell apart; add rows of {_listed(others)}.")
    elif not task.is_score and _classes_count(task):
        found += _rare_classes(split, named, labels)
    return found


def _classes_count(task: Task) -> bool:
    return task.form in (forms.CLASSIFICATION, forms.ENTAILMENT, forms.SIMILARITY)


def _rare_classes(split: str, named: tuple[str, ...], labels: collections.Counter) -> list[str]:
    total, (commonest, most) = labels.total(), labels.most_common(1)[0]
    rare = [f"{name} {labels[label] / total:.1%} ({labels[label]:,} of {total:,} rows)"
            for label, name in enumerate(named) if labels[label] < _RARE * total / len(named)]
    if not rare:
        return []
    return [f"few rows of {split} are {_listed(rare)}: whoever always answers {named[commonest]} "
            f"has an accuracy of {most / total:.1%}. Add rows, or measure matthews."]


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
