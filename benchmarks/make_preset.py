"""Makes a model that comes with gpt_tf of a pre-trained run, with its model card.

  python -m benchmarks.make_preset --model_dir=runs/english --data_dir=data/books,data/articles \\
      --texts='english/*.jsonl.gz' --output_dir=gpt_tf/presets/gpt_tiny_en

The weights are the run's best, rounded to float16; the loss on the validation split of each data
folder is measured before and after. A model's folder that stands there is replaced. Commit it as it
is: the same run, data and texts make the same bytes. Of a run of benchmarks.gpu.bring_back --there
is the folder that it was made of, which holds the recipe.
"""

from collections.abc import Iterable, Iterator
import dataclasses
import math
import os
import pathlib
import string
import tempfile
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.gpu import packed as gpu
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder, atomic_write
from gpt_tf.common.names import find_files, split_paths
from gpt_tf.common.progress import Progress
from gpt_tf.common.small_files import SUMS, parse_json, record, write_json
from gpt_tf.config import ModelConfig, OptimizerConfig, Options, TrainingConfig, option
from gpt_tf.data.manifest import Manifest
from gpt_tf.hub import packaged
from gpt_tf.interop import targets
from gpt_tf.runs import metrics_log, run_folder
from gpt_tf.tokenizer import Tokenizer
from pipelines.reading import files

_CARD, _HERE, _ON_GPU = (pathlib.Path(__file__).with_name(f"model_card{part}.template")
                         for part in ("", "_here", "_gpu"))  # the last two are its commands
# Those that decide a run's numbers.
_FLAGS = {field.name for config in (ModelConfig, OptimizerConfig, TrainingConfig)
          for field in dataclasses.fields(config)
          if "help" in field.metadata and not field.metadata["resumable"]}
_MOST_BYTES = 20 * 10**6
_TITLES = "TEXTS.tsv"
_BOOKS = "books"  # how the names of their files begin
_TRANSLATED = ("Kafka", "Hesse", "Breton")  # into English, later than their works
_DESCRIPTION = ("GPT-1 of {num_layers} blocks of width {hidden_dim}, for lower-case English; "
                "pre-trained on old books and Wikipedia's articles of 2015.")


@dataclasses.dataclass(frozen=True)
class PresetConfig(Options):
    """Of what, and where to."""

    model_dir: str = option(None, "Run folder of gpt_tf.pretrain.", required=True, path=True)
    data_dir: str = option(None, "Data folders of pipelines.build_corpus, of the run's windows, to "
                                 "measure on, separated by commas.", required=True, path=True)
    texts: str = option(None, "The corpora, JSONL with a title a row, for the list of titles; the "
                              "names of those of books begin so.", required=True, path=True)
    there: str = option("", "Folder that benchmarks.gpu.there has left, of a run that it has "
                            "trained; empty: one of gpt_tf.pretrain.", path=True)
    output_dir: str = option(None, "Folder to make, called as the model is.", required=True,
                             path=True)


def _titles(pattern: str) -> Iterator[tuple[str, str]]:
    """(file, title) of each row of the corpora.

    Raises:
      UserError: there are none, or a row has no title.
    """
    for path in find_files("texts", pattern, (".jsonl", ".jsonl.gz")):
        name = os.path.basename(path)
        for number, line in enumerate(files.read_lines(path), start=1):
            try:
                yield name, " ".join(parse_json(line.decode())["title"].split())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{path}, line {number} is no row with a title.") from error


def _write_half(model_dir: str, folder: str) -> int:
    """Writes a run in transformers' layout, its weights rounded to float16; returns their update.

    Raises:
      UserError: a weight is too large for float16.
    """
    from gpt_tf.interop import conversion, tensors
    from gpt_tf.runs import weights

    gpt, step = weights.load_model(model_dir)
    conversion.write_files(targets.HUGGING_FACE, folder, gpt, Tokenizer.load(model_dir), step)
    path = os.path.join(folder, targets.WEIGHTS)
    arrays, metadata = tensors.read(path)
    with np.errstate(over="ignore"):
        halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    for name, array in halves.items():
        if not np.isfinite(array).all():
            raise UserError(f"{model_dir}: {name} has values that float16 does not hold.")
    tensors.write(path, halves, metadata)
    return step


def _measure(model_dir: str, data_dirs: list[str]) -> list[dict[str, float]]:
    """The scores of a run on the validation split of each data folder."""
    from gpt_tf.data.batches import evaluation_batches
    from gpt_tf.runs import weights
    from gpt_tf.training.evaluator import Evaluator
    from gpt_tf.training.replicas import one_device

    evaluate = Evaluator(weights.load_model(model_dir)[0], one_device())
    found = []
    for data_dir in data_dirs:
        batches = evaluation_batches(data_dir, "validation", 32)
        split = batches.manifest.splits["validation"]
        with Progress(split.records, " windows", f"measuring on {data_dir}") as progress:
            found.append(evaluate(_counted(batches, progress), split))
    return found


def _counted(batches: Iterable[Any], progress: Progress) -> Iterator[Any]:
    for batch in batches:
        yield batch
        progress.update(len(batch["lengths"]))


def _figures(data_dirs: list[str], before: list[dict], after: list[dict]) -> str:
    """A table in Markdown."""
    return report.markdown_table(
        ["validation split of", "predicted tokens", "loss", "perplexity", "bits per byte",
         "loss by float16"],
        [[os.path.basename(os.path.normpath(name)), f"{full['predicted_tokens']:,.0f}",
          f"{full['loss']:.4f}", f"{full['perplexity']:.2f}", f"{full['bits_per_byte']:.4f}",
          f"{half['loss'] - full['loss']:+.5f}"]
         for name, full, half in zip(data_dirs, before, after, strict=True)])


def _scalars(model_dir: str) -> str:
    """What the run reported last of all that it watched, but for losses, as a list."""
    last = {}
    for row in metrics_log.load_rows(model_dir):
        last |= {name: (row.step, value) for name, value in row.values.items()
                 if not name.startswith(("train/", "validation/"))
                 and not name.endswith(("/loss", "/bits_per_byte")) and math.isfinite(value)}
    lines = [f"- {name}: {value:.4f} after update {step:,}" for name, (step, value) in last.items()]
    return "\n".join(["", *lines, ""]) if lines else ""


def _trained_there(folder: str, model_dir: str, window: int) -> dict[str, str]:
    """The flags of gpt_tf.pretrain that a training of `benchmarks.gpu.there` had.

    Raises:
      UserError: it is no folder of one, the run was made of another, the windows were others,
        or the training did not come to its end.
    """
    from gpt_tf.runs import weights

    model, step = weights.load_model(model_dir)
    ours = gpu.flatten([variable.numpy() for variable in model.trainable_variables])
    try:
        described, values = gpu.read_weights(folder)
        if described["updates"] != step or not np.array_equal(values, ours):
            raise UserError(f"{model_dir} has other weights than {folder}: give --there the folder "
                            "that benchmarks.gpu.bring_back made it of.")
        if described.get("planned", step) != step:
            raise UserError(f"The training in {folder} was stopped after {step:,} of "
                            f"{described['planned']:,} updates: no recipe ends there.")
        if described["sequence_length"] != window:
            raise UserError(f"--data_dir has windows of {window} tokens and {folder} was trained "
                            f"on windows of {described['sequence_length']}: build them alike.")
        parts = [described[name] for name in ("model", "optimizer", "training")]
        return {name: str(value) for part in parts for name, value in part.items()
                if name in _FLAGS} | {"num_steps": str(described["updates"])}
    except OSError as error:
        raise UserError(f"Cannot read {error.filename} ({error.strerror}): give --there the folder "
                        "that benchmarks.gpu.there has left.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is damaged, or no folder of benchmarks.gpu.there: fetch it "
                        "again.") from error


def _length(recipe: dict[str, str]) -> str:
    """Of the whole training."""
    steps = int(recipe["num_steps"])
    return f"{steps:,}" if steps else f"{float(recipe['num_epochs']):g} epochs"


def _flags(values: dict[str, str]) -> str:
    """The lines of a run's flagfile that decide its numbers."""
    unused = {"num_epochs"} if int(values["num_steps"]) else set()
    return "\n".join(f"--{name}={value}" if value else f"--{name}"
                     for name, value in sorted(values.items()) if name not in unused
                     and (name.removeprefix("no") in _FLAGS or name in _FLAGS))


def _window(config: PresetConfig) -> int:
    """Tokens of the windows of all data folders.

    Raises:
      UserError: they are not of one length, or none that the run takes.
    """
    lengths = {}
    for data_dir in split_paths(config.data_dir):
        manifest = Manifest.load(data_dir)
        run_folder.check_data(config.model_dir, data_dir, manifest)
        lengths[data_dir] = manifest.sequence_length
    if len(set(lengths.values())) > 1:
        raise UserError(f"--data_dir={config.data_dir} has windows of "
                        f"{' and '.join(map(str, lengths.values()))} tokens: build them alike, as "
                        "the run's.")
    return lengths.popitem()[1]


def make(config: PresetConfig) -> str:
    """Makes the folder.

    Returns:
      Lines for the user: its size, and the table of its figures.

    Raises:
      UserError: the run, a data folder or a text is not what is expected; or the folder would be
        larger than it may be.
    """
    from gpt_tf.interop import conversion

    model_dir, output_dir, there = config.model_dir, config.output_dir, config.there
    data_dirs, window = split_paths(config.data_dir), _window(config)
    recipe = (_trained_there(there, model_dir, window) if there
              else run_folder.load_flags(model_dir))
    shape, titles = run_folder.load_config(model_dir), list(_titles(config.texts))
    books = [title for file, title in titles if file.startswith(_BOOKS)]
    later = [name for name in _TRANSLATED if any(name in title for title in books)]
    terms = (f"some are later translations (of {', '.join(later)}),\n  and elsewhere terms differ"
             if later else "elsewhere terms differ")
    values: dict[str, Any] = recipe | dataclasses.asdict(shape) | {
        "name": os.path.basename(os.path.abspath(output_dir)),
        "parameters": f"{shape.num_parameters:,}", "flags": _flags(recipe),
        "data_dirs": ",".join(f"data/{os.path.basename(os.path.normpath(folder))}"
                              for folder in data_dirs),
        "window": window, "scalars": _scalars(model_dir),
        "merges": len(Tokenizer.load(model_dir).merges),
        "length": _length(recipe),
        "books": f"{len(books):,}", "articles": f"{len(titles) - len(books):,}", "terms": terms}
    values["commands"] = _filled(_ON_GPU if there else _HERE, values).rstrip()
    before = _measure(model_dir, data_dirs)
    with atomic_folder(output_dir) as folder, tempfile.TemporaryDirectory() as temporary:
        values["update"] = f"{_write_half(model_dir, folder):,}"
        packed = os.path.join(temporary, "run")
        conversion.import_run(targets.HUGGING_FACE, folder, packed, None, "")
        values["figures"] = _figures(data_dirs, before, _measure(packed, data_dirs))
        _write(folder, _TITLES, "".join(f"{file}\t{title}\n" for file, title in titles))
        _write(folder, "README.md", _filled(_CARD, values))
        write_json(os.path.join(folder, packaged.DESCRIPTION), {
            "description": _DESCRIPTION.format(**values), "params": shape.num_parameters})
        record(folder, set(os.listdir(folder)) - {SUMS})
        size = sum(entry.stat().st_size for entry in os.scandir(folder))
        if size > _MOST_BYTES:
            raise UserError(f"The folder has {size:,} bytes, and {_MOST_BYTES:,} are the most that "
                            "comes with gpt_tf: pack a smaller model.")
    return f"{output_dir}: {size:,} bytes.\n{values['figures']}"


def _filled(template: pathlib.Path, values: dict[str, Any]) -> str:
    return string.Template(template.read_text("utf-8")).substitute(values)


def _write(folder: str, name: str, text: str) -> None:
    with atomic_write(os.path.join(folder, name)) as stream:
        stream.write(text.encode("utf-8"))


def main() -> None:
    """Makes the folder, and says what rounding cost."""
    cli.import_tensorflow()
    print(make(cli.from_flags(PresetConfig)))


if __name__ == "__main__":
    cli.define_flags(PresetConfig)
    cli.run(main, makes_files=True)
