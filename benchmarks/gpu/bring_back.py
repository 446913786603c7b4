"""Makes a run folder of the weights that `benchmarks.gpu.there` has trained.

  python -m benchmarks.gpu.bring_back --input=out --data_dir=data/books --model_dir=runs/books
"""

import dataclasses
import json
import os

import numpy as np

from benchmarks.gpu.export import check_new
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder
from gpt_tf.config import ModelConfig, Options, option
from gpt_tf.data.manifest import LANGUAGE_MODEL
from gpt_tf.training.run_config import TrainingData


@dataclasses.dataclass(frozen=True)
class BringBackConfig(Options):
    """From where, and where to."""

    input: str = option(None, "Folder that benchmarks.gpu.there has left.", required=True)
    data_dir: str = option(None, "The data folder that was exported, for its tokenizer.",
                           required=True)
    model_dir: str = option(None, "Run folder to make.", required=True)


def main() -> None:
    """Reads the parts and writes the folder."""
    config = cli.from_flags(BringBackConfig)
    data = TrainingData.load(config.data_dir, LANGUAGE_MODEL)
    check_new("model_dir", config.model_dir)
    path = os.path.join(config.input, "weights.json")
    try:
        with open(path, encoding="utf-8") as stream:
            described = json.load(stream)
        flat = np.concatenate([
            np.fromfile(os.path.join(config.input, f"weights-{part}.f32"), np.float32)
            for part in range(described["parts"])])
        model_config, updates = ModelConfig(**described["model"]), int(described["updates"])
    except OSError as error:
        raise UserError(f"Cannot read {error.filename} ({error.strerror}): give the folder that "
                        "benchmarks.gpu.there has left.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: fetch it again.") from error
    if model_config.vocabulary_size != data.manifest.vocabulary_size:
        raise UserError(f"{path} has a vocabulary of {model_config.vocabulary_size:,} entries and "
                        f"{config.data_dir} one of {data.manifest.vocabulary_size:,}: give the "
                        "data folder that was exported.")
    if len(flat) != model_config.num_parameters:
        raise UserError(f"{config.input} has {len(flat):,} weights of "
                        f"{model_config.num_parameters:,}: fetch it again.")
    cli.import_tensorflow()
    from gpt_tf.model.gpt import GPT
    from gpt_tf.runs.weights import write_converted

    model = GPT(model_config)
    variables = model.trainable_variables
    ends = np.cumsum([int(np.prod(variable.shape)) for variable in variables])
    for variable, value in zip(variables, np.split(flat, ends[:-1]), strict=True):
        variable.assign(value.reshape(variable.shape))
    with atomic_folder(config.model_dir) as folder:
        write_converted(folder, cli.flagfile_text(), model, 0, data.tokenizer,
                        updates)
    print(f"Wrote {config.model_dir}, the weights of update {updates:,}.")


if __name__ == "__main__":
    cli.define_flags(BringBackConfig)
    cli.run(main)
