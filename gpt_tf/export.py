"""Exports a run as a SavedModel that plain TensorFlow and TensorFlow Serving load.

  python -m gpt_tf.export --model_dir=runs/sst2 --output_dir=exported/sst2
  saved_model_cli run --dir exported/sst2/1 --tag_set serve --signature_def classify_text \\
      --input_exprs 'text=["a fine film", "dull"]'
  python -m gpt_tf.export --format=preset --model_dir=runs/sst2 --output_dir=presets/sst2

Signatures of every run: logits, score, generate; of a fine-tuned one also classify. With _text
behind their names the last three take strings: the tokenizer is in the graph; generate is there
again with_controls. A preset is what KerasHub's classes read once gpt_tf.keras_models is imported.
"""

import dataclasses
import os

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.tensorflow_names import is_literal
from gpt_tf.config import LoadingConfig, option
from gpt_tf.runs import run_folder
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class ExportConfig(LoadingConfig):
    """Which run, and what is made of it where."""

    model_dir: str = option(None, "Run folder, Keras preset or .keras file.",
                            required=True, path=True)
    output_dir: str = option(None, "Folder of the versions, or of the preset.",
                             required=True, path=True)
    format: str = option("saved_model", "What is made: a SavedModel, or a preset of KerasHub.",
                         choices=("saved_model", "preset"))
    version: int = option(0, "Number of the SavedModel's version; 0: the next free one.",
                          at_least=0)
    jit_compile: bool = option(False, "Compile what generates with XLA where it is served: faster "
                               "for small models and many prompts, but not every server can.")
    overwrite: bool = option(False, "Replace the version or preset that stands there.")


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


def main() -> None:
    """Exports, and says what to do with it."""
    config = cli.from_flags(ExportConfig)
    if config.format == "saved_model":
        _check_name(config.output_dir)
    model_dir = resolve.run_folder(config.model_dir)
    run_folder.load_config(model_dir, config.weights)
    Tokenizer.load(model_dir)
    cli.import_tensorflow()  # here, so that nobody waits for it to be told of a mistake
    if config.format == "preset":
        _export_preset(config, model_dir)
        return
    from gpt_tf.serving import saved_model

    version = config.version or saved_model.next_version(config.output_dir)
    saved_model.check_free(os.path.join(config.output_dir, str(version)), config.overwrite)
    served = saved_model.build(model_dir, config.weights, config.jit_compile)
    target = saved_model.save(served, config.output_dir, version, config.overwrite)
    size = sum(os.path.getsize(os.path.join(folder, name))
               for folder, _, names in os.walk(target) for name in names)
    origin = run_folder.name_weights(model_dir, served.step, config.weights)
    print(f"{target}: {origin}, {size / 2**20:,.1f} MiB.")
    print(f"Signatures: {', '.join(sorted(served.signatures))}.")
    if served.no_text:
        print(f"No signature takes strings: {served.no_text}")
    print(f"What they take and give: saved_model_cli show --dir {target} --all 2>/dev/null")


def _export_preset(config: ExportConfig, model_dir: str) -> None:
    from gpt_tf.keras_models import export
    export.check_free(config.output_dir, config.overwrite)
    model = export.write(model_dir, config.output_dir, config.weights)
    base = type(model).__name__.removeprefix("GPT")
    print(f"{config.output_dir}: a preset of {config.model_dir}, "
          f"{model.count_params():,} parameters.")
    print(f"import gpt_tf.keras_models, keras_hub; model = keras_hub.models.{base}.from_preset("
          f"{config.output_dir!r})")


if __name__ == "__main__":
    cli.define_flags(ExportConfig)
    cli.run(main, makes_files=True)
