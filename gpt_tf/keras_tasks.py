"""The Keras user's models: `GPTCausalLM` and `GPTTextClassifier`, tasks in KerasNLP's sense.

  classifier = GPTTextClassifier.from_preset("runs/books", num_classes=2)
  classifier.fit(texts, labels, epochs=3)
  logits = classifier.predict(texts)

`from_preset` takes run folders of `gpt_tf` and presets of `save_to_preset`. `fit` minimises the
paper's losses with the dropout of the Trainer: the same numbers, step for step, on one device.
"""

import keras
import keras_nlp
import tensorflow as tf

from gpt_tf import keras_preset, run_folder
from gpt_tf.keras_backbone import GPTBackbone, is_run_folder, register
from gpt_tf.keras_optimizer import GPTAdam
from gpt_tf.keras_text import (
    GPTCausalLMPreprocessor, GPTTextClassifierPreprocessor, GPTTokenizer)
from gpt_tf.layers import Cache, make_dropout_keys
from gpt_tf.losses import weighted_lm_loss
from gpt_tf.records import MOST_CLASSES, Task
from gpt_tf.task_model import TaskModel, joint_loss
from gpt_tf.transforms import CLASSIFICATION, num_sequences

# The paper's fine-tuning (section 4.1), at a constant rate: `fit` does not say how long it is.
_FINE_TUNING = dict(learning_rate=6.25e-5, schedule="constant", warmup_steps=0.0)


class _PaperTraining:
    """`fit` and `evaluate` with the paper's loss instead of one of outputs.

    A task says its loss in `sums`; the means and updates are taken here.
    """

    def sums(self, x, y, sample_weight, step):
        """(summed loss, what it is divided by); `step` None leaves dropout out."""
        raise NotImplementedError

    def compile(self, optimizer="auto", loss="auto", **kwargs):
        """As of `keras.Model`, but the loss is the paper's.

        Args:
          optimizer: "auto" is `GPTAdam` with the paper's values of fine-tuning.
          loss: "auto".
          **kwargs: metrics and so on; in a CausalLM they make it hold all logits.

        Raises:
          ValueError: another loss.
        """
        if loss not in ("auto", None):
            raise ValueError("The loss of this model is the paper's: leave loss='auto', or train "
                             "the outputs of the backbone with a keras.Model of your own.")
        optimizer = GPTAdam(**_FINE_TUNING) if optimizer == "auto" else optimizer
        super().compile(optimizer=optimizer, loss=None, **kwargs)

    def fit(self, *args, **kwargs):
        """As of `keras.Model.fit`, on one device.

        Raises:
          ValueError: under a strategy of several replicas, where Keras's updates are wrong.
        """
        strategy = self.distribute_strategy or tf.distribute.get_strategy()
        if strategy.num_replicas_in_sync > 1:
            raise ValueError(
                "fit would clip and reduce the gradients of several replicas in the wrong order: "
                "use python -m gpt_tf.pretrain or gpt_tf.finetune with --strategy=mirrored.")
        return super().fit(*args, **kwargs)

    def train_step(self, data):
        """One update on a batch."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            total, weight = self.sums(x, y, sample_weight, self.optimizer.iterations + 1)
            loss = total / weight
        # Dense: Keras's optimizers square a token's gradients one by one otherwise.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(
            loss, [variable.value for variable in self.trainable_variables],
            unconnected_gradients="zero")]
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._results(x, y, sample_weight, loss, weight)

    def test_step(self, data):
        """The loss on a batch, without dropout."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        total, weight = self.sums(x, y, sample_weight, None)
        return self._results(x, y, sample_weight, total / weight, weight)

    def _results(self, x, y, sample_weight, loss, weight):
        self._loss_tracker.update_state(loss, sample_weight=weight)
        predictions = self(x) if self._compile_metrics is not None else None
        return self.compute_metrics(x, y, predictions, sample_weight)

    def _keys(self, step, rows: tf.Tensor):
        return None if step is None else make_dropout_keys(self.backbone.seed, step, rows)


@register
class GPTCausalLM(_PaperTraining, keras_nlp.models.CausalLM):
    """GPT-1 as a language model: `generate`, `fit`, `score`.

    Args:
      backbone: a `GPTBackbone`.
      preprocessor: a `GPTCausalLMPreprocessor`; None takes and gives token ids.

    Example:
      model = GPTCausalLM.from_preset("runs/books")
      model.compile(sampler="top_p")
      model.generate("It was a dark", max_length=40)
    """

    backbone_cls = GPTBackbone
    preprocessor_cls = GPTCausalLMPreprocessor

    def __init__(self, backbone, preprocessor=None, **kwargs):
        self.backbone = backbone
        self.preprocessor = preprocessor
        super().__init__(inputs=backbone.input,
                         outputs=_OutputHead(backbone, name="logits")(backbone(backbone.input)),
                         **kwargs)

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """As of `keras_nlp`; `preset` may also be a run folder of `gpt_tf`."""
        if not is_run_folder(preset):
            with keras_preset.explain(preset):
                return super().from_preset(preset, load_weights=load_weights, **kwargs)
        dtype = {"dtype": kwargs.pop("dtype")} if "dtype" in kwargs else {}
        backbone = GPTBackbone.from_preset(preset, load_weights, **dtype)
        kwargs.setdefault("preprocessor", GPTCausalLMPreprocessor(
            GPTTokenizer.from_preset(preset), backbone.config.max_sequence_length))
        return cls(backbone, **kwargs)

    def compile(self, optimizer="auto", loss="auto", *, weighted_metrics=None, sampler="top_k",
                **kwargs):
        """As of `keras_nlp.models.CausalLM`; arguments as of `_PaperTraining.compile`.

        Args:
          sampler: a name or an instance of `keras_nlp.samplers`.
        """
        super().compile(optimizer, loss, weighted_metrics=weighted_metrics, sampler=sampler,
                        **kwargs)

    def sums(self, x, y, sample_weight, step):
        """The LM loss summed over the predicted tokens (equation 1), and their number."""
        gpt = self.backbone.gpt
        hidden = gpt(x["token_ids"], self._keys(step, tf.range(tf.shape(y)[0])))
        hidden = tf.reshape(hidden, [-1, hidden.shape[-1]])
        weights = tf.cast(tf.reshape(sample_weight, [-1]), tf.float32)
        targets = tf.cast(tf.reshape(y, [-1]), tf.int32)
        return (weighted_lm_loss(hidden, gpt.output_table(), targets, weights),
                tf.reduce_sum(weights))

    def generate(self, inputs, max_length=None, stop_token_ids=None, strip_prompt=False):
        """As of `keras_nlp.models.CausalLM`; no token ends a text by itself."""
        return super().generate(inputs, max_length, stop_token_ids, strip_prompt)

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
          inputs: {"token_ids": int [B, T], "padding_mask": [B, T], true on the prompts}.
          stop_token_ids: ends the loop when each row has drawn one of them.

        Returns:
          As `inputs`, with all columns filled.
        """
        token_ids = tf.cast(inputs["token_ids"], tf.int32)
        mask = tf.cast(inputs["padding_mask"], tf.bool)
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
        return {"token_ids": token_ids, "padding_mask": _before_stop(token_ids, mask,
                                                                     stop_token_ids)}

    def score(self, token_ids, padding_mask=None, scoring_mode="logits",
              layer_intercept_fn=None, target_ids=None):
        """What the model makes of given tokens; arguments as of `keras_nlp`'s GPT-2.

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
        """
        del padding_mask
        if scoring_mode not in ("logits", "loss"):
            raise ValueError(f"scoring_mode={scoring_mode!r} is neither 'logits' nor 'loss'.")
        if scoring_mode == "loss" and target_ids is None:
            raise ValueError("scoring_mode='loss' wants target_ids.")
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


def _before_stop(token_ids, prompt_mask, stop_token_ids):
    """True up to and with the first new stop token of each row."""
    if stop_token_ids is None:
        return tf.ones_like(token_ids, tf.bool)
    stops = tf.reduce_any(token_ids[..., None] == tf.constant(list(stop_token_ids)), axis=-1)
    stops = tf.cast(stops & ~prompt_mask, tf.int32)
    return tf.cumsum(stops, axis=-1, exclusive=True) == 0


class _OutputHead(keras.layers.Layer):
    """Hidden states to logits by the backbone's own token rows; it has no weights."""

    def __init__(self, backbone: GPTBackbone, **kwargs):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self._logits = backbone.gpt.logits

    def call(self, hidden):
        """[B, T, D] -> float32 [B, T, V]."""
        return self._logits(hidden)


@register
class GPTTextClassifier(_PaperTraining, keras_nlp.models.TextClassifier):
    """GPT-1 with the linear layer of a task (section 3.2), fine-tuned by the joint loss.

    Args:
      backbone: a `GPTBackbone` with the rows of the special tokens (`with_special_tokens`).
      num_classes: C.
      preprocessor: a `GPTTextClassifierPreprocessor`; None takes its outputs.
      form: as of the preprocessor.
      lm_coef: lambda, the weight of the LM loss.
      dropout: on the linear layer's input.

    Raises:
      ValueError: the backbone has no special tokens, or the number of classes cannot be.
    """

    backbone_cls = GPTBackbone
    preprocessor_cls = GPTTextClassifierPreprocessor

    def __init__(self, backbone, num_classes, preprocessor=None, form=CLASSIFICATION,
                 lm_coef=0.5, dropout=0.1, **kwargs):
        if not 1 < num_classes <= MOST_CLASSES:
            raise ValueError(f"num_classes={num_classes} must be 2 to {MOST_CLASSES:,}.")
        if backbone.with_special_tokens() is not backbone:
            raise ValueError("The backbone has no rows for start, delimiter and extract: give "
                             "backbone.with_special_tokens().")
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.num_classes = num_classes
        self.form = form
        self.lm_coef = lm_coef
        self.dropout = dropout
        count = num_sequences(form, num_classes)
        task = Task("text", form, count, tuple(map(str, range(num_classes))), (), ("accuracy",))
        model = TaskModel(backbone.config, task, dropout, backbone.seed, backbone.gpt.dtype_policy,
                          gpt=backbone.gpt)
        inputs = {key: keras.Input([count, None], dtype="int32", name=key)
                  for key in ("token_ids", "padding_mask")}
        super().__init__(inputs=inputs, outputs=_TaskLogits(model, name="task")(inputs), **kwargs)
        self.task_model = model

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """As of `keras_nlp`; `preset` may also be a run folder of `gpt_tf`.

        With `num_classes` the linear layer is new; without it, it is a fine-tuned run's.

        Raises:
          UserError: a run folder that is not fine-tuned, without `num_classes`.
        """
        if not is_run_folder(preset):
            with keras_preset.explain(preset):
                return super().from_preset(preset, load_weights=load_weights, **kwargs)
        options = {name: kwargs.pop(name) for name in ("dtype", "seed") if name in kwargs}
        backbone = GPTBackbone.from_preset(preset, load_weights, **options).with_special_tokens()
        form, length = kwargs.pop("form", CLASSIFICATION), backbone.config.max_sequence_length
        is_new = "num_classes" in kwargs
        if not is_new:
            task, length = run_folder.load_task(preset)
            form, kwargs["num_classes"] = task.form, task.num_classes
        kwargs.setdefault("preprocessor", GPTTextClassifierPreprocessor(
            GPTTokenizer.from_preset(preset), length, form))
        classifier = cls(backbone, form=form, **kwargs)
        if load_weights and not is_new:
            head = run_folder.load_task_model(preset)[0].head
            for ours, theirs in zip(classifier.task_model.head.weights, head.weights, strict=True):
                ours.assign(theirs)
        return classifier

    def compile(self, optimizer="auto", loss="auto", *, metrics="auto", **kwargs):
        """As of `keras_nlp.models.TextClassifier`; arguments as of `_PaperTraining.compile`."""
        if metrics == "auto":
            metrics = [keras.metrics.SparseCategoricalAccuracy()]
        super().compile(optimizer, loss, metrics=metrics, **kwargs)

    def sums(self, x, y, sample_weight, step):
        """The joint loss (equation 5) summed over the examples, and their number.

        Raises:
          ValueError: weights of examples, which the paper's loss does not have.
        """
        if sample_weight is not None:
            raise ValueError("The joint loss has no weights of examples.")
        lengths = tf.reduce_sum(tf.cast(x["padding_mask"], tf.int32), axis=-1)
        batch = {"token_ids": tf.cast(x["token_ids"], tf.int32), "lengths": lengths,
                 "labels": tf.cast(y, tf.int32), "rows": tf.range(tf.shape(lengths)[0]),
                 "step": step}
        sums = joint_loss(self.task_model, self.lm_coef, self.backbone.seed)(batch)
        return sums.loss, sums.weight

    def get_config(self):
        """Everything the constructor takes."""
        return super().get_config() | {
            "num_classes": self.num_classes, "form": self.form, "lm_coef": self.lm_coef,
            "dropout": self.dropout}


class _TaskLogits(keras.layers.Layer):
    """A `TaskModel` as a layer of {"token_ids", "padding_mask"}; its trunk is the backbone's."""

    def __init__(self, model: TaskModel, **kwargs):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self.model = model

    def call(self, inputs):
        """int32 [B, K, T] each -> float32 [B, C]."""
        lengths = tf.reduce_sum(tf.cast(inputs["padding_mask"], tf.int32), axis=-1)
        return self.model(inputs["token_ids"], lengths)
