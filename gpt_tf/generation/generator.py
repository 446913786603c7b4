"""Continuing token sequences over a key/value cache.

`begin` and `extend` are pure functions of tensors, for a compiled program or an exported one;
`Generator` drives them for lists of prompts. Letters as in `layers.py`; S is columns of the cache.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from gpt_tf.config import GenerationConfig, SamplingConfig
from gpt_tf.generation.sampling import Sampling, choose
from gpt_tf.model.dropout import make_dropout_keys
from gpt_tf.model.gpt import GPT
from gpt_tf.model.layers import Cache
from gpt_tf.model.linear import products_of_tokens

# Widths that are compiled for: prompts are padded to a multiple of the first, caches of the second.
_PROMPT_STEP = 32
_CACHE_STEP = 64


class Draft(NamedTuple):
    """Sequences that are being continued.

    pending: int32 [B], the newest token of each, which the caches do not hold yet.
    caches: one for each block.
    drawn: int32 scalar, new tokens so far.
    rows: int32 [B]; rows of like number and prompt are continued alike.
    """

    pending: tf.Tensor
    caches: list[Cache]
    drawn: tf.Tensor
    rows: tf.Tensor


def begin(model: GPT, token_ids: tf.Tensor, starts: tf.Tensor, num_columns) -> list[Cache]:
    """Caches of prompts, all but the last token of each.

    Args:
      model: the model.
      token_ids: int32 [B, T], each prompt at the end of its row.
      starts: int32 [B], the column of each prompt's first token.
      num_columns: S, at least the longest prompt and what is to be added.
    """
    caches = model.empty_caches(starts, num_columns)
    if token_ids.shape[1] == 1:
        return caches
    return model.call_with_cache(token_ids[:, :-1], caches)[1]


def extend(model: GPT, draft: Draft, count, sampling: Sampling, seed,
           room=None) -> tuple[tf.Tensor, tf.Tensor, Draft]:
    """Draws further tokens.

    A token is a function of (prompt, seed, row's number, how many were drawn before it): neither
    the sequences beside it nor the parts it is drawn in play a role.

    Args:
      model: the model.
      draft: what is continued; the caches have room.
      count: N, tokens to draw.
      sampling: how they are chosen.
      seed: int32 scalar.
      room: width of what is returned, N by default. XLA needs a number here and may have a tensor
        as N; columns from N on are zero.

    Returns:
      (token ids int32 [B, N], their log-probabilities under the model float32 [B, N], Draft).
    """
    shape = [tf.shape(draft.pending)[0], count if room is None else room]
    buffers = tf.zeros(shape, tf.int32), tf.zeros(shape, tf.float32)

    def step(index, draft, token_ids, log_probabilities):
        hidden, caches = model.call_with_cache(draft.pending[:, None], draft.caches)
        logits = model.logits(hidden[:, 0])
        token = choose(logits, sampling, make_dropout_keys(seed, draft.drawn, draft.rows))
        chances = tf.gather(tf.nn.log_softmax(logits), token, axis=1, batch_dims=1)
        return (index + 1, Draft(token, caches, draft.drawn + 1, draft.rows),
                keras.ops.slice_update(token_ids, [0, index], token[:, None]),
                keras.ops.slice_update(log_probabilities, [0, index], chances[:, None]))

    _, draft, token_ids, log_probabilities = tf.while_loop(
        lambda index, *_: index < count, step, (0, draft, *buffers))
    return token_ids, log_probabilities, draft


def widths(longest, count) -> tuple:
    """Columns of prompts and of caches for which programs are compiled, so that they are few.

    Args:
      longest: tokens of the longest prompt, a number or a scalar tensor, as what is returned.
      count: tokens to be added.
    """
    width = 1 + -(-(longest - 1) // _PROMPT_STEP) * _PROMPT_STEP
    return width, -(-(width + count) // _CACHE_STEP) * _CACHE_STEP


class Part(NamedTuple):
    """New tokens of some prompts.

    prompts: the prompts' numbers, R of them.
    token_ids: int32 [R, N].
    log_probabilities: float32 [R, N], of each token under the model, in nats.
    """

    prompts: list[int]
    token_ids: np.ndarray
    log_probabilities: np.ndarray


class Generator:
    """Continues prompts of any lengths together; each gets what it would get alone.

    Args:
      model: a `GPT`.
      sampling: how tokens are chosen.
      generation: how many, and what happens when the model's positions are full.

    Example:
      generator = Generator(model, SamplingConfig(top_p=0.9), GenerationConfig(max_new_tokens=20))
      [new_ids] = generator([tokenizer.encode("It was a dark")])
    """

    def __init__(self, model: GPT, sampling: SamplingConfig, generation: GenerationConfig):
        self._model = model
        self._sampling = Sampling.of(sampling)
        self._generation = generation
        self._begin = tf.function(
            lambda *inputs: begin(model, *inputs), jit_compile=True, autograph=False)
        self._extend = tf.function(self._extend_compiled, jit_compile=True, autograph=False)

    def __call__(self, prompts: Sequence[Sequence[int]],
                 rows: Sequence[int] | None = None) -> list[list[int]]:
        """The new tokens of each prompt; see `stream` for arguments and errors."""
        new = [[] for _ in prompts]
        for part in self.stream(prompts, rows):
            for prompt, token_ids in zip(part.prompts, part.token_ids.tolist()):
                new[prompt] += token_ids
        return new

    def stream(self, prompts: Sequence[Sequence[int]], rows: Sequence[int] | None = None,
               part_length: int = 32) -> Iterator[Part]:
        """The new tokens as they come.

        Args:
          prompts: token ids, at least one each.
          rows: number of each prompt, 0 by default; a prompt is continued in as many ways as it
            has numbers.
          part_length: tokens of a part at most.

        Raises:
          ValueError: see `check`.
        """
        limit, slides = self._model.config.max_sequence_length, self._slides
        for prompt in prompts:
            self.check(prompt)
        rows = np.zeros(len(prompts), np.int32) if rows is None else np.asarray(rows, np.int32)
        texts = [list(prompt) for prompt in prompts]
        total, drawn = self._generation.max_new_tokens, 0
        while drawn < total:
            if slides:
                texts = [text if len(text) < limit else text[-(limit // 2):] for text in texts]
            live = [i for i, text in enumerate(texts) if len(text) < limit]
            if not live:
                return
            # Positions are absolute: when a row has used them up, all caches are made anew.
            count = min(total - drawn, limit - max(len(texts[i]) for i in live))
            for part in self._segment([texts[i] for i in live], rows[live], drawn, count,
                                      part_length):
                for i, token_ids in zip(live, part[0].tolist()):
                    texts[i] += token_ids
                yield Part(live, *part)
            drawn += count

    def check(self, prompt: Sequence[int]) -> None:
        """Sees that a prompt can be continued.

        Raises:
          ValueError: it is empty, or it fills the model's positions where that ends a text.
        """
        limit = self._model.config.max_sequence_length
        if not len(prompt):
            raise ValueError("it has no tokens: give one at least")
        if len(prompt) >= limit and not self._slides:
            raise ValueError(f"its {len(prompt)} tokens fill the model's {limit} positions: "
                             "shorten it, or give --past_limit=slide")

    def _extend_compiled(self, *inputs):
        with products_of_tokens():
            return extend(self._model, *inputs)

    @property
    def _slides(self) -> bool:
        return self._generation.past_limit == "slide"

    def _segment(self, texts, rows, drawn, count, part_length):
        """Yields (token ids, log-probabilities) of `count` tokens within the positions."""
        width, columns = widths(max(map(len, texts)), count)
        token_ids = np.zeros([len(texts), width], np.int32)
        for row, text in enumerate(texts):
            token_ids[row, width - len(text):] = text
        starts = tf.constant([width - len(text) for text in texts])
        draft = Draft(tf.constant(token_ids[:, -1]),
                      self._begin(tf.constant(token_ids), starts, columns),
                      tf.constant(drawn), tf.constant(rows))
        seed = tf.constant(self._generation.seed)
        for done in range(0, count, part_length):
            length = min(part_length, count - done)
            *new, draft = self._extend(draft, tf.constant(length), self._sampling, seed,
                                       part_length)
            yield tuple(values.numpy()[:, :length] for values in new)
