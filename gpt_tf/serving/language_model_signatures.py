"""What an exported language model answers. Letters as in `layers.py`.

The softmax runs over all token rows, so that of a fine-tuned run knows the special tokens, too.
"""

import dataclasses

import tensorflow as tf

from gpt_tf.config import GenerationConfig, SamplingConfig, limits_of
from gpt_tf.generation.generator import Draft, begin, extend, widths
from gpt_tf.generation.sampling import Sampling
from gpt_tf.model.gpt import GPT
from gpt_tf.serving.graph_tokenizer import GraphTokenizer
from gpt_tf.serving.signatures import (
    Outputs,
    Signature,
    checked,
    require,
    spec,
    widened,
)

# The command's flags, with its defaults and limits; past_limit is none of them.
_CONTROLS = {field.name: field for each in (GenerationConfig, SamplingConfig)
             for field in dataclasses.fields(each) if field.type in (int, float)}
_CONTROL_SPECS = {name: spec(tf.float32 if field.type is float else tf.int64, None)
                  for name, field in _CONTROLS.items()}


class LanguageModelServing:
    """Signatures of a language model.

    Args:
      model: the decoder; of a fine-tuned run, its own.
      text: for the signatures that take strings; None leaves them out.
      jit_compile: whether those that generate are compiled with XLA where they run.
    """

    def __init__(self, model: GPT, text: GraphTokenizer | None, jit_compile: bool = False):
        self._model = model
        self._text = text
        # As a part of them: strings and their tables are none of XLA's.
        self._continue = tf.function(self._begin_and_extend, jit_compile=jit_compile,
                                     autograph=False)

    def signatures(self) -> dict[str, Signature]:
        """Name -> signature."""
        ids = {"token_ids": spec(tf.int64, None, None)}
        ids_and_lengths = ids | {"lengths": spec(tf.int64, None)}
        found = {"logits": Signature(self.logits, ids),
                 "score": Signature(self.score, ids_and_lengths),
                 "generate": Signature(self.generate, ids_and_lengths),
                 "generate_with_controls": Signature(self.generate_with_controls,
                                                     ids_and_lengths | _CONTROL_SPECS)}
        if self._text:
            text, prompt = {"text": spec(tf.string, None)}, {"prompt": spec(tf.string, None)}
            found |= {"score_text": Signature(self.score_text, text),
                      "generate_text": Signature(self.generate_text, prompt),
                      "generate_text_with_controls": Signature(
                          self.generate_text_with_controls, prompt | _CONTROL_SPECS)}
        return found

    def logits(self, token_ids) -> Outputs:
        """int64 [B, T] -> float32 [B, T, V]: at each position, of the token after it."""
        no_lengths = tf.zeros(tf.shape(token_ids)[:1], tf.int64)
        token_ids, _ = checked(token_ids, no_lengths, self._model.config)
        return {"logits": self._model.logits(self._model(token_ids))}

    @tf.function(autograph=False)  # traced once, for score_text as well
    def score(self, token_ids, lengths) -> Outputs:
        """Log-probability of each sequence given its first token, and how many tokens it is of.

        Args:
          token_ids: int64 [B, T], padded at the end.
          lengths: int64 [B], tokens before the padding.

        Returns:
          log_probability float32 [B], in nats, and predicted_tokens int64 [B].
        """
        token_ids, lengths = checked(token_ids, lengths, self._model.config)
        hidden = self._model(token_ids)
        targets = tf.pad(token_ids[:, 1:], [[0, 0], [0, 1]])
        predicted = tf.maximum(lengths - 1, 0)

        def of_row(row):
            states, expected, count = row
            logits = self._model.logits(states[:count])  # [T, V]: of one sequence at a time
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(expected[:count], logits)
            return -tf.reduce_sum(tf.cast(losses, tf.float64))

        total = tf.map_fn(of_row, (hidden, targets, predicted), parallel_iterations=1,
                          fn_output_signature=tf.float64)
        return {"log_probability": tf.cast(total, tf.float32),
                "predicted_tokens": tf.cast(predicted, tf.int64)}

    def score_text(self, text) -> Outputs:
        """As `score`, of strings [B]; and tokens int64 [B], how many each text has.

        A text of more tokens than positions is scored as far as they go.
        """
        token_ids, limit = self._text.encode(text), self._model.config.max_sequence_length
        tokens = token_ids.row_lengths()
        return self.score(tf.cast(token_ids.to_tensor()[:, :limit], tf.int64),
                          tf.minimum(tokens, limit)) | {"tokens": tokens}

    def generate(self, token_ids, lengths) -> Outputs:
        """As `generate_with_controls`, with the command's defaults."""
        return self.generate_with_controls(token_ids, lengths, **_defaults(lengths))

    @tf.function(autograph=False)  # traced once, for all that generate
    def generate_with_controls(self, token_ids, lengths, **controls) -> Outputs:
        """Continues prompts of any lengths, each as it would be alone.

        Args:
          token_ids: int64 [B, T], padded at the end.
          lengths: int64 [B], tokens of each prompt: at least 1, and fewer than the positions.
          **controls: of each row, as of `config.GenerationConfig` and `config.SamplingConfig`:
            max_new_tokens int64 [B] (a text ends before where the model's positions are full);
            temperature, top_k, top_p float32 [B], int64 [B], float32 [B]; seed int64 [B], which
            decides each sample.

        Returns:
          token_ids int64 [B, N], the new tokens, and log_probabilities float32 [B, N] of each
          under the model, both padded with 0; lengths int64 [B], how many each row has.
        """
        limit = self._model.config.max_sequence_length
        with tf.control_dependencies(_control_checks(lengths, controls) + [
                require(lengths > 0, "A prompt is empty: give at least one token:", lengths),
                require(lengths < limit, f"A prompt fills the {limit} positions of the model: "
                                         "shorten it:", lengths)]):
            token_ids, lengths = checked(widened(token_ids), lengths, self._model.config)
        controls = {name: tf.cast(values, tf.int32) if values.dtype.is_integer else values
                    for name, values in controls.items()}
        new_lengths = tf.minimum(controls["max_new_tokens"], limit - lengths)
        count = tf.reduce_max(tf.concat([new_lengths, [0]], axis=0))
        width, columns = widths(tf.reduce_max(tf.concat([lengths, [1]], axis=0)), count)
        # `begin` needs every prompt at the end of its row.
        starts = width - lengths
        places = tf.maximum(0, tf.range(width) - starts[:, None])
        prompts = tf.gather(token_ids, places, axis=1, batch_dims=1)
        sampling = Sampling(*(controls[name][:, None] for name in Sampling._fields))
        new_ids, chances = self._continue(prompts, starts, columns, count, sampling,
                                          controls["seed"])
        new_ids, chances = new_ids[:, :count], chances[:, :count]
        is_new = tf.range(count) < new_lengths[:, None]
        return {"token_ids": tf.cast(tf.where(is_new, new_ids, 0), tf.int64),
                "log_probabilities": tf.where(is_new, chances, 0.0),
                "lengths": tf.cast(new_lengths, tf.int64)}

    def _begin_and_extend(self, prompts, starts, columns, count, sampling: Sampling,
                          seed) -> tuple[tf.Tensor, tf.Tensor]:
        """`begin` and `extend`, as one program for each shape of the prompts and their columns."""
        draft = Draft(prompts[:, -1], begin(self._model, prompts, starts, columns),
                      tf.constant(0), tf.zeros_like(starts))
        return extend(self._model, draft, count, sampling, seed,
                      room=columns - tf.shape(prompts)[1])[:2]

    def generate_text(self, prompt) -> Outputs:
        """As `generate_text_with_controls`, with the command's defaults."""
        return self.generate_text_with_controls(prompt, **_defaults(prompt))

    def generate_text_with_controls(self, prompt, **controls) -> Outputs:
        """As `generate_with_controls`, of strings [B]; and text string [B], all of each."""
        prompts = self._text.encode(prompt)
        new = self.generate_with_controls(tf.cast(prompts.to_tensor(), tf.int64),
                                          prompts.row_lengths(), **controls)
        new_ids = tf.RaggedTensor.from_tensor(tf.cast(new["token_ids"], tf.int32),
                                              lengths=new["lengths"])
        text = self._text.decode(tf.concat([prompts, new_ids], axis=1))
        return new | {"text": text}


def _defaults(rows) -> dict[str, tf.Tensor]:
    """The controls of a command without flags, for as many rows as there are."""
    return {name: tf.fill(tf.shape(rows), tf.constant(field.default, _CONTROL_SPECS[name].dtype))
            for name, field in _CONTROLS.items()}


def _control_checks(lengths, controls) -> list[tf.Operation]:
    """What the command asks of its flags, of each row's."""
    checks = []
    for name, values in controls.items():
        limits = list(limits_of(_CONTROLS[name]))
        words = " and ".join(words for words, *_ in limits)
        checks += [
            require(tf.size(values) == tf.size(lengths),
                    f"{name} has not as many numbers as there are prompts:", tf.size(values)),
            require([tf.reduce_all(compare(values, tf.cast(limit, values.dtype)))
                     for _, compare, limit in limits], f"{name} must be {words}:", values)]
    return checks
