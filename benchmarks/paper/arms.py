"""The arms of a comparison: what is fine-tuned on a task, beside the recipe that all share."""

from collections.abc import Callable, Mapping
import dataclasses
import gc
import math
from typing import Any

from gpt_tf.config import ModelConfig
from gpt_tf.runs.run_folder import FROM_SCRATCH


def _finetune(*arguments: Any) -> None:
    from gpt_tf.training.finetuning import finetune  # who only makes tables needs no TensorFlow

    try:
        finetune(*arguments)
    finally:
        gc.collect()  # a model and its compiled steps hold each other


def _finetune_lstm(*arguments: Any) -> None:
    from benchmarks.paper.lstm_block import in_place_of_blocks

    with in_place_of_blocks():
        _finetune(*arguments)


@dataclasses.dataclass(frozen=True)
class Arm:
    """What is fine-tuned.

    name: in tables and in the names of folders.
    init_from: a run folder; the arm takes over its weights. FROM_SCRATCH: none.
    flags: of `gpt_tf.finetune`, in place of the recipe's and of the pre-trained run's shape.
    finetune: (FineTuningRunConfig, Cluster, `finetuning.Watch`) -> None; takes the run to its end,
      or on from where it was stopped, and calls the watch at the last update.
    """

    name: str
    init_from: str
    flags: Mapping[str, object] = dataclasses.field(default_factory=dict, hash=False)
    finetune: Callable[..., Any] = _finetune


def pretrained(run: str) -> Arm:
    """From a run folder, with the joint loss."""
    return Arm("pretrained", run)


def scratch() -> Arm:
    """The same shape and loss, from random weights."""
    return Arm("scratch", FROM_SCRATCH)


def without_lm(run: str) -> Arm:
    """From a run folder, without the auxiliary loss."""
    return Arm("no_lm", run, {"lm_coef": 0.0})


def first_layers(run: str, count: int, shape: ModelConfig) -> Arm:
    """From a run folder of this shape, the embeddings and its first `count` blocks."""
    if count == shape.num_layers:
        return pretrained(run)
    return Arm(f"layers_{count}", run, {"transfer_layers": count})


def lstm(run: str, shape: ModelConfig) -> Arm:
    """From a run of this shape whose block is an LSTM, with the joint loss."""
    # Dropout is the recipe's, and fine-tuning adds special tokens of its own.
    left_out = {"num_special_tokens", *ModelConfig.NOT_SHAPE}
    flags = {name: value for name, value in dataclasses.asdict(shape).items()
             if name not in left_out}
    return Arm("lstm", run, flags, _finetune_lstm)


def equal_units(config: ModelConfig) -> int:
    """The units with which one LSTM has about as many parameters as a decoder's blocks.

    Args:
      config: the decoder's shape.
    """
    width, rows = config.hidden_dim, config.num_token_rows + config.max_sequence_length
    wanted = config.num_parameters - rows * width
    # 4 U^2 + (5 D + 4) U + D parameters, see `lstm_block.LSTMBlock`.
    linear = 5 * width + 4
    return max(1, round((math.sqrt(linear**2 + 16 * (wanted - width)) - linear) / 8))
