"""Turns published weights into a run folder, and a run folder into published layouts.

  python -m gpt_tf.convert --from=openai --input=model --output_dir=runs/gpt1
  python -m gpt_tf.convert --from=huggingface --input=openai-gpt --output_dir=runs/gpt1
  python -m gpt_tf.convert --from=huggingface --input=hf://openai-community/openai-gpt \\
      --output_dir=runs/gpt1
  python -m gpt_tf.convert --from=keras --input=preset --output_dir=runs/preset
  python -m gpt_tf.convert --to=huggingface --input=runs/sst2 --output_dir=sst2-huggingface

openai is the folder released with the paper: params_shapes.json, params_0.npy .. params_9.npy and
the vocabulary. huggingface is config.json, model.safetensors, vocab.json and merges.txt of
openai-gpt. A folder made with --to holds gpt_tf.safetensors as well: what of the run the layout has
no place for, so that --from gives the run back. keras is a folder that a model of gpt_tf's Keras
classes wrote by save_to_preset, or its .keras file. What a handle names is fetched: hf://owner/name,
hf://owner/name@revision or, of a preset, kaggle://owner/model/keras/variation. Where a command
takes a run folder, it takes a preset, a .keras file, a handle and the name of a model that comes
with gpt_tf, as gpt_small_en, too, and makes the run folder.
"""

import dataclasses

from absl import flags

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.names import check_folder
from gpt_tf.config import Options, option
from gpt_tf.hub import models, packaged
from gpt_tf.interop import targets, vocabularies
from gpt_tf.runs import run_folder
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import Tokenizer

_KERAS = "keras"


@dataclasses.dataclass(frozen=True)
class ConversionConfig(Options):
    """What is read, and what is made of it; --from and --to say which way."""

    input: str = option(None, "Folder to read, .keras file, hf:// handle, gpt_tiny_en or "
                              "gpt_small_en.",
                        required=True, path=True)
    output_dir: str = option(None, "Folder to make.", required=True, path=True)
    num_heads: int | None = option(
        None, "With --from=openai: attention heads, which the released files do not say; 12 "
        "where it is not given.", at_least=1)
    overwrite: bool = option(False, "Replace an earlier conversion in --output_dir.")


def _make_run(origin: str, source: str, target: str, num_heads: int | None) -> list[str]:
    """Makes a run folder of `source`; returns lines for the user."""
    if origin == _KERAS:
        if not resolve.is_keras(source):
            raise UserError(f"{source} is neither a folder of a Keras model's save_to_preset nor a "
                            ".keras file: name one.")
        cli.import_tensorflow()
        from gpt_tf.keras_models import conversion as keras_conversion

        return keras_conversion.import_run(source, target, cli.flagfile_text())
    vocabularies.load(origin, targets.model_folder(origin, source))
    cli.import_tensorflow()  # here and below, so that nobody waits for it to be told of a mistake
    from gpt_tf.interop import conversion

    return conversion.import_run(origin, source, target, num_heads, cli.flagfile_text())


def _export_run(goal: str, source: str, target: str) -> list[str]:
    """Makes another program's folder of a run; returns lines for the user."""
    source = resolve.run_folder(source)
    run_folder.load_config(source)
    Tokenizer.load(source)
    cli.import_tensorflow()
    from gpt_tf.interop import conversion

    return conversion.export_run(goal, source, target)


def main() -> None:
    """Converts, and says what was made."""
    config = cli.from_flags(ConversionConfig)
    origin, goal = flags.FLAGS["from"].value, flags.FLAGS["to"].value
    if bool(origin) == bool(goal):
        raise UserError("Give --from to make a run folder, or --to to make another program's "
                        "folder of one.")
    if (goal or origin == _KERAS) and config.num_heads is not None:
        raise UserError("--num_heads goes with --from=openai: a run and a Keras model say their "
                        "own; leave it out.")
    source, target = config.input, config.output_dir
    if models.is_name(source):
        found = models.fetch(source)
        layout = _KERAS if found.is_keras else targets.HUGGING_FACE
        if origin and origin != layout:
            raise UserError(f"{source} is in the layout of {layout}: give --from={layout}.")
        source = found.folder
    packaged.check_spelling(source)
    check_folder(source)
    targets.check(target, source, goal, config.overwrite)
    if goal:
        print("\n".join(_export_run(goal, config.input, target)))
        return
    print("\n".join(_make_run(origin, source, target, config.num_heads)))
    print("Next: " + cli.command_line("gpt_tf.generate", model_dir=target, prompt="It was a dark")
          + f"\nFor a task, give {target} as --tokenizer to pipelines.build_task.")


if __name__ == "__main__":
    # Fields of a class cannot have the names of Python's keywords.
    layouts = list(targets.FILES)
    flags.DEFINE_enum("from", None, [*layouts, _KERAS],
                      "Layout of --input, of which a run folder is made.")
    flags.DEFINE_enum("to", None, layouts, "Layout to make of --input, a run folder or a Keras "
                      "model.")
    cli.define_flags(ConversionConfig)
    cli.run(main, makes_files=True)
