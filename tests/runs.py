"""Run folders of tiny language models, made without training."""

import dataclasses
import os

import numpy as np

from gpt_tf.common.small_files import write_json
from gpt_tf.config import ModelConfig
from gpt_tf.model.gpt import GPT
from gpt_tf.runs import run_folder, weights
from gpt_tf.runs.checkpoint import Checkpoints


def make_model(vocabulary_size, seed=5, **shape):
    """A model of random weights large enough for probabilities to differ."""
    return GPT(ModelConfig(vocabulary_size=vocabulary_size, **dict(
        num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32, max_sequence_length=64,
        initializer_range=0.4) | shape), seed=seed)


def make_copying_model(vocabulary_size, max_sequence_length=64):
    """A model to which a token is the likelier the more of those up to it are the same.

    Token i is the i-th unit vector; attention looks at all positions alike and adds what is there.
    """
    width = vocabulary_size
    model = make_model(vocabulary_size, num_layers=1, num_heads=1, hidden_dim=width,
                       max_sequence_length=max_sequence_length)
    silence(model)
    model.embedding.token.embeddings.assign(3 * np.eye(width))
    block = model.blocks[0]
    block.attention.value.kernel.assign(np.eye(width))
    block.attention.output_projection.kernel.assign(10 * np.eye(width))
    for norm in (block.attention_norm, block.feed_forward_norm):
        norm.gamma.assign(np.ones(width))
    return model


def silence(model):
    """All weights 0: every token is as likely as every other. Returns the model."""
    for variable in model.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    return model


def make_run(folder, tokenizer, checkpoints):
    """A run folder; returns its path.

    Args:
      checkpoints: step -> its model, all of one shape.
    """
    os.makedirs(folder)
    models = list(checkpoints.values())
    write_json(os.path.join(folder, "model.json"), dataclasses.asdict(models[0].config))
    tokenizer.save(folder)
    saved = {name: variable for name, variable in weights.model_variables(models[0]).items()}
    keeper = Checkpoints(run_folder.checkpoint_folder(folder), {"model": saved}, keep=100)
    for step, model in checkpoints.items():
        for name, variable in weights.model_variables(model).items():
            saved[name].assign(variable)
        keeper.save(step)
    return str(folder)


def log_softmax(logits):
    """float64 [..., V] in numpy."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
