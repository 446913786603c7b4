"""GPT-1 with the head of a task, as KerasNLP's users know a classifier.

  classifier = GPTTextClassifier.from_preset("runs/books", class_names=["bad", "good"])
  classifier.fit(texts, labels, epochs=3)
  names = classifier.classify(texts)
"""

import keras
import keras_nlp
import numpy as np
import tensorflow as tf

from gpt_tf.keras_models import labels
from gpt_tf.keras_models.backbone import GPTBackbone, is_run_folder, register
from gpt_tf.keras_models.classifier_head import HiddenTaskModel
from gpt_tf.keras_models.paper_training import PaperTraining, batch_rows
from gpt_tf.keras_models.preprocessing import (
    GPTTextClassifierPreprocessor,
    GPTTokenizer,
)
from gpt_tf.keras_models.preset import explain
from gpt_tf.model.losses import packed_lm_loss, shift_targets
from gpt_tf.model.objectives import class_losses
from gpt_tf.model.task_model import DropoutKeys, TaskModel
from gpt_tf.runs import run_folder, weights
from gpt_tf.tasks.forms import CLASSIFICATION, num_sequences
from gpt_tf.tasks.task import Task

_MOST_UNITS = 65_536


@register
class GPTTextClassifier(PaperTraining, keras_nlp.models.TextClassifier):
    """GPT-1 with the linear layer of a task (section 3.2), fine-tuned by the joint loss.

    The joint loss is the mean over the examples of their cross-entropy and of `lm_coef` times the
    LM loss of their tokens (equation 5). With `sample_weight` or `class_weight` it is the weighted
    mean: the sum of weight times loss, over the sum of the weights.

    Args:
      backbone: a `GPTBackbone` with the rows of the special tokens (`with_special_tokens`).
      num_classes: C; None where `class_names` tell.
      preprocessor: a `GPTTextClassifierPreprocessor`; None takes its outputs.
      class_names: C strings, in the order of the classes' numbers; None: "0", "1", ...
      form: see the preprocessor.
      lm_coef: lambda, the weight of the LM loss.
      activation: of the outputs, as "softmax"; None gives logits. The joint loss is of the
        logits whatever it is.
      hidden_dim: units of a tanh layer before the linear one; None: none, as in the paper.
      dropout: on the linear layer's input.

    Raises:
      ValueError: the backbone has no special tokens, or the classes or units cannot be.

    Inputs: {"token_ids": int32 [B, K, T], "padding_mask": int32 [B, K, T]}, K sequences of an
    example (2 of "similarity", else 1), each with its start, delimiter and extract token.
    Output: float32 [B, C].

    Example:

    ```python
    import numpy as np
    from gpt_tf import GPTBackbone, GPTTextClassifier

    backbone = GPTBackbone(vocabulary_size=50, num_layers=1, num_heads=2, hidden_dim=16,
                           intermediate_dim=32, max_sequence_length=8, num_special_tokens=3)
    classifier = GPTTextClassifier(backbone, class_names=["bad", "good"])
    ids = np.array([[[50, 7, 8, 52]], [[50, 9, 7, 52]]])    # start, two tokens, extract
    x = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    classifier.fit(x, np.array(["bad", "good"]), sample_weight=np.array([1.0, 2.0]))
    names = classifier.classify(x)    # as ["bad", "good"]
    ```
    """

    backbone_cls = GPTBackbone
    preprocessor_cls = GPTTextClassifierPreprocessor

    def __init__(self, backbone, num_classes=None, preprocessor=None, *, class_names=None,
                 form=CLASSIFICATION, lm_coef=0.5, activation=None, hidden_dim=None, dropout=0.1,
                 **kwargs):
        self.class_names = labels.class_names(num_classes, class_names)
        if hidden_dim is not None and not 0 < hidden_dim <= _MOST_UNITS:
            raise ValueError(f"hidden_dim={hidden_dim} must be 1 to {_MOST_UNITS:,}, or None.")
        if backbone.with_special_tokens() is not backbone:
            raise ValueError("The backbone has no rows for start, delimiter and extract: give "
                             "backbone.with_special_tokens().")
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.num_classes = len(self.class_names)
        self.form = form
        self.lm_coef = lm_coef
        self.activation = keras.activations.get(activation)
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        count = num_sequences(form, self.num_classes)
        task = Task("text", form, count, tuple(self.class_names), (), ("accuracy",))
        if hidden_dim is None:
            model = TaskModel(backbone.config, task, dropout, backbone.seed,
                              backbone.gpt.dtype_policy, gpt=backbone.gpt)
        else:
            model = HiddenTaskModel(hidden_dim, task, dropout, backbone.seed, backbone.gpt)
        inputs = {key: keras.Input([count, None], dtype="int32", name=key)
                  for key in ("token_ids", "padding_mask")}
        outputs = _TaskLogits(model, activation, backbone.seed, name="task")(inputs)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.task_model = model

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """Like `keras_nlp`'s; `preset` may also be a run folder of `gpt_tf`.

        With `num_classes` the linear layer is new; without it, it is a fine-tuned run's.

        Raises:
          UserError: a run folder that is not fine-tuned, without `num_classes`.
        """
        if not is_run_folder(preset):
            with explain(preset):
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
            head = weights.load_task_model(preset)[0].head
            for ours, theirs in zip(classifier.task_model.head.weights, head.weights, strict=True):
                ours.assign(theirs)
        return classifier

    @classmethod
    def from_config(cls, config):
        """The model of `get_config`.

        A `num_classes` that says another number than the names, as `from_preset` of a base class
        puts over the saved ones, is of a new linear layer, whose classes have no names yet.
        """
        count, names = config.get("num_classes"), config.get("class_names")
        if count is not None and names is not None and count != len(names):
            config = config | {"class_names": None}
        return super().from_config(config)

    def compile(self, optimizer="auto", loss="auto", *, metrics="auto", **kwargs):
        """Says how the model trains and what it measures.

        Args:
          optimizer: a name or a `keras.optimizers.Optimizer`; "auto" is `GPTAdam` with the paper's
            values of fine-tuning, at a constant rate.
          loss: "auto" is the joint loss. Any other that `keras.Model.compile` takes is one of the
            outputs, and training is then Keras's own.
          metrics: "auto" is the accuracy; else as of `keras.Model.compile`.
          **kwargs: others of `keras.Model.compile`.
        """
        if metrics == "auto":
            one_hot = getattr(loss, "name", loss) == "categorical_crossentropy"
            metrics = [keras.metrics.CategoricalAccuracy() if one_hot else
                       keras.metrics.SparseCategoricalAccuracy()]
        super().compile(optimizer, loss, metrics=metrics, **kwargs)

    def fit(self, x=None, y=None, *args, **kwargs):
        """Trains on examples.

        Args:
          x: texts [N]; a tuple of two such for forms of two texts; without a preprocessor the
            model's inputs; or a data set of batches of (x, y) or (x, y, sample_weight).
          y: numbers or names of the classes, [N] or [N, 1]; other labels as the loss takes them.
          *args, **kwargs: as of `keras.Model.fit`: batch_size, epochs, sample_weight [N],
            class_weight (number of a class -> weight), validation_data, callbacks...

        Raises:
          ValueError: a label is no class's name, or labels or weights have a shape that the joint
            loss does not take.
        """
        return super().fit(x, labels.numbers(y, self.class_names), *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """The loss and metrics on examples, without dropout; the arguments are those of `fit`."""
        return super().evaluate(x, labels.numbers(y, self.class_names), *args, **kwargs)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        """As of every task; labels that are names become numbers."""
        return super().preprocess_samples(x, labels.numbers(y, self.class_names), sample_weight)

    def classify(self, x, batch_size=None) -> list[str]:
        """The name of the likeliest class of each example.

        Args:
          x: texts and so on, as for `predict`.
          batch_size: examples at once.
        """
        outputs = self.predict(x, batch_size=batch_size, verbose=0)
        return [self.class_names[index] for index in np.argmax(outputs, axis=-1)]

    def sums(self, x, y, sample_weight, step):
        """The joint loss (equation 5) of the examples, as `objectives.joint_loss` defines it.

        An example counts as often as its weight says, in both losses: their sums are of weight
        times loss, and what they are divided by is the sum of the weights.

        Args:
          x: as the model's inputs.
          y: numbers of the classes, [B] or [B, 1].
          sample_weight: float [B] or [B, 1]; None: 1 each.
          step: of the dropout's keys; None drops nothing.

        Raises:
          ValueError: labels or weights of another shape.
        """
        token_ids, lengths = tf.cast(x["token_ids"], tf.int32), _lengths(x)
        count, time = token_ids.shape[1], tf.shape(token_ids)[2]
        rows = tf.shape(lengths)[0]
        example_weights = tf.cast(lengths[:, 0] > 0, tf.float32)
        if sample_weight is not None:
            sample_weight = labels.column(sample_weight, rows, "sample_weight")
            example_weights *= tf.cast(sample_weight, tf.float32)
        keys = None
        if step is not None:
            keys = DropoutKeys.make(self.backbone.seed, step, batch_rows(rows), count)
        hidden, logits = self.task_model.hidden_and_logits(token_ids, lengths, keys)
        losses = class_losses(logits, tf.cast(labels.column(y, rows, "labels"), tf.int32))
        total = tf.reduce_sum(example_weights * tf.cast(losses, tf.float32))
        if self.lm_coef:
            targets, mask = shift_targets(tf.reshape(token_ids, [-1, time]),
                                          tf.reshape(lengths, [-1]))
            predicted = tf.reduce_sum(mask, axis=1, keepdims=True)
            mask *= tf.repeat(example_weights, count)[:, None]
            token_weights = mask / tf.maximum(count * predicted, 1.0)
            # `packed_lm_loss` needs a token to begin with, and a batch may have no weight at all.
            token_weights = tf.tensor_scatter_nd_max(token_weights, [[0, 0]], [1e-30])
            total += self.lm_coef * packed_lm_loss(
                hidden, self.backbone.gpt.output_table(), targets, token_weights)
        return total, tf.reduce_sum(example_weights)

    def get_config(self):
        """Everything the constructor takes; the names say the number of classes."""
        return super().get_config() | {
            "num_classes": None, "class_names": list(self.class_names), "form": self.form,
            "lm_coef": self.lm_coef, "activation": keras.activations.serialize(self.activation),
            "hidden_dim": self.hidden_dim, "dropout": self.dropout}


def _lengths(inputs) -> tf.Tensor:
    """{"padding_mask": [B, K, T]} -> int32 [B, K], tokens of each sequence."""
    return tf.reduce_sum(tf.cast(inputs["padding_mask"], tf.int32), axis=-1)


class _TaskLogits(keras.layers.Layer):
    """A `TaskModel` as a layer of {"token_ids", "padding_mask"}; its trunk is the backbone's.

    Files know the weights by the name of this class.

    Args:
      model: the model.
      activation: of the logits; None for none.
      seed: of the dropout when it is called with `training=True`.
    """

    def __init__(self, model: TaskModel, activation, seed: int, **kwargs):
        super().__init__(dtype="float32", autocast=False, **kwargs)
        self.model = model
        self._activation = keras.activations.get(activation)
        self._seeds = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        """int32 [B, K, T] each -> float32 [B, C]."""
        lengths, keys = _lengths(inputs), None
        if training:
            seed, step = tf.unstack(tf.cast(self._seeds.next(), tf.int32))
            keys = DropoutKeys.make(seed, step, tf.range(tf.shape(lengths)[0]), lengths.shape[1])
        return self._activation(self.model(inputs["token_ids"], lengths, keys))
