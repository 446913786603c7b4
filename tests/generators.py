"""Generators of one model that share its compiled programs, of which each takes XLA seconds."""

import functools

from gpt_tf.config import GenerationConfig, SamplingConfig
from gpt_tf.generation.generator import Generator


@functools.cache
def _compiled(model):
    return Generator(model, SamplingConfig(), GenerationConfig())


def make(model, max_new_tokens, seed=0, past_limit="stop", **sampling):
    """A `Generator` whose settings are inputs of the programs of all generators of the model."""
    generator = Generator(model, SamplingConfig(**sampling), GenerationConfig(
        max_new_tokens, past_limit=past_limit, seed=seed))
    generator._begin, generator._extend = _compiled(model)._begin, _compiled(model)._extend
    return generator
