"""compile and fit of the Keras face: our Trainer's numbers, and Keras's own step."""

import json

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import GPTAdam, GPTBackbone, GPTCausalLM, GPTTextClassifier
from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig
from gpt_tf.keras_models import causal_lm
from gpt_tf.model.gpt import GPT
from gpt_tf.model.objectives import joint_loss, language_model_loss, loss_names
from gpt_tf.model.optimizer import Adam
from gpt_tf.model.task_model import TaskModel
from gpt_tf.training import distribution
from gpt_tf.training.train_step import TrainStep
from tests import corpora
from tests.test_finetuning import make_run

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
# Keras says these of every KerasNLP model that is fed arrays, or saved.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in (
    "`shuffle=True` was passed", "__array__ implementation")]
SHAPE = dict(vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32,
             max_sequence_length=24, initializer_range=0.3)
STEPS, ROWS, LENGTH = 6, 4, 12
# With the paper's epsilon Adam magnifies the rounding of gradients that are all but zero.
OPTIMIZER = dict(learning_rate=3e-3, schedule="cosine", warmup_steps=2.0, epsilon=1e-4)
SMALL = SHAPE | dict(num_layers=1, hidden_dim=8, intermediate_dim=16)
NO_DROPOUT = dict(dropout=0.0, embedding_dropout=0.0, attention_dropout=0.0)
CONSTANT = dict(schedule="constant", warmup_steps=0.0)


def windows():
    """Token ids [steps, rows, length] and lengths [steps, rows]."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, LENGTH + 1, [STEPS, ROWS]).astype(np.int32)
    lengths[0, 0] = 0  # a row that fills up
    ids = rng.integers(1, 50, [STEPS, ROWS, LENGTH]).astype(np.int32)
    return np.where(np.arange(LENGTH) < lengths[..., None], ids, 0), lengths


def train(variables, loss, batches, names=()):
    """The losses of our Trainer's updates, on one device."""
    optimizer = Adam(variables, OptimizerConfig(**OPTIMIZER), STEPS)
    step = TrainStep(distribution.make_strategy("one_device"), variables, loss, optimizer,
                     TrainingConfig(), names)
    return [float(step({name: tf.constant(value[i]) for name, value in batches.items()} | {
        "batch_rows": tf.range(ROWS), "step": tf.constant(i + 1)}, i + 1)["loss"])
            for i in range(STEPS)]


def fit(model, *batches):
    """The losses of Keras's updates on [steps, rows, ...]; an epoch each, as replicas report."""
    data = tf.data.Dataset.from_tensor_slices(batches)
    return model.fit(data, epochs=STEPS, steps_per_epoch=1, verbose=0).history["loss"]


def assert_same_weights(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, err_msg=theirs.path,
                                   atol=1e-5 * np.abs(theirs).max() + 1e-7)


def check_language_model(strategy):
    """`fit` under a strategy against the Trainer, step for step."""
    ids, lengths = windows()
    gpt = GPT(ModelConfig(**SHAPE), seed=3)
    losses = train(gpt.trainable_variables, language_model_loss(gpt, 3),
                   {"token_ids": ids, "lengths": lengths})
    with strategy.scope():
        model = GPTCausalLM(GPTBackbone(seed=3, **SHAPE))
        model.compile(GPTAdam(num_steps=STEPS, **OPTIMIZER))
    mask = np.arange(LENGTH) < lengths[..., None]
    found = fit(model, {"token_ids": ids, "padding_mask": mask.astype(np.int32)},
                np.pad(ids[..., 1:], [(0, 0), (0, 0), (0, 1)]),
                np.pad(mask[..., 1:], [(0, 0), (0, 0), (0, 1)]).astype(np.float32))
    np.testing.assert_allclose(found, losses, rtol=2e-6)
    assert_same_weights(model.backbone.gpt.trainable_variables, gpt.trainable_variables)


def check_classifier(strategy, form):
    """As `check_language_model`, of a classifier of three classes."""
    count = 2 if form == "similarity" else 1
    ids, lengths = windows()
    ids = np.repeat(ids[:, :, None], count, axis=2)
    lengths = np.repeat(np.maximum(lengths, 2)[:, :, None], count, axis=2)
    labels = np.random.default_rng(1).integers(0, 3, [STEPS, ROWS]).astype(np.int32)
    shape = SHAPE | {"num_special_tokens": 3}
    with strategy.scope():
        classifier = GPTTextClassifier(GPTBackbone(seed=3, **shape), 3, form=form)
        classifier.compile(GPTAdam(num_steps=STEPS, **OPTIMIZER), metrics=[])
    ours = TaskModel(ModelConfig(**shape), classifier.task_model.task, seed=3)
    losses = train(ours.trainable_variables, joint_loss(ours, 0.5, 3),
                   {"token_ids": ids, "lengths": lengths, "labels": labels}, loss_names(0.5))
    mask = (np.arange(LENGTH) < lengths[..., None]).astype(np.int32)
    found = fit(classifier, {"token_ids": ids, "padding_mask": mask}, labels)
    np.testing.assert_allclose(found, losses, rtol=2e-6)
    assert_same_weights(classifier.task_model.trainable_variables, ours.trainable_variables)


def test_fit_of_the_language_model_is_the_trainer():
    check_language_model(tf.distribute.get_strategy())


def test_fit_of_the_classifier_is_the_trainer():
    check_classifier(tf.distribute.get_strategy(), "classification")


@pytest.fixture(name="run", scope="module")
def run_fixture(tmp_path_factory, tokenizer):
    """A run folder of random weights."""
    folder = tmp_path_factory.mktemp("keras") / "run"
    make_run(folder, tokenizer, initializer_range=0.3)
    return str(folder)


def test_a_newcomers_three_lines(run, tmp_path):
    classifier = GPTTextClassifier.from_preset(run, class_names=["sat", "ran"])
    texts, labels = ["the cat sat", "and the dog ran in"] * 4, ["sat", "ran"] * 4
    classifier.compile(GPTAdam(learning_rate=1e-2, **CONSTANT))
    classifier.fit(texts, labels, batch_size=4, epochs=6, verbose=0)
    assert classifier.classify(texts) == labels
    logits = classifier.predict(texts, verbose=0)
    results = classifier.evaluate(texts, np.array([0, 1] * 4), verbose=0, return_dict=True)
    assert results["sparse_categorical_accuracy"] == 1
    preset = str(tmp_path / "preset")
    classifier.save_to_preset(preset)
    classifier.save(tmp_path / "model.keras")
    for loaded in (keras_nlp.models.TextClassifier.from_preset(preset),
                   keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_array_equal(loaded.predict(texts, verbose=0), logits)
        assert loaded.class_names == ["sat", "ran"]
    assert loaded.evaluate(texts, labels, verbose=0, return_dict=True) == results
    renamed = GPTTextClassifier.from_preset(preset, class_names=["rest", "motion"])
    np.testing.assert_array_equal(renamed.predict(texts, verbose=0), logits)
    assert renamed.class_names == ["rest", "motion"]
    assert GPTTextClassifier.from_preset(preset, num_classes=2).class_names == ["0", "1"]
    other = keras_nlp.models.TextClassifier.from_preset(preset, num_classes=3)
    assert other.class_names == ["0", "1", "2"]
    assert other.predict(texts[:1], verbose=0).shape == (1, 3)


def language_model(**shape):
    return GPTCausalLM(GPTBackbone(seed=3, **SMALL, **shape))


def classifier_of(num_classes=3, dtype=None, shape=NO_DROPOUT, **options):
    backbone = GPTBackbone(seed=3, num_special_tokens=3, dtype=dtype, **SMALL, **shape)
    return GPTTextClassifier(backbone, num_classes, **options)


def lm_data():
    """24 windows, as `fit` takes them."""
    ids, lengths = (values.reshape(-1, *values.shape[2:]) for values in windows())
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int32)
    return {"x": {"token_ids": ids, "padding_mask": mask}, "y": np.roll(ids, -1, axis=1),
            "sample_weight": np.pad(mask[:, 1:], [(0, 0), (0, 1)]).astype(np.float32)}


def examples(count=8):
    """Inputs and labels of a classifier."""
    x = {name: value[1:count + 1, None] for name, value in lm_data()["x"].items()}
    return x, np.random.default_rng(1).integers(0, 3, count)


@pytest.fixture(name="eager", scope="module")
def eager_fixture():
    """A classifier of the joint loss that is not trained."""
    classifier = classifier_of(None, class_names=["a", "b", "c"], dropout=0.0)
    classifier.compile(run_eagerly=True)
    return classifier


def weights_of(model):
    return [variable.numpy() for variable in model.trainable_variables]


def moved(model, before):
    return max(np.abs(now - then).max() for now, then in zip(weights_of(model), before))


def sgd_movement(dtype):
    """The loss of an update by SGD, and how far it moves the weights."""
    model = language_model(dtype=dtype)
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    before = weights_of(model)
    loss = model.fit(**lm_data(), batch_size=24, verbose=0).history["loss"][0]
    return loss, moved(model, before)


def test_the_loss_is_scaled_for_float16():
    np.testing.assert_allclose(sgd_movement("mixed_float16"), sgd_movement("float32"), rtol=3e-3)


def test_weights_of_examples(eager):
    x, labels = examples()
    weights = np.random.default_rng(2).random(8).astype(np.float32)
    each = [eager.evaluate({name: value[i:i + 1] for name, value in x.items()}, labels[i:i + 1],
                           verbose=0)[0] for i in range(8)]
    found = eager.evaluate(x, labels, sample_weight=weights, verbose=0)[0]
    np.testing.assert_allclose(found, np.average(each, weights=weights), rtol=1e-5)
    eager.compile(keras.optimizers.SGD(0.0), run_eagerly=True, weighted_metrics=["accuracy"])
    by_class = eager.fit(x, labels, class_weight={0: 1.0, 1: 0.0, 2: 3.0}, verbose=0).history
    of_class = np.array([1.0, 0.0, 3.0])[labels]
    np.testing.assert_allclose(by_class["loss"], np.average(each, weights=of_class), rtol=1e-5)
    hits = np.argmax(eager.predict(x, verbose=0), axis=1) == labels
    np.testing.assert_allclose(by_class["accuracy"], np.average(hits, weights=of_class), rtol=1e-5)
    assert eager.fit(x, labels, sample_weight=np.zeros(8), verbose=0).history["loss"] == [0]


def test_what_has_nothing_to_predict_counts_nothing(eager):
    """A text of one token, an empty one, and tokens or examples that weigh nothing."""
    model = language_model()
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    data = {name: tf.nest.map_structure(lambda value: value[1:3], value)
            for name, value in lm_data().items()}
    data["x"]["padding_mask"] = np.eye(2, LENGTH, dtype=np.int32) * [[1], [0]]
    cases = [(model, data | {"sample_weight": None}),
             (model, lm_data() | {"sample_weight": np.zeros([24, LENGTH])})]
    eager.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
    x, labels = examples()
    cases.append((eager, {"x": x, "y": labels, "sample_weight": np.zeros(8)}))
    for model, data in cases:
        before = weights_of(model)
        found = model.evaluate(**data, verbose=0)
        assert (found[0] if isinstance(found, list) else found) == 0
        assert model.fit(**data, verbose=0).history["loss"] == [0]
        assert moved(model, before) == 0


def test_labels_are_numbers_or_names(eager):
    x, labels = examples()
    names = np.array(["a", "b", "c"])[labels]
    eager.compile(run_eagerly=True)
    expected = eager.evaluate(x, labels, verbose=0)
    assert eager.evaluate(x, list(names), verbose=0) == expected
    data = tf.data.Dataset.from_tensor_slices((x, names)).batch(8)
    assert eager.evaluate(data, verbose=0) == expected
    assert eager.evaluate(x, names[:, None], verbose=0) == expected
    assert eager.evaluate(x, labels[:, None], verbose=0) == expected
    one_hot = np.eye(3, dtype=np.float32)[labels]
    with pytest.raises(ValueError, match="CategoricalCrossentropy"):
        eager.evaluate(x, one_hot, verbose=0)
    with pytest.raises(ValueError, match=r"names \(a, b, c\).*None of them is 'd'"):
        eager.fit(x, ["d"] * 8, verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"names \(a, b, c\)"):
        eager.evaluate(tf.data.Dataset.from_tensor_slices((x, ["d"] * 8)).batch(8), verbose=0)
    probabilities = tf.nn.softmax(eager.predict(x, verbose=0)).numpy()
    loss = -np.log(probabilities[np.arange(8), labels]).mean()
    eager.compile(loss="sparse_categorical_crossentropy", run_eagerly=True)
    for given, y in ((keras.losses.CategoricalCrossentropy(from_logits=True), one_hot),
                     (keras.losses.SparseCategoricalCrossentropy(from_logits=True), names)):
        eager.compile(loss=given, run_eagerly=True)
        found = eager.evaluate(x, y, verbose=0)
        np.testing.assert_allclose(found, [loss, expected[1]], rtol=1e-5)
    eager.compile(run_eagerly=True)
    assert eager.evaluate(x, labels, verbose=0) == expected


def texts_and_labels():
    ids = np.full([4, 1, 5], 7, np.int32)
    return {"token_ids": ids, "padding_mask": np.ones_like(ids)}, np.array([0, 1, 1, 0])


def test_weights_of_classes_are_by_number_or_name():
    x, y = texts_and_labels()

    def loss(class_weight):
        model = GPTTextClassifier(GPTBackbone(seed=1, **SMALL | NO_DROPOUT), dropout=0.0,
                                  class_names=["bad", "good"])
        return model.fit(x, y, class_weight=class_weight, verbose=0).history["loss"][0]

    by_name = loss({"good": 3.0, "bad": 0.5})
    assert by_name == loss({1: 3.0, 0: 0.5}) != loss(None)
    for key in ("gut", 2, True):
        with pytest.raises(ValueError, match=f"the key {key!r}, which is no class"):
            loss({key: 1.0})


@pytest.mark.parametrize("given, message", [
    (None, "There are no labels: give y"), ([0, 1, 2, 0], "2 is no label of 2 classes"),
    ([1, 2, 2, 1], "2 is no label"), ([0, 0.5, 1, 1], "0.5 is no label"),
    ([0, -1, 1, 1], "-1 is no label")])
def test_labels_that_cannot_be(given, message):
    x, _ = texts_and_labels()
    model = GPTTextClassifier(GPTBackbone(seed=1, **SMALL), num_classes=2)
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=message):
            method(x, given and np.array(given), verbose=0)


def test_targets_count_without_weights():
    x, y, weights = lm_data().values()
    model = language_model()
    model.compile(run_eagerly=True)
    x["padding_mask"][:, -1] = 0
    weights[:, -2:] = 0
    assert model.evaluate(x, y, verbose=0) == model.evaluate(x, y, sample_weight=weights, verbose=0)
    of_rows = np.arange(24.0)
    assert (model.evaluate(x, y, sample_weight=of_rows, verbose=0)
            == model.evaluate(x, y, sample_weight=weights * of_rows[:, None], verbose=0))
    full = {"token_ids": x["token_ids"], "padding_mask": np.ones_like(x["token_ids"])}
    assert (model.evaluate(full, y, verbose=0)
            == model.evaluate(full, y, sample_weight=np.ones(y.shape), verbose=0))


@pytest.mark.parametrize("loss", [
    "sparse_categorical_crossentropy", ["sparse_categorical_crossentropy"],
    keras.losses.SparseCategoricalCrossentropy()])
def test_a_loss_of_the_users_is_kerass_training(loss):
    x, labels = examples()
    after = []
    for plain in (False, True):
        model = classifier_of(activation="softmax", dropout=0.0)
        if plain:
            model = keras.Model(model.inputs, model.outputs)
        model.compile(keras.optimizers.SGD(0.1), loss=loss, metrics=[], run_eagerly=True)
        before = weights_of(model)
        model.fit(x, labels, sample_weight=np.arange(8.0), batch_size=8, verbose=0)
        after.append(weights_of(model))
    for ours, theirs in zip(*after, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)
    assert moved(model, before) > 1e-2


def test_dropout_is_on_in_training():
    classifier = classifier_of(dropout=0.5)
    count = 4000
    ids = np.tile([[[50, 7, 8, 52]]], [count, 1, 1])
    x = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    first, second = (classifier(x, training=True).numpy() for _ in range(2))
    assert not np.array_equal(first, second)
    expected = classifier(x).numpy()
    assert np.ptp(expected, axis=0).max() < 1e-6
    # Dropped states are scaled, and the layer behind them is linear.
    error = np.abs(first.mean(axis=0) - expected[0])
    assert (error < 5 * first.std(axis=0) / np.sqrt(count)).all() and first.std() > 0.1


def test_a_hidden_layer_and_an_activation(tmp_path):
    classifier = classifier_of(hidden_dim=5, activation="softmax", dropout=0.0)
    x, _ = examples()
    head, found = classifier.task_model.head, classifier.predict(x, verbose=0)
    hidden = classifier.backbone({name: value[:, 0] for name, value in x.items()}).numpy()
    states = hidden[np.arange(8), x["padding_mask"].sum(axis=-1)[:, 0] - 1]
    units = np.tanh(states @ head.hidden.kernel + head.hidden.bias)
    expected = tf.nn.softmax(units @ head.head.projection.kernel + head.head.projection.bias)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert units.shape == (8, 5)
    classifier.optimizer.learning_rate = 0.5
    classifier.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), found)
    assert float(loaded.optimizer.learning_rate.numpy()) == 0.5
    config = classifier.get_config()
    assert json.loads(json.dumps(config)) == GPTTextClassifier.from_config(config).get_config()


@pytest.mark.parametrize("options, message", [
    (dict(num_classes=None), "Give num_classes, or class_names"),
    (dict(num_classes=1), "must be 2 to 10,000"), (dict(num_classes=10**9), "must be 2 to 10,000"),
    (dict(num_classes=3, class_names=["a", "b"]), "2 names and num_classes=3"),
    (dict(num_classes=None, class_names=["a", "a"]), "all different"),
    (dict(num_classes=None, class_names=[0, 1]), "must be strings"),
    (dict(hidden_dim=0), "hidden_dim=0")])
def test_a_classifier_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        classifier_of(**options)


def test_replicas_take_no_optimizer_that_clips_first():
    with distribution.make_strategy("mirrored").scope():
        model = language_model()
        model.compile(keras.optimizers.Adam(global_clipnorm=1.0))
    with pytest.raises(ValueError, match=r"would clip \(global_clipnorm\)"):
        model.fit(**lm_data(), verbose=0)


def test_weights_of_rows_and_then_of_tokens():
    """On one model: Keras no longer says of which rank they are."""
    ones = tf.ones([2, 3])
    mask = tf.constant([[1, 1, 0], [1, 1, 1]])
    function = tf.function(causal_lm._target_weights, input_signature=[
        tf.TensorSpec([None, None], tf.int32), tf.TensorSpec(None, tf.float32)])
    expected = [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    np.testing.assert_array_equal(function(mask, ones[:, 0]), expected)
    np.testing.assert_array_equal(function(mask, 2 * ones[:, :1]), 2 * np.array(expected))
    weights = tf.constant([[0.0, 3.0, 1.0], [2.0, 0.5, 1.0]])
    np.testing.assert_array_equal(function(mask, weights), weights)
