"""The paper's values, as frozen dataclasses. No TensorFlow here, and no flags.

Radford et al. 2018, section 4.1 ("Model specifications"), unless a line names another source.
A field made by `option` is also a flag of the commands that use the class.
"""

from collections.abc import Callable, Iterator
import dataclasses
import numbers
import operator
from typing import Any, ClassVar

# Which of a run's weights: those of its best validation, or those of its newest checkpoint.
BEST, NEWEST = "best", "newest"
# What stands for a model wherever a run folder is taken.
SOURCES = "Run folder, Keras preset, .keras file, hf:// handle, gpt_tiny_en or gpt_small_en"

LIMIT = 1 << 31  # of every number
# What may be asked of a number; an error says these words.
_LIMITS = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le,
           "below": operator.lt}
# What values of a field may be instances of, where that is more than its type.
_KINDS = {int: numbers.Integral, float: numbers.Real, int | None: numbers.Integral | None}


def option(default, help_text: str, choices: tuple[str, ...] = (), required: bool = False,
           resumable: bool = False, path: bool = False, **limits: float):
    """A dataclass field that is also a flag. A class of `Options` holds it to what is said here.

    Args:
      default: the flag's default; its type is the flag's type, or where it is None the field's.
      help_text: what `--help` says, with units.
      choices: the allowed values of a string flag; empty allows any.
      required: whether it must be given, and not empty. With None as default the command line
        does not parse without it.
      resumable: a run may go on with another value, because it changes speed or reporting and
        not the numbers.
      path: whether it names a file or a folder: `~` is the home, and it need not be UTF-8.
      **limits: of a number: any of `at_least`, `above`, `at_most`, `below`.
    """
    return dataclasses.field(default=default, metadata={
        "help": help_text, "choices": choices, "required": required, "resumable": resumable,
        "path": path, "limits": limits})


def may_change(*options: type) -> frozenset[str]:
    """The flags that may differ when a run goes on: they change where and how fast, not what.

    Args:
      *options: dataclasses of the run's flags.
    """
    return frozenset({"data_dir", "model_dir"} | {
        field.name for each in options for field in dataclasses.fields(each)
        if field.metadata["resumable"]})


def _number(default, **limits: float):
    """A dataclass field that is no flag, with the limits of `option`."""
    return dataclasses.field(default=default, metadata={"limits": limits})


class Options:
    """Base of the dataclasses of flags: each value is of its field's type and in its range.

    A subclass with a rule about several fields calls this `__post_init__` first.

    Raises:
      ValueError: a value is missing, of another type or out of range; the message names the flag,
        the value and what is allowed.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))

    @property
    def given(self) -> dict[str, Any]:
        """The fields whose values are not their defaults."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
                if getattr(self, field.name) != field.default}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _check(field: dataclasses.Field, value: Any) -> None:
    """Sees that a value is of its kind and in its range, and a number finite and below 2**31."""
    _require(bool(value) or not field.metadata.get("required"),
             f"--{field.name} must be given. Try --help.")
    _require(isinstance(value, _KINDS.get(field.type, field.type))
             and isinstance(value, bool) == (field.type is bool),
             f"--{field.name}={value!r:.40} must be of type "
             f"{getattr(field.type, '__name__', field.type)}.")
    choices = field.metadata.get("choices")
    _require(not choices or value in choices,
             f"--{field.name}={value!r:.40} must be one of {', '.join(choices or ())}.")
    if isinstance(value, str) and not field.metadata.get("path"):
        _require(not any("\ud800" <= character <= "\udfff" for character in value),
                 f"--{field.name}={value!r:.40} is not UTF-8 text: write it in UTF-8.")
    if not isinstance(value, numbers.Real):
        return
    _require(abs(value) < LIMIT,  # which nothing that is not finite is
             f"--{field.name}={value!r:.40} must be a number below 2**31.")
    _, *limits = limits_of(field)
    _require(all(compare(value, limit) for _, compare, limit in limits),
             f"--{field.name}={value} must be {' and '.join(words for words, *_ in limits)}.")


def limits_of(field: dataclasses.Field) -> Iterator[tuple[str, Callable[[Any, Any], Any], float]]:
    """Yields what is asked of a number: in words, and as a comparison with a limit."""
    yield "below 2**31", operator.lt, LIMIT
    for words, limit in field.metadata.get("limits", {}).items():
        yield f"{words.replace('_', ' ')} {limit}", _LIMITS[words], limit


@dataclasses.dataclass(frozen=True)
class ModelConfig(Options):
    """The shape of the decoder and its regularisation.

    Raises:
      ValueError: see `Options`; or the heads do not divide the width.
    """

    # BPE entries, as published; the tokenizer decides.
    vocabulary_size: int = _number(40478, at_least=1)
    # Start, delimiter, extract: the rows that fine-tuning adds.
    num_special_tokens: int = _number(0, at_least=0)
    num_layers: int = option(12, "Number of decoder blocks.", at_least=1)
    num_heads: int = option(12, "Attention heads per block; must divide --hidden_dim.", at_least=1)
    hidden_dim: int = option(768, "Width of the residual stream.", at_least=1)
    intermediate_dim: int = option(3072, "Inner width of the feed-forward layers.", at_least=1)
    max_sequence_length: int = option(512, "Number of learned positions, in tokens; 0: as many as "
                                           "the windows of the data have.", at_least=1)
    dropout: float = option(0.1, "Dropout rate on the output of each sub-layer.",
                            at_least=0, below=1)
    embedding_dropout: float = option(0.1, "Dropout rate on the summed embeddings.",
                                      at_least=0, below=1)
    attention_dropout: float = option(0.1, "Dropout rate on the attention weights.",
                                      at_least=0, below=1)
    layer_norm_epsilon: float = option(1e-5, "Added to the variance in layer normalisation.",
                                       above=0)
    initializer_range: float = option(0.02, "Standard deviation of the initial weights.",
                                      at_least=0)
    # The released graph keeps positions in the token table and lets them into the LM softmax.
    # Only parity with that program needs it.
    softmax_over_positions: bool = False

    # What a run that starts from another's weights may choose anew.
    NOT_SHAPE: ClassVar[tuple[str, ...]] = (
        "dropout", "embedding_dropout", "attention_dropout", "initializer_range")
    # Where the flag is 0, the data, or the run that another starts from, says the value.
    FROM_DATA: ClassVar[tuple[str, ...]] = ("max_sequence_length",)

    def __post_init__(self):
        super().__post_init__()
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
class OptimizerConfig(Options):
    """Adam with decoupled L2, and how its learning rate runs over the updates."""

    learning_rate: float = option(2.5e-4, "Peak learning rate.", above=0)
    schedule: str = option("cosine", "Course of the learning rate after the warm-up.",
                           choices=("cosine", "linear", "constant"))
    warmup_steps: float = option(2000, "Updates of linear warm-up.", at_least=0)
    beta_1: float = option(0.9, "Adam's decay of the mean gradient.", at_least=0, below=1)
    beta_2: float = option(0.999, "Adam's decay of the mean squared gradient.", at_least=0, below=1)
    epsilon: float = option(1e-8, "Adam's epsilon.", above=0)
    l2: float = option(0.01, "Decoupled L2 on every parameter but biases and gains.", at_least=0)
    clip_norm: float = option(1.0, "Largest global gradient norm; 0 leaves gradients alone.",
                              at_least=0)


@dataclasses.dataclass(frozen=True)
class CompilationConfig(Options):
    """What is kept of the compiled programs."""

    compile_cache: bool = option(
        True, "Keep what XLA compiles for the CPU in ~/.cache/gpt_tf/compiled, at most 128 MiB, "
        "where the next such command finds it.", resumable=True)


@dataclasses.dataclass(frozen=True)
class TrainingConfig(CompilationConfig):
    """How long a run is, how its batches are cut, and when it speaks and saves."""

    batch_size: int = option(64, "Sequences per update, over all devices.", at_least=1)
    micro_batch_size: int = option(
        0, "Sequences per device that are in memory at once; 0: as many as fit.",
        resumable=True, at_least=0)
    num_epochs: float = option(100.0, "Passes over the training data.")
    num_steps: int = option(0, "Number of updates; when positive it stands for --num_epochs.",
                            at_least=0)
    seed: int = option(0, "Decides initial weights, order of the data and dropout.", at_least=0)
    dtype: str = option(
        "float32", "Numbers of the forward and backward pass: float32; tf32, float32 of whose "
        "factors GPUs multiply the first 10 bits; or mixed_bfloat16.",
        choices=("float32", "tf32", "mixed_bfloat16"))
    jit_compile: bool = option(True, "Compile the step with XLA.", resumable=True)
    device: str = option(
        "auto", "Processors: auto, GPUs where there are any; or cpu.", choices=("auto", "cpu"),
        resumable=True)
    strategy: str = option(
        "auto", "Devices: one_device; mirrored (all GPUs of the machine); multi_worker (those of "
        "all processes that TF_CONFIG or Slurm name); or auto: multi_worker where TF_CONFIG "
        "names workers, mirrored when there is more than one GPU.",
        choices=("auto", "one_device", "mirrored", "multi_worker"), resumable=True)
    worker_timeout: float = option(
        100.0, "Seconds for which a worker of multi_worker waits for all others to start; 0: "
        "without end.", resumable=True, at_least=0)
    log_every: int = option(10, "Updates between lines of metrics.", resumable=True, at_least=1)
    evaluate_every: float = option(1000, "Updates between validations; 0: at the end only.",
                                   resumable=True, at_least=0)
    evaluation_batches: int = option(
        0, "Batches of a validation during training, from all over the split, by which the best "
        "weights are chosen; 0 takes all. The report after the last update is of all.", at_least=0)
    save_every: int = option(1000, "Updates between checkpoints.", resumable=True, at_least=1)
    early_stopping: int = option(
        0, "Validations after which a run ends if none was better than the best before them; 0: it "
        "takes all its updates.", resumable=True, at_least=0)
    keep_checkpoints: int = option(3, "Newest checkpoints that are kept.", resumable=True,
                                   at_least=1)
    checkpoints_per_decade: int = option(
        0, "Checkpoints that are saved and kept, beside the newest, for each factor of ten of the "
        "updates: 3 are those of 1, 2, 5, 10, 22, 46, 100, ...; 0: none, and a run that goes on "
        "so removes them.", resumable=True,
        at_least=0, at_most=100)
    histograms_every: int = option(
        0, "Updates between histograms of each weight matrix and its gradient in TensorBoard; 0: "
        "none.", resumable=True, at_least=0)
    profile_step: int = option(0, "Record a TensorBoard profile of 5 updates from this one on; "
                               "0: none.", resumable=True, at_least=0)

    def __post_init__(self):
        super().__post_init__()
        _require(self.num_steps > 0 or self.num_epochs > 0,
                 "--num_epochs or --num_steps must be positive.")

    @property
    def dtype_policy(self) -> str:
        """Keras's name of `dtype`: TF32 is a matter of the device (`training/devices.py`)."""
        return "float32" if self.dtype == "tf32" else self.dtype

    def total_steps(self, num_records: int) -> int:
        """Updates of a run on so many records: epochs become updates here and nowhere else."""
        return self.num_steps or max(1, round(self.num_epochs * num_records / self.batch_size))


@dataclasses.dataclass(frozen=True)
class ProbeConfig(Options):
    """What is measured of a language model in its course, beside its own validation."""

    probe_induction: bool = option(
        False, "Measure at each validation how far tokens that are repeated are foreseen: the loss "
        "of random tokens less that of the same tokens once more, in nats.", resumable=True)
    probe_data: str = option(
        "", "Data folders of pipelines.build_corpus, separated by commas, on whose validation "
        "splits the model is measured at each validation, too.", resumable=True, path=True)


@dataclasses.dataclass(frozen=True)
class FineTuningConfig(Options):
    """What fine-tuning adds (Radford et al. 2018, sections 3.2 and 4.1)."""

    transfer_layers: int = option(-1, "Blocks taken from --init_from, counted from the first; "
                                      "-1: all, 0: the embeddings only.", at_least=-1)
    lm_coef: float = option(0.5, "Weight of the auxiliary language-model loss; 0: none.",
                            at_least=0)
    classifier_dropout: float = option(0.1, "Dropout rate on the input of the new linear layer.",
                                       at_least=0, below=1)
    warmup_fraction: float = option(0.002, "Share of the updates with linear warm-up.",
                                    at_least=0, at_most=1)
    evaluations_per_epoch: float = option(1.0, "Validations per pass over the training data; "
                                               "0: at the end only.", at_least=0)


@dataclasses.dataclass(frozen=True)
class LoadingConfig(Options):
    """Which of a run's weights are taken."""

    weights: str = option(BEST, "Weights to take: those of the run's best validation, or of its "
                                "newest checkpoint.", choices=(BEST, NEWEST))


@dataclasses.dataclass(frozen=True)
class SamplingConfig(Options):
    """How the next token is chosen. `temperature=0` is greedy."""

    temperature: float = option(1.0, "Divides the logits; 0 takes the likeliest token (greedy).",
                                at_least=0)
    top_k: int = option(0, "Choose among the k likeliest tokens; 0: all.", at_least=0)
    top_p: float = option(1.0, "Choose among the likeliest tokens that hold this share of the "
                          "probability (Holtzman et al. 2019); 1: all.", above=0, at_most=1)


@dataclasses.dataclass(frozen=True)
class GenerationConfig(Options):
    """How far texts are continued."""

    max_new_tokens: int = option(80, "Tokens to add.", at_least=1)
    past_limit: str = option(
        "stop", "What happens when a text fills the model's positions: stop ends it there, slide "
        "goes on from its newest half.", choices=("stop", "slide"))
    seed: int = option(0, "Decides the samples.", at_least=0)
