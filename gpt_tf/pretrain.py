"""Pre-trains a GPT-1 on a data folder of `pipelines.build_corpus` (Radford et al. 2018, 3.1).

Example:
  python -m gpt_tf.pretrain --flagfile=gpt_tf/flagfiles/gpt1.flags \\
      --data_dir=data/books --model_dir=runs/books

The same command again goes on from the last checkpoint. `tensorboard --logdir runs` shows it.
"""

import dataclasses

from absl import flags

from gpt_tf import cli
from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig
from gpt_tf.files import UserError, lock_folder

# Flags that may differ when a run goes on: they change where and how fast, not what.
_RESUMABLE = {"data_dir", "model_dir"} | {
    field.name for field in dataclasses.fields(TrainingConfig) if field.metadata["resumable"]}

_SAMPLE_PROMPT_TOKENS = 16
_SAMPLE_NEW_TOKENS = 48


def _check_data(manifest, tokenizer, model: ModelConfig, data_dir: str) -> None:
    if manifest.kind != "language_model":
        raise UserError(f"{data_dir} holds data of kind {manifest.kind!r}; pre-training wants the "
                        "output of python -m pipelines.build_corpus.")
    if tokenizer.fingerprint != manifest.tokenizer_fingerprint:
        raise UserError(f"The tokenizer in {data_dir} is not the one its data was made with: "
                        "build the folder again with python -m pipelines.build_corpus.")
    if manifest.sequence_length > model.max_sequence_length:
        raise UserError(f"{data_dir} has windows of {manifest.sequence_length} tokens and "
                        f"--max_sequence_length={model.max_sequence_length}: raise the flag, or "
                        "build the data with a smaller --sequence_length.")


def num_steps(training: TrainingConfig, windows: int) -> int:
    """Updates of the run: epochs become updates here and nowhere else."""
    if training.num_steps:
        return training.num_steps
    return max(1, round(training.num_epochs * windows / training.batch_size))


def _run(data_dir: str, model_dir: str) -> None:
    import tensorflow as tf  # here, so that --help does not wait for it

    from gpt_tf import distribution, language_model, run_folder
    from gpt_tf.checkpoint import Checkpoints
    from gpt_tf.generation import Generator, SamplingConfig
    from gpt_tf.input import evaluation_batches, train_batches
    from gpt_tf.model import GPT
    from gpt_tf.optimizer import Adam
    from gpt_tf.records import Manifest
    from gpt_tf.reporting import Reporter
    from gpt_tf.tokenizer import Tokenizer
    from gpt_tf.training import Trainer, TrainStep

    manifest = Manifest.load(data_dir)
    tokenizer = Tokenizer.load(data_dir)
    config = cli.from_flags(ModelConfig, vocabulary_size=manifest.vocabulary_size)
    training = cli.from_flags(TrainingConfig)
    optimizer_config = cli.from_flags(OptimizerConfig)
    _check_data(manifest, tokenizer, config, data_dir)
    total = num_steps(training, manifest.splits["train"].windows)

    strategy = distribution.make_strategy(training.strategy)
    distribution.check_batch_size(strategy, training.batch_size, training.micro_batch_size)
    with strategy.scope():
        model = GPT(config, seed=training.seed, dtype=training.dtype)
        optimizer = Adam(model.trainable_variables, optimizer_config, total, training.jit_compile)
    checkpoints = Checkpoints(
        run_folder.checkpoint_folder(model_dir),
        {"model": run_folder.model_variables(model), **optimizer.moments()},
        keep=training.keep_checkpoints)

    # How a run starts:
    # 1. resumed: the folder holds this run, and it goes on from its newest whole checkpoint;
    # 2. fresh: nothing was saved yet, and the seed decides the initial weights.
    run_folder.begin(model_dir, cli.flagfile_text(), _RESUMABLE, config, data_dir)
    checkpoints.remove_unfinished()
    start = checkpoints.restore_latest() or 0
    if start >= total:
        print(f"{model_dir} is finished: {total} updates are done.")
        return
    _announce(config, training, manifest, strategy, start, total)

    reporter = Reporter(model_dir, start)
    if start == 0:
        reporter.text(0, "hyperparameters", "".join(
            f"    {line}\n" for line in cli.flagfile_text().splitlines()))
    evaluate = language_model.Evaluator(model, strategy, training.jit_compile)
    generator = Generator(model, SamplingConfig(top_p=0.9))
    validation = evaluation_batches(data_dir, "validation", training.batch_size)
    first = next(iter(validation))
    prompts = first["token_ids"][:3, :min(_SAMPLE_PROMPT_TOKENS, manifest.sequence_length // 2)]

    def validate(step: int, last: bool) -> dict[str, float]:
        limit = None if last else training.evaluation_batches or None
        batches = (batch for _, batch in zip(range(limit or 2**62), validation))
        scores = evaluate(batches, manifest.splits["validation"])
        room = min(_SAMPLE_NEW_TOKENS, config.max_sequence_length - prompts.shape[1])
        samples = generator(prompts, room, seed=step)
        reporter.text(step, "samples", "\n\n".join(
            f"**{tokenizer.decode(prompt.tolist())}** {tokenizer.decode(sample.tolist())}"
            for prompt, sample in zip(prompts.numpy(), samples.numpy())))
        return {f"validation/{name}": scores[name]
                for name in ("loss", "perplexity", "bits_per_byte")}

    step_function = TrainStep(strategy, model.trainable_variables,
                              language_model.training_loss(model, training.seed), optimizer,
                              training)
    batches = train_batches(data_dir, training.batch_size, training.seed, start)
    trainer = Trainer(step_function, optimizer, checkpoints, reporter, training)
    try:
        trainer.train(batches, start, total, validate)
    finally:
        reporter.close()
    print(f"Finished {total} updates. Next: python -m gpt_tf.generate --model_dir={model_dir} "
          "--prompt='It was a dark'")


def _announce(config, training, manifest, strategy, start, total) -> None:
    tokens = training.batch_size * manifest.sequence_length
    print(f"{config.num_parameters:,} parameters; {manifest.splits['train'].tokens:,} training "
          f"tokens; updates of {training.batch_size} x {manifest.sequence_length} = {tokens:,} "
          f"tokens on {strategy.num_replicas_in_sync} device(s); "
          + (f"going on at update {start} of {total}." if start else f"{total} updates."),
          flush=True)


def main() -> None:
    """Runs under the lock of the run folder."""
    data_dir, model_dir = flags.FLAGS.data_dir, flags.FLAGS.model_dir
    with lock_folder(model_dir):
        _run(data_dir, model_dir)


if __name__ == "__main__":
    flags.DEFINE_string("data_dir", None, "Data folder of pipelines.build_corpus.", required=True)
    flags.DEFINE_string("model_dir", None, "Run folder: checkpoints, metrics, TensorBoard.",
                        required=True)
    cli.define_flags(ModelConfig)
    cli.define_flags(OptimizerConfig)
    cli.define_flags(TrainingConfig)
    cli.run(main)
