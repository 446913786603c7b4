"""Pre-trains a GPT-1 on a data folder of pipelines.build_corpus (Radford et al. 2018, 3.1).

  python -m gpt_tf.pretrain --flagfile=gpt1.flags \\
      --data_dir=data/books --model_dir=runs/books

The same command again goes on from the last checkpoint. tensorboard --logdir runs shows it. With
--dry_run it says what the run would take, of memory and of hours, and leaves nothing behind.

On text of another kind, from the weights of a run (or of `gpt_tf.convert`), whose tokenizer the
data was made with and whose shape the model has:
  python -m gpt_tf.pretrain --init_from=runs/books --data_dir=data/letters \\
      --model_dir=runs/letters --learning_rate=5e-5 --warmup_steps=100 --num_steps=1000
"""

import dataclasses
import time

from gpt_tf.common import cli
from gpt_tf.config import (
    SOURCES,
    ModelConfig,
    OptimizerConfig,
    Options,
    ProbeConfig,
    TrainingConfig,
    may_change,
    option,
)
from gpt_tf.data.manifest import LANGUAGE_MODEL
from gpt_tf.runs import run_folder
from gpt_tf.sources import resolve
from gpt_tf.training.run_config import PreTrainingRunConfig, TrainingData


@dataclasses.dataclass(frozen=True)
class PreTrainingFolders(Options):
    """What is read, and where the run goes."""

    data_dir: str = option(None, "Data folder of pipelines.build_corpus.", required=True, path=True)
    model_dir: str = option(None, "Run folder: checkpoints, metrics, TensorBoard.",
                            required=True, path=True)
    init_from: str = option("none", f"{SOURCES}, whose weights to start from; none: from scratch.",
                            required=True, path=True)
    overwrite: bool = option(False, "Replace another run that stands in --model_dir; the same run "
                                   "goes on.")
    change_length: bool = option(
        False, "Go on with a run for another number of updates than it began with, where the "
        "learning rate hangs on that: those left take the rates of the new course.")
    dry_run: bool = option(
        False, "Say what the whole run would take: parameters, FLOPs, memory and, from a few "
        "updates that are thrown away, its duration. Nothing is written in --model_dir.")


def _model(data: TrainingData, init_from: str, source: str) -> ModelConfig:
    """The model's shape and dropouts: the flags', or those of the run it starts from.

    Raises:
      UserError: a flag contradicts the run, or the values do not fit together.
    """
    if init_from == run_folder.FROM_SCRATCH:
        positions = cli.value_or("max_sequence_length", data.manifest.sequence_length)
        return cli.from_flags(ModelConfig, vocabulary_size=data.manifest.vocabulary_size,
                              max_sequence_length=positions)
    values = dataclasses.asdict(run_folder.load_config(init_from))
    return cli.adopt(ModelConfig, values | {"num_special_tokens": 0}, source,
                     free=ModelConfig.NOT_SHAPE, open_at_zero=ModelConfig.FROM_DATA)


def main() -> None:
    """Checks what can be checked, then runs under the lock of the run folder."""
    began = time.perf_counter()
    training, optimizer = cli.from_flags(TrainingConfig), cli.from_flags(OptimizerConfig)
    folders = cli.from_flags(PreTrainingFolders)
    resolve.refuse_name(folders.model_dir)
    data, model_dir = TrainingData.load(folders.data_dir, LANGUAGE_MODEL), folders.model_dir
    init_from = resolve.run_folder(folders.init_from)
    model = _model(data, init_from, folders.init_from)
    # The model's own values, so that the flagfile says what the run is.
    config = PreTrainingRunConfig(
        data, model_dir, init_from, model, optimizer, training,
        cli.flagfile_text(**dataclasses.asdict(model)), may_change(TrainingConfig, ProbeConfig),
        # Whatever run stands there, a dry run leaves it alone.
        overwrite=folders.overwrite or folders.dry_run, change_length=folders.change_length,
        probes=cli.from_flags(ProbeConfig))
    config.check()
    cli.import_tensorflow()  # here and below, so that nobody waits for it to be told of a mistake
    from gpt_tf.training import devices, distribution, pretraining, sizing

    devices.choose(training.device, training.dtype)
    cluster = distribution.join(training.strategy, training.worker_timeout)
    with cluster.owning(None if folders.dry_run else model_dir):
        print(devices.describe(cluster, training.dtype), flush=True)
        if folders.dry_run:
            sizing.size(config, cluster, began)
            return
        outcome = pretraining.pretrain(config, cluster)
        generate = cli.command_line("gpt_tf.generate", model_dir=model_dir,
                                    prompt=pretraining.opening(data))
        print(f"{model_dir} is finished: {outcome}\nNext: {generate}")


if __name__ == "__main__":
    cli.define_flags(PreTrainingFolders)
    cli.define_flags(ModelConfig)
    cli.define_flags(OptimizerConfig)
    cli.define_flags(TrainingConfig)
    cli.define_flags(ProbeConfig)
    cli.run(main, makes_files=True)
