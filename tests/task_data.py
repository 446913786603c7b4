"""Small data folders of tasks that can be learnt, without build_task; and what they are of."""

import os

import numpy as np

from gpt_tf.data import records
from gpt_tf.data.manifest import TASK, Manifest, TaskSplit
from gpt_tf.tasks.task import Task
from gpt_tf.training import distribution
from gpt_tf.training.predictor import Predictor
from pipelines.building.shard_writer import ShardWriter

MAX_LENGTH = 24
TASKS = {
    "classification": Task("feeling", "classification", 1, ("0", "1"), (),
                           ("accuracy", "f1"), label_names=("sad", "glad")),
    "scores": Task("alike", "similarity", 2, (), (0, 5), ("pearson", "spearman")),
    "multiple_choice": Task("ending", "multiple_choice", 3, ("1", "2", "3"), (), ("accuracy",)),
}


def make_rows(task, count, seed, vocabulary_size, shortest):
    """[(K lists of ids, label)]; the words of a row, ids 1 - 20, decide its label."""
    rng = np.random.default_rng(seed)
    start, delimiter, extract = range(vocabulary_size, vocabulary_size + 3)
    rows = []
    for _ in range(count):
        bodies = [rng.integers(1, 11, rng.integers(shortest, MAX_LENGTH - 3)).tolist()
                  for _ in range(task.num_sequences)]
        if task.form == "multiple_choice":
            label = int(rng.integers(task.num_sequences))
            bodies[label][::2] = [20] * len(bodies[label][::2])
        elif task.is_score:
            label = float(rng.uniform(*task.score_range))
            bodies = [[10 + round(2 * label)] * 3] * 2
        else:
            label = int(rng.integers(2))
            bodies[0][::2] = [15 + label] * len(bodies[0][::2])
        rows.append(([[start, *body, delimiter, extract] for body in bodies], label))
    return rows


def write(folder, tokenizer, task, splits=None, labelled=True, shortest=14):
    """Makes a data folder; returns its path.

    Args:
      splits: name -> rows; 64 to train and 24 to validate where none are given.
      shortest: words of a row at least. 14 make batches of one width, for which all is traced
        once; of 2 they have two.
    """
    os.makedirs(folder)
    splits = splits or {"train": 64, "validation": 24}
    size = tokenizer.vocabulary_size
    written = {}
    for seed, (name, count) in enumerate(splits.items()):
        rows = make_rows(task, count, seed, size, shortest)
        lengths = [max(map(len, sequences)) for sequences, _ in rows]
        tokens = sum(len(ids) for sequences, _ in rows for ids in sequences)
        with ShardWriter(folder, name, 0) as writer:
            writer.write([records.encode_example(sequences, label if labelled else None, index,
                                                 task.is_score)
                          for index, (sequences, label) in enumerate(rows)], np.array(lengths))
            shard = writer.finish()
        written[name] = TaskSplit((shard,), count, count, tokens,
                                  tokens - count * task.num_sequences, 0, labelled, 0, {})
    tokenizer.save(folder)
    Manifest(TASK, MAX_LENGTH, size, tokenizer.fingerprint, written, {}, task).save(folder)
    return folder


def predict(model, batches):
    """`predictor.Predictions` of a model, without compilation."""
    return Predictor(model, distribution.make_strategy("one_device"), jit_compile=False)(batches)
