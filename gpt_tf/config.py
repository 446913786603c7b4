"""The paper's values, as frozen dataclasses. No TensorFlow here, and no flags.

Radford et al. 2018, section 4.1 ("Model specifications"), unless a line names another source.
A field made by `option` is also a flag of the commands that use the class.
"""

import dataclasses
import numbers
from typing import Any, ClassVar

_LIMIT = 1 << 31


def option(default, help_text: str, choices: tuple[str, ...] = (), resumable: bool = False):
    """A dataclass field that is also a flag.

    Args:
      default: the flag's default; its type is the flag's type.
      help_text: what `--help` says, with units.
      choices: the allowed values of a string flag; empty allows any.
      resumable: a run may go on with another value, because it changes speed or reporting and
        not the numbers.
    """
    return dataclasses.field(default=default, metadata={
        "help": help_text, "choices": choices, "resumable": resumable})


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_kinds(config: Any) -> None:
    """Sees that each value is of its default's kind, and each number finite and below 2**31."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        kind = {int: numbers.Integral, float: numbers.Real}.get(field.type, field.type)
        _require(isinstance(value, kind) and isinstance(value, bool) == (field.type is bool),
                 f"--{field.name}={value!r:.40} must be of type {field.type.__name__}.")
        _require(not isinstance(value, numbers.Real)
                 or abs(value) < _LIMIT,  # which nothing that is not finite is
                 f"--{field.name}={value!r:.40} must be a number below 2**31.")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The shape of the decoder and its regularisation.

    Raises:
      ValueError: a value is of another kind, a size is not positive, a rate is outside [0, 1), or
        the heads do not divide the width.
    """

    vocabulary_size: int = 40478  # BPE entries, as published; the tokenizer decides
    num_special_tokens: int = 0  # start, delimiter, extract: the rows that fine-tuning adds
    num_layers: int = option(12, "Number of decoder blocks.")
    num_heads: int = option(12, "Attention heads per block; must divide --hidden_dim.")
    hidden_dim: int = option(768, "Width of the residual stream.")
    intermediate_dim: int = option(3072, "Inner width of the feed-forward layers.")
    max_sequence_length: int = option(512, "Number of learned positions, in tokens.")
    dropout: float = option(0.1, "Dropout rate on the output of each sub-layer.")
    embedding_dropout: float = option(0.1, "Dropout rate on the summed embeddings.")
    attention_dropout: float = option(0.1, "Dropout rate on the attention weights.")
    layer_norm_epsilon: float = option(1e-5, "Added to the variance in layer normalisation.")
    initializer_range: float = option(0.02, "Standard deviation of the initial weights.")
    # The released graph keeps positions in the token table and lets them into the LM softmax.
    # Only parity with that program wants it.
    softmax_over_positions: bool = False

    # What a run that starts from another's weights may choose anew.
    NOT_SHAPE: ClassVar[tuple[str, ...]] = (
        "dropout", "embedding_dropout", "attention_dropout", "initializer_range")

    def __post_init__(self):
        _require_kinds(self)
        for name in ("vocabulary_size", "num_layers", "num_heads", "hidden_dim",
                     "intermediate_dim", "max_sequence_length", "layer_norm_epsilon"):
            _require(getattr(self, name) > 0,
                     f"--{name}={getattr(self, name)} must be positive.")
        for name in ("num_special_tokens", "initializer_range"):
            _require(getattr(self, name) >= 0,
                     f"--{name}={getattr(self, name)} must not be negative.")
        for name in ("dropout", "embedding_dropout", "attention_dropout"):
            _require(0 <= getattr(self, name) < 1,
                     f"--{name}={getattr(self, name)} must be at least 0 and below 1.")
        _require(self.hidden_dim % self.num_heads == 0,
                 f"--hidden_dim={self.hidden_dim} must be a multiple of "
                 f"--num_heads={self.num_heads}.")

    @property
    def num_token_rows(self) -> int:
        """Rows of the token table: the vocabulary and the special tokens."""
        return self.vocabulary_size + self.num_special_tokens

    @property
    def num_parameters(self) -> int:
        """Trainable values of the trunk with its tied head; 116,534,784 for the paper's model."""
        width, inner = self.hidden_dim, self.intermediate_dim
        block = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
        return ((self.num_token_rows + self.max_sequence_length) * width
                + self.num_layers * block)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam with decoupled L2, and how its learning rate runs over the updates."""

    learning_rate: float = option(2.5e-4, "Peak learning rate.")
    schedule: str = option("cosine", "Course of the learning rate after the warm-up.",
                           choices=("cosine", "linear", "constant"))
    warmup_steps: float = option(2000, "Updates of linear warm-up.")
    beta_1: float = option(0.9, "Adam's decay of the mean gradient.")
    beta_2: float = option(0.999, "Adam's decay of the mean squared gradient.")
    epsilon: float = option(1e-8, "Adam's epsilon.")
    l2: float = option(0.01, "Decoupled L2 on every parameter but biases and gains.")
    clip_norm: float = option(1.0, "Largest global gradient norm; 0 leaves gradients alone.")

    def __post_init__(self):
        _require_kinds(self)
        for name in ("learning_rate", "epsilon"):
            _require(getattr(self, name) > 0, f"--{name}={getattr(self, name)} must be positive.")
        for name in ("warmup_steps", "l2", "clip_norm"):
            _require(getattr(self, name) >= 0,
                     f"--{name}={getattr(self, name)} must not be negative.")
        for name in ("beta_1", "beta_2"):
            _require(0 <= getattr(self, name) < 1,
                     f"--{name}={getattr(self, name)} must be at least 0 and below 1.")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How long a run is, how its batches are cut, and when it speaks and saves."""

    batch_size: int = option(64, "Sequences per update, over all devices.")
    micro_batch_size: int = option(
        0, "Sequences per device that are in memory at once; 0 takes the device's whole share.",
        resumable=True)
    num_epochs: float = option(100.0, "Passes over the training data.")
    num_steps: int = option(0, "Number of updates; when positive it stands for --num_epochs.")
    seed: int = option(0, "Decides initial weights, order of the data and dropout.")
    dtype: str = option("float32", "Numbers of the forward and backward pass.",
                        choices=("float32", "mixed_bfloat16"))
    jit_compile: bool = option(True, "Compile the step with XLA.", resumable=True)
    strategy: str = option(
        "auto", "Devices: one_device; mirrored (all GPUs of the machine); multi_worker (those of "
        "all processes that TF_CONFIG or Slurm name); or auto: multi_worker where TF_CONFIG is "
        "set, mirrored when there is more than one GPU.",
        choices=("auto", "one_device", "mirrored", "multi_worker"), resumable=True)
    worker_timeout: float = option(
        100.0, "Seconds for which a worker of multi_worker waits for all others to start; 0: "
        "without end.", resumable=True)
    log_every: int = option(10, "Updates between lines of metrics.", resumable=True)
    evaluate_every: float = option(1000, "Updates between validations; 0: at the end only.",
                                 resumable=True)
    evaluation_batches: int = option(
        0, "Batches of a validation during training; 0 takes all. The last one takes all.",
        resumable=True)
    save_every: int = option(1000, "Updates between checkpoints.", resumable=True)
    keep_checkpoints: int = option(3, "Newest checkpoints that are kept.", resumable=True)
    profile_step: int = option(0, "Record a TensorBoard profile of 5 updates from this one on; "
                               "0: none.", resumable=True)

    def __post_init__(self):
        _require_kinds(self)
        for name in ("batch_size", "log_every", "save_every", "keep_checkpoints"):
            _require(getattr(self, name) > 0, f"--{name}={getattr(self, name)} must be positive.")
        for name in ("micro_batch_size", "num_steps", "evaluate_every", "evaluation_batches",
                     "profile_step", "worker_timeout"):
            _require(getattr(self, name) >= 0,
                     f"--{name}={getattr(self, name)} must not be negative.")
        _require(0 <= self.seed < 2**31, f"--seed={self.seed} must be at least 0 and below 2**31.")
        _require(self.num_steps > 0 or self.num_epochs > 0,
                 "--num_epochs or --num_steps must be positive.")

    def total_steps(self, num_records: int) -> int:
        """Updates of a run on so many records: epochs become updates here and nowhere else."""
        return self.num_steps or max(1, round(self.num_epochs * num_records / self.batch_size))


@dataclasses.dataclass(frozen=True)
class FineTuningConfig:
    """What fine-tuning adds (Radford et al. 2018, sections 3.2 and 4.1)."""

    transfer_layers: int = option(-1, "Blocks taken from --init_from, counted from the first; "
                                      "-1: all, 0: the embeddings only.")
    lm_coef: float = option(0.5, "Weight of the auxiliary language-model loss; 0: none.")
    classifier_dropout: float = option(0.1, "Dropout rate on the input of the new linear layer.")
    warmup_fraction: float = option(0.002, "Share of the updates with linear warm-up.")
    evaluations_per_epoch: float = option(1.0, "Validations per pass over the training data; "
                                               "0: at the end only.")

    def __post_init__(self):
        _require_kinds(self)
        _require(self.transfer_layers >= -1, f"--transfer_layers={self.transfer_layers} must be "
                                             "-1 or a number of blocks.")
        _require(0 <= self.classifier_dropout < 1, "--classifier_dropout="
                 f"{self.classifier_dropout} must be at least 0 and below 1.")
        _require(0 <= self.warmup_fraction <= 1,
                 f"--warmup_fraction={self.warmup_fraction} must be between 0 and 1.")
        for name in ("lm_coef", "evaluations_per_epoch"):
            _require(getattr(self, name) >= 0,
                     f"--{name}={getattr(self, name)} must not be negative.")


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """How the next token is chosen. `temperature=0` is greedy."""

    temperature: float = option(1.0, "Divides the logits; 0 takes the likeliest token (greedy).")
    top_k: int = option(0, "Choose among the k likeliest tokens; 0: all.")
    top_p: float = option(1.0, "Choose among the likeliest tokens that hold this share of the "
                          "probability (Holtzman et al. 2019); 1: all.")

    def __post_init__(self):
        _require_kinds(self)
        for name in ("temperature", "top_k"):
            _require(getattr(self, name) >= 0,
                     f"--{name}={getattr(self, name)} must not be negative.")
        _require(0 < self.top_p <= 1, f"--top_p={self.top_p} must be above 0 and at most 1.")


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """How far texts are continued."""

    max_new_tokens: int = option(80, "Tokens to add.")
    past_limit: str = option(
        "stop", "What happens when a text fills the model's positions: stop ends it there, slide "
        "goes on from its newest half.", choices=("stop", "slide"))
    seed: int = option(0, "Decides the samples.")

    def __post_init__(self):
        _require_kinds(self)
        _require(self.max_new_tokens > 0,
                 f"--max_new_tokens={self.max_new_tokens} must be positive.")
        _require(0 <= self.seed < 2**31, f"--seed={self.seed} must be at least 0 and below 2**31.")
