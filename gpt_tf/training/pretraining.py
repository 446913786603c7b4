"""Pre-training from a data folder into a run folder (Radford et al. 2018, section 3.1)."""

import functools
import math

from gpt_tf.config import GenerationConfig, SamplingConfig
from gpt_tf.data.batches import Batches, evaluation_batches, train_batches
from gpt_tf.generation.generator import Generator
from gpt_tf.model.gpt import GPT
from gpt_tf.model.objectives import LossFunction, language_model_loss
from gpt_tf.runs.reporting import Reporter, as_markdown
from gpt_tf.training.distribution import Cluster
from gpt_tf.training.evaluator import Evaluator
from gpt_tf.training.probes import probes_of
from gpt_tf.training.run import Outcome, Run, start_run
from gpt_tf.training.run_config import PreTrainingRunConfig, TrainingData, validation_splits

_SAMPLE_PROMPTS = 3
_SAMPLE_PROMPT_TOKENS = 16
_SAMPLE_NEW_TOKENS = 48
_OPENING_WORDS = 5


class LanguageModelValidation:
    """Scores and text samples of a language model as training goes, and what its probes measure.

    Attributes:
      evaluate: its `Evaluator`.

    Args:
      run: whose model is validated; its best weights are kept.
      reporter: takes the samples.
    """

    def __init__(self, run: Run, reporter: Reporter):
        training, data, cluster = run.config.training, run.config.data, run.cluster
        self._batches, self._all = (
            evaluation_batches(data.folder, "validation", training.batch_size, cluster.share,
                               data.manifest, limit)
            for limit in (training.evaluation_batches, 0))
        self._split = data.manifest.splits["validation"]
        self.evaluate = Evaluator(run.model, cluster.strategy, training.jit_compile)
        self._tokenizer = data.tokenizer
        self._reporter = reporter
        self._best, self._together = run.best, cluster.together
        windows = next(iter(self._batches))["token_ids"][:_SAMPLE_PROMPTS]
        self._prompts = windows[:, :min(_SAMPLE_PROMPT_TOKENS, data.manifest.sequence_length // 2)]
        self._generate = Generator(run.model, SamplingConfig(top_p=0.9),
                                   GenerationConfig(max_new_tokens=_SAMPLE_NEW_TOKENS))
        self._probes = probes_of(run, self.evaluate)

    def __call__(self, step: int, last: bool) -> dict[str, float]:
        """Loss, perplexity and bits per byte; over the whole split if `last`."""
        scores = self.evaluate(self._batches, self._split)
        if self._reporter.writes and math.isfinite(scores["loss"]):
            self._report_samples(step)
        # Of the same batches each time: which weights are best must not hang on what is measured.
        with self._together():
            self._best.offer(step, {"validation/loss": scores["loss"]})
        if last and len(self._all.dataset) > len(self._batches.dataset):
            scores = self.evaluate(self._all, self._split)
        scores = {f"validation/{name}": scores[name]
                  for name in ("loss", "perplexity", "bits_per_byte")}
        for probe in self._probes:
            scores |= probe(last)
        return scores

    def _report_samples(self, step: int) -> None:
        # Random numbers of its own for each sample; those of a like number would be alike.
        first = step * _SAMPLE_PROMPTS
        samples = self._generate(self._prompts.numpy(),
                                 rows=range(first, first + len(self._prompts)))
        decode = self._tokenizer.decode
        self._reporter.text(step, "samples", "\n\n".join(
            f"**{as_markdown(decode(prompt.tolist()))}** {as_markdown(decode(sample))}"
            for prompt, sample in zip(self._prompts.numpy(), samples)))


def _charts(config: PreTrainingRunConfig) -> dict[str, list[str]]:
    """What TensorBoard shows side by side."""
    charts = {name: [f"train/{name}", f"validation/{name}"] for name in ("loss", "perplexity")}
    charts["loss"] += [f"{name}/loss" for name in config.probe_names]
    return charts


def pretrain(config: PreTrainingRunConfig, cluster: Cluster) -> Outcome:
    """Takes a run to its end, from the start or from where it stopped.

    Call inside `cluster.owning(config.model_dir)`, on every worker.

    Raises:
      UserError: data, flags and run folder do not fit together, or the loss is not finite.
      Interrupted: a signal came; the run was saved.
    """
    run = start(config, cluster)
    if run.is_finished:
        return run.outcome(run.start)
    _announce(run)
    with run.reporting("Pre-training", _charts(config)) as reporter:
        steps = run.train(reporter, loss_of(run), batches_of(run),
                          LanguageModelValidation(run, reporter) if config.validates else None)
    return run.outcome(steps)


def start(config: PreTrainingRunConfig, cluster: Cluster) -> Run:
    """See `run.start_run`."""
    training = config.training
    return start_run(
        config, cluster,
        functools.partial(GPT, config.model, seed=training.seed, dtype=training.dtype_policy),
        take_over=lambda model, other: model.assign(other))


def loss_of(run: Run) -> LossFunction:
    """The loss that a run of pre-training lowers."""
    training = run.config.training
    return language_model_loss(run.model, training.seed, training.jit_compile)


def batches_of(run: Run) -> Batches:
    """This worker's share of the batches of the updates that a run has left."""
    data, training = run.config.data, run.config.training
    return train_batches(data.folder, training.batch_size, training.seed, run.start,
                         run.cluster.share, data.manifest)


def opening(data: TrainingData) -> str:
    """The first words of the validation text, or else of the training's, for a model to go on
    with: "It was the best of"."""
    split, *_ = *validation_splits(data.manifest), "train"
    batch = next(iter(evaluation_batches(data.folder, split, 1, manifest=data.manifest)))
    tokens = batch["token_ids"].numpy()[0, :_SAMPLE_PROMPT_TOKENS]
    return " ".join(data.tokenizer.decode(tokens.tolist()).split()[:_OPENING_WORDS])


def small_text_note(parameters: int, tokens: int, early_stopping: int) -> str:
    """What is to be expected where a text has fewer tokens than the model parameters; else ""."""
    if tokens >= parameters:
        return ""
    end = (f"the run ends after {early_stopping} validations without gain" if early_stopping else
           "--early_stopping=3 would end the run in time")
    return (f"The text is small for this model, {tokens:,} training tokens for {parameters:,} "
            "parameters: it will learn them by heart, and from then on validation gets worse. The "
            f"best weights are kept, and {end}; more text or a smaller model is better.")


def _announce(run: Run) -> None:
    config, manifest = run.config, run.config.data.manifest
    size, length = config.training.batch_size, manifest.sequence_length
    parameters, tokens = run.model.count_params(), manifest.splits["train"].tokens
    run.announce(f"{parameters:,} parameters; {tokens:,} training tokens; updates of {size} x "
                 f"{length} = {size * length:,} tokens on "
                 f"{run.cluster.strategy.num_replicas_in_sync} device(s)")
    if not config.validates:
        print("There is nothing to validate on: no weights are kept as the best, and nothing tells "
              "when the text is learnt by heart.", flush=True)
    elif note := small_text_note(parameters, tokens, config.training.early_stopping):
        print(note, flush=True)
