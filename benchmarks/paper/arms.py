"""The arms of a comparison: what is fine-tuned on a task, beside the recipe that all share."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from gpt_tf.runs.run_folder import FROM_SCRATCH


def _finetune(*arguments: Any) -> None:
    from gpt_tf.training.finetuning import finetune  # who only makes tables needs no TensorFlow

    finetune(*arguments)


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
