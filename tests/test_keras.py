"""The Keras face: as KerasNLP's users expect, equal to our own Generator."""

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import (
    GPTAdam,
    GPTBackbone,
    GPTCausalLM,
    GPTCausalLMPreprocessor,
    GPTTextClassifier,
    GPTTextClassifierPreprocessor,
    GPTTokenizer,
)
from gpt_tf.common.errors import UserError
from gpt_tf.model.gpt import GPT
from gpt_tf.runs import run_folder, weights
from tests import corpora, generators, task_data
from tests.test_evaluate_task import make_run as make_task_run
from tests.test_finetuning import make_run

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
# Keras says these of every KerasNLP model that is fed strings, or called often.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in (
    "`shuffle=True` was passed", "__array__ implementation")]
SHAPE = dict(vocabulary_size=50, num_layers=2, num_heads=2, hidden_dim=16, intermediate_dim=32,
             max_sequence_length=24, initializer_range=0.3)
TEXTS = ["The cat sat, and the dog ran.", "And in the end"]


@pytest.fixture(name="run", scope="module")
def run_fixture(tmp_path_factory, tokenizer):
    """A run folder of random weights, and its model."""
    folder = tmp_path_factory.mktemp("keras") / "run"
    return str(folder), make_run(folder, tokenizer, initializer_range=0.3)


@pytest.fixture(name="model")
def model_fixture(run):
    return GPTCausalLM.from_preset(run[0])


def inputs_of(tokenizer, text):
    ids = np.array([tokenizer.encode(text)], np.int32)
    return {"token_ids": ids, "padding_mask": np.ones_like(ids)}


def test_a_run_folder_is_a_preset(model, run, tokenizer):
    inputs = inputs_of(tokenizer, TEXTS[0])
    hidden = run[1](tf.constant(inputs["token_ids"]))
    np.testing.assert_array_equal(model.backbone(inputs), hidden)
    np.testing.assert_array_equal(model(inputs), run[1].logits(hidden))
    assert model.count_params() == run[1].config.num_parameters


def test_texts_eager_equals_graph_equals_tf_data(model, tokenizer):
    layer = model.preprocessor.tokenizer
    expected = [tokenizer.encode(text) for text in TEXTS]
    assert [list(ids) for ids in layer(TEXTS)] == expected
    data = tf.data.Dataset.from_tensor_slices(TEXTS).batch(2).map(layer)
    assert next(iter(data)).to_list() == expected
    assert tf.function(layer.tokenize)(tf.constant(TEXTS)).to_list() == expected
    assert list(layer(TEXTS[0])) == expected[0]
    assert layer.detokenize(expected[0]) == tokenizer.decode(expected[0])
    x, y, weights = model.preprocessor(TEXTS)
    for found in next(iter(tf.data.Dataset.from_tensor_slices(TEXTS).batch(2).map(
            model.preprocessor))), model.preprocessor(TEXTS):
        tf.nest.map_structure(np.testing.assert_array_equal, found, (x, y, weights))
    length = min(len(expected[1]), 32)
    np.testing.assert_array_equal(x["token_ids"][1, :length], expected[1][:length])
    np.testing.assert_array_equal(y[1, :length - 1], expected[1][1:length])


def test_generate_is_the_generators(model, run, tokenizer):
    prompts = [tokenizer.encode(text) for text in ("the cat", "and in")]
    length = 20
    expected = [prompt + generators.make(run[1], length - len(prompt), temperature=0.0)([prompt])[0]
                for prompt in prompts]
    model.compile(sampler="greedy")
    assert model.generate(["the cat", "and in"], max_length=length) == [
        tokenizer.decode(ids) for ids in expected]
    assert model.generate("the cat", max_length=length) == tokenizer.decode(expected[0])
    model.preprocessor = None
    padded = np.zeros([2, length], np.int32)
    mask = np.zeros([2, length], bool)
    for row, prompt in enumerate(prompts):
        padded[row, :len(prompt)], mask[row, :len(prompt)] = prompt, True
    found = model.generate({"token_ids": padded, "padding_mask": mask})
    np.testing.assert_array_equal(found["token_ids"], expected)


@pytest.mark.parametrize("arguments, message", [
    ({"stop_token_ids": 5}, "stop_token_ids=5 is neither 'auto' nor a list of token ids"),
    ({"stop_token_ids": ["."]}, "is neither 'auto' nor a list"),
    ({"max_length": 10.5}, "max_length=10.5 must be a whole number")])
def test_arguments_of_generate_that_cannot_be(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.generate(["it was"], **arguments)


def test_a_sampler_that_is_none(model):
    with pytest.raises(ValueError, match="sampler='greeedy' is none of greedy, top_k"):
        model.compile(sampler="greeedy")
    model.compile(sampler="greedy")


def test_a_stop_token_ends_the_mask(model):
    model.compile(sampler="greedy")
    whole = model.generate("the cat", max_length=20)
    model.preprocessor = None
    ids = np.zeros([1, 20], np.int32)
    mask = np.arange(20)[None] < 3
    ids[0, :3] = 5
    found = model.generate({"token_ids": ids, "padding_mask": mask})
    stop = int(found["token_ids"][0, 6])
    first = int(np.flatnonzero(found["token_ids"][0, 3:] == stop)[0]) + 3
    stopped = model.generate({"token_ids": ids, "padding_mask": mask}, stop_token_ids=[stop])
    np.testing.assert_array_equal(stopped["padding_mask"][0], np.arange(20) <= first)
    assert whole


@pytest.mark.parametrize("sampler", ["top_k", "top_p", "random",
                                     keras_nlp.samplers.BeamSampler(num_beams=3)])
def test_samplers(model, sampler):
    model.compile(sampler=sampler)
    text = model.generate("the cat", max_length=12)
    assert text.startswith("the cat") and len(text) > len("the cat")


def sample(model, prompt, sampler, count, length):
    """Token ids [count, length] that a sampler puts behind `count` times the same prompt."""
    ids = np.zeros([count, len(prompt) + length], np.int32)
    ids[:, :len(prompt)] = prompt
    mask = np.tile(np.arange(ids.shape[1]) < len(prompt), [count, 1])
    model.compile(sampler=sampler)
    model.preprocessor = None
    found = model.generate({"token_ids": ids, "padding_mask": mask})["token_ids"]
    np.testing.assert_array_equal(found[:, :len(prompt)], ids[:, :len(prompt)])
    return found[:, len(prompt):]


@pytest.mark.parametrize("make, keeps", [
    (keras_nlp.samplers.RandomSampler, lambda shares, before: shares > 0),
    (lambda seed: keras_nlp.samplers.TopKSampler(k=3, seed=seed),
     lambda shares, before: np.arange(len(shares)) < 3),
    (lambda seed: keras_nlp.samplers.TopPSampler(p=0.4, seed=seed),
     lambda shares, before: before <= 0.4)], ids=["random", "top_k", "top_p"])
def test_samplers_draw_by_the_models_probabilities(model, tokenizer, make, keeps):
    """Those of the tokens that a sampler keeps; `keeps` is told them from the likeliest down."""
    prompt, count = tokenizer.encode("the cat"), 4000
    shares = tf.nn.softmax(model(inputs_of(tokenizer, "the cat"))[0, -1]).numpy()
    order = np.argsort(-shares)
    ranked = shares[order]
    kept = np.zeros(len(shares), bool)
    kept[order] = keeps(ranked, np.cumsum(ranked) - ranked)
    expected = np.where(kept, shares, 0) / shares[kept].sum()
    found = sample(model, prompt, make(seed=1), count, 1)
    frequencies = np.bincount(found[:, 0], minlength=len(shares)) / count
    assert np.abs(frequencies - expected).max() < 5 * np.sqrt(0.25 / count)
    assert not frequencies[~kept].any() and kept.sum() > 2


def test_seeds_decide_what_samplers_draw(model, tokenizer):
    prompt = tokenizer.encode("the cat")
    first, again, other = (sample(model, prompt, keras_nlp.samplers.RandomSampler(seed=seed), 1, 9)
                           for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_of_one_token_the_likeliest_is_drawn(model, tokenizer):
    prompt = tokenizer.encode("the cat")
    np.testing.assert_array_equal(
        sample(model, prompt, keras_nlp.samplers.TopKSampler(k=1, seed=3), 1, 9),
        sample(model, prompt, "greedy", 1, 9))


def test_beams_find_what_is_at_least_as_likely(model, tokenizer):
    def log_probability(text):
        ids = tokenizer.encode(text)[:12]
        losses = model.score(np.array([ids]), scoring_mode="loss",
                             target_ids=np.roll([ids], -1, axis=1))
        return -float(tf.reduce_sum(losses[0, :-1]))

    model.compile(sampler=keras_nlp.samplers.BeamSampler(num_beams=40))
    beams = model.generate("the cat", max_length=9)
    model.compile(sampler="greedy")
    assert log_probability(beams) >= log_probability(model.generate("the cat", max_length=9))


def test_presets(model, tokenizer, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    loaded = GPTCausalLM.from_preset(str(tmp_path / "preset"))
    inputs = inputs_of(tokenizer, TEXTS[0])
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    assert loaded.preprocessor.tokenizer.tokenizer.fingerprint == tokenizer.fingerprint
    backbone = keras_nlp.models.Backbone.from_preset(str(tmp_path / "preset"), dtype="bfloat16")
    assert isinstance(backbone, GPTBackbone) and backbone(inputs).dtype == "bfloat16"
    blank = GPTBackbone.from_preset(str(tmp_path / "preset"), load_weights=False)
    assert not np.array_equal(blank(inputs), model.backbone(inputs))
    only_text = GPTTokenizer.from_preset(str(tmp_path / "preset"))
    assert list(only_text(TEXTS[0])) == tokenizer.encode(TEXTS[0])


def test_score(model, run, tokenizer):
    ids = np.array([tokenizer.encode(TEXTS[0])])
    logits = model.score(ids)
    np.testing.assert_allclose(logits, run[1].logits(run[1](tf.constant(ids))), atol=1e-6)
    seen = []
    model.score(ids, layer_intercept_fn=lambda x, index: seen.append(index) or x)
    assert seen == [-1, 0, 1]
    zeroed = model.score(ids, layer_intercept_fn=lambda x, index: 0 * x if index == 1 else x)
    np.testing.assert_array_equal(zeroed, np.zeros_like(logits))
    losses = model.score(ids, scoring_mode="loss", target_ids=np.roll(ids, -1, axis=1))
    expected = -tf.gather(tf.nn.log_softmax(logits), np.roll(ids, -1, axis=1), batch_dims=2)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="target_ids"):
        model.score(ids, scoring_mode="loss")


def test_a_fine_tuned_run_is_a_preset(tmp_path, tokenizer, run):
    folder = make_task_run(str(tmp_path / "run"), tokenizer, task_data.TASKS["classification"])
    classifier = GPTTextClassifier.from_preset(folder)
    ours, _, _ = weights.load_task_model(folder)
    task, length = run_folder.load_task(folder)
    assert classifier.class_names == list(task.label_names)
    assert classifier.preprocessor.sequence_length == length
    texts = ["the cat sat", "and the dog"]
    inputs = classifier.preprocessor(texts)
    lengths = inputs["padding_mask"].numpy().sum(axis=-1)
    np.testing.assert_allclose(classifier.predict(texts, verbose=0),
                               ours(inputs["token_ids"], tf.constant(lengths, tf.int32)), atol=1e-6)
    for wrong in ({"class_names": ["a", "b", "c"]}, {"hidden_dim": 4}):
        with pytest.raises(ValueError, match="has a head for .* num_classes for a new head"):
            GPTTextClassifier.from_preset(folder, **wrong)
    with pytest.raises(UserError, match="is no classifier's: give num_classes or class_names"):
        GPTTextClassifier.from_preset(run[0])


def test_lora_trains_its_matrices_alone(model, tmp_path, tokenizer):
    inputs = inputs_of(tokenizer, TEXTS[0])
    before = model(inputs).numpy()
    model.backbone.enable_lora(2)
    np.testing.assert_array_equal(model(inputs), before)  # the second matrix starts at zero
    frozen = {v.path: v.numpy() for v in model.non_trainable_weights}
    assert len(frozen) == len(GPT(run_config(model)).variables)
    assert {v.path.split("/")[-1] for v in model.trainable_variables} == {
        "lora_kernel_a", "lora_kernel_b"}
    assert len(model.trainable_variables) == 2 * 2 * 2  # two blocks, query and value
    model.compile(GPTAdam(learning_rate=1e-2, schedule="constant", warmup_steps=0.0))
    model.fit(TEXTS, verbose=0)
    for variable in model.non_trainable_weights:
        np.testing.assert_array_equal(variable, frozen[variable.path])
    after = model(inputs).numpy()
    assert np.abs(after - before).max() > 1e-3
    model.backbone.save_lora_weights(tmp_path / "weights.lora.h5")
    model.backbone.load_lora_weights(tmp_path / "weights.lora.h5")
    np.testing.assert_array_equal(model(inputs), after)


def run_config(model):
    return model.backbone.config


def test_what_is_refused(run):
    with pytest.raises(ValueError, match="gpt_tf.finetune"):
        GPTTextClassifierPreprocessor(None, form="multiple_choice")
    with pytest.raises(ValueError, match="takes 2 texts"):
        GPTTextClassifierPreprocessor(GPTTokenizer.from_preset(run[0]), form="entailment")(["a"])
    with pytest.raises(ValueError, match="no start and no end"):
        GPTCausalLMPreprocessor(None, add_start_token=True)
