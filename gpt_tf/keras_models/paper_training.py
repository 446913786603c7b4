"""What both Keras models share: the paper's losses and optimizer in `fit`.

`fit` minimises them with the dropout of the Trainer: the same numbers, step for step, on one
device. `from_preset` takes run folders of `gpt_tf` and presets of `save_to_preset`.
"""

import keras
import tensorflow as tf

from gpt_tf.keras_models.optimizer import GPTAdam
from gpt_tf.model.dropout import make_dropout_keys

# The paper's fine-tuning (section 4.1), at a constant rate: `fit` does not say how long it is.
_FINE_TUNING = dict(learning_rate=6.25e-5, schedule="constant", warmup_steps=0.0)


class PaperTraining:
    """`fit` and `evaluate` with the paper's loss instead of one of outputs.

    A task says its loss in `sums`; the means and updates are taken here.
    """

    def sums(self, x, y, sample_weight, step):
        """(summed loss, what it is divided by); `step` None leaves dropout out."""
        raise NotImplementedError

    def compile(self, optimizer="auto", loss="auto", **kwargs):
        """Like `keras.Model`'s, but the loss is the paper's.

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
        """Like `keras.Model.fit`, on one device.

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
