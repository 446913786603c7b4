"""How many sequences are in memory at once: by an estimate, before anything is compiled."""

from collections.abc import Callable
import dataclasses

import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.common.memory import machine_memory, size_text
from gpt_tf.config import ModelConfig
from gpt_tf.model.attention import BLOCK
from gpt_tf.model.losses import chunk_length
from gpt_tf.training.run_config import RunConfig

_SHARE = 0.8  # of the memory there is: other programs have some, and an estimate is one
# Python with TensorFlow; XLA's programs of an update and of what else a run does; what they take
# for each block of attention's queries, and the graph for each block of the model. On a GPU they
# are not in its memory, and only make the estimate larger.
_PROCESS, _PROGRAMS, _OF_QUERIES, _OF_BLOCK = 725 << 20, 190 << 20, 19 << 20, 8 << 20
_STREAMS_WITHOUT_XLA = 2.7


@dataclasses.dataclass(frozen=True)
class MicroBatches:
    """How a device's rows of a batch are cut.

    rows: of a device.
    size: those in memory at once.
    parts: bytes that a run takes so, by `run_memory`.
    available: bytes there are.
    too_much: what to do where that is less; empty where nothing has to be done.
    """

    rows: int
    size: int
    parts: dict[str, int]
    available: int
    too_much: str = ""

    @property
    def needed(self) -> int:
        """Bytes that a run takes so."""
        return sum(self.parts.values())

    def check(self) -> None:
        """Raises UserError where they are too large."""
        if self.too_much:
            raise UserError(self.too_much)

    def __str__(self) -> str:
        """Example: Micro-batches of 32 of 64 sequences: about 15.5 GiB of 23.5 GiB."""
        return (f"Micro-batches of {self.size} of {self.rows} sequences: about "
                f"{size_text(self.needed)} of {size_text(self.available)}.")


def run_memory(model: ModelConfig, length: int, share: int, micro: int,
               jit_compile: bool = True) -> dict[str, int]:
    """About how many bytes a process of training takes at its peak: what for -> so many.

    Letters as in `model/layers.py`; P parameters, L blocks, V rows of the softmax, all numbers of
    4 bytes (on a CPU XLA computes bfloat16 in float32, and takes no less):

    - P each for the parameters, Adam's two moments and the gradients, and where there are
      micro-batches half as much again for the gradients' sum.
    - For its backward pass a sequence keeps in each block 7 T D (what goes in, query, key, value,
      the heads' result and what the two halves add) and T F (GELU's input): what `keep` is called
      with. Operation by operation, without XLA, what stands between is held, too: 2.7 times 9 T D
      and 2 T F.
    - Of the block at hand 8 T D, 4 T F and three times attention's weights, H T T: XLA computes
      blocks of queries side by side. Without XLA the weights twice, of A queries at a time
      (`attention.BLOCK`), 2 H A T, and the gradients of key and value from all blocks of queries
      before they are added up, 6.5 T D for each after the first.
    - Or, where it is more, the LM softmax: its gradient, V D, and a chunk of logits twice.
    - Validation has the whole share at once, but of one block: two of the larger of H A T and
      T F, and 2 T D.
    - The process and its compiled programs.

    Parts that are not in memory at once are named by the larger: the softmax or the block, and of
    validation what it takes beyond an update.

    Fitted to the peaks (VmHWM) of 13 processes of 1.4 to 4.9 GB that took three updates, which it
    gives within 12 %. On GPUs nothing was measured.

    Args:
      model: its shape.
      length: T, tokens of a sequence.
      share: sequences of a device's share of a batch.
      micro: sequences of a micro-batch.
      jit_compile: whether XLA compiles the update.
    """
    width, heads, inner = model.hidden_dim, model.num_heads, model.intermediate_dim
    rows, blocks, parameters = model.num_token_rows, model.num_layers, model.num_parameters
    queries, cuts = min(length, BLOCK), -(-length // BLOCK)
    softmax = rows * (width + 2 * min(micro * length, chunk_length(rows, width)))
    if jit_compile:
        programs = _PROGRAMS + cuts * _OF_QUERIES + blocks * _OF_BLOCK
        kept = blocks * length * (7 * width + inner)
        block = length * (8 * width + 4 * inner) + 3 * heads * length * length
    else:
        programs = _PROGRAMS
        kept = _STREAMS_WITHOUT_XLA * blocks * length * (9 * width + 2 * inner)
        block = 2 * heads * queries * length + 6.5 * length * width * (cuts - 1)
    at_hand, what = max((softmax, "LM softmax"), (micro * block, "block at hand"))
    numbers = {"weights": parameters, "Adam's moments": 2 * parameters,
               "gradients": parameters * (2.5 if micro < share else 1),
               "kept for the backward pass": micro * kept, what: at_hand}
    validation = 3 * parameters + share * length * 2 * (width + max(heads * queries, inner))
    numbers["more for a validation"] = max(0, validation - sum(numbers.values()))
    return {**{what: int(4 * count) for what, count in numbers.items()},
            "process and programs": _PROCESS + programs}


def device_memory(strategy: tf.distribute.Strategy) -> int:
    """Bytes for each replica: what TensorFlow has of its GPU, or its share of the machine's."""
    if tf.config.list_logical_devices("GPU"):
        return min(_limits("GPU"))
    return machine_memory() // len(strategy.extended.worker_devices)


def _limits(kind: str) -> list[int]:
    """The memory of TensorFlow's devices of a kind, in bytes.

    No public name tells it: `Session.list_devices` looks anew, when the memory is taken already.
    """
    # Here, so that a TensorFlow in which these have moved still trains on processors.
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.client import pywrap_tf_session
    from tensorflow.python.eager import context

    context.ensure_initialized()
    devices = pywrap_tfe.TFE_ContextListDevices(context.context()._handle)
    return [pywrap_tf_session.TF_DeviceListMemoryBytes(devices, index)
            for index in range(pywrap_tf_session.TF_DeviceListCount(devices))
            if pywrap_tf_session.TF_DeviceListType(devices, index) == kind]


def choose(config: RunConfig, strategy: tf.distribute.Strategy, before: int = 0,
           memory: Callable[[tf.distribute.Strategy], int] = device_memory) -> MicroBatches:
    """The micro-batches of --micro_batch_size; where it is 0, those before or the largest that fit.

    Where what it says does not fit, or no size does, they are `too_much`. Not so on GPUs, where
    the estimate was never measured, and want of memory is an error and no kill.

    Args:
      config: the run.
      strategy: whose replicas share a batch.
      before: sequences at once with which the run was begun; 0: it is a new one.
      memory: strategy -> bytes for each replica.
    """
    training, manifest = config.training, config.data.manifest
    rows = training.batch_size // strategy.num_replicas_in_sync
    sequences = manifest.task.num_sequences if manifest.task else 1
    available = memory(strategy)

    def cut(size: int) -> MicroBatches:
        parts = run_memory(config.model, manifest.sequence_length, rows * sequences,
                           size * sequences, training.jit_compile)
        return MicroBatches(rows, size, parts, available)

    cuts = [cut(size) for size in range(rows, 0, -1) if rows % size == 0]
    # Smaller ones may take as much: validation has the whole share at once.
    best = next((c for c in cuts if c.needed <= _SHARE * available),
                min(cuts, key=lambda c: c.needed))
    chosen = best
    if training.micro_batch_size:
        chosen = cut(training.micro_batch_size)
    elif before and rows % before == 0 and cut(before).needed <= available:
        chosen = cut(before)
    if chosen.needed > available and not tf.config.list_logical_devices("GPU"):
        return dataclasses.replace(
            chosen, too_much=_too_much(chosen, best, manifest.sequence_length))
    return chosen


def _too_much(chosen: MicroBatches, best: MicroBatches, length: int) -> str:
    """What to do where `chosen` takes more than there is, and nothing less than `best`."""
    takes = f"would take about {size_text(chosen.needed)} of memory"
    has = f"there are {size_text(chosen.available)}"
    if best.needed <= best.available:
        return (f"--micro_batch_size={chosen.size} {takes}, and {has}: leave the flag out, and it "
                f"is {best.size} (about {size_text(best.needed)}).")
    return (f"One sequence of {length} tokens at a time {takes}, and {has}: choose a smaller "
            "model (--num_layers, --hidden_dim), shorter windows of the data, or a smaller "
            "--batch_size, which is validated at once.")
