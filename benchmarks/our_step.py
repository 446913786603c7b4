"""A shape of model and batch, and our own training step over it on random tokens."""

from collections.abc import Callable
import dataclasses

from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig
from gpt_tf.training import products

TOTAL_UPDATES = 1000  # of the learning-rate schedule; the speed does not depend on it


@dataclasses.dataclass(frozen=True)
class Shape:
    """What is trained: a model and its global batch of `batch_size` rows of full length."""

    model: ModelConfig
    batch_size: int

    @property
    def tokens(self) -> int:
        """Tokens of one update."""
        return self.batch_size * self.model.max_sequence_length


def products_of(shape: Shape) -> list[products.Product]:
    """The matrix products of an update."""
    from gpt_tf.model.losses import chunk_length
    return products.of_step(shape.model, shape.model.max_sequence_length, shape.batch_size,
                            chunk_length(shape.model.num_token_rows, shape.model.hidden_dim))


def random_tokens(shape: Shape):
    """int64 [B, T], the same for every side."""
    import numpy as np
    return np.random.default_rng(0).integers(
        shape.model.vocabulary_size, size=(shape.batch_size, shape.model.max_sequence_length))


def make_update(model, config: OptimizerConfig, total_updates: int) -> Callable:
    """`gpt_tf`'s own compiled training step over `model`, without data folder and checkpoints.

    Returns:
      (token_ids int [B, T], lengths int [B]) -> the loss, having trained on the batch.
    """
    import itertools

    import tensorflow as tf

    from gpt_tf.model.objectives import language_model_loss
    from gpt_tf.model.optimizer import Adam
    from gpt_tf.training.replicas import one_device
    from gpt_tf.training.train_step import TrainStep
    variables = model.trainable_variables
    optimizer = Adam(variables, config, total_updates)
    step_function = TrainStep(
        one_device(), variables, language_model_loss(model, seed=0, jit_compile=True), optimizer,
        TrainingConfig())
    steps = itertools.count(1)

    def update(token_ids, lengths) -> float:
        step = next(steps)
        batch = {"token_ids": tf.constant(token_ids, tf.int32), "step": tf.constant(step, tf.int64),
                 "lengths": tf.constant(lengths, tf.int32), "batch_rows": tf.range(len(lengths))}
        return float(step_function(batch, step)["loss"])

    return update


def build_ours(shape: Shape, dtype: str = "float32") -> Callable[[], float]:
    """An update of ours on the random tokens; returns the loss."""
    from gpt_tf.model.gpt import GPT
    update = make_update(GPT(shape.model, dtype=dtype), OptimizerConfig(), TOTAL_UPDATES)
    token_ids = random_tokens(shape)
    lengths = [shape.model.max_sequence_length] * shape.batch_size
    return lambda: update(token_ids, lengths)
