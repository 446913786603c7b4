"""Sampling from a `GPT`, one token at a time over a key/value cache."""

import tensorflow as tf

from gpt_tf.config import SamplingConfig
from gpt_tf.model import GPT


def filter_logits(logits: tf.Tensor, config: SamplingConfig) -> tf.Tensor:
    """Logits [B, V] with what top-k and top-p leave out set to -inf.

    The likeliest token always stays. Among equals at the edge of top-p the first ones stay.

    Example (top_k=2): [[1., 3., 2.]] -> [[-inf, 3., 2.]]
    """
    if config.top_k:
        k = min(config.top_k, logits.shape[-1])
        smallest = tf.math.top_k(logits, k).values[:, -1:]
        logits = tf.where(logits < smallest, -float("inf"), logits)
    if config.top_p < 1:
        order = tf.argsort(logits, direction="DESCENDING", stable=True)
        ranked = tf.nn.softmax(tf.gather(logits, order, batch_dims=1))
        # A token stays if those before it hold less than top_p: the first always does.
        stays = tf.cumsum(ranked, axis=-1, exclusive=True) < config.top_p
        stays = tf.gather(stays, tf.argsort(order), batch_dims=1)
        logits = tf.where(stays, logits, -float("inf"))
    return logits


def choose(logits: tf.Tensor, config: SamplingConfig, seed: tf.Tensor) -> tf.Tensor:
    """Next tokens int32 [B] from logits [B, V]; a pure function of the seed, int32 [2]."""
    if config.temperature == 0:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    logits = filter_logits(logits / config.temperature, config)
    return tf.random.stateless_categorical(logits, 1, seed, dtype=tf.int32)[:, 0]


class Generator:
    """Continues token sequences with a key/value cache.

    Args:
      model: a `GPT`.
      config: how tokens are chosen.
    """

    def __init__(self, model: GPT, config: SamplingConfig):
        self._model = model
        self._config = config
        self._generate = tf.function(self._run, reduce_retracing=True)

    def __call__(self, prompts: tf.Tensor, max_new_tokens: int, seed: int = 0) -> tf.Tensor:
        """Continues prompts of one length.

        Args:
          prompts: int32 [B, T], T at least 1.
          max_new_tokens: N; together with the prompt at most the model's positions.
          seed: decides the sample.

        Returns:
          int32 [B, N], the new tokens.

        Raises:
          ValueError: the prompt is empty, or prompt and new tokens are more than the positions.
        """
        prompts = tf.convert_to_tensor(prompts, tf.int32)
        limit = self._model.config.max_sequence_length
        if prompts.shape[1] < 1:
            raise ValueError("The prompt is empty: generation needs at least one token.")
        if prompts.shape[1] + max_new_tokens > limit:
            raise ValueError(f"{prompts.shape[1]} prompt tokens and {max_new_tokens} new ones are "
                             f"more than the model's {limit} positions.")
        return self._generate(prompts, tf.constant(max_new_tokens), tf.constant(seed))

    def _run(self, prompts, max_new_tokens, seed):
        batch, length = tf.shape(prompts)[0], tf.shape(prompts)[1]
        caches = self._model.empty_caches(batch, self._model.config.max_sequence_length)
        hidden, caches = self._model.call_with_cache(prompts, caches)
        first = self._next(hidden, seed, 0)
        written = tf.TensorArray(tf.int32, size=max_new_tokens, element_shape=[None])
        written = written.write(0, first)

        def step(index, token, caches, written):
            hidden, caches = self._model.call_with_cache(token[:, None], caches)
            token = self._next(hidden, seed, index)
            return index + 1, token, caches, written.write(index, token)

        written = tf.while_loop(lambda index, *_: index < max_new_tokens, step,
                                (1, first, caches, written))[-1]
        return tf.transpose(written.stack())

    def _next(self, hidden, seed, index):
        return choose(self._model.logits(hidden[:, -1]), self._config, tf.stack([seed, index]))
