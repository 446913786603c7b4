"""Pre-training from a data folder into a run folder: builds the parts and starts the Trainer."""

from collections.abc import Iterable
import dataclasses
import itertools

from gpt_tf.common.errors import UserError
from gpt_tf.config import (
    GenerationConfig,
    ModelConfig,
    OptimizerConfig,
    SamplingConfig,
    TrainingConfig,
)
from gpt_tf.data.batches import evaluation_batches, train_batches
from gpt_tf.data.manifest import LANGUAGE_MODEL, Manifest
from gpt_tf.generation.generator import Generator
from gpt_tf.model.gpt import GPT
from gpt_tf.model.objectives import language_model_loss
from gpt_tf.model.optimizer import Adam
from gpt_tf.runs import run_folder
from gpt_tf.runs.checkpoint import Checkpoints
from gpt_tf.runs.reporting import Reporter, Silence, reporting
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.training import distribution
from gpt_tf.training.distribution import Cluster
from gpt_tf.training.evaluator import Evaluator
from gpt_tf.training.train_step import TrainStep
from gpt_tf.training.trainer import Trainer

_SAMPLE_PROMPTS = 3
_SAMPLE_PROMPT_TOKENS = 16
_SAMPLE_NEW_TOKENS = 48


@dataclasses.dataclass(frozen=True)
class Job:
    """What a run is: where, on what, and every value of the paper."""

    data_dir: str
    model_dir: str
    init_from: str  # a run folder, or run_folder.FROM_SCRATCH
    model: ModelConfig
    optimizer: OptimizerConfig
    training: TrainingConfig
    flags_text: str  # the resolved flagfile
    resumable: frozenset[str]  # flags that may change when the run goes on


def check_data(data_dir: str) -> Manifest:
    """Reads the manifest of a data folder that pre-training can use.

    Raises:
      UserError: data of another kind, or another tokenizer beside it.
    """
    manifest = Manifest.load(data_dir)
    if manifest.kind != LANGUAGE_MODEL:
        raise UserError(f"{data_dir} holds data of kind {manifest.kind!r}; pre-training wants the "
                        "output of python -m pipelines.build_corpus.")
    tokenizer = Tokenizer.load(data_dir)
    if (tokenizer.fingerprint, tokenizer.vocabulary_size) != (
            manifest.tokenizer_fingerprint, manifest.vocabulary_size):
        raise UserError(f"The tokenizer in {data_dir} is not the one its data was made with: "
                        "build the folder again with python -m pipelines.build_corpus.")
    return manifest


def check_fit(job: Job, manifest: Manifest) -> None:
    """Sees that data, model and the run it starts from fit together.

    Raises:
      UserError: windows too long, or another tokenizer.
    """
    if manifest.sequence_length > job.model.max_sequence_length:
        remedy = "build the data with a smaller --sequence_length."
        if job.init_from == run_folder.FROM_SCRATCH:
            remedy = f"raise the flag, or {remedy}"
        raise UserError(f"{job.data_dir} has windows of {manifest.sequence_length} tokens and "
                        f"--max_sequence_length={job.model.max_sequence_length}: {remedy}")
    if (job.init_from != run_folder.FROM_SCRATCH
            and Tokenizer.load(job.init_from).fingerprint != manifest.tokenizer_fingerprint):
        raise UserError(f"{job.data_dir} was made with another tokenizer than {job.init_from}: "
                        f"build it again with --tokenizer={job.init_from}.")


class Validation:
    """Scores and text samples of the model as training goes.

    Args:
      job: the run.
      model: its model.
      cluster: the workers that share each batch.
      reporter: takes the samples.
    """

    def __init__(self, job: Job, model: GPT, cluster: Cluster, reporter: Reporter | Silence):
        self._limit = job.training.evaluation_batches or None
        self._batches = evaluation_batches(job.data_dir, "validation", job.training.batch_size,
                                           cluster.share)
        self._evaluate = Evaluator(model, cluster.strategy, job.training.jit_compile)
        self._is_chief = cluster.is_chief
        self._tokenizer = Tokenizer.load(job.data_dir)
        self._reporter = reporter
        length = self._batches.manifest.sequence_length
        windows = next(iter(self._batches))["token_ids"][:_SAMPLE_PROMPTS]
        self._prompts = windows[:, :min(_SAMPLE_PROMPT_TOKENS, length // 2)]
        self._generate = Generator(model, SamplingConfig(top_p=0.9),
                                   GenerationConfig(max_new_tokens=_SAMPLE_NEW_TOKENS))

    def __call__(self, step: int, last: bool) -> dict[str, float]:
        """Loss, perplexity and bits per byte; over the whole split if `last`."""
        if self._is_chief:
            self._report_samples(step)
        batches: Iterable = self._batches
        if not last:
            batches = itertools.islice(batches, self._limit)
        scores = self._evaluate(batches, self._batches.manifest.splits["validation"])
        return {f"validation/{name}": scores[name]
                for name in ("loss", "perplexity", "bits_per_byte")}

    def _report_samples(self, step: int) -> None:
        samples = self._generate(self._prompts.numpy(), rows=[step] * len(self._prompts))
        decode = self._tokenizer.decode
        self._reporter.text(step, "samples", "\n\n".join(
            f"**{decode(prompt.tolist())}** {decode(sample)}"
            for prompt, sample in zip(self._prompts.numpy(), samples)))


def pretrain(job: Job, cluster: Cluster) -> int:
    """Runs `job` to its end, from the start or from where it stopped; returns its updates.

    Call inside `cluster.owning(job.model_dir)`, on every worker.

    Raises:
      UserError: data, flags and run folder do not fit together, or the loss is not finite.
      Interrupted: a signal came; the run was saved.
    """
    manifest = check_data(job.data_dir)
    check_fit(job, manifest)
    total = job.training.total_steps(manifest.splits["train"].records)
    strategy = cluster.strategy
    distribution.check_batch_size(strategy, job.training.batch_size,
                                  job.training.micro_batch_size)
    with strategy.scope():
        model = GPT(job.model, seed=job.training.seed, dtype=job.training.dtype)
        optimizer = Adam(model.trainable_variables, job.optimizer, total,
                         job.training.jit_compile)
    checkpoints = Checkpoints(
        run_folder.checkpoint_folder(job.model_dir),
        {"model": run_folder.model_variables(model), **optimizer.moments()},
        job.training.keep_checkpoints, writes=cluster.is_chief)

    # How a run starts:
    # 1. resumed: the folder holds this run, and it goes on from its newest whole checkpoint;
    # 2. from another run: its weights, and new moments;
    # 3. from scratch: the seed decides the initial weights.
    with cluster.together():
        if cluster.is_chief:
            run_folder.begin(job.model_dir, job.flags_text, job.resumable, job.model, job.data_dir)
    start = cluster.restore_latest(checkpoints)
    if start == 0 and job.init_from != run_folder.FROM_SCRATCH:
        model.assign(run_folder.load_model(job.init_from)[0])
    if start < total:
        _announce(job, manifest, strategy.num_replicas_in_sync, start, total)
        step = TrainStep(strategy, model.trainable_variables,
                         language_model_loss(model, job.training.seed), optimizer, job.training)
        with reporting(job.model_dir, start, job.flags_text, cluster.is_chief) as reporter:
            Trainer(cluster, step, optimizer, checkpoints, reporter, job.training).train(
                train_batches(job.data_dir, job.training.batch_size, job.training.seed, start,
                              cluster.share),
                start, total, Validation(job, model, cluster, reporter))
    return total


def _announce(job: Job, manifest: Manifest, devices: int, start: int, total: int) -> None:
    size, length = job.training.batch_size, manifest.sequence_length
    print(f"{job.model.num_parameters:,} parameters; {manifest.splits['train'].tokens:,} training "
          f"tokens; updates of {size} x {length} = {size * length:,} tokens on {devices} "
          "device(s); "
          + (f"going on at update {start} of {total}." if start else f"{total} updates."),
          flush=True)
