"""Measures of a fine-tuned model on a split, baselines beside it, and its predictions as a file."""

import os
import sys
from typing import Any
import warnings

import numpy as np

from gpt_tf.common import cache
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import make_folder, open_output
from gpt_tf.common.names import file_stem
from gpt_tf.common.small_files import read_json, write_json
from gpt_tf.config import BEST
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import Manifest
from gpt_tf.runs import run_folder
from gpt_tf.tasks.answers import HEADER, answers, class_names, tsv_line
from gpt_tf.tasks.metrics import METRICS, MetricWarning
from gpt_tf.tasks.task import Task
from gpt_tf.training.predictor import Predictions


def measure(task: Task, labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    """The task's metrics; what one of them has no value for is said on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MetricWarning)
        scores = {name: METRICS[name](labels, predictions) for name in task.metrics}
    for warning in caught:
        print(f"Note: {warning.message}", file=sys.stderr)
    return scores


def baselines(data_dir: str, split: str) -> dict[str, dict[str, float]]:
    """Metrics of a bag of words, and of the commonest class or the mean score of the training.

    Raises:
      UserError: there are no labelled training rows, or all are of one class.
    """
    # scikit-learn takes a second to import.
    from gpt_tf.evaluation.bag_of_words import BagOfWords
    manifest = Manifest.load(data_dir)
    task, train = manifest.task, manifest.splits.get("train")
    if train is None or not train.records or not train.labelled:
        raise UserError(f"{data_dir} has no labelled training split to fit a bag of words on: "
                        "leave --bag_of_words out.")
    records, labels, _ = records_of(data_dir, "train")
    held_out, truth, _ = records_of(data_dir, split)
    model = BagOfWords.fit(task, manifest.vocabulary_size, records, labels)
    scores = {"bag of words": measure(task, truth, model.predict(held_out))}
    constant = labels.mean() if task.is_score else np.bincount(labels).argmax()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MetricWarning)  # a constant has no correlation
        guesses = np.full(len(truth), constant)
        scores["mean score" if task.is_score else "majority class"] = {
            name: METRICS[name](truth, guesses) for name in task.metrics}
    return scores


def records_of(data_dir: str,
               split: str) -> tuple[list[list[np.ndarray]], np.ndarray, np.ndarray]:
    """The records of a split by length: of each its sequences, int32 [tokens]; the labels [N]; and
    the positions in the split, int32 [N]."""
    records, labels, positions = [], [], []
    for batch in evaluation_batches(data_dir, split, batch_size=256):
        real = batch["split_positions"].numpy() >= 0
        labels.append(batch["labels"].numpy()[real])
        positions.append(batch["split_positions"].numpy()[real])
        for sequences, lengths in zip(batch["token_ids"].numpy()[real],
                                      batch["lengths"].numpy()[real]):
            records.append([ids[:length].copy() for ids, length in zip(sequences, lengths)])
    return records, np.concatenate(labels), np.concatenate(positions)


def keep(model_dir: str, manifest: Manifest, split: str, values: dict,
         which: str = BEST) -> None:
    """Writes a measurement into the run folder, one for each split, data and kind of weights, and
    says where. What was measured beside the same weights before, as a bag of words, stays.

    One in the cache, which was made of what a handle or a preset names, is nobody's to look into
    and may be removed at any time: nothing is kept there. Another may be somebody else's, or on a
    disk that cannot be written: what was measured is no worse for it, so that is said on standard
    error.

    Args:
      model_dir: the run folder.
      manifest: of the data folder.
      split: name of the split that was measured.
      values: JSON; where it has some, "scores" by what they are of.
      which: `config.BEST` or `config.NEWEST`.
    """
    if cache.holds(model_dir):
        return
    folder = os.path.join(model_dir, "evaluations")
    name = file_stem(manifest.task.name)
    newest = "" if which == BEST else f"-{which}"
    path = os.path.join(folder, f"{name}-{split}-{manifest.fingerprint[:8]}{newest}.json")
    try:
        run_folder.refuse_link(folder)
        make_folder(folder)
        if os.path.exists(path):
            values = _with_scores_of(read_json(path, "an evaluation before"), values)
        write_json(path, values)
    except UserError as error:
        print(f"Note: the run folder keeps none of these measures. {error}", file=sys.stderr)
        return
    print(f"Saved in {path}.")


def _with_scores_of(before: Any, values: dict) -> dict:
    """`values` with the scores that only the measurement before has, if it is of the same."""
    scores = before.get("scores") if isinstance(before, dict) else None
    if not isinstance(scores, dict) or before | {"scores": 0} != values | {"scores": 0}:
        return values
    return values | {"scores": values["scores"] | {
        name: each for name, each in scores.items() if name not in values["scores"]}}


def write_predictions(path: str, task: Task, found: Predictions, probabilities: bool) -> None:
    """A TSV with a header, in the order of the source: index, prediction, and the classes.

    Labels are the published ones, not their names: GLUE's site takes no others.

    Args:
      path: the file.
      task: that of the data.
      found: what the model says.
      probabilities: whether the classes have columns.
    """
    task = task.published
    header = [*HEADER, *(class_names(task) if probabilities else ())]
    given = answers(task, found.predictions)
    with open_output(path) as stream:
        stream.write(("\t".join(header) + "\n").encode("utf-8"))
        for row in np.argsort(found.source_rows, kind="stable"):
            columns = found.probabilities[row] if probabilities else ()
            line = f"{found.source_rows[row]}\t{tsv_line(given[row], columns)}"
            stream.write(line.encode("utf-8"))
