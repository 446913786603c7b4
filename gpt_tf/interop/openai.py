"""The released program's names for our variables (github.com/openai/finetune-transformer-lm)."""

import dataclasses

import keras
import numpy as np

from gpt_tf.model import GPT, TaskHead


@dataclasses.dataclass(frozen=True)
class Entry:
    """One released array and our variables, whose values stand in it side by side.

    Attributes:
      name: the released name.
      variables: ours, in the order in which their values are joined.
      axis: the axis of our values along which they are joined.
      is_kernel: released kernels are 1-wide convolutions, with a leading axis of one.
    """

    name: str
    variables: tuple[keras.Variable, ...]
    axis: int = -1
    is_kernel: bool = False

    def join(self, values: list[np.ndarray]) -> np.ndarray:
        """Our values (weights, gradients) -> the released array."""
        joined = np.concatenate([np.asarray(value) for value in values], axis=self.axis)
        return joined[None] if self.is_kernel else joined

    def split(self, array: np.ndarray) -> list[np.ndarray]:
        """The released array -> our values.

        Raises:
          ValueError: the array is not of the size of our variables together.
        """
        expected = self.join([np.empty(v.shape, np.float32) for v in self.variables]).shape
        if array.shape != expected:
            raise ValueError(f"{self.name} has shape {array.shape}; the model wants {expected}.")
        array = array[0] if self.is_kernel else array
        sizes = [variable.shape[self.axis] for variable in self.variables]
        return np.split(array, np.cumsum(sizes)[:-1], axis=self.axis)


def entries(model: GPT, head: TaskHead | None = None) -> list[Entry]:
    """Every variable of the model (and head) exactly once, under its released name.

    The released table `we` holds vocabulary, special and position rows, in this order.
    """
    result = [Entry("model/we", (model.embedding.token.embeddings,
                                 model.embedding.position.embeddings), axis=0)]
    for index, block in enumerate(model.blocks):
        attention, feed_forward = block.attention, block.feed_forward
        for name, layers in (("attn/c_attn", (attention.query, attention.key, attention.value)),
                             ("attn/c_proj", (attention.output_projection,)),
                             ("mlp/c_fc", (feed_forward.intermediate,)),
                             ("mlp/c_proj", (feed_forward.output_projection,))):
            prefix = f"model/h{index}/{name}"
            result += [Entry(f"{prefix}/w", tuple(x.kernel for x in layers), is_kernel=True),
                       Entry(f"{prefix}/b", tuple(x.bias for x in layers))]
        for name, norm in (("ln_1", block.attention_norm), ("ln_2", block.feed_forward_norm)):
            result += [Entry(f"model/h{index}/{name}/g", (norm.gamma,)),
                       Entry(f"model/h{index}/{name}/b", (norm.beta,))]
    if head is not None:
        result += [Entry("model/clf/w", (head.projection.kernel,)),
                   Entry("model/clf/b", (head.projection.bias,))]
    return result
