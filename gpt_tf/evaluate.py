"""Measures a run on a split of a data folder, or a language model on any text.

A language model's perplexity and bits per byte, with the weights of its best validation:
  python -m gpt_tf.evaluate --model_dir=runs/books --data_dir=data/books --trigram

The same of UTF-8 files, by a window that moves by --stride tokens: every token but the first of a
file is predicted once, with at least the model's positions less the stride before it:
  python -m gpt_tf.evaluate --model_dir=runs/books --text=novel.txt
  python -m gpt_tf.evaluate --model_dir=runs/books --text='novels/*.txt' --stride=64

A fine-tuned model's metrics; they are saved in the run folder, too, in evaluations/ (nothing is, of
a handle or a preset, whose run folder is in the cache). The predictions file has the layout that
GLUE's site takes:
  python -m gpt_tf.evaluate --model_dir=runs/sst2 --data_dir=data/sst2 --bag_of_words
  python -m gpt_tf.evaluate --model_dir=runs/sst2 --data_dir=data/sst2 --split=test \\
      --predictions=SST-2.tsv
"""

import dataclasses
import functools
import os

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import make_folder
from gpt_tf.common.names import find_files, in_utf8, split_paths
from gpt_tf.config import SOURCES, CompilationConfig, LoadingConfig, Options, option
from gpt_tf.data.manifest import TASK, ZERO_SHOT, Manifest
from gpt_tf.runs import run_folder
from gpt_tf.sources import resolve
from gpt_tf.tasks.answers import check_predictions
from gpt_tf.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class EvaluatedRun(Options):
    """The run that is measured, and the data that it is measured on."""

    model_dir: str = option(None, f"{SOURCES}.", required=True, path=True)
    data_dir: str | None = option(None, "Data folder of pipelines.build_corpus or "
                                        "pipelines.build_task.", path=True)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig(LoadingConfig, CompilationConfig):
    """What is measured, and how."""

    text: str = option("", "UTF-8 files, globs or folders of .txt, separated by commas, to "
                           "measure a language model on; in place of --data_dir.", path=True)
    stride: int = option(0, "Of --text: tokens by which the window moves; 0: half of the model's "
                            "positions.", at_least=0)
    split: str = option("validation", "Split of the data folder.")
    batch_size: int = option(32, "Sequences at once; of a task, rows.", at_least=1)
    jit_compile: bool = option(True, "Compile with XLA.")
    trigram: bool = option(False, "Of a language model: also fit a smoothed trigram on the "
                                  "training split and measure it on the same tokens.")
    beside: str = option("", "Of a task: other fine-tuned runs, separated by commas, to measure on "
                             "the same rows.", path=True)
    bag_of_words: bool = option(False, "Of a task: also fit a bag of words on the training split "
                                       "and measure it, and the majority class, on the same rows.")
    predictions: str = option("", "Of a task: TSV file to make, with the index of each row in its "
                                  "source and the label predicted.", path=True)
    probabilities: bool = option(False, "Add a column for each class to --predictions.")

    def __post_init__(self):
        super().__post_init__()
        if self.probabilities and not self.predictions:
            raise ValueError("--probabilities adds columns to a file: name it with --predictions.")

    @functools.cached_property
    def other_runs(self) -> dict[str, str]:
        """What `beside` names -> the run folder."""
        return {name: resolve.fine_tuned_run(name) for name in split_paths(self.beside)}


# Options that only one kind of data has.
_OF_TEXTS = ("text", "stride")
_OF_LANGUAGE_MODELS = ("trigram",)
_OF_TASKS = ("beside", "bag_of_words", "predictions")


def evaluate_text(config: EvaluationConfig, model_dir: str, paths: list[str]) -> None:
    """Prints the scores of a language model on the files `paths`.

    Raises:
      UserError: the run, a file or the stride is not what is expected.
    """
    from gpt_tf.evaluation import text_perplexity
    from gpt_tf.runs import weights

    model, step = weights.load_model(model_dir, weights=config.weights)
    evaluate = text_perplexity.TextEvaluator(model, Tokenizer.load(model_dir), config.stride,
                                             config.batch_size, config.jit_compile)
    scores = evaluate(paths)
    print(f"{run_folder.name_weights(model_dir, step, config.weights)}, {config.text}"
          f"{f' ({len(paths):,} files)' if len(paths) > 1 else ''}, stride {evaluate.stride}:")
    _print_language_model(scores)
    evaluate.unknown.tell()


def trigram_perplexity(data_dir: str, split: str) -> float:
    """Perplexity of the data's own Kneser-Ney trigram on the tokens that the model predicts."""
    from gpt_tf.data.batches import evaluation_batches
    from gpt_tf.evaluation.trigram import TrigramModel

    def windows(name):
        for batch in evaluation_batches(data_dir, name, batch_size=256):
            for row, length in zip(batch["token_ids"].numpy(), batch["lengths"].numpy()):
                if length:
                    yield row[:length]

    vocabulary_size = evaluation_batches(data_dir, split, 1).manifest.vocabulary_size
    return TrigramModel.fit(windows("train"), vocabulary_size).perplexity(windows(split))


def evaluate_language_model(config: EvaluationConfig, model_dir: str, data_dir: str) -> None:
    """Prints the scores of a language model."""
    from gpt_tf.data.batches import evaluation_batches
    from gpt_tf.runs import weights
    from gpt_tf.training.evaluator import Evaluator
    from gpt_tf.training.replicas import one_device

    batches = evaluation_batches(data_dir, config.split, config.batch_size)
    model, step = weights.load_model(model_dir, weights=config.weights)
    evaluate = Evaluator(model, one_device(), config.jit_compile)
    scores = evaluate(batches, batches.manifest.splits[config.split])
    print(f"{run_folder.name_weights(model_dir, step, config.weights)}, {config.split} split of "
          f"{data_dir}:")
    _print_language_model(scores)
    if config.trigram:
        print(f"  {'trigram perplexity':20} {trigram_perplexity(data_dir, config.split):,.4f}   "
              "(interpolated Kneser-Ney, same tokens)")


def _print_language_model(scores: dict[str, float]) -> None:
    for name, value in scores.items():
        print(f"  {name:20} {value:,.4f}" if name != "predicted_tokens" else
              f"  {name:20} {value:,.0f}")


def evaluate_task(config: EvaluationConfig, model_dir: str, data_dir: str) -> None:
    """Prints and saves the metrics of a fine-tuned model, and writes its predictions.

    Raises:
      UserError: run, data and options do not fit together.
    """
    from gpt_tf.data.batches import evaluation_batches
    from gpt_tf.evaluation import task_scores
    from gpt_tf.runs import weights
    from gpt_tf.training.predictor import Predictor
    from gpt_tf.training.replicas import one_device

    batches = evaluation_batches(data_dir, config.split, config.batch_size)
    manifest, split = batches.manifest, batches.manifest.splits[config.split]
    if not split.labelled and not config.predictions:
        raise UserError(f"The {config.split} split of {data_dir} has no labels to measure by: ask "
                        "for the model's own with --predictions=FILE.tsv.")
    if config.predictions:
        make_folder(os.path.dirname(os.path.abspath(config.predictions)))

    def predict(run):
        model, _, step = weights.load_task_model(run, weights=config.weights)
        predictor = Predictor(model, one_device(), config.jit_compile)
        return predictor(batches), step

    def measure(found):
        return task_scores.measure(manifest.task, found.labels,
                                   found.predictions) | {"loss": found.loss}

    found, step = predict(model_dir)
    print(f"{run_folder.name_weights(model_dir, step, config.weights)}, {config.split} split of "
          f"{data_dir}:")
    if split.labelled:
        scores = {"fine-tuned": measure(found)}
        scores |= {name: measure(predict(run)[0]) for name, run in config.other_runs.items()}
        if config.bag_of_words:
            scores |= task_scores.baselines(data_dir, config.split)
        _print_beside(scores)
        task_scores.keep(model_dir, manifest, config.split, {
            "data_dir": in_utf8(data_dir), "split": config.split, "rows": split.records,
            "update": step, "scores": scores}, config.weights)
    else:
        print("  no labels: predictions only")
    if config.predictions:
        _write_predictions(config, manifest, found)


def _write_predictions(config: EvaluationConfig, manifest: Manifest, found) -> None:
    """Writes `found`, a `predictor.Predictions`, and says so."""
    from gpt_tf.evaluation import task_scores

    task_scores.write_predictions(config.predictions, manifest.task, found, config.probabilities)
    left_out = sum(manifest.splits[config.split].left_out.values())
    print(f"Wrote {len(found.source_rows):,} predictions to {config.predictions}"
          + (f"; {left_out:,} rows of the source were left out of the data and have none."
             if left_out else "."))


def _print_beside(scores: dict[str, dict[str, float]]) -> None:
    """One line a metric: the fine-tuned model's, and the others' beside it."""
    mine, *others = scores.values()
    for name, value in mine.items():
        beside = "".join(f"   {who} {theirs[name]:.4f}"
                         for who, theirs in zip(list(scores)[1:], others) if name in theirs)
        print(f"  {name:20} {value:.4f}{beside}")


def _refuse(config: EvaluationConfig, names: tuple[str, ...], what: str) -> None:
    for name in names:
        if getattr(config, name):
            raise UserError(f"--{name} is not for {what}: leave it out.")


def _start_tensorflow() -> None:
    """Call after the checks, so that nobody waits to be told of a mistake."""
    cli.import_tensorflow()
    from gpt_tf.training import devices

    devices.warn_of_unseen()


def main() -> None:
    """Evaluates by the kind of the data."""
    folders, config = cli.from_flags(EvaluatedRun), cli.from_flags(EvaluationConfig)
    model_dir, data_dir = folders.model_dir, folders.data_dir
    if bool(data_dir) == bool(config.text):
        raise UserError("Give --data_dir or --text, and not both.")
    if config.text:
        _refuse(config, _OF_LANGUAGE_MODELS + _OF_TASKS, "--text")
        if cli.is_given("split"):
            raise UserError("--split is of a data folder and not for --text: leave it out.")
        paths = find_files("text", config.text)
        model_dir = resolve.run_folder(model_dir)
        run_folder.load_config(model_dir, config.weights)
        _start_tensorflow()
        evaluate_text(config, model_dir, paths)
        return
    check_predictions(config.predictions)
    manifest = Manifest.load(data_dir)
    if manifest.kind == ZERO_SHOT:
        raise UserError(f"{data_dir} holds zero-shot data: measure it with "
                        f"python -m gpt_tf.zero_shot --data_dir={data_dir} ...")
    is_task = manifest.kind == TASK
    _refuse(config, _OF_TEXTS + (_OF_LANGUAGE_MODELS if is_task else _OF_TASKS),
            f"data of kind {manifest.kind!r}, which {data_dir} holds")
    model_dir = (resolve.fine_tuned_run if is_task else resolve.run_folder)(model_dir)
    for run in (model_dir, *config.other_runs.values()):
        run_folder.check_data(run, data_dir, manifest, config.weights)
    manifest.check_split(data_dir, config.split)
    _start_tensorflow()
    (evaluate_task if is_task else evaluate_language_model)(config, model_dir, data_dir)


if __name__ == "__main__":
    cli.define_flags(EvaluatedRun)
    cli.define_flags(EvaluationConfig)
    cli.run(main)
