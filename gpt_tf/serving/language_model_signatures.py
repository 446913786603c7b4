"""What an exported language model answers. Letters as in `layers.py`.

The softmax runs over all token rows, so that of a fine-tuned run knows the special tokens, too.
"""

import tensorflow as tf

from gpt_tf.generation.generator import Draft, begin, extend
from gpt_tf.generation.sampling import Sampling
from gpt_tf.model.gpt import GPT
from gpt_tf.serving.signatures import Outputs, Signature, TextTables, positions_checked, spec

_CONTROLS = {"max_new_tokens": spec(tf.int32), "temperature": spec(tf.float32),
             "top_k": spec(tf.int32), "top_p": spec(tf.float32), "seed": spec(tf.int32, None)}


class LanguageModelServing:
    """Signatures of a language model.

    Args:
      model: the decoder; of a fine-tuned run, its own.
      text: for the signatures that take strings; None leaves them out.
    """

    def __init__(self, model: GPT, text: TextTables | None):
        self._model = model
        self._limit = model.config.max_sequence_length
        self._text = text

    def signatures(self) -> dict[str, Signature]:
        """Name -> signature."""
        ids = {"token_ids": spec(tf.int32, None, None)}
        ids_and_lengths = ids | {"lengths": spec(tf.int32, None)}
        found = {"logits": Signature(self.logits, ids),
                 "score": Signature(self.score, ids_and_lengths),
                 "generate": Signature(self.generate, ids_and_lengths | _CONTROLS)}
        if self._text:
            text = spec(tf.string, None)
            found["score_text"] = Signature(self.score_text, {"text": text})
            found["generate_text"] = Signature(self.generate_text, {"prompt": text} | _CONTROLS)
        return found

    def logits(self, token_ids) -> Outputs:
        """int32 [B, T] -> float32 [B, T, V]: at each position, of the token after it."""
        with positions_checked(token_ids, 0, self._limit):
            return {"logits": self._model.logits(self._model(token_ids))}

    @tf.function  # traced once, for score_text as well
    def score(self, token_ids, lengths) -> Outputs:
        """Log-probability of each sequence given its first token, and how many tokens it is of.

        Args:
          token_ids: int32 [B, T], padded at the end.
          lengths: int32 [B], tokens before the padding.

        Returns:
          log_probability float32 [B], in nats, and predicted_tokens int32 [B].
        """
        with positions_checked(token_ids, lengths, self._limit):
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
        return {"log_probability": tf.cast(total, tf.float32), "predicted_tokens": predicted}

    def score_text(self, text) -> Outputs:
        """As `score`, of strings [B]; and tokens int32 [B], how many each text has.

        A text of more tokens than positions is scored as far as they go.
        """
        token_ids = self._text.encoder.encode(text)
        tokens = tf.cast(token_ids.row_lengths(), tf.int32)
        lengths = tf.minimum(tokens, self._limit)
        return self.score(token_ids.to_tensor()[:, :self._limit], lengths) | {"tokens": tokens}

    @tf.function  # traced once, for generate_text as well
    def generate(self, token_ids, lengths, max_new_tokens, temperature, top_k, top_p, seed):
        """Continues prompts of any lengths, each as it would be alone.

        Args:
          token_ids: int32 [B, T], padded at the end.
          lengths: int32 [B], tokens of each prompt: at least 1, and fewer than the positions.
          max_new_tokens: int32 []. A text ends before where the model's positions are full.
          temperature, top_k, top_p: float32 [], int32 [], float32 []; as of
            `config.SamplingConfig`.
          seed: int32 [B], which decides each sample.

        Returns:
          token_ids int32 [B, N], the new tokens, and log_probabilities float32 [B, N] of each
          under the model, both padded with 0; lengths int32 [B], how many each row has.
        """
        count = tf.minimum(max_new_tokens, self._limit - tf.reduce_min(lengths))
        with tf.control_dependencies(_generation_checks(lengths, max_new_tokens, self._limit)):
            with positions_checked(token_ids, lengths, self._limit):
                width = tf.shape(token_ids)[1]
        # `begin` needs every prompt at the end of its row.
        starts = width - lengths
        places = tf.maximum(0, tf.range(width) - starts[:, None])
        prompts = tf.gather(token_ids, places, axis=1, batch_dims=1)
        draft = Draft(prompts[:, -1], begin(self._model, prompts, starts, width + count),
                      tf.constant(0), tf.zeros_like(lengths))
        new_ids, chances, _ = extend(self._model, draft, count,
                                     Sampling(temperature, top_k, top_p), seed)
        new_lengths = tf.minimum(count, self._limit - lengths)
        is_new = tf.range(count) < new_lengths[:, None]
        return {"token_ids": tf.where(is_new, new_ids, 0),
                "log_probabilities": tf.where(is_new, chances, 0.0), "lengths": new_lengths}

    def generate_text(self, prompt, **controls) -> Outputs:
        """As `generate`, of strings [B]; and text string [B], prompt and continuation."""
        prompts = self._text.encoder.encode(prompt)
        lengths = tf.cast(prompts.row_lengths(), tf.int32)
        new = self.generate(prompts.to_tensor(), lengths, **controls)
        new_ids = tf.RaggedTensor.from_tensor(new["token_ids"], lengths=new["lengths"])
        text = self._text.decoder.decode(tf.concat([prompts, new_ids], axis=1))
        return new | {"text": text}


def _generation_checks(lengths, max_new_tokens, limit: int):
    return [
        tf.debugging.assert_positive(max_new_tokens, "max_new_tokens must be positive."),
        tf.debugging.assert_positive(lengths, "A prompt is empty: give at least one token."),
        tf.debugging.assert_less(
            lengths, limit, f"A prompt fills the {limit} positions of the model: shorten it.")]
