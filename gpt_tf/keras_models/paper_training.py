"""What both Keras models share: `compile`, and `fit` with the paper's losses and optimizer.

`fit` minimises them with the dropout of the Trainer: the same numbers, step for step, on one
device and on the replicas of a `tf.distribute.MirroredStrategy`. With a loss of the user's it is
Keras's own.
"""

import keras
import tensorflow as tf

from gpt_tf.keras_models.optimizer import GPTAdam

# The paper's fine-tuning (section 4.1), at a constant rate: `fit` does not say how long it is.
_FINE_TUNING = dict(learning_rate=6.25e-5, schedule="constant", warmup_steps=0.0)


class PaperTraining:
    """`fit` and `evaluate` with the paper's loss, until `compile` is given another.

    A task says its loss in `sums`; the means and updates are taken here.
    """

    def sums(self, x, y, sample_weight, step):
        """(summed loss, what it is divided by), float32; `step` None leaves dropout out."""
        raise NotImplementedError

    def compile(self, optimizer="auto", loss="auto", **kwargs):
        """Like `keras.Model`'s.

        Args:
          optimizer: "auto" is `GPTAdam` with the paper's values of fine-tuning.
          loss: "auto" or None is the paper's. Any other (a name, a `keras.losses.Loss`, a
            function, a list) is one of the model's outputs, and training is then Keras's own.
          **kwargs: metrics and so on; in a CausalLM they make it hold all logits.
        """
        optimizer = GPTAdam(**_FINE_TUNING) if optimizer == "auto" else optimizer
        loss = None if loss == "auto" else loss
        self._compile_loss = None  # Keras would keep the last one
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def compile_from_config(self, config):
        """Compiles a loaded model as the saved one was, and makes the optimizer's variables."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        """See `keras_hub.models.Task`; texts become sequences that the model has positions for.

        Raises:
          ValueError: the preprocessor's are longer.
        """
        if self.preprocessor is not None:
            longest, limit = self.preprocessor.sequence_length, self.backbone.max_sequence_length
            if longest > limit:
                raise ValueError(
                    f"The preprocessor makes sequences of up to {longest} tokens and the model has "
                    f"{limit} positions: set preprocessor.sequence_length to {limit} or less.")
        return super().preprocess_samples(x, y, sample_weight)

    def make_train_function(self, force=False):
        """See `keras.Model`.

        Raises:
          ValueError: the paper's loss on several workers, or on several replicas with an
            optimizer that clips each replica's gradients before they are summed.
        """
        strategy = self.distribute_strategy
        if self._compile_loss is None and strategy.num_replicas_in_sync > 1:
            if not isinstance(strategy, tf.distribute.MirroredStrategy):
                raise ValueError(
                    "fit runs on one device or under a tf.distribute.MirroredStrategy: for others "
                    "use python -m gpt_tf.pretrain or gpt_tf.finetune with --strategy.")
            _refuse_clipping(self.optimizer)
        if self.optimizer is not None and not self.optimizer.built:
            # Here and not while an update is traced: a loaded state waits for its variables.
            self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def train_step(self, data):
        """One update on a batch."""
        if self._compile_loss is not None:
            return super().train_step(data)
        context = tf.distribute.get_replica_context()
        with tf.GradientTape() as tape:
            total, weight = self.sums(*_some_rows(data), self.optimizer.iterations + 1)
            # Of the whole batch: the optimizer sums the replicas' gradients.
            whole = context.all_reduce(tf.distribute.ReduceOp.SUM, weight)
            loss = self.optimizer.scale_loss(tf.math.divide_no_nan(total, whole))
        # Dense: Keras's optimizers square a token's gradients one by one otherwise.
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(
            loss, [variable.value for variable in self.trainable_variables],
            unconnected_gradients="zero")]
        if (isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
                and context.num_replicas_in_sync > 1):
            # It looks for an overflow before its sum: all replicas must find the same.
            gradients = [gradient / context.num_replicas_in_sync for gradient in
                         context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)]
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._results(data, total, weight)

    def test_step(self, data):
        """The loss on a batch, without dropout."""
        if self._compile_loss is not None:
            return super().test_step(data)
        return self._results(data, *self.sums(*_some_rows(data), None))

    def _results(self, data, total, weight):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self._loss_tracker.update_state(tf.math.divide_no_nan(total, weight),
                                        sample_weight=weight)
        predictions = self(x) if self._compile_metrics is not None else None
        return self.compute_metrics(x, y, predictions, sample_weight)


def _some_rows(data):
    """(x, y, sample_weight) of a batch; a replica that got no row of it has one that is padding,
    and weighs nothing."""
    data = keras.utils.unpack_x_y_sample_weight(data)
    if tf.distribute.get_replica_context().num_replicas_in_sync == 1:
        return data

    def fill(tensor):
        missing = tf.maximum(1 - tf.shape(tensor)[0], 0)
        return tf.pad(tensor, [[0, missing], *[[0, 0]] * (tensor.shape.rank - 1)])

    return tf.nest.map_structure(lambda tensor: None if tensor is None else fill(tensor), data)


def batch_rows(count: tf.Tensor) -> tf.Tensor:
    """The places in the whole batch of a replica's `count` rows, int32 [count]: what they drop is
    decided by these."""
    rows = tf.range(count)
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return rows
    counts = context.all_gather(count[None], axis=0)
    return rows + tf.reduce_sum(counts[:context.replica_id_in_sync_group])


def _refuse_clipping(optimizer) -> None:
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of mixed_float16
    if isinstance(optimizer, GPTAdam):
        return
    clips = [name for name in ("clipnorm", "clipvalue", "global_clipnorm")
             if getattr(optimizer, name)]
    if clips:
        raise ValueError(f"Keras would clip ({clips[0]}) the gradients of each replica before "
                         "their sum: use GPTAdam(clip_norm=...), or an optimizer without it.")
