"""How many sequences are in memory at once: by an estimate, before anything is compiled."""

from collections.abc import Callable
import dataclasses

import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.common.memory import machine_memory, size_text
from gpt_tf.config import ModelConfig
from gpt_tf.model.losses import chunk_length
from gpt_tf.training.run_config import RunConfig

_SHARE = 0.8  # of the memory there is: other programs have some, and an estimate is one
# Python with TensorFlow; XLA's programs of an update and of what else a run does, and for each
# block. On a GPU they are not in its memory, and only make the estimate larger.
_PROCESS, _PROGRAMS, _PROGRAMS_OF_BLOCK = 640 << 20, 250 << 20, 80 << 20


@dataclasses.dataclass(frozen=True)
class MicroBatches:
    """How a device's rows of a batch are cut.

    rows: of a device.
    size: those in memory at once.
    needed: bytes that a run takes so, by `run_memory`.
    available: bytes there are.
    """

    rows: int
    size: int
    needed: int
    available: int

    def __str__(self) -> str:
        """Example: Micro-batches of 16 of 64 sequences: about 15.4 GiB of 23.5 GiB."""
        return (f"Micro-batches of {self.size} of {self.rows} sequences: about "
                f"{size_text(self.needed)} of {size_text(self.available)}.")


def run_memory(model: ModelConfig, length: int, share: int, micro: int,
               jit_compile: bool = True) -> int:
    """About how many bytes a process of training takes at its peak.

    Letters as in `model/layers.py`; P parameters, L blocks, V rows of the softmax, all numbers of
    4 bytes (on a CPU XLA computes bfloat16 in float32, and takes no less):

    - P each for the parameters and Adam's two moments, and where there are micro-batches for the
      sum of their gradients.
    - For its backward pass a sequence keeps in each block 8 T D (query, key, value, the heads'
      result, and what goes into and comes out of the two norms), 4 T F (GELU's input, its tanh
      and two products) and 2 H T T (attention's weights before and after dropout; without
      dropout, once); and 8 T D at the embedding and the softmax. Operation by operation, without
      XLA, each is held with more of its steps: 2.5 times, and attention's weights 1.5 times.
    - The LM softmax forms its gradient beside these: 3 V D, and a chunk of logits; after it V D
      are left, and the backward pass begins with T F. The other gradients take the room of
      activations that are used up, P in the end.
    - Validation has the whole share at once, but of one block: two of the larger of H T T and
      T F, and 2 T D.
    - The process, its compiled programs, and those of each block.

    The terms are XLA's own list of buffers of the paper's model at 1, 2 and 4 sequences; for 15
    other shapes, of 0.05 to 14 GB, they give its sums within 9 %. The process was measured as
    VmHWM: whole runs of 1.9 to 11 GB (the paper's, 8 sequences at once: 10.3 GiB) are within 7 %,
    the quickstart's shape (1.0 GB) and 24 blocks (3.2 GB) take 12 and 16 % less. On GPUs nothing
    was measured.

    Args:
      model: its shape.
      length: T, tokens of a sequence.
      share: sequences of a device's share of a batch.
      micro: sequences of a micro-batch.
      jit_compile: whether XLA compiles the update.
    """
    width, heads, inner = model.hidden_dim, model.num_heads, model.intermediate_dim
    rows, blocks, parameters = model.num_token_rows, model.num_layers, model.num_parameters
    streams, weights = (1.0, 1.0) if jit_compile else (2.5, 1.5)
    attention = heads * length * (2 if model.attention_dropout else 1)
    kept = length * (8 * width + blocks * (
        streams * (8 * width + 4 * inner) + weights * attention))
    beside = max(3 * rows * width + rows * min(micro * length, chunk_length(rows)),
                 rows * width + micro * length * inner)
    update = max(micro * kept + beside, parameters) + (parameters if micro < share else 0)
    validation = share * length * 2 * (width + max(heads * length, inner))
    programs = _PROGRAMS + (blocks * _PROGRAMS_OF_BLOCK if jit_compile else 0)
    return _PROCESS + programs + int(4 * (3 * parameters + max(update, validation)))


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

    Args:
      config: the run.
      strategy: whose replicas share a batch.
      before: sequences at once with which the run was begun; 0: it is a new one.
      memory: strategy -> bytes for each replica.

    Raises:
      UserError: what it says does not fit, or no size does. Not on GPUs, where the estimate was
        never measured, and want of memory is an error and no kill.
    """
    training, manifest = config.training, config.data.manifest
    rows = training.batch_size // strategy.num_replicas_in_sync
    sequences = manifest.task.num_sequences if manifest.task else 1
    available = memory(strategy)

    def cut(size: int) -> MicroBatches:
        needed = run_memory(config.model, manifest.sequence_length, rows * sequences,
                            size * sequences, training.jit_compile)
        return MicroBatches(rows, size, needed, available)

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
        raise UserError(_too_much(chosen, best, manifest.sequence_length))
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
