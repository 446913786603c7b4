"""The six classes under the checks that KerasHub holds its own models to, GPT-2 beside them.

KerasHub ships its `TestCase` with its package; it imports grain (requirements-peers.txt). Whatever
is checked of GPT-1 is checked of GPT-2 in the same run, so that a check that says nothing is seen.
"""

import dataclasses
import os
import types
from typing import Any
from unittest import mock

import pytest

pytest.importorskip("grain", reason="needs requirements-peers.txt")

from absl.testing import parameterized
import keras
import keras_hub
from keras_hub.src.tests.test_case import TestCase
from keras_hub.src.utils import preset_utils
import numpy as np

from gpt_tf import (
    GPTBackbone,
    GPTCausalLM,
    GPTCausalLMPreprocessor,
    GPTTextClassifier,
    GPTTextClassifierPreprocessor,
    GPTTokenizer,
)
from tests.corpora import keras_arguments, make_tokenizer

models = keras_hub.models
# What Keras and KerasHub say of every model of theirs under these checks.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in (
    "Layer .* does not have a `quantize` method", "`shuffle=True` was passed",
    "Skipping variable loading for optimizer", "__array__ implementation",
    r"`compile\(\)` was not called as part of model loading", "The `save_format` argument",
    "The `check_types` argument is deprecated", "Invalid quantization mode",
    "In the future `np.object`")]
LENGTH = 8
TEXTS = ["the cat and the dog", "in"]
SHAPE = dict(num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16,
             max_sequence_length=LENGTH)


@dataclasses.dataclass(frozen=True)
class Family:
    """The classes of a model, and how its tokenizer is made."""

    backbone: type
    causal_lm: type
    tokenizer: type
    causal_lm_preprocessor: type
    tokenizer_arguments: dict[str, Any]
    classifier: type | None = None
    classifier_preprocessor: type | None = None

    def make_tokenizer(self):
        return self.tokenizer(**self.tokenizer_arguments)

    def make_backbone(self, **arguments):
        size = self.make_tokenizer().vocabulary_size()
        return self.backbone(**SHAPE | {"vocabulary_size": size} | arguments)

    def make_causal_lm(self):
        return self.causal_lm(self.make_backbone(), self.causal_lm_preprocessor(
            self.make_tokenizer(), sequence_length=LENGTH))


GPT1 = Family(GPTBackbone, GPTCausalLM, GPTTokenizer, GPTCausalLMPreprocessor,
              keras_arguments(make_tokenizer()), GPTTextClassifier, GPTTextClassifierPreprocessor)
_BYTES = ["<|endoftext|>", *"thecandogiĠ", "th", "the"]
GPT2 = Family(models.GPT2Backbone, models.GPT2CausalLM, models.GPT2Tokenizer,
              models.GPT2CausalLMPreprocessor, {
                  "vocabulary": {token: index for index, token in enumerate(_BYTES)},
                  "merges": ["t h", "th e"]})
both = parameterized.named_parameters(("gpt1", GPT1), ("gpt2", GPT2))


def ids(rows=2, columns=LENGTH):
    """A batch of token ids without padding."""
    token_ids = np.random.default_rng(0).integers(1, 12, [rows, columns]).astype("int32")
    return {"token_ids": token_ids, "padding_mask": np.ones_like(token_ids)}


class BackboneTest(TestCase):
    @both
    def test_basics(self, family):
        self.run_backbone_test(family.backbone, SHAPE | {"vocabulary_size": 12}, ids(),
                               expected_output_shape=(2, LENGTH, 8))

    @both
    def test_saving(self, family):
        self.run_model_saving_test(family.backbone, SHAPE | {"vocabulary_size": 12}, ids())

    @both
    def test_attributes(self, family):
        backbone = family.make_backbone(dropout=0.3)
        for name, value in (SHAPE | {"dropout": 0.3}).items():
            self.assertEqual(getattr(backbone, name), value)
        self.assertEqual(backbone.vocabulary_size, backbone.token_embedding.input_dim)
        self.assertLen(backbone.transformer_layers, 1)

    @both
    def test_training_drops_out_as_the_seed_says(self, family):
        def outputs(seed, training=True):
            keras.utils.set_random_seed(seed)
            backbone = family.make_backbone(dropout=0.5)
            return [np.array(backbone(ids(), training=training)) for _ in range(2)]

        first, again, other = outputs(1), outputs(1), outputs(2)
        self.assertAllEqual(first, again)
        self.assertGreater(np.abs(first[0] - first[1]).max(), 0.1)
        self.assertGreater(np.abs(first[0] - other[0]).max(), 0.1)
        self.assertAllEqual(*outputs(1, training=False))

    @both
    def test_a_tied_head_saves_and_loads(self, family):
        backbone = family.make_backbone()
        logits = backbone.token_embedding(backbone.output, reverse=True)
        model = keras.Model(backbone.input, keras.layers.Dense(3)(logits))
        table = backbone.token_embedding.embeddings
        self.assertAllClose(np.array(backbone(ids())) @ np.array(table).T,
                            backbone.token_embedding(backbone(ids()), reverse=True), atol=1e-5)
        path = os.path.join(self.get_temp_dir(), "model.keras")
        model.save(path)
        self.assertAllEqual(keras.models.load_model(path)(ids()), model(ids()))

    @both
    def test_lora(self, family):
        backbone = family.make_backbone()
        before = np.array(backbone(ids()))
        backbone.enable_lora(2)
        self.assertAllClose(backbone(ids()), before)
        matrices = [weight for weight in backbone.trainable_weights if "lora" in weight.name]
        self.assertLen(matrices, 2 * 2)
        if family is GPT1:  # GPT-2's biases train, too
            self.assertLen(backbone.trainable_weights, len(matrices))

    @parameterized.product(family=[GPT1, GPT2], mode=["int8", "int4", "float8"])
    def test_quantize(self, family, mode):
        model = family.causal_lm(family.make_backbone())
        before = np.array(model(ids()))
        model.quantize(mode)
        self.assertAllClose(model(ids()), before, atol={"int4": 0.2}.get(mode, 0.02))

    @parameterized.product(family=[GPT1, GPT2], mode=["gptq", "awq"])
    def test_structure_of_calibrated_quantization(self, family, mode):
        model = family.make_causal_lm()
        structure = model.get_quantization_layer_structure(mode)
        x = ids()["token_ids"]
        for layer in [*structure["pre_block_layers"], *structure["sequential_blocks"]]:
            x = layer(x)
        self.assertEqual(x.shape, (2, LENGTH, 8))
        if family is GPT1:
            self.assertAllClose(x, model.backbone(ids()))
            return
        # GPT-2's blocks end before its last normalisation.
        self.assertAllClose(model.backbone.layer_norm(x), model.backbone(ids()))

    @parameterized.parameters(keras.quantizers.GPTQConfig, keras.quantizers.AWQConfig)
    def test_calibrated_quantization(self, config):
        model = GPT1.causal_lm(GPT1.make_backbone(initializer_range=0.5))
        layers = [layer for layer in model._flatten_layers()
                  if isinstance(layer, keras.layers.Dense)]
        kernels = [np.array(layer.kernel) for layer in layers]
        made = config(dataset=TEXTS * 5, tokenizer=GPT1.make_tokenizer(), group_size=8,
                      sequence_length=LENGTH, num_samples=2)
        model.quantize(made.mode, config=made)
        for layer, kernel in zip(layers, kernels, strict=True):
            self.assertEqual(layer.quantization_mode, made.mode)
            found = layer(np.eye(len(kernel), dtype="float32")) - layer.bias
            self.assertNotAllClose(found, kernel)
            self.assertAllClose(found, kernel, atol=0.51 * np.ptp(kernel) / 15)  # of four bits


class CausalLMTest(TestCase):
    def test_basics(self):
        """GPT-2 passes, too; its tokenizer's graphs take 20 seconds to trace."""
        tokenizer = GPT1.make_tokenizer()
        preprocessor = GPTCausalLMPreprocessor(tokenizer, sequence_length=LENGTH)
        self.run_task_test(
            GPTCausalLM, {"backbone": GPT1.make_backbone(), "preprocessor": preprocessor},
            train_data=(TEXTS,), compile_kwargs={"jit_compile": False},
            expected_output_shape=(2, LENGTH, tokenizer.vocabulary_size()))

    @both
    def test_saving(self, family):
        model = family.make_causal_lm()
        self.run_model_saving_test(family.causal_lm, {
            "backbone": model.backbone, "preprocessor": model.preprocessor}, ids())

    @parameterized.product(family=[GPT1, GPT2], policy=[
        "float16", "bfloat16", "mixed_float16", "mixed_bfloat16", "float64"])
    def test_policies(self, family, policy):
        losses = {}
        for each in ("float32", policy):
            keras.utils.set_random_seed(1)
            model = family.causal_lm(family.make_backbone(dtype=each, dropout=0.0),
                                     family.make_causal_lm().preprocessor)
            model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True,
                          loss="auto" if family is GPT1 else
                          keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                          weighted_metrics=None, sampler="greedy")
            losses[each] = model.fit(TEXTS, epochs=3, verbose=0).history["loss"][-1]
            self.assertIsInstance(model.generate("the", max_length=LENGTH), str)
        self.assertAllClose(losses[policy], losses["float32"], rtol=0.01)

    @both
    def test_presets(self, family):
        model = family.make_causal_lm()
        folder = os.path.join(self.get_temp_dir(), "preset")
        model.save_to_preset(folder)
        self.run_preset_test(family.causal_lm, folder, ids(), expected_output=model(ids()))
        self.run_preset_test(family.backbone, folder, ids(), expected_output=model.backbone(ids()))
        for base, ours in ((models.CausalLM, family.causal_lm), (models.Backbone, family.backbone),
                           (keras_hub.tokenizers.Tokenizer, family.tokenizer),
                           (models.CausalLMPreprocessor, family.causal_lm_preprocessor)):
            self.assertIsInstance(base.from_preset(folder), ours)
        self.assertIn("CausalLM", preset_utils.load_json(folder, "metadata.json")["tasks"])

    @parameterized.parameters("mixed_bfloat16", "int8")
    def test_presets_of_other_dtypes(self, change):
        """KerasHub itself loads neither of these of GPT-2 without being told a dtype."""
        same = {} if change == "int8" else {"dtype": change}
        model = GPTCausalLM(GPT1.make_backbone(**same))
        if change == "int8":
            model.quantize(change)
        else:
            self.assertRaises(ValueError, self._load_mixed_gpt2, change)
        folder = os.path.join(self.get_temp_dir(), change)
        model.save_to_preset(folder)
        self.assertAllEqual(GPTCausalLM.from_preset(folder, **same)(ids()), model(ids()))
        self.assertAllEqual(GPTBackbone.from_preset(folder, **same)(ids()), model.backbone(ids()))
        self.assertEqual(GPTCausalLM.from_preset(folder, dropout=0.5).backbone.dropout, 0.5)
        self.assertEqual(GPTCausalLM.from_preset(folder).compute_dtype, "float32")

    def _load_mixed_gpt2(self, policy):
        folder = os.path.join(self.get_temp_dir(), "gpt2")
        GPT2.causal_lm(GPT2.make_backbone(dtype=policy)).save_to_preset(folder)
        models.CausalLM.from_preset(folder)

    @both
    def test_upload_but_for_the_network(self, family):
        folder = os.path.join(self.get_temp_dir(), "preset")
        family.make_causal_lm().save_to_preset(folder)
        hub = mock.create_autospec(preset_utils.huggingface_hub)
        hub.create_repo.return_value = types.SimpleNamespace(repo_id="user/model")
        hub.file_exists.return_value = False
        seen = []
        hub.upload_folder.side_effect = lambda repo_id, folder_path: seen.extend(
            os.listdir(folder_path))
        with mock.patch.object(preset_utils, "huggingface_hub", hub):
            keras_hub.upload_preset("hf://user/model", folder)
        self.assertContainsSubset(["README.md", "config.json", "model.weights.h5", "task.json",
                                   "tokenizer.json", "assets"], seen)
        self.assertNotIn("README.md", os.listdir(folder))

    @both
    def test_onnx(self, family):
        pytest.importorskip("tf2onnx", reason="needs requirements-peers.txt")
        onnxruntime = pytest.importorskip("onnxruntime", reason="needs requirements-peers.txt")
        model = family.causal_lm(family.make_backbone())
        model(ids())
        path = os.path.join(self.get_temp_dir(), "model.onnx")
        model.export(path, format="onnx", verbose=False)
        session = onnxruntime.InferenceSession(path)
        for rows, columns in ((1, 3), (2, LENGTH), (3, 5)):
            inputs = ids(rows, columns)
            found, = session.run(None, {each.name: inputs[each.name]
                                        for each in session.get_inputs()})
            self.assertAllClose(found, model(inputs), atol=1e-6)


class TextClassifierTest(TestCase):
    """KerasHub has no classifier of GPT-2."""

    def setUp(self):
        super().setUp()
        self.init_kwargs = {
            "backbone": GPT1.make_backbone(num_special_tokens=3), "num_classes": 2,
            "preprocessor": GPTTextClassifierPreprocessor(GPT1.make_tokenizer(), LENGTH)}

    def test_basics(self):
        self.run_task_test(GPTTextClassifier, self.init_kwargs,
                           train_data=(TEXTS, np.array([0, 1])), expected_output_shape=(2, 2),
                           compile_kwargs={"jit_compile": False})

    def test_saving(self):
        inputs = self.init_kwargs["preprocessor"](TEXTS)
        self.run_model_saving_test(GPTTextClassifier, self.init_kwargs, inputs)

    def test_presets(self):
        model = GPTTextClassifier(**self.init_kwargs)
        folder = os.path.join(self.get_temp_dir(), "preset")
        model.save_to_preset(folder)
        inputs = self.init_kwargs["preprocessor"](TEXTS)
        self.run_preset_test(GPTTextClassifier, folder, inputs, expected_output=model(inputs))
        self.assertAllEqual(models.TextClassifier.from_preset(folder)(inputs), model(inputs))
        self.assertIsInstance(models.TextClassifierPreprocessor.from_preset(folder),
                              GPTTextClassifierPreprocessor)
        self.assertEqual(models.TextClassifier.from_preset(folder, num_classes=5)(inputs).shape,
                         (2, 5))

    def test_of_a_language_models_preset(self):
        model = GPT1.make_causal_lm()
        folder = os.path.join(self.get_temp_dir(), "preset")
        model.save_to_preset(folder)
        for load in (models.TextClassifier.from_preset, GPTTextClassifier.from_preset):
            classifier = load(folder, num_classes=2)
            self.assertAllEqual(classifier.backbone(ids()), model.backbone(ids()))
            self.assertEqual(classifier.predict(TEXTS, verbose=0).shape, (2, 2))


class PreprocessingTest(TestCase):
    @both
    def test_tokenizer(self, family):
        self.run_preprocessing_layer_test(
            family.tokenizer, family.tokenizer_arguments, TEXTS,
            expected_detokenize_output=TEXTS)

    @both
    def test_vocabulary(self, family):
        tokenizer = family.make_tokenizer()
        self.assertLen(tokenizer.get_vocabulary(), tokenizer.vocabulary_size())
        for index, token in enumerate(tokenizer.get_vocabulary()):
            self.assertEqual(tokenizer.token_to_id(token), index)
            self.assertEqual(tokenizer.id_to_token(index), token)

    @both
    def test_causal_lm_preprocessor(self, family):
        self.init_kwargs = {"tokenizer": family.make_tokenizer(), "sequence_length": LENGTH}
        self.run_preprocessor_test(family.causal_lm_preprocessor, self.init_kwargs, TEXTS)

    @both
    def test_generate_texts(self, family):
        preprocessor = family.causal_lm_preprocessor(family.make_tokenizer(), LENGTH)
        prompt = preprocessor.generate_preprocess("the cat")
        self.assertEqual(prompt["token_ids"].shape, (LENGTH,))
        self.assertEqual(preprocessor.generate_postprocess(prompt), "the cat")

    def test_classifier_preprocessor(self):
        self.init_kwargs = {"tokenizer": GPT1.make_tokenizer(), "sequence_length": LENGTH}
        for form, texts in (("classification", TEXTS), ("similarity", (TEXTS, ["a", "b"]))):
            self.init_kwargs |= {"form": form}
            self.run_preprocessor_test(GPTTextClassifierPreprocessor, self.init_kwargs,
                                       (texts, [0, 1], [1.0, 2.0]))
