"""Fine-tunes a pre-trained run on a data folder of pipelines.build_task (Radford et al., 3.2).

  python -m gpt_tf.finetune --flagfile=finetune.flags \\
      --data_dir=data/sst2 --init_from=runs/books --model_dir=runs/sst2

With --init_from the model's shape is the run's. The same command again goes on from the last
checkpoint. --num_runs=5 makes five runs of successive seeds and shows their median and spread.
"""

import dataclasses
import os

from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.config import (
    LIMIT,
    SOURCES,
    FineTuningConfig,
    ModelConfig,
    OptimizerConfig,
    Options,
    TrainingConfig,
    may_change,
    option,
)
from gpt_tf.data.manifest import TASK, Manifest
from gpt_tf.runs import run_folder
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import SPECIAL_TOKENS
from gpt_tf.training.run_config import FineTuningRunConfig, TrainingData


@dataclasses.dataclass(frozen=True)
class FineTuningRuns(Options):
    """What is read, where the runs go, and how many there are."""

    data_dir: str = option(None, "Data folder of pipelines.build_task.", required=True, path=True)
    model_dir: str = option(None, "Run folder: checkpoints, metrics, TensorBoard.",
                            required=True, path=True)
    init_from: str = option(None, f"{SOURCES}, whose weights to start from; none: from scratch.",
                           required=True, path=True)
    num_runs: int = option(1, "Runs, of successive seeds from --seed on, each in a folder of its "
                              "own in --model_dir.", at_least=1)
    overwrite: bool = option(False, "Replace other runs where these are to stand; the same runs go "
                                   "on.")
    change_length: bool = option(
        False, "Go on with a run for another number of updates than it began with, where the "
        "learning rate hangs on that: those left take the rates of the new course.")


# Another flag stands for these: epochs are the measure of fine-tuning.
_OPTIMIZER_OMITS = ("warmup_steps",)
_TRAINING_OMITS = ("evaluate_every", "evaluation_batches")


def model_config(init_from: str, manifest: Manifest, source: str) -> ModelConfig:
    """The model's shape and dropouts: the flags' and the data's, or those of --init_from's run.

    Args:
      init_from: the run folder, or `run_folder.FROM_SCRATCH`.
      manifest: of the data.
      source: what names the run in errors.

    Raises:
      UserError: a flag contradicts the run, or the values do not fit together.
    """
    if init_from == run_folder.FROM_SCRATCH:
        positions = cli.value_or("max_sequence_length", manifest.sequence_length)
        return cli.from_flags(ModelConfig, vocabulary_size=manifest.vocabulary_size,
                              max_sequence_length=positions,
                              num_special_tokens=len(SPECIAL_TOKENS))
    values = dataclasses.asdict(run_folder.load_config(init_from))
    return cli.adopt(ModelConfig, values | {"num_special_tokens": len(SPECIAL_TOKENS)},
                     source, free=ModelConfig.NOT_SHAPE, open_at_zero=ModelConfig.FROM_DATA)


def _run_config(data: TrainingData, init_from: str, model: ModelConfig, model_dir: str,
                seed: int) -> FineTuningRunConfig:
    """The run of one seed."""
    # The model's own values, so that the flagfile says what the run is.
    text = cli.flagfile_text(model_dir=model_dir, seed=seed, num_runs=1,
                             **dataclasses.asdict(model))
    runs = cli.from_flags(FineTuningRuns)
    return FineTuningRunConfig(
        data, model_dir, init_from, model, cli.from_flags(OptimizerConfig),
        cli.from_flags(TrainingConfig, seed=seed), text,
        may_change(TrainingConfig) | {"num_runs"},
        cli.from_flags(FineTuningConfig), overwrite=runs.overwrite,
        change_length=runs.change_length)


def main() -> None:
    """Checks what can be checked, then runs under the lock of the run folder."""
    runs, training = cli.from_flags(FineTuningRuns), cli.from_flags(TrainingConfig)
    model_dir, first, count = runs.model_dir, training.seed, runs.num_runs
    if first + count > LIMIT:
        raise UserError(f"--num_runs={count} from --seed={first} on takes seeds up to "
                        f"{first + count - 1}, and a seed is below 2**31: give a smaller --seed.")
    resolve.refuse_name(model_dir)
    data = TrainingData.load(runs.data_dir, TASK)
    init_from = resolve.run_folder(runs.init_from)
    model = model_config(init_from, data.manifest, runs.init_from)
    folders = [model_dir] if count == 1 else [
        os.path.join(model_dir, f"run-{seed}") for seed in range(first, first + count)]
    configs = {seed: _run_config(data, init_from, model, folder, seed)
               for seed, folder in enumerate(folders, first)}
    for config in configs.values():
        config.check()
    cli.import_tensorflow()  # here and below, so that nobody waits for it to be told of a mistake
    from gpt_tf.training import devices, distribution, finetuning

    devices.choose(training.device, training.dtype)
    cluster = distribution.join(training.strategy, training.worker_timeout)
    with cluster.owning(model_dir):
        print(devices.describe(cluster, training.dtype), flush=True)
        if count > 1:
            print(finetuning.finetune_all(configs, cluster, model_dir))
        else:
            outcome = finetuning.finetune(configs[first], cluster)
            print(f"{model_dir} is finished: {outcome}")
        evaluate = cli.command_line("gpt_tf.evaluate", model_dir=folders[0], data_dir=data.folder)
        predict = cli.command_line("gpt_tf.predict", model_dir=folders[0])
        print(f"Next: {evaluate}\n      {finetuning.example(data)} | {predict}")


if __name__ == "__main__":
    cli.define_flags(FineTuningRuns)
    cli.define_flags(ModelConfig)
    cli.define_flags(FineTuningConfig)
    cli.define_flags(OptimizerConfig, omit=_OPTIMIZER_OMITS, learning_rate=6.25e-5,
                     schedule="linear")
    cli.define_flags(TrainingConfig, omit=_TRAINING_OMITS, batch_size=32, num_epochs=3.0,
                     save_every=200, keep_checkpoints=2)
    cli.run(main, makes_files=True)
