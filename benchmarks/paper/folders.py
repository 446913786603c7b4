"""Data folders of tasks and of random parts of their training rows; baselines without training."""

import os
import shutil
import subprocess
import sys

import numpy as np

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import make_folder
from gpt_tf.common.small_files import read_json, write_json
from gpt_tf.data.manifest import MANIFEST_NAME, Manifest


def is_finished(folder: str) -> bool:
    """Whether the data folder is whole."""
    return os.path.exists(os.path.join(folder, MANIFEST_NAME))


def build(task: str, files: str, run: str, folder: str, *options: str) -> None:
    """Builds a task's data folder, in a process of its own, unless it is there.

    Args:
      task: of `pipelines.build_task`.
      files: the folder of its original files.
      run: the run folder of the model, which gives the tokenizer and says the longest sequence.
      folder: the data folder.
      *options: more flags.

    Raises:
      UserError: the files are missing or wrong; the process has said which. Or the folder is
        there, of a model with another tokenizer or longest sequence.
    """
    if is_finished(folder):
        _check_model(folder, run)
        return
    command = [sys.executable, "-m", "pipelines.build_task", f"--task={task}",
               f"--input={files}", f"--tokenizer={run}", f"--output_dir={folder}", *options]
    print(f"{task}: building {folder}", flush=True)
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise UserError(f"{folder} could not be built: {' '.join(command[1:])} ended with "
                        f"{done.returncode}.")


def _check_model(folder: str, run: str) -> None:
    # benchmarks.gpu uses `chosen` where what tokenizes is not installed.
    from gpt_tf.runs import run_folder
    from gpt_tf.tokenizer import Tokenizer

    manifest, longest = Manifest.load(folder), run_folder.load_config(run).max_sequence_length
    if manifest.tokenizer_fingerprint != Tokenizer.load(run).fingerprint:
        raise UserError(f"{folder} was built with another tokenizer than {run} has: name another "
                        "--work_dir.")
    if manifest.sequence_length != longest:
        raise UserError(f"{folder} has sequences of up to {manifest.sequence_length} tokens, and "
                        f"{run} takes {longest}: name another --work_dir.")


def chosen(size: int, rows: int, seed: int) -> np.ndarray:
    """int64 [rows], which of `size` rows a seed draws: the first of a random order that it decides,
    whatever their classes, so that fewer are among more; all, if there are no more."""
    return np.random.default_rng(seed).permutation(size)[:rows]


def draw(source: str, rows: int, seed: int, folder: str) -> None:
    """Makes a data folder with some of another's training rows, and all its other splits.

    Args:
      source: the data folder with all rows.
      rows, seed: which of them, by `chosen`.
      folder: the data folder to make, unless it is there.
    """
    if is_finished(folder):
        return
    # TensorFlow parses the records, and whoever only makes a table needs none.
    from gpt_tf.data import records
    from gpt_tf.data.reader import SplitReader
    from gpt_tf.tokenizer import Tokenizer
    from pipelines.building.shard_writer import ShardWriter

    make_folder(folder)
    reader = SplitReader(source, "train")
    manifest = reader.manifest
    taken = chosen(len(reader), rows, seed)
    serialized, lengths = reader.read(taken), reader.lengths[taken]
    examples = records.parse_examples(serialized, manifest.task, int(lengths.max()))
    tokens = int(examples["lengths"].numpy().sum())
    with ShardWriter(folder, "train", 0) as writer:
        writer.write(serialized, lengths)
        shard = writer.finish()
    whole = manifest.splits["train"]
    train = type(whole)(
        (shard,), documents=len(taken), records=len(taken), tokens=tokens,
        predicted_tokens=tokens - len(taken) * manifest.task.num_sequences, text_bytes=0,
        labelled=whole.labelled, left_out={},
        # Of a record its length alone tells.
        shortened=min(whole.shortened, int((lengths == manifest.sequence_length).sum())))
    others = {name: split for name, split in manifest.splits.items() if name != "train"}
    for split in others.values():
        for shard in split.shards:
            for name in (shard.name, records.index_name(shard.name)):
                shutil.copyfile(os.path.join(source, name), os.path.join(folder, name))
    Tokenizer.load(source).save(folder)
    Manifest(manifest.kind, manifest.sequence_length, manifest.vocabulary_size,
             manifest.tokenizer_fingerprint, {"train": train} | others,
             {"drawn_from": os.path.abspath(source), "rows": rows, "seed": seed},
             manifest.task).save(folder)


def baselines(data_dir: str, split: str, path: str) -> dict[str, dict[str, float]]:
    """Metrics of "majority" and "bag of words" on a split, measured once for the same data and kept
    in a file.

    Of scores "majority" is their mean in training.

    Args:
      data_dir: the data folder.
      split: name of the split that is measured.
      path: of the file.
    """
    data, kept = Manifest.load(data_dir).fingerprint, "the baselines of a task"
    if not os.path.exists(path) or read_json(path, kept).get("data") != data:
        from gpt_tf.evaluation.task_scores import baselines as measure

        bag, constant = measure(data_dir, split).values()
        make_folder(os.path.dirname(path))
        write_json(path, {"data": data, "majority": constant, "bag of words": bag})
    found = read_json(path, kept)
    return {name: found[name] for name in ("majority", "bag of words")}
