"""What is fuzzed: how seed files of each kind are made, and what reads them, in this process.

A target's `call` reads a folder as the commands do and returns what it understood. It may raise
`UserError` and nothing else.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import functools
import itertools
import pathlib
import sys
import tempfile
from typing import Any
from unittest import mock

from absl import flags
import numpy as np

from gpt_tf import config
from gpt_tf.common import cli
from gpt_tf.common.files import open_input
from gpt_tf.common.names import find_files
from gpt_tf.common.progress import Progress
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import Manifest
from gpt_tf.evaluation import text_perplexity
from gpt_tf.evaluation.answering import Answerer
from gpt_tf.generate import read_prompts
from gpt_tf.interop import conversion
from gpt_tf.runs import beginning, run_folder, weights
from gpt_tf.runs.reporting import Reporter
from gpt_tf.tasks import lines
from gpt_tf.tasks.task import Task, ZeroShotTask
from gpt_tf.tokenizer import Tokenizer, cleaning
from pipelines.tasks.rows import open_task
from pipelines.tasks.table import find_task
from tests import fuzz_seeds as seeds
from tests import task_data
from tests.corpora import open_corpus


@dataclasses.dataclass(frozen=True)
class Target:
    """One kind of input.

    make: writes valid files into an empty folder.
    call: reads the folder.
    spoiled: globs of the files that are spoiled.
    covered: globs of those whose content a checksum covers: where they are spoiled, `call` must
      refuse them or understand what it understood of the valid ones.
    share: of the inputs that are asked for, as some take a second each.
    has_sums: whether SHA256SUMS stay: without them what is read is looked through, with them hardly
      anything is.
    """

    make: Callable[[pathlib.Path], None]
    call: Callable[[pathlib.Path], Any]
    spoiled: tuple[str, ...]
    covered: tuple[str, ...] = ()
    share: float = 1.0
    has_sums: bool = False


def _read_data(folder: pathlib.Path) -> Any:
    """All batches of all splits, as training and evaluation take them."""
    found = {}
    for name in Manifest.load(folder).splits:
        found[name] = [{key: value.numpy().tolist() for key, value in batch.items()}
                       for batch in evaluation_batches(folder, name, 2)]
    return found


def _read_tokenizer(folder: pathlib.Path) -> Any:
    tokenizer = Tokenizer.load(folder)
    ids = tokenizer.encode(seeds.TEXT)
    tokenizer.decode(range(tokenizer.extract_id + 1))
    return ids, tokenizer.fingerprint


def _read_task(task: str, folder: pathlib.Path) -> Any:
    """The rows of all splits: bad ones left out first, and then stopping the reading."""
    description = find_task(str(folder / "spec.json") if task == "own" else task)
    if description.form in ("entailment", "classification", "similarity", "multiple_choice"):
        Task.from_json(_as_json(description.task()), "the task")
    if description.zero_shot:
        ZeroShotTask.from_json(_as_json(description.zero_shot_task()), "the task")

    def read(on_bad_row: str) -> tuple[list, int]:
        sources = open_task(description, str(folder), "", on_bad_row).values()
        found = [each._replace(where="") for source in sources for each in source.rows()]
        return found, sum(source.left_out.total() for source in sources)

    found, left_out = read("skip")
    for each in found:
        assert all(isinstance(part, str) and part.encode() is not None for part in each.texts)
        assert each.label is None or 0 <= each.label <= max(
            len(description.labels) - 1, *description.score_range, 0)
    return read("stop") if left_out else found


def _as_json(task: Task) -> Any:
    return {name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(task).items()}


def _read_corpus(pattern: str, folder: pathlib.Path) -> Any:
    """The ids of all documents, cut as the pipeline cuts them."""
    def read(on_bad_utf8: str) -> tuple[list, int]:
        corpus, found = open_corpus(f"{folder}/{pattern}", on_bad_utf8=on_bad_utf8), []
        for document in corpus.documents():
            pieces = cleaning.split_text(document.blocks(), 1000)
            found.append([seeds.tokenizer().encode_piece(piece).tolist() for piece in pieces])
        return found, corpus.skipped["not UTF-8"]

    found, skipped = read("skip")
    return read("stop") if skipped else found


def _read_text(folder: pathlib.Path) -> Any:
    found = []
    for path in find_files("text", f"{folder}/*.txt"):
        with Progress(None, "B", "") as progress:
            pieces = cleaning.split_text(text_perplexity.read_blocks(path, progress), 1000)
            parts = [seeds.tokenizer().encode_piece(piece) for piece in pieces]
        found.append([window.tolist() for window, _ in text_perplexity.windows(parts, 16, 8)])
    return found


def _read_answers_wanted(kind: str, name: str, folder: pathlib.Path) -> Any:
    task = task_data.TASKS["classification" if kind == "lines" else "multiple_choice"]
    path = folder / name
    with open_input(str(path)) as stream:
        return [seeds.tokenizer().encode_batch(texts)
                for _, texts in lines.read_texts(task, stream, kind, str(path))]


def _read_prompts(folder: pathlib.Path) -> Any:
    path = folder / "lines.txt"
    with open_input(str(path)) as stream:
        return [seeds.tokenizer().encode(text) for _, text, _ in read_prompts(stream, str(path))]


def _weights(model) -> list:
    return [np.asarray(variable.value).tolist() for variable in model.trainable_variables]


def _read_run(folder: pathlib.Path) -> Any:
    """The weights of the newest whole checkpoint; and it can be gone on from."""
    model, step = weights.load_model(str(folder))
    checkpoints = weights.kept_checkpoints(str(folder), model)
    checkpoints.remove_unfinished()
    checkpoints.save(9)
    assert step in (3, 6)
    return _weights(model)


def _read_fine_tuned_run(folder: pathlib.Path) -> Any:
    answerer = Answerer(str(folder), 2)
    found = answerer([([seeds.TEXT * 2], "line 1"), (["the"], "line 2")])
    return found.probabilities.tolist()


def _read_begun_run(folder: pathlib.Path) -> Any:
    run_folder.load_flags(str(folder / "run"))
    model = config.ModelConfig(
        vocabulary_size=seeds.tokenizer().vocabulary_size, num_layers=1, num_heads=2,
        hidden_dim=8, intermediate_dim=32, max_sequence_length=16)
    beginning.begin(str(folder / "run"), "--batch_size=4\n--jit_compile\n", set(), model,
                    Manifest.load(folder / "data"), seeds.tokenizer())


def _read_metrics(folder: pathlib.Path) -> Any:
    Reporter(str(folder), resume_step=2).close()
    return (folder / "metrics.jsonl").read_text()


def _convert(layout: str, folder: pathlib.Path) -> Any:
    """What a run folder of the converted model holds."""
    target = str(folder / "out")
    conversion.import_run(layout, str(folder / "model"), target, None, "")
    model, task, step = weights.load_task_model(target)
    return step, task, _weights(model)


def _read_preset(folder: pathlib.Path) -> Any:
    from gpt_tf.keras_models.text_classifier import GPTTextClassifier
    classifier = GPTTextClassifier.from_preset(str(folder))
    return classifier.predict(["the cat", "a dog"], verbose=0).tolist()


def _convert_keras_file(folder: pathlib.Path) -> Any:
    from gpt_tf.keras_models import conversion as keras_conversion
    target = str(folder / "out")
    with mock.patch.object(tempfile, "tempdir", str(folder)):  # where Keras unpacks assets
        keras_conversion.import_run(str(folder / "model.keras"), target, "")
    model, task, step = weights.load_task_model(target)
    return step, task, _weights(model)


@contextlib.contextmanager
def _flags_of_a_run() -> Iterator[None]:
    """Defined for the block alone: other tests define the same."""
    before = set(flags.FLAGS)
    for each in (config.ModelConfig, config.OptimizerConfig, config.TrainingConfig):
        cli.define_flags(each, omit=list(flags.FLAGS))  # the fuzzer's command has a seed, too
    try:
        yield
    finally:
        flags.FLAGS.unparse_flags()
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
        for name in flags.FLAGS:
            flags.FLAGS[name].unparse()


def _read_flagfile(folder: pathlib.Path) -> Any:
    """The configurations, as a command makes them; exit code 2 is a refusal."""
    found = []

    def main():
        found.extend(cli.from_flags(each) for each in (
            config.ModelConfig, config.OptimizerConfig, config.TrainingConfig))
        found[2].total_steps(10**6)

    arguments, sys.argv = sys.argv, ["fuzz", f"--flagfile={folder / 'run.flags'}"]
    try:
        with _flags_of_a_run():
            cli.run(main)
    finally:
        sys.argv = arguments
    return found


def _tokenizers() -> Iterator[tuple[str, Target]]:
    files = ("vocab*", "encoder*", "merges.txt")
    for name, make, covered in (
            ("tokenizer_trained", seeds.trained_tokenizer, files),
            ("tokenizer_huggingface", seeds.huggingface_tokenizer, files),
            ("tokenizer_published", seeds.published_tokenizer, ())):
        yield name, Target(make, _read_tokenizer, ("*",), covered)


def _tasks() -> Iterator[tuple[str, Target]]:
    for kind in ("jsonl", "tsv", "csv"):
        yield f"own_task_{kind}", Target(functools.partial(seeds.own_task, kind=kind),
                                         functools.partial(_read_task, "own"), (f"train.{kind}",),
                                         share=1 if kind == "csv" else 0.3)
    yield "task_spec", Target(seeds.own_task, functools.partial(_read_task, "own"), ("spec.json",))
    for name in ("rte", "cola", "stsb", "qqp", "snli", "race_middle", "story_cloze", "mrpc", "dpr"):
        yield f"published_{name}", Target(functools.partial(seeds.published_task, name=name),
                                          functools.partial(_read_task, name), ("**/*",),
                                          share=0.1)


def _texts() -> Iterator[tuple[str, Target]]:
    yield "corpus_text", Target(seeds.text_files, functools.partial(_read_corpus, "*.txt"), ("*",),
                                share=0.3)
    yield "corpus_rows", Target(seeds.row_files, functools.partial(_read_corpus, "*.jsonl"), ("*",),
                                share=0.3)
    yield "corpus_packed", Target(seeds.packed_files, functools.partial(_read_corpus, "*.gz"),
                                  ("*",))
    yield "evaluate_text", Target(seeds.text_files, _read_text, ("*",))
    for kind, name in (("lines", "lines.txt"), ("tsv", "choices.tsv"),
                       ("jsonl", "choices.jsonl")):
        yield f"predict_{kind}", Target(seeds.answers_wanted, functools.partial(
            _read_answers_wanted, kind, name), (name,))
    yield "generate_prompts", Target(seeds.answers_wanted, _read_prompts, ("lines.txt",))


def _data_folders() -> Iterator[tuple[str, Target]]:
    for name, make in (("corpus", seeds.corpus_data), ("task", seeds.task_folder),
                       ("zero_shot", seeds.zero_shot_folder)):
        yield f"manifest_{name}", Target(make, _read_data, ("manifest.json",), share=0.5)
        yield f"sums_{name}", Target(make, _read_data, ("*.json", "vocab_*"), ("*",), share=0.3,
                                     has_sums=True)
        yield f"shards_{name}", Target(make, _read_data, ("*.tfrecord",), ("*",), share=0.5)
        yield f"indexes_{name}", Target(make, _read_data, ("*.npy",), ("*",), share=0.5)


def _runs() -> Iterator[tuple[str, Target]]:
    of_run = ("model.json", "task.json", "tokenizer_info.json")
    yield "run_descriptions", Target(seeds.fine_tuned_run, _read_fine_tuned_run, of_run, share=0.2)
    yield "run_sums", Target(seeds.fine_tuned_run, _read_fine_tuned_run, ("*.json", "vocab_*"),
                             ("*",), share=0.2, has_sums=True)
    yield "run_checkpoints", Target(seeds.run, _read_run, ("checkpoints/ckpt*",),
                                    ("checkpoints/ckpt*",), share=0.2)
    yield "run_flags", Target(seeds.begun_run, _read_begun_run, ("run/*.flags", "run/model.json"),
                              share=0.5)  # hardly any is refused: it has saved nothing
    yield "run_metrics", Target(seeds.metrics, _read_metrics, ("metrics.jsonl",))
    yield "flagfile", Target(seeds.flagfile, _read_flagfile, ("run.flags",))


def _other_programs() -> Iterator[tuple[str, Target]]:
    for name, make in (("openai", seeds.released_model), ("huggingface", seeds.huggingface_model)):
        yield f"convert_{name}", Target(make, functools.partial(_convert, name), ("model/*",),
                                        share=0.2)
    yield "keras_preset", Target(seeds.preset, _read_preset, ("**/*",), share=0.1)
    yield "keras_sums", Target(seeds.preset, _read_preset, ("**/*.json", "**/*.txt"), ("**/*",),
                               share=0.1, has_sums=True)
    yield "keras_file", Target(seeds.keras_file, _convert_keras_file, ("model.keras",), share=0.1)


TARGETS: dict[str, Target] = dict(itertools.chain(
    _data_folders(), _tokenizers(), _tasks(), _texts(), _runs(), _other_programs()))
