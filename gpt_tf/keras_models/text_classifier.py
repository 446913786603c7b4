"""GPT-1 with the head of a task, as KerasNLP's users know a classifier.

  classifier = GPTTextClassifier.from_preset("runs/books", num_classes=2)
  classifier.fit(texts, labels, epochs=3)
  logits = classifier.predict(texts)
"""

import keras
import keras_nlp
import tensorflow as tf

from gpt_tf.keras_models.backbone import GPTBackbone, is_run_folder, register
from gpt_tf.keras_models.paper_training import PaperTraining
from gpt_tf.keras_models.preprocessing import GPTTextClassifierPreprocessor, cut_padding
from gpt_tf.keras_models.preset import explain
from gpt_tf.keras_models.tokenizer import GPTTokenizer
from gpt_tf.model.objectives import joint_loss
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import run_folder, weights
from gpt_tf.tasks.forms import CLASSIFICATION, num_sequences
from gpt_tf.tasks.task import MOST_CLASSES, Task


@register
class GPTTextClassifier(PaperTraining, keras_nlp.models.TextClassifier):
    """GPT-1 with the linear layer of a task (section 3.2), fine-tuned by the joint loss.

    Args:
      backbone: a `GPTBackbone` with the rows of the special tokens (`with_special_tokens`).
      num_classes: C.
      preprocessor: a `GPTTextClassifierPreprocessor`; None takes its outputs.
      form: see the preprocessor.
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

    def preprocess_samples(self, x, y=None, sample_weight=None):
        """The preprocessor's outputs, as wide as the longest text of the batch needs."""
        found = super().preprocess_samples(x, y, sample_weight)
        if self.preprocessor is None:
            return found
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(found)
        return keras.utils.pack_x_y_sample_weight(cut_padding(x), y, sample_weight)

    def compile(self, optimizer="auto", loss="auto", *, metrics="auto", **kwargs):
        """See `keras_nlp.models.TextClassifier`; for the arguments, `PaperTraining.compile`."""
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
                 "labels": tf.cast(y, tf.int32), "batch_rows": tf.range(tf.shape(lengths)[0]),
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
