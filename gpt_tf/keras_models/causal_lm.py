"""GPT-1 as a language model, as KerasNLP's users know one."""

from collections.abc import Sequence
import numbers

import keras_nlp
import numpy as np
import tensorflow as tf

from gpt_tf.hub import models
from gpt_tf.interop import conversion
from gpt_tf.keras_models.backbone import GPTBackbone, is_run_folder, register
from gpt_tf.keras_models.loading import HeadOfTask, check_arguments, give_parts
from gpt_tf.keras_models.paper_training import PaperTraining, batch_rows
from gpt_tf.keras_models.preprocessing import GPTCausalLMPreprocessor
from gpt_tf.keras_models.preset import RecordedPreset, explain
from gpt_tf.model.dropout import make_dropout_keys
from gpt_tf.model.layers import Cache
from gpt_tf.model.losses import flatten_rows, weighted_lm_loss


@register
class GPTCausalLM(RecordedPreset, PaperTraining, keras_nlp.models.CausalLM):
    """GPT-1 as a language model: `generate`, `fit`, `score`.

    Args:
      backbone: a `GPTBackbone`.
      preprocessor: a `GPTCausalLMPreprocessor`; None takes and gives token ids.
      **kwargs: those of `keras.Model`, such as `name`.

    Call with {"token_ids": int32 [B, T], "padding_mask": int32 [B, T], ones before the padding}:
    logits float32 [B, T, V], for each token of what follows it.

    Example:
      from gpt_tf import GPTCausalLM

      model = GPTCausalLM.from_preset("runs/books")
      model.compile(sampler="top_p")
      text = model.generate("It was a dark", max_length=20)
      model.fit(["It was a dark night.", "The cat sat."], epochs=2)
      model.save_to_preset("preset")
    """

    backbone_cls = GPTBackbone
    preprocessor_cls = GPTCausalLMPreprocessor

    def __init__(self, backbone, preprocessor=None, **kwargs):
        check_arguments(GPTCausalLM, kwargs)
        self.backbone = backbone
        self.preprocessor = preprocessor
        super().__init__(inputs=backbone.input,
                         outputs=_OutputHead(backbone, name="logits")(backbone(backbone.input)),
                         **kwargs)

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """A language model from a preset of `save_to_preset`, from a run folder of `gpt_tf`, or
        from what is published, the released GPT-1 among it.

        Args:
          preset: folder; a name of `presets`, which come with gpt_tf; or a handle of what is
            published: "hf://owner/name", "hf://owner/name@revision" or
            "kaggle://owner/model/keras/variation".
          load_weights: False leaves the initial weights.
          **kwargs: arguments of the class, the backbone (`dtype`, `seed`, `dropout`; of a run
            folder also `weights`, "best" or "newest") or the preprocessor (`sequence_length`).

        Raises:
          UserError: a run folder that has no whole checkpoint, or a damaged preset; or what a
            handle names cannot be had.
          ValueError: an argument is nobody's, or contradicts the weights.

        Example:
          from gpt_tf import GPTCausalLM

          model = GPTCausalLM.from_preset("runs/books", dtype="mixed_bfloat16", sequence_length=64)
        """
        preset = models.local(preset)
        kwargs = give_parts(cls, preset, load_weights, kwargs)
        if is_run_folder(preset):
            return cls(**kwargs)
        with explain(preset):
            return super().from_preset(preset, load_weights=load_weights, **kwargs)

    def compile(self, optimizer="auto", loss="auto", *, weighted_metrics=None, sampler="top_k",
                **kwargs):
        """Says how `fit` trains and `generate` draws.

        Args:
          optimizer, loss: see `PaperTraining.compile`.
          weighted_metrics: of the logits, each token weighed as in the loss; with some, `fit` and
            `evaluate` hold all logits of a batch, float32 [B, T, V].
          sampler: "greedy", "top_k", "top_p", "random", "beam", "contrastive", or an instance of a
            class of `keras_nlp.samplers`, which takes a temperature, a seed and so on.
          **kwargs: those of `keras.Model.compile`, such as `jit_compile`.

        Raises:
          ValueError: there is no such sampler.
        """
        super().compile(optimizer, loss, weighted_metrics=weighted_metrics, sampler=sampler,
                        **kwargs)
        if not callable(self.sampler):  # KerasHub passes a mistyped name on
            raise ValueError(f"sampler={sampler!r:.60} is none of greedy, top_k, top_p, random, "
                             "beam, contrastive, and no keras_nlp.samplers.Sampler.")

    def get_compile_config(self):
        """What `compile_from_config` takes."""
        config = super().get_compile_config()
        return config and config | {"sampler": keras_nlp.samplers.serialize(self.sampler)}

    def sums(self, x, y, sample_weight, step):
        """The LM loss (equation 1) of the targets, times their weights; and the weights' sum.

        Args:
          x: as the model's inputs.
          y: int [B, T], the token behind each.
          sample_weight: float [B, T], of each target; or [B] or [B, 1], of each row's, and None
            for 1, where targets count that the padding mask has: the next position's one, and in
            the last column its own.
          step: of the dropout's keys; None drops nothing.
        """
        gpt = self.backbone.gpt
        keys = None if step is None else make_dropout_keys(self.backbone.seed, step,
                                                           batch_rows(tf.shape(y)[0]))
        hidden = gpt(x["token_ids"], keys)
        weights = _target_weights(x["padding_mask"], sample_weight)
        return (weighted_lm_loss(flatten_rows(hidden), gpt.output_table(),
                                 tf.cast(tf.reshape(y, [-1]), tf.int32),
                                 tf.reshape(weights, [-1])),
                tf.reduce_sum(weights))

    def generate(self, inputs, max_length=None, stop_token_ids="auto", strip_prompt=False):
        """Continues prompts with the sampler of `compile`.

        An empty prompt starts a text from nothing: as after a line break, which is not part of it.

        Args:
          inputs: a string, B of them, or a `tf.data.Dataset` of batches of them; without a
            preprocessor what `generate_step` takes.
          max_length: tokens of a prompt and its continuation together, at most the model's
            positions; None: the preprocessor's `sequence_length`. A prompt that leaves no room
            for more is cut there, with a warning.
          stop_token_ids: ids of tokens at which a text ends; "auto" and None: none, for GPT-1 has
            no token that ends a text.
          strip_prompt: whether the continuations alone are returned.

        Returns:
          As many texts as prompts; without a preprocessor what `generate_step` returns, in numpy.

        Raises:
          ValueError: the texts would be longer than the model's positions (python -m
            gpt_tf.generate --past_limit=slide goes on past them), or `stop_token_ids` are no ids.

        Example:
          from gpt_tf import GPTCausalLM

          model = GPTCausalLM.from_preset("runs/books")
          model.compile(sampler="greedy")
          texts = model.generate(["it was a dark", ""], max_length=12)
          assert texts[0].startswith("it was a dark")
        """
        if isinstance(stop_token_ids, str):
            if stop_token_ids != "auto":
                raise ValueError(f"stop_token_ids={stop_token_ids!r} is neither 'auto' nor a list "
                                 "of token ids.")
            stop_token_ids = None
        if stop_token_ids is not None:
            if not (isinstance(stop_token_ids, Sequence | np.ndarray)
                    and all(isinstance(each, numbers.Integral) for each in stop_token_ids)):
                raise ValueError(f"stop_token_ids={stop_token_ids!r:.60} is neither 'auto' nor a "
                                 "list of token ids.")
            stop_token_ids = list(map(int, stop_token_ids)) or None
        if not isinstance(max_length, numbers.Integral | None):
            raise ValueError(f"max_length={max_length!r:.60} must be a whole number, or None.")
        if self.preprocessor is not None:
            self._check_length(max_length or self.preprocessor.sequence_length)
        return super().generate(inputs, max_length, stop_token_ids, strip_prompt)

    def _check_length(self, length):
        positions = self.backbone.config.max_sequence_length
        if length is not None and length > positions:
            raise ValueError(f"Texts of {length} tokens are more than the {positions} positions of "
                             f"the model: give a max_length of {positions} or less.")

    def call_with_cache(self, token_ids, cache, cache_update_index):
        """One forward pass over further tokens.

        Args:
          token_ids: int32 [B, T].
          cache: (keys, values) of each block, float [B, H, S, C].
          cache_update_index: the column of the first token.

        Returns:
          (logits float32 [B, T, V], hidden states [B, T, D], the cache).
        """
        gpt = self.backbone.gpt
        starts = tf.zeros([tf.shape(token_ids)[0]], tf.int32)
        caches = [Cache(*pair, cache_update_index, starts) for pair in cache]
        hidden, caches = gpt.call_with_cache(token_ids, caches)
        return gpt.logits(hidden), hidden, tuple((c.keys, c.values) for c in caches)

    def generate_step(self, inputs, stop_token_ids=None):
        """Continues a batch of right-padded prompts with the sampler.

        Args:
          inputs: {"token_ids": int [B, T], "padding_mask": [B, T], true on the prompts}. A row
            without a prompt is continued from the token in its first column, which stays outside
            the mask.
          stop_token_ids: ends the loop when each row has drawn one of them.

        Returns:
          As `inputs`, with all columns filled, and the mask true up to and with the first new stop
          token.

        Raises:
          ValueError: T is more than the model's positions.
        """
        token_ids = tf.cast(inputs["token_ids"], tf.int32)
        self._check_length(token_ids.shape[1])
        prompts = tf.cast(inputs["padding_mask"], tf.bool)
        starts = ((tf.range(tf.shape(prompts)[1]) == 0)
                  & ~tf.reduce_any(prompts, axis=1, keepdims=True))
        mask = prompts | starts
        gpt = self.backbone.gpt
        caches = gpt.empty_caches(tf.zeros([tf.shape(token_ids)[0]], tf.int32),
                                  tf.shape(token_ids)[1])
        hidden, caches = gpt.call_with_cache(token_ids, caches)

        def next_logits(prompt, cache, index):
            logits, states, cache = self.call_with_cache(
                tf.slice(prompt, [0, index - 1], [-1, 1]), cache, index - 1)
            return logits[:, 0], states[:, 0], cache

        token_ids = self.sampler(
            next=next_logits, prompt=token_ids, cache=tuple((c.keys, c.values) for c in caches),
            index=tf.reduce_min(tf.reduce_sum(tf.cast(mask, tf.int32), axis=-1)), mask=mask,
            stop_token_ids=stop_token_ids, hidden_states=hidden, model=self)
        return {"token_ids": token_ids,
                "padding_mask": _before_stop(token_ids, mask, stop_token_ids) & ~starts}

    def score(self, token_ids, padding_mask=None, scoring_mode="logits",
              layer_intercept_fn=None, target_ids=None):
        """What the model makes of given tokens.

        Args:
          token_ids: int [B, T].
          padding_mask: has no influence: padding stands at the end.
          scoring_mode: "logits" or "loss".
          layer_intercept_fn: (x [B, T, D], i) -> x, called after the embedding (i = -1) and after
            each block.
          target_ids: int [B, T], for "loss".

        Returns:
          float32 [B, T, V], or each token's loss [B, T].

        Raises:
          ValueError: another mode, or no targets for "loss".

        Example:
          from gpt_tf import GPTCausalLM

          model = GPTCausalLM.from_preset("runs/books")
          ids = model.preprocessor.tokenizer(["it was a dark night"])
          logits = model.score(ids)
          following = [row[1:] + [0] for row in ids]
          losses = model.score(ids, scoring_mode="loss", target_ids=following)[:, :-1]
        """
        del padding_mask
        if scoring_mode not in ("logits", "loss"):
            raise ValueError(f"scoring_mode={scoring_mode!r} is neither 'logits' nor 'loss'.")
        if scoring_mode == "loss" and target_ids is None:
            raise ValueError("scoring_mode='loss' needs target_ids.")
        intercept = layer_intercept_fn or (lambda x, index: x)
        gpt = self.backbone.gpt
        x = intercept(gpt.embedding(tf.convert_to_tensor(token_ids, tf.int32)), -1)
        for index, block in enumerate(gpt.blocks):
            x = intercept(block(x), index)
        logits = gpt.logits(x)
        if scoring_mode == "logits":
            return logits
        return tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.convert_to_tensor(target_ids, tf.int32), logits)

    def export_to_transformers(self, path):
        """Writes the folder of `gpt_tf.convert --to=huggingface`, which transformers reads.

        Args:
          path: folder to make.

        Raises:
          ValueError: something stands there, the model has no preprocessor, or its weights are
            not plain.
          UserError: the layout cannot hold the model, or the place cannot be written.
        """
        if self.preprocessor is None:
            raise ValueError("The tokenizer of the preprocessor is exported, too: give one, or "
                             "export the backbone alone.")
        conversion.export_model(path, self.backbone.in_float32(),
                                self.preprocessor.tokenizer.tokenizer)

    def get_quantization_layer_structure(self, mode):
        """What GPTQ and AWQ calibrate (see `keras.Model`): None in other modes."""
        if mode not in ("gptq", "awq"):
            return None
        gpt = self.backbone.gpt
        return {"pre_block_layers": [gpt.embedding], "sequential_blocks": list(gpt.blocks)}


def _target_weights(padding_mask, sample_weight):
    """float32 [B, T]; see `GPTCausalLM.sums`."""
    mask = tf.cast(padding_mask, tf.float32)
    mask = tf.concat([mask[:, 1:], mask[:, -1:]], axis=1)
    if sample_weight is None:
        return mask
    # Its rank may be unknown: Keras gives up on it where batches of both kinds have come.
    weights = tf.reshape(tf.cast(sample_weight, tf.float32), [tf.shape(mask)[0], -1])
    of_rows = tf.equal(tf.shape(weights)[1], 1)
    return tf.where(of_rows, mask, tf.ones_like(mask)) * weights


def _before_stop(token_ids, prompt_mask, stop_token_ids):
    """True up to and with the first new stop token of each row."""
    if stop_token_ids is None:
        return tf.ones_like(token_ids, tf.bool)
    stops = tf.reduce_any(token_ids[..., None] == tf.constant(list(stop_token_ids)), axis=-1)
    stops = tf.cast(stops & ~prompt_mask, tf.int32)
    return tf.cumsum(stops, axis=-1, exclusive=True) == 0


class _OutputHead(HeadOfTask):
    """Hidden states to logits by the backbone's own token rows; it has no weights."""

    def __init__(self, backbone: GPTBackbone, **kwargs):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self._logits = backbone.gpt.logits

    def call(self, hidden):
        """[B, T, D] -> float32 [B, T, V]."""
        return self._logits(hidden)
