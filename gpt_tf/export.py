"""Exports a run: as a SavedModel that plain TensorFlow and TensorFlow Serving load, for apps, ...

  python -m gpt_tf.export --model_dir=runs/sst2 --output_dir=exported/sst2
  saved_model_cli run --dir exported/sst2/1 --tag_set serve --signature_def classify_text \\
      --input_exprs 'text=["a fine film", "dull"]'
  python -m gpt_tf.export --format=litert --model_dir=runs/sst2 --output_dir=app/sst2
  python -m gpt_tf.export --format=preset --model_dir=runs/sst2 --output_dir=presets/sst2

Signatures of every run: logits, score, generate; of a fine-tuned one also classify. With _text
behind their names the last three take strings: the tokenizer is in the graph; generate is there
again with_controls. LiteRT and ONNX have logits and classify of token ids, and no strings. A preset
is what KerasHub's classes read once gpt_tf.keras_models is imported.
"""

import dataclasses
import importlib.util
import os

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.tensorflow_names import is_literal
from gpt_tf.config import SOURCES, LoadingConfig, option
from gpt_tf.runs import run_folder
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import Tokenizer

_LARGEST_FILE = 2**31 - 2**26  # of LiteRT and of ONNX, less what is not weights


@dataclasses.dataclass(frozen=True)
class ExportConfig(LoadingConfig):
    """Which run, and what is made of it where."""

    model_dir: str = option(None, f"{SOURCES}.", required=True, path=True)
    output_dir: str = option(None, "Folder of the SavedModel's versions, or of the rest.",
                             required=True, path=True)
    format: str = option("saved_model", "What is made: a SavedModel; a file for LiteRT, or files "
                         "for ONNX, that take token ids; or a preset of KerasHub.",
                         choices=("saved_model", "litert", "onnx", "preset"))
    version: int = option(0, "Number of the SavedModel's version; 0: the next free one.",
                          at_least=0)
    jit_compile: bool = option(False, "Compile what generates with XLA where it is served: faster "
                               "for small models and many prompts, but not every server can.")
    overwrite: bool = option(False, "Replace what was exported there before.")


def _check_name(output_dir: str) -> None:
    """Sees that TensorFlow will load what is made: it takes some names for patterns.

    Raises:
      UserError: it would not.
    """
    path = os.path.join(os.getcwd(), output_dir)
    if not is_literal(path):
        raise UserError(f"--output_dir={output_dir}: TensorFlow could load no model from {path}, "
                        "which it takes for a pattern or an address: name a folder with none of "
                        "*, ?, [, \\ and :// on its whole path, in UTF-8.")


def _check_format(config: ExportConfig, num_parameters: int) -> None:
    """Sees that the format can be made here, of a model of this size.

    Raises:
      UserError: it cannot, or a flag is of another format.
    """
    if config.format != "saved_model" and (config.version or config.jit_compile):
        raise UserError("--version and --jit_compile are for --format=saved_model: leave them out.")
    if config.format == "onnx" and not importlib.util.find_spec("tf2onnx"):
        raise UserError("--format=onnx needs tf2onnx, which is not installed: pip install tf2onnx")
    if config.format in ("litert", "onnx") and 4 * num_parameters > _LARGEST_FILE:
        raise UserError(f"The weights are {4 * num_parameters / 2**30:.1f} GiB, and a file of "
                        f"--format={config.format} holds less than 2: export a SavedModel.")


def _check_free(target: str, mark: str, overwrite: bool) -> None:
    """Sees that a folder may be written.

    Args:
      target: the folder.
      mark: name of a file that stands in each folder of this kind.
      overwrite: whether such a folder may be replaced.

    Raises:
      UserError: something else stands there, or what may not be replaced.
    """
    names = os.listdir(target) if os.path.isdir(target) else []
    if os.path.lexists(target) and not os.path.isdir(target) or names and mark not in names:
        raise UserError(f"--output_dir={target} holds something else: name a new or empty folder.")
    if names and not overwrite:
        raise UserError(f"{target} holds an export: name another --output_dir, or replace this one "
                        "with --overwrite.")


def main() -> None:
    """Exports, and says what to do with it."""
    config = cli.from_flags(ExportConfig)
    if config.format in ("saved_model", "litert"):
        _check_name(config.output_dir)
    model_dir = resolve.run_folder(config.model_dir)
    _check_format(config, run_folder.load_config(model_dir, config.weights).num_parameters)
    Tokenizer.load(model_dir)
    cli.import_tensorflow()  # here, so that nobody waits for it to be told of a mistake
    export = {"saved_model": _export_saved_model, "preset": _export_preset}
    export.get(config.format, _export_portable)(config, model_dir)


def _export_saved_model(config: ExportConfig, model_dir: str) -> None:
    from gpt_tf.serving import saved_model

    version = config.version or saved_model.next_version(config.output_dir)
    saved_model.check_free(os.path.join(config.output_dir, str(version)), config.overwrite)
    served = saved_model.build(model_dir, config.weights, config.jit_compile)
    target = saved_model.save(served, config.output_dir, version, config.overwrite)
    origin = run_folder.name_weights(model_dir, served.step, config.weights)
    print(f"{target}: {origin}, {_mebibytes(target)}.")
    print(f"Signatures: {', '.join(sorted(served.signatures))}.")
    if served.no_text:
        print(f"No signature takes strings: {served.no_text}")
    print(f"What they take and give: saved_model_cli show --dir {target} --all 2>/dev/null")


def _export_portable(config: ExportConfig, model_dir: str) -> None:
    from gpt_tf.serving import portable

    target = config.output_dir
    _check_free(target, portable.DESCRIPTION, config.overwrite)
    signatures, step = portable.write(model_dir, config.weights, config.format, target)
    origin = run_folder.name_weights(model_dir, step, config.weights)
    print(f"{target}: {origin}, {_mebibytes(target)}.")
    print(f"Signatures: {', '.join(signatures)}, of token ids; what they take and give stands in "
          f"{os.path.join(target, portable.DESCRIPTION)}.")
    print("Neither strings nor the loop that generates are in it: a SavedModel can hold both.")


def _mebibytes(target: str) -> str:
    """The size of a folder's files."""
    size = sum(os.path.getsize(os.path.join(folder, name))
               for folder, _, names in os.walk(target) for name in names)
    return f"{size / 2**20:,.1f} MiB"


def _export_preset(config: ExportConfig, model_dir: str) -> None:
    from gpt_tf.keras_models import export

    _check_free(config.output_dir, export.MARK, config.overwrite)
    model = export.write(model_dir, config.output_dir, config.weights)
    base = type(model).__name__.removeprefix("GPT")
    print(f"{config.output_dir}: a preset of {config.model_dir}, "
          f"{model.count_params():,} parameters.")
    print(f"import gpt_tf.keras_models, keras_hub; model = keras_hub.models.{base}.from_preset("
          f"{config.output_dir!r})")


if __name__ == "__main__":
    cli.define_flags(ExportConfig)
    cli.run(main, makes_files=True)
