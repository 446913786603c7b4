"""Texts in and out of the Keras models: tokenizer, preprocessors, what `generate` takes."""

import json
import sys
import types

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import (
    GPTBackbone,
    GPTCausalLM,
    GPTCausalLMPreprocessor,
    GPTTextClassifier,
    GPTTextClassifierPreprocessor,
    GPTTokenizer,
)
from gpt_tf.config import GenerationConfig, SamplingConfig
from gpt_tf.generation.generator import Generator
from gpt_tf.generation.writer import Writer
from gpt_tf.keras_models.preprocessing import cut_padding
from gpt_tf.keras_models.preset import hdf5_errors
from tests import corpora, languages, runs

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras, as it saves
POSITIONS = 24
TEXTS = ["The cat sat, and the dog ran.", "And in the end", ""]
PREPROCESSORS = {
    "causal_lm": (GPTCausalLMPreprocessor, {}, TEXTS),
    "classification": (GPTTextClassifierPreprocessor, {}, (TEXTS, [0, 1, 1], [1.0, 2.0, 0.5])),
    "similarity": (GPTTextClassifierPreprocessor, {"form": "similarity"},
                   ((TEXTS, TEXTS[::-1]), [0, 1, 1]))}


@pytest.fixture(name="run", scope="module")
def run_fixture(tmp_path_factory, tokenizer):
    """A run folder of random weights."""
    model = runs.make_model(tokenizer.vocabulary_size, num_layers=1, hidden_dim=8,
                            max_sequence_length=POSITIONS)
    return runs.make_run(tmp_path_factory.mktemp("text") / "run", tokenizer, {1: model})


@pytest.fixture(name="model", scope="module")
def model_fixture(run):
    model = GPTCausalLM.from_preset(run)
    model.compile(sampler="greedy", jit_compile=False)
    return model


@pytest.fixture(name="layer", scope="module")
def layer_fixture(run):
    return GPTTokenizer.from_preset(run)


def test_the_vocabulary_of_the_layer_is_the_tokenizers(layer, tokenizer):
    vocabulary = layer.get_vocabulary()
    assert vocabulary == list(tokenizer.tokens) and "the</w>" in vocabulary
    assert layer.vocabulary_size() == tokenizer.vocabulary_size == len(vocabulary)
    assert [layer.token_to_id(token) for token in vocabulary] == list(range(len(vocabulary)))
    assert [layer.id_to_token(index) for index in range(len(vocabulary))] == vocabulary
    assert [layer.id_to_token(index) for index in layer("the and")] == ["the</w>", "and</w>"]
    for index in (-1, len(vocabulary)):
        with pytest.raises(ValueError, match=f"Token id {index} is outside"):
            layer.id_to_token(index)
    with pytest.raises(ValueError, match="no token 'theand' in the vocabulary"):
        layer.token_to_id("theand")


def test_a_tokenizer_is_made_of_data_of_paths_or_of_its_config(layer, tokenizer, tmp_path):
    vocabulary, merges = corpora.keras_arguments(tokenizer).values()
    layer.save_assets(tmp_path)
    paths = str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt")
    config = json.loads(json.dumps(layer.get_config()))
    saved = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    for other in (GPTTokenizer(vocabulary, merges), GPTTokenizer(*paths),
                  GPTTokenizer.from_config(config), keras.saving.deserialize_keras_object(saved)):
        assert other.tokenizer.fingerprint == tokenizer.fingerprint
        assert other(TEXTS) == layer(TEXTS)
        assert other.get_config() | {"name": ""} == layer.get_config() | {"name": ""}


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_a_vocabulary_of_bytes_makes_a_tokenizer_that_loses_nothing(tmp_path):
    """Of data, of its config, of a preset; texts in, and out of a model, as they are."""
    ours = corpora.make_byte_level_tokenizer()
    layer = GPTTokenizer(**corpora.keras_arguments(ours))
    texts = [*languages.TEXTS.values(), "", " \r\n\0", "<|endoftext|>"]
    ids = layer(texts)
    assert ids == ours.encode_batch(texts) and layer.detokenize(ids) == texts
    data = tf.data.Dataset.from_tensors(texts).map(layer)
    assert next(iter(data)).to_list() == ids
    assert layer.id_to_token(ours.encode(" the")[0])[0] == "\u0120"
    model = runs.make_model(ours.vocabulary_size, num_layers=1, hidden_dim=8,
                            max_sequence_length=POSITIONS)
    run = runs.make_run(tmp_path / "run", ours, {1: model})
    model = GPTCausalLM.from_preset(run)
    model.compile(sampler="greedy", jit_compile=False)
    model.save_to_preset(tmp_path / "preset")
    ours.save(tmp_path / "files", "openai")
    for name in ("tokenizer_info.json", "SHA256SUMS"):  # as GPT-2's were published, without
        (tmp_path / "files" / name).unlink()
    config = json.loads(json.dumps(layer.get_config()))
    assert "language" not in config
    for other in (GPTTokenizer.from_config(config), GPTTokenizer.from_preset(run),
                  GPTTokenizer.from_preset(tmp_path / "preset"),
                  GPTTokenizer.from_preset(tmp_path / "files")):
        assert other.tokenizer.fingerprint == ours.fingerprint
    prompts = ["你好!!", "", "a\n"]  # the id of padding, 0, is that of "!" here
    found = model.generate(prompts, max_length=12)
    assert all(text.startswith(prompt) and len(text) > len(prompt)
               for text, prompt in zip(found, prompts))
    with pytest.raises(ValueError, match="of kind byte_level has no language: leave it out"):
        GPTTokenizer(**corpora.keras_arguments(ours), language="en")


@pytest.mark.parametrize("make, message", [
    (lambda v, m: GPTTokenizer()("a"), "no vocabulary yet"),
    (lambda v, m: GPTTokenizer().get_vocabulary(), "no vocabulary yet"),
    (lambda v, m: GPTTokenizer(v), "go together"),
    (lambda v, m: GPTTokenizer(list(v), m), "a dict of tokens"),
    (lambda v, m: GPTTokenizer(v | {"the</w>": "1"}, m), "a dict of tokens"),
    (lambda v, m: GPTTokenizer(v, [("t", "h")]), "a list of strings"),
    (lambda v, m: GPTTokenizer(v, ["a"]), "merges do not fit"),
    (lambda v, m: GPTTokenizer("nowhere.json", m), "Cannot read nowhere.json"),
    (lambda v, m: GPTTokenizer.from_config({"vocabulary": "/etc/passwd", "merges": m}),
     "names a file as its vocabulary")])
def test_a_tokenizer_that_cannot_be(tokenizer, make, message):
    with pytest.raises(ValueError, match=message):
        make(*corpora.keras_arguments(tokenizer).values())


@pytest.mark.parametrize("texts", [[["a", "b"]], [["a"], ["b", "c"]], 3, [1, 2],
                                   np.array([["a"]]), tf.constant([["a"]])], ids=repr)
def test_texts_that_are_no_strings_are_refused(layer, texts):
    preprocessors = [each(layer, sequence_length=8) for each in (
        GPTCausalLMPreprocessor, GPTTextClassifierPreprocessor)]
    for takes in (layer, layer.tokenize, *preprocessors):
        with pytest.raises(ValueError, match="takes a string, or a list or tensor"):
            takes(texts)


def in_grain(monkeypatch, function, *inputs):
    """Calls a function as Grain does, which KerasHub knows by the file of a calling function."""
    monkeypatch.setitem(sys.modules, "grain", types.ModuleType("grain"))
    names = {}
    exec(compile("def call(function, inputs): return function(*inputs)",
                 "/grain/_src/python/dataset/calls.py", "exec"), names)
    return names["call"](function, inputs)


def assert_all_equal(found, expected):
    found, expected = (keras.tree.flatten(each) for each in (found, expected))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", PREPROCESSORS)
def test_a_preprocessor_gives_the_same_wherever_it_runs(layer, monkeypatch, kind):
    """Eagerly, in tf.data before and after batch, in Grain; of a length that may be set later."""
    cls, arguments, inputs = PREPROCESSORS[kind]
    preprocessor = cls(layer, sequence_length=9, **arguments)
    call = (lambda *row: preprocessor(*row)) if isinstance(inputs, tuple) else preprocessor
    for length in (9, 13):
        preprocessor.sequence_length = length
        expected = call(*inputs) if isinstance(inputs, tuple) else call(inputs)
        x = keras.utils.unpack_x_y_sample_weight(expected)[0]
        assert x["token_ids"].shape[-1] == length and tf.is_tensor(x["token_ids"])
        data = tf.data.Dataset.from_tensor_slices(inputs)
        for each in (data.map(call).batch(3), data.batch(3).map(call)):
            assert_all_equal(each.get_single_element(), expected)
            assert each.element_spec[0]["token_ids"].shape[-1] == length
        found = in_grain(monkeypatch, call, *(
            inputs if isinstance(inputs, tuple) else (inputs,)))
        assert_all_equal(found, expected)
        for value in keras.utils.unpack_x_y_sample_weight(found)[0].values():
            assert isinstance(value, np.ndarray)


def test_a_row_of_the_classifier_is_the_papers_sequence(layer, tokenizer):
    x = GPTTextClassifierPreprocessor(layer, sequence_length=6)(["the and", "the " * 9])
    the, and_ = tokenizer.encode("the and")
    start, extract = tokenizer.start_id, tokenizer.extract_id
    assert x["token_ids"].numpy().tolist() == [
        [[start, the, and_, extract, 0, 0]], [[start, the, the, the, the, extract]]]
    assert x["padding_mask"].numpy().tolist() == [[[1, 1, 1, 1, 0, 0]], [[1] * 6]]


def test_a_pair_of_texts_is_told_from_a_text_and_its_label(layer):
    pairs = GPTTextClassifierPreprocessor(layer, sequence_length=9, form="entailment")
    firsts, seconds = TEXTS, TEXTS[::-1]
    expected = pairs((firsts, seconds), [0, 1, 1])[0]
    assert_all_equal(pairs((firsts, seconds)), expected)
    assert_all_equal(pairs(((firsts, seconds), [0, 1, 1])), pairs((firsts, seconds), [0, 1, 1]))
    assert_all_equal(pairs((firsts, seconds), y=[0, 1, 1]), pairs((firsts, seconds), [0, 1, 1]))
    one = GPTTextClassifierPreprocessor(layer, sequence_length=9)
    assert_all_equal(one((firsts, [0, 1, 1])), one(firsts, [0, 1, 1]))
    with pytest.raises(ValueError, match="takes 2 texts"):
        pairs(firsts)


def test_what_no_row_needs_is_cut_before_the_model(layer, model):
    preprocessor = GPTTextClassifierPreprocessor(layer, sequence_length=100)
    backbone = GPTBackbone(**model.backbone.get_config() | {"max_sequence_length": 100})
    classifier = GPTTextClassifier(backbone, 2, preprocessor)
    x, y = classifier.preprocess_samples(["a " * 30, "b"], [0, 1])
    assert x["token_ids"].shape == (2, 1, 32) and list(y) == [0, 1]
    data = tf.data.Dataset.from_tensor_slices(["a " * 30, "b"]).batch(2).map(preprocessor)
    expected = preprocessor(["a " * 30, "b"])
    for x in (cut_padding(expected), next(iter(data.map(cut_padding)))):
        assert x["token_ids"].shape == x["padding_mask"].shape == (2, 1, 32)
        for name, value in x.items():
            np.testing.assert_array_equal(value, expected[name][..., :32])
    assert not expected["padding_mask"][..., 32:].numpy().any()


@pytest.mark.parametrize("cls", [GPTCausalLMPreprocessor, GPTTextClassifierPreprocessor])
def test_a_preprocessor_of_a_preset_is_as_long_as_its_model_or_as_asked(model, run, tmp_path, cls):
    model.save_to_preset(tmp_path / "preset")
    for preset in (run, str(tmp_path / "preset")):
        assert cls.from_preset(preset).sequence_length == POSITIONS
        preprocessor = cls.from_preset(preset, sequence_length=7)
        x = keras.utils.unpack_x_y_sample_weight(preprocessor(TEXTS))[0]
        assert x["token_ids"].shape[-1] == 7
        assert preprocessor.tokenizer(TEXTS) == model.preprocessor.tokenizer(TEXTS)
    if cls is GPTCausalLMPreprocessor:
        found = keras_nlp.models.CausalLMPreprocessor.from_preset(
            str(tmp_path / "preset"), sequence_length=7)
        assert isinstance(found, cls) and found.sequence_length == 7


def written(model, prompts, max_new_tokens):
    """What `python -m gpt_tf.generate --temperature=0` writes."""
    generator = Generator(model.backbone.gpt, SamplingConfig(temperature=0.0),
                          GenerationConfig(max_new_tokens=max_new_tokens))
    writer = Writer(generator, model.preprocessor.tokenizer.tokenizer, max_new_tokens)
    return [text.text for text in writer.write(
        [writer.encode(prompt, "here") for prompt in prompts], 1)]


def test_a_text_of_nothing_begins_as_after_a_line_break(model, tokenizer):
    ids = [tokenizer.newline_id]
    for _ in range(9):
        logits = model.score(np.array([ids]))
        ids.append(int(np.argmax(logits[0, -1])))
    expected = tokenizer.decode(ids[1:])
    assert expected and written(model, [""], 9) == [expected]
    assert model.generate("", max_length=10) == model.generate(" \n", max_length=10) == expected
    texts = model.generate(["", "the cat"], max_length=10)
    assert texts == [expected, model.generate("the cat", max_length=10)]
    assert model.generate(["", "the cat"], max_length=10, strip_prompt=True)[0] == expected
    prompts = {"token_ids": np.array([[ids[0], 0, 0, 0]]), "padding_mask": np.zeros([1, 4], bool)}
    found = model.generate_step(prompts)
    assert found["token_ids"].numpy().tolist() == [ids[:4]]
    assert found["padding_mask"].numpy().tolist() == [[False, True, True, True]]


def test_characters_that_the_vocabulary_lacks_are_warned_of(model):
    with pytest.warns(UserWarning, match="lacks 3 characters of the prompts"):
        model.preprocessor.generate_preprocess(["the \u4f60\u597d", "cat", "\u2603"], 12)


def test_no_token_ends_a_text_unless_one_is_named(model, tokenizer):
    whole = model.generate("the cat", max_length=20)
    for none in ("auto", None):
        assert model.generate("the cat", max_length=20, stop_token_ids=none) == whole
    prompt = tokenizer.encode("the cat")
    new = tokenizer.encode(whole)[len(prompt):]
    stopped = model.generate("the cat", max_length=20, stop_token_ids=[new[0]])
    assert stopped == tokenizer.decode(prompt + new[:1]) != whole
    with pytest.raises(ValueError, match="neither 'auto' nor a list"):
        model.generate("the cat", stop_token_ids="the")


@pytest.mark.parametrize("cls", [GPTCausalLM, GPTTextClassifier])
def test_a_preprocessor_longer_than_the_model_is_told(run, cls):
    model = cls.from_preset(run, sequence_length=1000,
                            **{"num_classes": 2} if cls is GPTTextClassifier else {})
    limit = model.backbone.max_sequence_length
    with pytest.raises(ValueError, match="sequences of up to 1000 tokens and the model has "
                                         f"{limit} positions: set preprocessor.sequence_length"):
        model.predict(["the end."], verbose=0)
    model.preprocessor.sequence_length = limit
    model.predict(["the end."], verbose=0)


def test_texts_are_no_longer_than_the_positions(model, run):
    assert model.generate("the cat", max_length=POSITIONS) == model.generate("the cat")
    with pytest.raises(ValueError, match=r"25 tokens are more than the 24 positions"):
        model.generate("the cat", max_length=POSITIONS + 1)
    longer = GPTCausalLMPreprocessor.from_preset(run, sequence_length=30)
    with pytest.raises(ValueError, match="30 tokens are more"):
        GPTCausalLM(model.backbone, longer).generate("the cat")
    with pytest.raises(ValueError, match="25 tokens are more"):
        model.generate_step({"token_ids": np.ones([1, 25]), "padding_mask": np.ones([1, 25])})


def test_a_prompt_that_is_cut_is_said(model, tokenizer):
    long = "the and " * 4
    with pytest.warns(UserWarning, match="1 of 2 prompts have max_length=5 tokens or more"):
        texts = model.generate([long, "the"], max_length=5)
    assert texts[0] == tokenizer.decode(tokenizer.encode(long)[:5])
    assert len(tokenizer.encode(texts[1])) > 1


class Unwritten:
    """Like a file of HDF5 that cannot be written when it is taken away."""

    def __del__(self):
        raise RuntimeError("Can't decrement id ref count (file write failed: errno = 28, ...)")


def test_what_hdf5_tells_nobody_is_told():
    with pytest.raises(OSError, match="No space left on device: 'preset'"):
        with hdf5_errors("preset"):
            made = Unwritten()
            del made
    with pytest.raises(OSError, match="Input/output error: 'preset'"):
        with hdf5_errors("preset"):
            raise RuntimeError("Can't synchronously write data (errno = 5, error message = ...)")
    with pytest.raises(RuntimeError, match="other"):
        with hdf5_errors("preset"):
            raise RuntimeError("other")
