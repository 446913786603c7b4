"""GPT-1 with the head of a task, as KerasNLP's users know a classifier.

  classifier = GPTTextClassifier.from_preset("runs/books", class_names=["bad", "good"])
  classifier.fit(texts, labels, epochs=3)
  names = classifier.classify(texts)
"""

from collections.abc import Sequence

import keras
import keras_nlp
import numpy as np
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.config import BEST
from gpt_tf.hub import models
from gpt_tf.interop import conversion
from gpt_tf.keras_models import labels
from gpt_tf.keras_models.backbone import GPTBackbone, is_run_folder, register
from gpt_tf.keras_models.classifier_head import HiddenTaskModel
from gpt_tf.keras_models.loading import HeadOfTask, check_arguments, give_parts
from gpt_tf.keras_models.paper_training import PaperTraining, batch_rows
from gpt_tf.keras_models.preprocessing import GPTTextClassifierPreprocessor, cut_padding
from gpt_tf.keras_models.preset import RecordedPreset, explain, saved_arguments
from gpt_tf.model.objectives import joint_loss
from gpt_tf.model.task_model import DropoutKeys, TaskModel
from gpt_tf.runs import run_folder, weights
from gpt_tf.tasks import answers
from gpt_tf.tasks.forms import CLASSIFICATION, num_sequences
from gpt_tf.tasks.task import Task

_MOST_UNITS = 65_536

# Activations of the outputs after which the likeliest class is the same, and of whose inputs every
# command takes the softmax.
_ACTIVATIONS = (None, "linear", "softmax")


@register
class GPTTextClassifier(RecordedPreset, PaperTraining, keras_nlp.models.TextClassifier):
    """GPT-1 with the linear layer of a task (section 3.2), fine-tuned by the joint loss.

    The joint loss is the mean over the examples of their cross-entropy and of `lm_coef` times the
    LM loss of their tokens (equation 5). With `sample_weight` or `class_weight` it is the weighted
    mean: the sum of weight times loss, over the sum of the weights.

    Args:
      backbone: a `GPTBackbone`. Of one without the rows of the special tokens the classifier has a
        copy with new ones (`with_special_tokens`).
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
      ValueError: the classes or units cannot be, or the preprocessor is of another form.

    Inputs: {"token_ids": int32 [B, K, T], "padding_mask": int32 [B, K, T]}, K sequences of an
    example (2 of "similarity", else 1), each with its start, delimiter and extract token.
    Output: float32 [B, C].

    Example:
      import numpy as np
      from gpt_tf import GPTBackbone, GPTTextClassifier

      backbone = GPTBackbone(vocabulary_size=50, num_layers=1, num_heads=2, hidden_dim=16,
                             intermediate_dim=32, max_sequence_length=8, num_special_tokens=3)
      classifier = GPTTextClassifier(backbone, class_names=["bad", "good"])
      ids = np.array([[[50, 7, 8, 52]], [[50, 9, 7, 52]]])    # start, two tokens, extract
      x = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
      classifier.fit(x, np.array(["bad", "good"]), sample_weight=np.array([1.0, 2.0]))
      names = classifier.classify(x)    # as ["bad", "good"]
    """

    backbone_cls = GPTBackbone
    preprocessor_cls = GPTTextClassifierPreprocessor

    def __init__(self, backbone, num_classes=None, preprocessor=None, *, class_names=None,
                 form=CLASSIFICATION, lm_coef=0.5, activation=None, hidden_dim=None, dropout=0.1,
                 **kwargs):
        self.class_names = labels.class_names(num_classes, class_names)
        if hidden_dim is not None and not 0 < hidden_dim <= _MOST_UNITS:
            raise ValueError(f"hidden_dim={hidden_dim} must be 1 to {_MOST_UNITS:,}, or None.")
        if preprocessor is not None and preprocessor.form != form:
            raise ValueError(f"The preprocessor has form={preprocessor.form!r} and the classifier "
                             f"form={form!r}: give both the same.")
        check_arguments(GPTTextClassifier, kwargs)
        self.backbone = backbone = backbone.with_special_tokens()
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
        """A classifier from a preset of `save_to_preset`, or from a run folder of `gpt_tf`.

        Of a language model the linear layer is new, and of a classifier with `num_classes`, too.
        Else it is the saved one; `class_names` alone give its classes other names.

        Args:
          preset: folder; a name of `presets`, which come with gpt_tf; or a handle of what is
            published: "hf://owner/name", "hf://owner/name@revision" or
            "kaggle://owner/model/keras/variation".
          load_weights: False leaves the initial weights.
          **kwargs: arguments of the class, the backbone (`dtype`, `seed`, `attention_dropout`; of
            a run folder also `weights`, "best" or "newest") or the preprocessor
            (`sequence_length`).

        Raises:
          UserError: a language model's preset or run folder without `num_classes` or
            `class_names`; a run folder that has no whole checkpoint, or whose head is of another
            width than the `backbone` that was given; or a damaged preset.
          ValueError: an argument is nobody's, or contradicts the weights.

        Example:
          from gpt_tf import GPTTextClassifier

          classifier = GPTTextClassifier.from_preset("runs/books", num_classes=2,
                                                     sequence_length=64)
        """
        name, preset = preset, models.local(preset)
        is_run, which = is_run_folder(preset), kwargs.get("weights", BEST)
        saved = _arguments_of_run(preset) if is_run else saved_arguments(cls, preset)
        if saved is None and not {"num_classes", "class_names"} & kwargs.keys():
            raise UserError(f"{name} is no classifier's: give num_classes or class_names for a "
                            "new one.")
        keeps_head = load_weights and saved is not None and "num_classes" not in kwargs
        if keeps_head:
            _check_head(preset, saved, kwargs)
        if "num_classes" in kwargs:
            kwargs.setdefault("class_names", None)
        if is_run:
            kwargs = (saved or {}) | kwargs
        kwargs = give_parts(cls, preset, load_weights, kwargs)
        if not is_run:
            with explain(preset):
                return super().from_preset(preset, load_weights=load_weights, **kwargs)
        classifier = cls(**kwargs)
        if keeps_head:
            weights.restore(preset, classifier.task_model.head, which)
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
            class_weight (number or name of a class -> weight), validation_data, callbacks...

        Raises:
          ValueError: a label is no class's name or number, labels are missing, a weight is of no
            class, or labels or weights have a shape that the joint loss does not take.
        """
        if "class_weight" in kwargs:
            kwargs["class_weight"] = labels.class_weights(kwargs["class_weight"], self.class_names)
        return super().fit(x, self._numbers(x, y), *args, **kwargs)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """The loss and metrics on examples, without dropout; the arguments are those of `fit`."""
        return super().evaluate(x, self._numbers(x, y), *args, **kwargs)

    def _numbers(self, x, y):
        """What `fit` was given as labels, as numbers; see there."""
        if y is None and (isinstance(x, (str, list, tuple, dict, np.ndarray)) or tf.is_tensor(x)):
            raise ValueError("There are no labels: give y, the number or name of each example's "
                             "class.")
        y = labels.numbers(y, self.class_names)
        if self._compile_loss is None:  # other losses take other labels
            labels.check_numbers(y, self.num_classes)
        return y

    def preprocess_samples(self, x, y=None, sample_weight=None):
        """What the model takes of texts, no wider than the batch needs; names become numbers."""
        y = labels.numbers(y, self.class_names)
        found = super().preprocess_samples(x, y, sample_weight)
        if self.preprocessor is None:
            return found
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(found)
        return keras.utils.pack_x_y_sample_weight(cut_padding(x), y, sample_weight)

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
        lengths = _lengths(x)
        rows = tf.shape(lengths)[0]
        if sample_weight is not None:
            sample_weight = labels.column(sample_weight, rows, "sample_weight")
        batch = {"token_ids": tf.cast(x["token_ids"], tf.int32), "lengths": lengths,
                 "labels": tf.cast(labels.column(y, rows, "labels"), tf.int32),
                 "weights": sample_weight, "batch_rows": batch_rows(rows), "step": step}
        sums = joint_loss(self.task_model, self.lm_coef, self.backbone.seed)(batch)
        return sums.loss, sums.weight

    def export_to_transformers(self, path):
        """Writes the folder of `gpt_tf.convert --to=huggingface`, which transformers reads.

        Args:
          path: folder to make.

        Raises:
          ValueError: something stands there, the model has no preprocessor, or it is more than a
            linear layer on plain weights.
          UserError: the layout cannot hold the model, or the place cannot be written.
        """
        if self.preprocessor is None:
            raise ValueError("The tokenizer of the preprocessor is exported, too: give one.")
        ours = self.in_float32()
        conversion.export_model(path, ours.gpt, self.preprocessor.tokenizer.tokenizer,
                                conversion.tuned_of(ours, self.longest))

    @property
    def longest(self) -> int:
        """The most tokens of a sequence that the preprocessor makes and the model takes."""
        return min(self.preprocessor.sequence_length, self.backbone.max_sequence_length)

    def in_float32(self) -> TaskModel:
        """A copy as runs have it.

        Raises:
          ValueError: LoRA's matrices or quantized ones are in its layers, or there is what the
            linear layer of a run has no place for.
        """
        config = self.get_config()
        for name, known in (("hidden_dim", (None,)), ("activation", _ACTIVATIONS)):
            if config[name] not in known:
                raise ValueError(f"A classifier with {name}={config[name]!r:.80} is more than the "
                                 "linear layer of a run: leave it out.")
        gpt = self.backbone.in_float32()
        ours = TaskModel(gpt.config, self.task_model.task, gpt=gpt)
        for variable, value in zip(ours.head.weights, self.task_model.head.weights, strict=True):
            variable.assign(value)
        return ours

    def get_config(self):
        """Everything the constructor takes; the names say the number of classes."""
        return super().get_config() | {
            "num_classes": None, "class_names": list(self.class_names), "form": self.form,
            "lm_coef": self.lm_coef, "activation": keras.activations.serialize(self.activation),
            "hidden_dim": self.hidden_dim, "dropout": self.dropout}


def _arguments_of_run(model_dir: str) -> dict | None:
    """What a fine-tuned run tells the constructor; None of one that is not."""
    if not run_folder.is_fine_tuned(model_dir):
        return None
    task, _ = run_folder.load_task(model_dir)
    return {"form": task.form, "class_names": answers.class_names(task)}


def _check_head(preset: str, saved: dict, kwargs: dict) -> None:
    """Sees that the saved weights of the head are those of a classifier with `kwargs`.

    Raises:
      ValueError: they are not.
    """
    if not saved:
        return  # a name that Keras resolves
    names = saved.get("class_names")
    shape = {"hidden_dim": saved.get("hidden_dim"),
             "class_names": len(names) if isinstance(names, Sequence) else saved.get("num_classes")}
    for name in shape.keys() & kwargs.keys():
        given = len(kwargs[name]) if name == "class_names" else kwargs[name]
        if given != shape[name]:
            raise ValueError(f"{preset} has a head for {shape[name]} {name} and not {given}: leave "
                             f"{name} out, or give num_classes for a new head.")


def _lengths(inputs) -> tf.Tensor:
    """{"padding_mask": [B, K, T]} -> int32 [B, K], tokens of each sequence."""
    return tf.reduce_sum(tf.cast(inputs["padding_mask"], tf.int32), axis=-1)


class _TaskLogits(HeadOfTask):
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
