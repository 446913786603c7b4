"""`fit` on four replicas of this machine's CPU against our Trainer and against one device.

  python -m tests.peers.keras_replicas

A process of its own: TensorFlow takes one number of logical devices, and of replicas, each.
"""

import keras
import numpy as np
import tensorflow as tf

from gpt_tf.common import cli

REPLICAS = 4


def fit_both(strategy, make, data):
    """Losses and models of the same `fit`, on one device and on the replicas."""
    found = []
    for each in (tf.distribute.get_strategy(), strategy):
        with each.scope():
            model = make()
        losses = model.fit(**data, batch_size=8, epochs=3, verbose=0).history["loss"]
        found.append((losses + [model.evaluate(**data, batch_size=8, verbose=0)], model))
    return found


def assert_fits_alike(strategy, fits, make, rows):
    """The same losses and weights on all replicas as on one device."""
    x, labels = fits.examples(rows)
    (losses, one), (found, many) = fit_both(strategy, make, {"x": x, "y": labels})
    np.testing.assert_allclose(found, losses, rtol=2e-6)
    fits.assert_same_weights(many.trainable_variables, one.trainable_variables)


def check_rows_that_do_not_divide(strategy, fits):
    """Nine rows in batches of eight: three replicas have none of the last batch.

    One device is the Trainer (`test_keras_fit`).
    """
    def make():
        model = fits.classifier_of()
        model.compile(fits.GPTAdam(num_steps=fits.STEPS, **fits.OPTIMIZER), metrics=[])
        return model

    assert_fits_alike(strategy, fits, make, rows=9)


def check_a_loss_of_the_users(strategy, fits):
    """Keras's own step, with gradients that GPTAdam clips: a norm of 0.01 is below theirs."""
    def make():
        model = fits.classifier_of(dropout=0.0)
        model.compile(fits.GPTAdam(clip_norm=0.01, **fits.CONSTANT), metrics=[],
                      loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    assert_fits_alike(strategy, fits, make, rows=8)


def check_an_overflow_on_one_replica(strategy, fits):
    """The last: the update is left out on all, and the scale halved; no weight is lost."""
    weights = np.array([*[1.0] * 7, 1e7], np.float32)
    with strategy.scope():
        model = fits.classifier_of(dtype="mixed_float16")
        model.compile(keras.optimizers.SGD(0.1), metrics=[])
    before = fits.weights_of(model)
    x, labels = fits.examples(8)
    model.fit(x, labels, sample_weight=weights, batch_size=8, verbose=0)
    assert float(model.optimizer.dynamic_scale.numpy()) == 2.0**14
    assert fits.moved(model, before) == 0
    model.fit(x, labels, batch_size=8, verbose=0)
    assert 1e-3 < fits.moved(model, before) < 1


def main() -> None:
    """Runs all checks; one that fails raises."""
    cli.import_tensorflow()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * REPLICAS)
    from tests import test_keras_fit as fits
    strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(REPLICAS)])
    fits.check_language_model(strategy)
    check_rows_that_do_not_divide(strategy, fits)
    check_a_loss_of_the_users(strategy, fits)
    check_an_overflow_on_one_replica(strategy, fits)
    print("whole")


if __name__ == "__main__":
    main()
