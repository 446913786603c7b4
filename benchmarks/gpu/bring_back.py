"""Makes a run folder of the weights that `benchmarks.gpu.there` has trained.

  python -m benchmarks.gpu.bring_back --input=out --data_dir=data/books --model_dir=runs/books
"""

import dataclasses
import os

import numpy as np

from benchmarks.gpu import packed
from benchmarks.gpu.export import check_new
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_folder
from gpt_tf.config import ModelConfig, Options, option
from gpt_tf.data.manifest import LANGUAGE_MODEL
from gpt_tf.runs.run_folder import checkpoint_folder
from gpt_tf.training.run_config import TrainingData


@dataclasses.dataclass(frozen=True)
class BringBackConfig(Options):
    """From where, and where to."""

    input: str = option(None, "Folder that benchmarks.gpu.there has left.", required=True,
                        path=True)
    data_dir: str = option(None, "The data folder that was exported, for its tokenizer.",
                           required=True, path=True)
    model_dir: str = option(None, "Run folder to make.", required=True, path=True)


def main() -> None:
    """Reads the parts and writes the folder."""
    config = cli.from_flags(BringBackConfig)
    data = TrainingData.load(config.data_dir, LANGUAGE_MODEL)
    check_new("model_dir", config.model_dir)
    path = os.path.join(config.input, packed.WEIGHTS)
    try:
        described, flat = packed.read_weights(config.input)
        model_config, updates = ModelConfig(**described["model"]), int(described["updates"])
        kept = _milestones(config.input, described["kept"])
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
    for step, values in kept.items():
        if len(values) != len(flat):
            raise UserError(f"The weights of update {step} in {config.input} are {len(values):,} "
                            f"of {len(flat):,}: fetch them again.")
    cli.import_tensorflow()
    from gpt_tf.model.gpt import GPT
    from gpt_tf.runs.checkpoint import Checkpoints
    from gpt_tf.runs.weights import model_variables, write_converted

    model = GPT(model_config)

    def assign(values: np.ndarray) -> None:
        variables = model.trainable_variables
        for variable, value in zip(variables, packed.split(
                values, [variable.shape for variable in variables]), strict=True):
            variable.assign(value)

    with atomic_folder(config.model_dir) as folder:
        assign(flat)
        write_converted(folder, cli.flagfile_text(), model, 0, data.tokenizer, updates)
        checkpoints = Checkpoints(checkpoint_folder(folder), {"model": model_variables(model)},
                                  keep=1 + len(kept))
        for step, values in [*kept.items(), (updates, flat)] if kept else []:
            assign(values)
            checkpoints.save(step)
    print(f"Wrote {config.model_dir}, the weights of update {updates:,}"
          f"{' and of ' + ', '.join(map('{:,}'.format, kept)) if kept else ''}.")


def _milestones(folder: str, steps: list[int]) -> dict[int, np.ndarray]:
    """Update -> weights, of those of --checkpoints_per_decade that were fetched."""
    paths = {step: os.path.join(folder, packed.MILESTONE.format(step)) for step in steps}
    return {step: np.fromfile(path, np.float16) for step, path in paths.items()
            if os.path.exists(path)}


if __name__ == "__main__":
    cli.define_flags(BringBackConfig)
    cli.run(main)
