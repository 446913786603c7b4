"""The backbone as KerasHub's users handle one: seeds, dropout, graphs, dtypes, presets."""

import dataclasses
import os
import subprocess
import sys

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import gpt_tf
from gpt_tf import (
    GPTBackbone,
    GPTCausalLM,
    GPTCausalLMPreprocessor,
    GPTTextClassifier,
    GPTTextClassifierPreprocessor,
    GPTTokenizer,
)
from gpt_tf import export as export_command
from gpt_tf.common.errors import UserError
from gpt_tf.interop import conversion, targets
from gpt_tf.keras_models import conversion as keras_conversion
from gpt_tf.keras_models import export
from gpt_tf.model.dropout import make_dropout_keys
from tests import converted, corpora, task_data
from tests.house import ROOT
from tests.test_finetuning import make_run

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in (
    "__array__ implementation", "`shuffle=True` was passed",
    "Skipping variable loading for optimizer",
    r"`compile\(\)` was not called as part of model loading")]
SHAPE = dict(vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16,
             max_sequence_length=8)
DROPLESS = dict(dropout=0.0, embedding_dropout=0.0, attention_dropout=0.0)
IDS = np.random.default_rng(0).integers(1, 20, [4, 8]).astype(np.int32)
INPUTS = {"token_ids": IDS, "padding_mask": np.ones_like(IDS)}
models = keras_hub.models


@pytest.fixture(name="backbone", scope="module")
def backbone_fixture():
    return GPTBackbone(seed=3, initializer_range=0.3, **SHAPE)


@pytest.fixture(name="run", scope="module")
def run_fixture(tmp_path_factory, tokenizer):
    """A run folder of random weights."""
    folder = tmp_path_factory.mktemp("backbone") / "run"
    make_run(folder, tokenizer, initializer_range=0.3)
    return str(folder)


@pytest.fixture(name="preset", scope="module")
def preset_fixture(run, tmp_path_factory):
    """The same as a preset."""
    folder = str(tmp_path_factory.mktemp("backbone") / "preset")
    export.write(run, folder, "best")
    return folder


def table(backbone):
    return backbone.token_embedding.embeddings.numpy()


def test_fresh_models_differ_and_follow_the_seed():
    def fresh(set_seed=None, **seed):
        if set_seed is not None:
            keras.utils.set_random_seed(set_seed)
        made = GPTBackbone(**SHAPE, **seed)
        return np.array([table(made)[0], made(INPUTS, training=True)[0, 0]])

    first, second = fresh(), fresh()
    assert (np.abs(first - second).max(axis=1) > 1e-3).all()
    np.testing.assert_array_equal(fresh(1), fresh(1))
    assert np.abs(fresh(1) - fresh(2)).max() > 1e-3
    np.testing.assert_array_equal(fresh(1, seed=5), fresh(2, seed=5))
    for seed in (None, 5):
        config = GPTBackbone(seed=seed, **SHAPE).get_config()
        assert config["seed"] == seed and GPTBackbone.from_config(config).get_config() == config


def test_training_drops_out_and_inference_does_not(backbone):
    plain = backbone(INPUTS)
    np.testing.assert_array_equal(backbone(INPUTS, training=False), plain)
    np.testing.assert_allclose(plain, backbone.gpt(tf.constant(IDS)), atol=1e-6)
    first, second = (backbone(INPUTS, training=True).numpy() for _ in range(2))
    assert np.abs(first - second).max() > 0.1 and np.abs(first - plain).max() > 0.1
    # Over many masks each part's mean is what nothing dropped gives.
    part = backbone.get_layer("add_positions")
    x = tf.ones([2000, 4, 8])
    np.testing.assert_allclose(tf.reduce_mean(part(x, training=True), axis=0), part(x)[0],
                               atol=0.05)
    # The decoder alone draws keys, too, but not in place of those that the Trainer gives.
    keys = make_dropout_keys(1, tf.constant(2), tf.range(4))
    np.testing.assert_array_equal(backbone.gpt(IDS, keys, training=True), backbone.gpt(IDS, keys))
    first, second = (backbone.gpt(IDS, training=True).numpy() for _ in range(2))
    assert np.abs(first - second).max() > 0.1
    still = GPTBackbone(**SHAPE, **DROPLESS)
    np.testing.assert_array_equal(still(INPUTS, training=True), still(INPUTS))


def test_attributes_and_layers(backbone):
    for name, value in (SHAPE | {"dropout": 0.1, "num_special_tokens": 0}).items():
        assert getattr(backbone, name) == value
    assert isinstance(backbone.token_embedding, keras.layers.Embedding)
    assert backbone.get_layer("token") is backbone.token_embedding
    assert backbone.get_layer("block_0") is backbone.transformer_layers[0]
    assert backbone.get_layer("gpt") is backbone.gpt is backbone.get_layer(index=2)
    with pytest.raises(ValueError, match="No such layer"):
        backbone.get_layer("block_1")


def test_models_over_the_backbone_save_load_and_are_cloned(backbone, tmp_path):
    hidden = backbone.output
    logits = backbone.token_embedding(hidden, reverse=True)
    np.testing.assert_allclose(backbone.token_embedding(backbone(INPUTS), reverse=True),
                               backbone(INPUTS).numpy() @ table(backbone).T, atol=1e-5)
    middle = backbone.get_layer("add_positions").output
    model = keras.Model(backbone.input, [keras.layers.Dense(3)(logits), logits, middle])
    model.save(tmp_path / "model.keras")
    copies = [keras.models.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)]
    for copy in copies:
        assert len(copy.weights) == len(model.weights)  # the tie is kept
        copy.set_weights(model.get_weights())
        for found, expected in zip(copy(INPUTS), model(INPUTS), strict=True):
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(model(INPUTS)[1], GPTCausalLM(backbone)(INPUTS), atol=1e-6)
    with pytest.raises(NotImplementedError, match="clone its backbone"):
        keras.models.clone_model(GPTCausalLM(backbone))


def test_what_gptq_and_awq_calibrate_is_the_decoder(backbone):
    model = GPTCausalLM(backbone)
    structure = model.get_quantization_layer_structure("gptq")
    x = IDS
    for layer in [*structure["pre_block_layers"], *structure["sequential_blocks"]]:
        x = layer(x)
    np.testing.assert_allclose(x, backbone(INPUTS), atol=1e-6)
    assert model.get_quantization_layer_structure("int8") is None


def losses_of(run, dtype):
    """Of two updates by SGD, and the dtypes of what computes and is stored."""
    model = GPTCausalLM.from_preset(run, dtype=dtype, seed=1, sequence_length=8)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    history = model.fit(["the cat sat", "and the dog"], epochs=3, batch_size=2, verbose=0).history
    policy = model.backbone.dtype_policy
    assert {weight.dtype for weight in model.weights} == {policy.variable_dtype}
    assert model.backbone(INPUTS).dtype == policy.compute_dtype
    return np.array(history["loss"])


@pytest.fixture(name="float32_losses", scope="module")
def float32_losses_fixture(run):
    return losses_of(run, "float32")


@pytest.mark.parametrize("policy, rtol", [("bfloat16", 2**-8), ("float16", 2**-11),
                                          ("mixed_bfloat16", 2**-8), ("float64", 1e-6)])
def test_policies(run, float32_losses, policy, rtol):
    """Loss, gradient and update are float32's but for the rounding of what is computed."""
    losses = losses_of(run, policy)
    np.testing.assert_allclose(losses, float32_losses, rtol=rtol)
    assert losses[2] < 0.9 * losses[0]


def test_base_classes_read_a_preset(preset, run):
    ours = GPTCausalLM.from_preset(run)
    for load in (models.CausalLM.from_preset, GPTCausalLM.from_preset):
        loaded = load(preset)
        assert type(loaded) is GPTCausalLM
        np.testing.assert_array_equal(loaded(INPUTS), ours(INPUTS))
    np.testing.assert_array_equal(models.Backbone.from_preset(preset)(INPUTS),
                                  ours.backbone(INPUTS))
    assert type(keras_hub.tokenizers.Tokenizer.from_preset(preset)) is GPTTokenizer
    for base, kind in ((models.CausalLMPreprocessor, GPTCausalLMPreprocessor),
                       (models.TextClassifierPreprocessor, GPTTextClassifierPreprocessor)):
        for made in (base.from_preset(preset), kind.from_preset(run)):
            assert type(made) is kind and made.sequence_length == 32
    with open(os.path.join(preset, "metadata.json"), encoding="utf-8") as stream:
        assert '"CausalLM",\n' in (text := stream.read()) and '"TextClassifier"' in text


@pytest.mark.parametrize("load", [GPTTextClassifier.from_preset, models.TextClassifier.from_preset])
def test_from_a_language_models_preset_to_a_classifier(preset, run, load):
    heads = []
    for _ in range(2):
        classifier = load(preset, num_classes=2)
        np.testing.assert_array_equal(classifier.backbone(INPUTS),
                                      GPTBackbone.from_preset(run)(INPUTS))
        assert classifier.backbone.num_special_tokens == 3
        assert classifier.predict(["the cat", "a dog"], verbose=0).shape == (2, 2)
        heads.append(classifier.task_model.head.weights[0].numpy())
    assert np.abs(heads[0] - heads[1]).max() > 1e-3


def test_arguments_of_from_preset_take_effect(preset, run):
    for source in (preset, run):
        model = GPTCausalLM.from_preset(source, dropout=0.3, seed=4, sequence_length=9, name="mine")
        assert (model.backbone.dropout, model.backbone.seed, model.name) == (0.3, 4, "mine")
        assert model.preprocessor.sequence_length == 9
        classifier = GPTTextClassifier.from_preset(
            source, num_classes=2, dropout=0.3, attention_dropout=0.2, form="similarity")
        assert (classifier.dropout, classifier.backbone.dropout) == (0.3, 0.1)
        assert classifier.backbone.attention_dropout == 0.2
        assert classifier.preprocessor.form == "similarity"


def test_what_is_loaded_to_stay_as_it_is_has_the_weights(preset, run):
    expected = GPTBackbone.from_preset(run)(INPUTS)
    for source in (preset, run):
        frozen = GPTBackbone.from_preset(source, trainable=False)
        assert not frozen.trainable_variables
        np.testing.assert_array_equal(frozen(INPUTS), expected)


def test_arguments_of_from_preset_are_refused(preset, run):
    for load in (GPTCausalLM.from_preset, GPTBackbone.from_preset):
        for source in (preset, run):
            with pytest.raises(ValueError, match="no argument 'activation'"):
                load(source, activation="relu")
            with pytest.raises(ValueError, match="num_layers is decided by the weights of"):
                load(source, num_layers=3)
    with pytest.raises(ValueError, match="no argument 'dropout'"):
        models.CausalLM.from_preset(preset, dropout=0.3)
    with pytest.raises(ValueError, match="sequence_length is an argument of the preprocessor"):
        GPTCausalLM.from_preset(run, preprocessor=None, sequence_length=9)
    with pytest.raises(ValueError, match="The preprocessor has form='classification'"):
        models.TextClassifier.from_preset(preset, num_classes=2, form="entailment")
    with pytest.raises(UserError, match="is no classifier's: give num_classes"):
        GPTTextClassifier.from_preset(preset)


def test_transformers_export_is_the_commands(run, tokenizer, tmp_path):
    make_run(tmp_path / "run", tokenizer, intermediate_dim=64)
    conversion.export_run("huggingface", str(tmp_path / "run"), str(tmp_path / "expected"))
    model = GPTCausalLM.from_preset(str(tmp_path / "run"))
    model.export_to_transformers(tmp_path / "found")
    names = {path.name for path in (tmp_path / "expected").iterdir()}
    assert {"config.json", "model.safetensors", "vocab.json", "merges.txt"} < names
    assert {path.name for path in (tmp_path / "found").iterdir()} == names
    for name in names - {targets.KEPT}:  # which has the number of the run's update
        assert (tmp_path / "found" / name).read_bytes() == (
            tmp_path / "expected" / name).read_bytes(), name
    model.backbone.export_to_transformers(tmp_path / "parts")
    model.preprocessor.tokenizer.export_to_transformers(tmp_path / "parts")
    for path in (tmp_path / "parts").iterdir():  # which know nothing of each other
        if path.name not in ("tokenizer_config.json", "SHA256SUMS"):
            assert path.read_bytes() == (tmp_path / "found" / path.name).read_bytes(), path.name
    with pytest.raises(ValueError, match="exists: name a folder"):
        model.export_to_transformers(tmp_path / "found")
    with pytest.raises(ValueError, match="found holds a tokenizer"):
        model.preprocessor.tokenizer.export_to_transformers(tmp_path / "found")
    model.backbone.enable_lora(2)
    with pytest.raises(ValueError, match="before enable_lora"):
        model.export_to_transformers(tmp_path / "none")
    with pytest.raises(UserError, match="inner width of 4 times"):
        GPTCausalLM.from_preset(run).export_to_transformers(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_classifiers_transformers_export_is_the_commands(tokenizer, tmp_path):
    run = converted.make_run(tmp_path / "run", tokenizer, task=task_data.TASKS["classification"])
    model = GPTTextClassifier.from_preset(run)
    model.export_to_transformers(tmp_path / "found")
    model.save_to_preset(str(tmp_path / "preset"))
    keras_conversion.import_run(str(tmp_path / "preset"), str(tmp_path / "again"), "")
    conversion.export_run("huggingface", str(tmp_path / "again"), str(tmp_path / "expected"))
    assert corpora.contents(tmp_path / "found") == corpora.contents(tmp_path / "expected")
    with pytest.raises(ValueError, match="with hidden_dim=4 is more than the linear layer"):
        GPTTextClassifier(model.backbone, 2, model.preprocessor,
                          hidden_dim=4).export_to_transformers(tmp_path / "none")
    model.preprocessor = None
    with pytest.raises(ValueError, match="tokenizer of the preprocessor is exported, too"):
        model.export_to_transformers(tmp_path / "none")


def test_export_command_writes_a_preset(run, tmp_path, monkeypatch, capsys):
    target = str(tmp_path / "preset")
    config = export_command.ExportConfig(model_dir=run, output_dir=target, format="preset")
    monkeypatch.setattr(export_command.cli, "from_flags", lambda _: config)
    export_command.main()
    assert "keras_hub.models.CausalLM.from_preset" in capsys.readouterr().out
    with pytest.raises(UserError, match="--overwrite"):
        export_command.main()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    monkeypatch.setattr(export_command.cli, "from_flags", lambda _: dataclasses.replace(
        config, output_dir=str(tmp_path / "other"), overwrite=True))
    with pytest.raises(UserError, match="holds something else"):
        export_command.main()


def test_one_import_registers_all_and_says_nothing(preset):
    code = ("import gpt_tf.keras_models, keras, keras_hub\n"
            "print(*keras.saving.get_custom_objects())\n"
            f"print(type(keras_hub.models.Backbone.from_preset({preset!r})).__name__)\n"
            "import sklearn.base\n"  # whoever uses all of Keras can
            "print(issubclass(keras.wrappers.SKLearnClassifier, sklearn.base.BaseEstimator))\n")
    environment = {name: value for name, value in os.environ.items()
                   if name != "TF_CPP_MIN_LOG_LEVEL"}

    def run_python(code, **more):
        return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment | more,
                              check=True, capture_output=True, text=True)

    quiet = run_python(code)
    names, kind, is_whole = quiet.stdout.splitlines()
    assert {f"gpt_tf>{name}" for name in gpt_tf.__all__ if name[0] == "G"} <= set(names.split())
    assert kind == "GPTBackbone" and is_whole == "True" and not quiet.stderr
    # A command waits for none of what Keras takes along, and can import it; whoever asks for
    # TensorFlow's notices has them.
    lean = run_python("import sys; import gpt_tf.common.cli as cli; cli.import_tensorflow()\n"
                      "print({'sklearn', 'matplotlib', 'jax'} & set(sys.modules))\n"
                      "import gpt_tf.evaluation.bag_of_words, gpt_tf.evaluation.pictures",
                      TF_CPP_MIN_LOG_LEVEL="0")
    assert lean.stdout == "set()\n" and lean.stderr


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("change", ["quantize", "enable_lora"])
def test_a_changed_decoder_gets_no_rows_for_special_tokens(change):
    backbone = gpt_tf.GPTBackbone(vocabulary_size=20, num_layers=1, num_heads=2, hidden_dim=8,
                                  intermediate_dim=16, max_sequence_length=8)
    getattr(backbone, change)("int8" if change == "quantize" else 2)
    with pytest.raises(ValueError, match="before enable_lora"):
        backbone.with_special_tokens()
