"""What every kind of export does: loads a run, traces functions, writes a folder whole or not."""

from collections.abc import Iterable, Iterator
import contextlib

import tensorflow as tf

from gpt_tf.common.errors import UserError, reason
from gpt_tf.common.files import atomic_folder
from gpt_tf.common.memory import is_out_of_memory
from gpt_tf.model.gpt import GPT
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import run_folder, weights
from gpt_tf.serving.signatures import Signature


def load(model_dir: str, which: str) -> tuple[GPT | TaskModel, int]:
    """A run's model, and the update of its weights.

    Args:
      model_dir: the run folder.
      which: weights, `config.BEST` or `config.NEWEST`.

    Raises:
      UserError: the folder is not a run's, or has no checkpoint that is whole.
    """
    if run_folder.is_fine_tuned(model_dir):
        model, _, step = weights.load_task_model(model_dir, weights=which)
        return model, step
    return weights.load_model(model_dir, weights=which)


def trace(signature: Signature) -> tf.types.experimental.ConcreteFunction:
    """A concrete function whose inputs have the signature's names."""
    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name)
             for name, spec in signature.inputs.items()}
    return tf.function(lambda **inputs: signature.function(**inputs),
                       autograph=False).get_concrete_function(**specs)


def dimensions(sizes: Iterable[int | None]) -> list[int | str]:
    """The sizes of a tensor, and names of those that are free: "batch" comes first, "time" later.

    Example: dimensions([None, 2, None]) gives ["batch", 2, "time"].
    """
    return [size or ("time" if place else "batch") for place, size in enumerate(sizes)]


@contextlib.contextmanager
def whole_folder(target: str) -> Iterator[str]:
    """`files.atomic_folder` for what TensorFlow writes, whose errors are sentences, too.

    Raises:
      UserError: the place cannot be written.
    """
    try:
        with atomic_folder(target) as folder:
            yield folder
    except (tf.errors.OpError, OSError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"Cannot write {target}: {reason(error)}; make room or choose another "
                        "folder, then run the same command again.") from error
