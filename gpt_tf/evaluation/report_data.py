"""The pictures of a data folder: lengths, tokens a word, labels. No TensorFlow here."""

from collections.abc import Mapping

import numpy as np

from gpt_tf.data import statistics
from gpt_tf.data.manifest import Manifest
from gpt_tf.data.reader import SplitReader
from gpt_tf.evaluation import data_pictures
from gpt_tf.evaluation.report_page import Picture
from gpt_tf.tasks.answers import class_names
from gpt_tf.tasks.task import Task
from gpt_tf.tokenizer import Tokenizer

# Records of a split that are read: of more, as many evenly spread.
_MOST_FOR_WORDS = 2_000
_MOST_FOR_LABELS = 100_000
_MOST_CLASSES = 30


def pictures(data_dir: str, manifest: Manifest) -> list[Picture]:
    """What can be drawn of a data folder.

    Args:
      data_dir: the folder.
      manifest: its.

    Raises:
      UserError: a file of it is missing or was altered.
    """
    readers = {name: SplitReader(data_dir, name, manifest)
               for name, split in manifest.splits.items() if split.records}
    found = [_lengths(data_dir, manifest, readers), _words(data_dir, manifest, readers)]
    labelled = {name: reader for name, reader in readers.items()
                if manifest.task and manifest.splits[name].labelled}
    return found + ([_labels(data_dir, manifest.task, labelled)] if labelled else [])


def _lengths(data_dir: str, manifest: Manifest, readers: Mapping[str, SplitReader]) -> Picture:
    figure = data_pictures.lengths_figure(
        {name: reader.lengths for name, reader in readers.items()}, manifest.sequence_length)
    if manifest.task is None:
        return Picture("lengths", f"Lengths of the windows of {data_dir}",
                       "A document is cut into windows of the limit; what is left at its end is a "
                       "shorter one. All windows, from the index.", figure)
    shortened = sum(manifest.splits[name].shortened for name in readers)
    rows = sum(manifest.splits[name].records for name in readers)
    return Picture("lengths", f"Lengths of the rows of {data_dir}",
                   "Tokens of a row's longest sequence, special tokens included. All rows, from "
                   f"the index. The limit cut the text of {shortened:,} of {rows:,}.", figure)


def _words(data_dir: str, manifest: Manifest, readers: Mapping[str, SplitReader]) -> Picture:
    tokenizer = Tokenizer.load(data_dir)
    bounds = tokenizer.word_bounds()
    counts = {name: statistics.word_sizes(
        reader, statistics.spread(len(reader), _MOST_FOR_WORDS), *bounds)
        for name, reader in readers.items()}
    sizes = {f"{name}: {_mean(count):.2f} tokens a word{_bytes_a_token(manifest, name)}": count
             for name, count in counts.items()}
    return Picture("words", f"Tokens a word of {data_dir}",
                   f"How many tokens of the vocabulary {tokenizer.words} are made of, in up to "
                   f"{_MOST_FOR_WORDS:,} evenly spread records of each split: few where the "
                   "vocabulary suits the text. Line breaks are left out.",
                   data_pictures.word_sizes_figure(sizes))


def _mean(counts: np.ndarray) -> float:
    return float(counts @ np.arange(len(counts)) / max(counts.sum(), 1))


def _bytes_a_token(manifest: Manifest, split: str) -> str:
    totals = manifest.splits[split]
    return "" if manifest.task else f", {totals.text_bytes / totals.tokens:.2f} bytes a token"


def _labels(data_dir: str, task: Task, readers: Mapping[str, SplitReader]) -> Picture:
    labels = {name: statistics.read_labels(
        reader, statistics.spread(len(reader), _MOST_FOR_LABELS))
        for name, reader in readers.items()}
    most = max(map(len, readers.values()))
    text = "The labels of each split that has any" + (
        "." if most <= _MOST_FOR_LABELS else
        f", of up to {_MOST_FOR_LABELS:,} evenly spread rows.")
    if task.is_score:
        figure = data_pictures.scores_figure(labels, task.score_range)
    else:
        counts = {name: np.bincount(each, minlength=task.num_classes)
                  for name, each in labels.items()}
        order = np.arange(task.num_classes)
        if task.num_classes > _MOST_CLASSES:
            order = np.argsort(-sum(counts.values()), kind="stable")[:_MOST_CLASSES]
            text += f" The {_MOST_CLASSES} commonest of {task.num_classes:,} classes."
        figure = data_pictures.classes_figure(
            {name: count[order] for name, count in counts.items()},
            [class_names(task)[each] for each in order])
    return Picture("labels", f"Labels of {data_dir}", text, figure)
