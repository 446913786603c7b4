"""Small files of every kind that the project reads, as its own scripts write them."""

import dataclasses
import functools
import gzip
import json
import pathlib
import random
import string

import numpy as np

from gpt_tf.common.small_files import write_json
from gpt_tf.config import ModelConfig
from gpt_tf.data import records
from gpt_tf.data.manifest import LANGUAGE_MODEL, ZERO_SHOT, Manifest, TaskSplit
from gpt_tf.interop import conversion
from gpt_tf.model.gpt import GPT
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import beginning, run_folder, weights
from gpt_tf.runs.checkpoint import Checkpoints
from gpt_tf.runs.reporting import Reporter
from gpt_tf.tasks.task import ZeroShotTask
from gpt_tf.tokenizer import Tokenizer, WordTokenizer
from pipelines import story_tasks
from pipelines.building import shard_writer
from pipelines.corpus.merges import learn_merges, make_vocabulary
from pipelines.corpus.windows import WindowWriter, make_split
from tests import corpora, task_data, task_files

TEXT = "The cat sat, and the dog ran.\nThen in the end they saw it's 42 <b>things</b>.\n"
LENGTH = 16


@functools.cache
def tokenizer() -> Tokenizer:
    """What `pipelines.train_bpe` would learn from a few words."""
    counts = {word: 1 + place for place, word in enumerate(
        [*string.ascii_lowercase, *string.digits, *".,'<>", "the", "then", "there", "and", "an"])}
    merges = list(learn_merges(counts))
    return WordTokenizer(make_vocabulary(counts, merges), merges)


def trained_tokenizer(folder: pathlib.Path) -> None:
    tokenizer().save(folder)


def huggingface_tokenizer(folder: pathlib.Path) -> None:
    tokenizer().save(folder, layout="huggingface")


def published_tokenizer(folder: pathlib.Path) -> None:
    """Without the description that others do not write."""
    tokenizer().save(folder)
    (folder / "tokenizer_info.json").unlink()


def corpus_data(folder: pathlib.Path, sequence_length: int = LENGTH) -> None:
    """A data folder of a language model: two shards to train on, one to validate."""
    rng, splits = np.random.default_rng(0), {}
    for split, shards in (("train", 2), ("validation", 1)):
        totals = []
        for number in range(shards):
            with WindowWriter(folder, split, number, sequence_length) as out:
                for length in (5, sequence_length, 2):
                    out.add(rng.integers(1, tokenizer().vocabulary_size, length), [length], 40)
                totals.append(out.finish())
        splits[split] = make_split(totals)
    tokenizer().save(folder)
    Manifest(LANGUAGE_MODEL, sequence_length, tokenizer().vocabulary_size,
                     tokenizer().fingerprint, splits, {"input": "books/*.txt"}).save(folder)


def task_folder(folder: pathlib.Path) -> None:
    """A data folder of a task."""
    folder.rmdir()
    task_data.write(folder, tokenizer(), task_data.TASKS["multiple_choice"],
                    {"train": 6, "validation": 4})


def zero_shot_folder(folder: pathlib.Path) -> None:
    """A data folder of zero-shot data."""
    task = ZeroShotTask("sst2", "classification", 2, ("0", "1"), (), ("accuracy",),
                                "next_word", "very", ("bad", "good"), "sum", "highest")
    with shard_writer.ShardWriter(folder, "test", 0) as out:
        out.write([records.encode_example([[5, 6, 7, 9], [5, 6, 8, 3]], row % 2, row, False,
                                          [3, 3]) for row in range(4)], np.array([4] * 4))
        shard = out.finish()
    tokenizer().save(folder)
    split = TaskSplit((shard,), 4, 4, 32, 8, 100, True, 0, {"empty": 1})
    Manifest(ZERO_SHOT, LENGTH, tokenizer().vocabulary_size,
                     tokenizer().fingerprint, {"test": split}, {}, task).save(folder)


def _config(**values) -> ModelConfig:
    return ModelConfig(**dict(
        vocabulary_size=tokenizer().vocabulary_size, num_layers=1, num_heads=2, hidden_dim=8,
        intermediate_dim=32, max_sequence_length=LENGTH) | values)


def run(folder: pathlib.Path) -> None:
    """A pre-trained run: two checkpoints and what stands beside them."""
    model = GPT(_config(), seed=1)
    write_json(folder / "model.json", dataclasses.asdict(model.config))
    tokenizer().save(folder)
    checkpoints = Checkpoints(run_folder.checkpoint_folder(str(folder)),
                              {"model": weights.model_variables(model)}, keep=2)
    checkpoints.save(3)
    checkpoints.save(6)


def fine_tuned_run(folder: pathlib.Path) -> None:
    """A fine-tuned run, with its best weights alone."""
    task = task_data.TASKS["classification"]
    model = TaskModel(_config(num_special_tokens=3), task, seed=1)
    run_folder.describe(str(folder), model.gpt.config, task, LENGTH, tokenizer())
    Checkpoints(run_folder.best_folder(str(folder)),
                {"model": weights.model_variables(model)}).save(6)


def begun_run(folder: pathlib.Path) -> None:
    """A run as `beginning.begin` leaves it, beside its data."""
    (folder / "data").mkdir()
    corpus_data(folder / "data")
    (folder / "run").mkdir()
    beginning.begin(str(folder / "run"), "--batch_size=4\n--jit_compile\n", set(), _config(),
                    Manifest.load(folder / "data"), tokenizer())


def metrics(folder: pathlib.Path) -> None:
    reporter = Reporter(str(folder))
    for step in (1, 2, 3):
        reporter.scalars(step, {"train/loss": 1.5 / step, "train/perplexity": float("inf")})
    reporter.close()


def released_model(folder: pathlib.Path, layout: str = "openai") -> None:
    """A fine-tuned run in another program's layout, with the file of ours beside it."""
    source = folder / "source"
    source.mkdir()
    fine_tuned_run(source)
    conversion.export_run(layout, str(source), str(folder / "model"))


def huggingface_model(folder: pathlib.Path) -> None:
    released_model(folder, "huggingface")


def _keras_classifier():
    from gpt_tf import (
        GPTBackbone,
        GPTTextClassifier,
        GPTTextClassifierPreprocessor,
        GPTTokenizer,
    )
    layer = GPTTokenizer(**corpora.keras_arguments(tokenizer()))
    backbone = GPTBackbone(**dataclasses.asdict(_config(num_special_tokens=3)))
    return GPTTextClassifier(backbone, 2, GPTTextClassifierPreprocessor(layer, LENGTH))


def preset(folder: pathlib.Path) -> None:
    """A classifier as Keras saves it."""
    _keras_classifier().save_to_preset(str(folder))


def keras_file(folder: pathlib.Path) -> None:
    """The same in one file."""
    _keras_classifier().save(str(folder / "model.keras"))


def own_task(folder: pathlib.Path, kind: str = "jsonl") -> None:
    """Rows of the story grammar, and the spec.json that describes them."""
    rows = story_tasks.draw_rows("follows", 12, 1)
    spec = story_tasks.TASKS["follows"].spec("follows")
    write_json(folder / "spec.json", spec)
    names = list(rows[0])
    lines = [json.dumps(row) for row in rows]
    if kind == "tsv":
        lines = ["\t".join(names), *("\t".join(row.values()) for row in rows)]
    elif kind == "csv":
        lines = [",".join(names), *(",".join(f'"{cell}"' for cell in row.values())
                                    for row in rows)]
    (folder / f"train.{kind}").write_text("\n".join(lines) + "\n")


def published_task(folder: pathlib.Path, name: str = "rte") -> None:
    """The original files of a task."""
    task_files.write_files(folder, {"snli": _SNLI, "mrpc": task_files.MSR_PARAPHRASE,
                                    "dpr": _DPR}.get(name) or task_files.PUBLISHED[name])


_SNLI = {f"snli_1.0_{split}.jsonl": "".join(json.dumps({
    "annotator_labels": ["neutral"], "gold_label": label, "pairID": f"{label}.jpg",
    "sentence1": "A man rides.", "sentence2": "A person \u00e9 moves."}) + "\n"
    for label in ("neutral", "-", "entailment")).encode() for split in ("train", "dev", "test")}
_DPR = {"train.c.txt": b"The bee landed on the flower because it had pollen.\nit\nThe bee,"
                       b"The flower\nThe flower\n\nAnn hit Bo as she fell.\nshe\nAnn,Bo\nBo\n\n"}


def text_files(folder: pathlib.Path) -> None:
    (folder / "one.txt").write_text(TEXT * 3)
    (folder / "two.txt").write_text(
        "\u201cIt\u2019s a dark \u00e9t\u00e9,\u201d &amp; so on\u2026\n")


def row_files(folder: pathlib.Path) -> None:
    (folder / "rows.jsonl").write_text("".join(
        json.dumps({"text": TEXT, "id": number, "nested": [1, {"a": None}]}) + "\n"
        for number in range(4)))


def packed_files(folder: pathlib.Path) -> None:
    text = random.Random(0).choices(TEXT, k=3000)
    (folder / "text.txt.gz").write_bytes(gzip.compress("".join(text).encode(), mtime=0))
    row = json.dumps({"text": "".join(text)}).encode() + b"\n"
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(row * 2, mtime=0))


def answers_wanted(folder: pathlib.Path) -> None:
    """What `gpt_tf.predict` and `gpt_tf.generate` read."""
    (folder / "lines.txt").write_text(TEXT)
    (folder / "choices.tsv").write_text("A story.\tWhat?\tone\ttwo\tthree\nOther\t\t1\t2\t3\n")
    (folder / "choices.jsonl").write_text("".join(json.dumps(
        {"context": "A story.", "question": "What?", "answers": ["one", "two", str(number)]})
        + "\n" for number in range(3)))


def flagfile(folder: pathlib.Path) -> None:
    (folder / "run.flags").write_text(
        "# Some model.\n--num_layers=2\n--hidden_dim=64\n--num_heads=2\n--learning_rate=1e-3\n"
        "--nojit_compile\n--dtype=float32\n--seed=3\n--num_epochs=2.5\n")
