"""Folders as transformers' classes and tools leave them, made by hand, and ours for them."""

import json
import shutil
import sys

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
import tokenizers

from gpt_tf.common.errors import UserError
from gpt_tf.interop import class_heads, tokenizer_json, vocabularies
from gpt_tf.runs import run_folder, weights
from gpt_tf.tasks import forms
from gpt_tf.tokenizer import ByteLevelTokenizer, Tokenizer, WordTokenizer
from gpt_tf.tokenizer.byte_level import BYTE_OF_SYMBOL
from tests import corpora, task_data
from tests.converted import (
    SHAPES,
    change_weights,
    damage_json,
    from_run,
    make_config,
    make_run,
    to_run,
    weights_of,
    write_released,
)

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture

TABLE = "transformer.tokens_embed.weight"
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_info.json")
RELEASED = ("_start_", "_delimiter_", "_classify_")


@pytest.fixture(name="runs", scope="module")
def runs_fixture(tmp_path_factory, tokenizer_dir):
    """Form (None: a language model) -> its run; the folder of `--to=huggingface` is beside it."""
    tokenizer, folder = Tokenizer.load(tokenizer_dir), tmp_path_factory.mktemp("runs")
    found = {}
    for form in (None, *task_data.TASKS):
        found[form] = folder / str(form) / "run"
        make_run(found[form], tokenizer, task=form and task_data.TASKS[form])
        from_run("huggingface", found[form], found[form].parent / "hf")
    return found


def by_others(runs, form, target):
    """The folder of a run as whoever has no file of ours would have it."""
    shutil.copytree(runs[form].parent / "hf", target)
    (target / "gpt_tf.safetensors").unlink()
    return target


def grown(folder, tokens):
    """Adds tokens and rows of ones for them, as `resize_token_embeddings` does."""
    size = len(safetensors.numpy.load_file(folder / "model.safetensors")[TABLE])
    change_weights(folder, lambda arrays: arrays.update({
        TABLE: np.concatenate([arrays[TABLE], np.arange(1, len(tokens) + 1, dtype=np.float32)
                               [:, None] * np.ones_like(arrays[TABLE][:1])])}))
    damage_json(folder / "config.json", lambda config: config.update(
        vocab_size=size + len(tokens), n_special=0))
    damage_json(folder / "tokenizer.json", lambda value: value["added_tokens"].extend(
        {"id": size + index, "content": token, "special": True}
        for index, token in enumerate(tokens)))


def test_shards_of_weights(runs, tmp_path):
    folder = by_others(runs, None, tmp_path / "hf")
    arrays = safetensors.numpy.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = {name: f"model-0000{1 + index % 2}-of-00002.safetensors"
             for index, name in enumerate(arrays)}
    for shard in set(names.values()):
        safetensors.numpy.save_file({name: arrays[name] for name in arrays
                                     if names[name] == shard}, folder / shard)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    to_run("huggingface", folder, tmp_path / "back")
    assert_same_weights(runs[None], tmp_path / "back")
    for change, message in (({"a": "../x"}, "does not say which file"), ({}, "does not say which"),
                            ({name: shard for name, shard in names.items() if name != TABLE},
                             f"do not agree about {TABLE}"),
                            ({TABLE: "none.safetensors"}, "Cannot read .*none.safetensors")):
        index.write_text(json.dumps({"weight_map": change}))
        with pytest.raises(UserError, match=message):
            to_run("huggingface", folder, tmp_path / "none")


def assert_same_weights(one, two):
    (first, _), (second, _) = weights_of(str(one)), weights_of(str(two))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), name
    assert (Tokenizer.load(one).fingerprint == Tokenizer.load(two).fingerprint)


def test_a_pickle_without_pytorch(runs, tmp_path, monkeypatch):
    folder = by_others(runs, None, tmp_path / "hf")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="is a pickle, which only PyTorch reads: pip install torch"):
        to_run("huggingface", folder, tmp_path / "back")


@pytest.mark.parametrize("merges", ["pairs", "older"])
def test_tokenizer_json_alone(runs, tmp_path, merges):
    folder = by_others(runs, None, tmp_path / "hf")
    for name in TOKENIZER_FILES:
        (folder / name).unlink()
    if merges == "older":
        damage_json(folder / "tokenizer.json", lambda value: value["model"].update(
            merges=list(map(" ".join, value["model"]["merges"]))))
    to_run("huggingface", folder, tmp_path / "back")
    assert_same_weights(runs[None], tmp_path / "back")


@pytest.mark.parametrize("change, message", [
    (lambda value: value.pop("model"), "tokenizer.json holds no byte-pair encoding"),
    (lambda value: value["model"].update(merges=[["a"]]), "a merge that is not two tokens"),
    (lambda value: value["model"].update(vocab={"a": 0}), "tokenizer.json: .* of neither kind"),
    (lambda value: value.update(added_tokens=[{"id": "1"}]), "added tokens in .* not texts")])
def test_damaged_tokenizer_json(runs, tmp_path, change, message):
    folder = by_others(runs, None, tmp_path / "hf")
    for name in TOKENIZER_FILES:
        (folder / name).unlink()
    damage_json(folder / "tokenizer.json", lambda value: change(value) and None)
    with pytest.raises(UserError, match=message):
        vocabularies.load("huggingface", str(folder))


@pytest.mark.parametrize("tokens, rows", [
    (RELEASED, [1, 2, 3]), (("[PAD]", *reversed(RELEASED)), [4, 3, 2]),
    (("<start>", "<pad>", "<delimiter>", "<extract>"), [1, 3, 4])])
def test_special_tokens_by_name(runs, tmp_path, tokens, rows):
    """Wherever they stand behind the vocabulary; other rows are left out."""
    folder = by_others(runs, None, tmp_path / "hf")
    grown(folder, tokens)
    told = "\n".join(to_run("huggingface", folder, tmp_path / "back"))
    model, _ = weights.load_model(str(tmp_path / "back"))
    assert model.config.num_special_tokens == 3
    table = model.embedding.token.embeddings.numpy()
    np.testing.assert_array_equal(table[-3:], np.array(rows)[:, None] * np.ones((1, 12)))
    assert "are the three tokens <start>, <delimiter>, <extract>" in told
    assert ("1 of 99 rows of the token table (" in told) == (len(tokens) == 4)


def test_a_head_of_choices(runs, tmp_path):
    """As `OpenAIGPTDoubleHeadsModel` saves it: the output's table in place of the tokens'."""
    folder = by_others(runs, None, tmp_path / "hf")
    grown(folder, RELEASED)
    kernel = np.linspace(-1, 1, 12, dtype=np.float32)[None]
    change_weights(folder, lambda arrays: arrays.update({
        "lm_head.weight": arrays.pop(TABLE), "multiple_choice_head.summary.weight": kernel,
        "multiple_choice_head.summary.bias": np.array([0.5], np.float32)}))
    told = "\n".join(to_run("huggingface", folder, tmp_path / "back"))
    assert "does not say how many answers a question has: two are taken" in told
    model, task, _ = weights.load_task_model(str(tmp_path / "back"))
    assert (task.form, task.num_sequences) == (forms.MULTIPLE_CHOICE, 2)
    np.testing.assert_array_equal(model.head.projection.kernel, kernel.T)
    np.testing.assert_array_equal(model.head.projection.bias, [0.5])
    damage_json(folder / "config.json", lambda config: config.update(summary_activation="tanh"))
    told = "\n".join(to_run("huggingface", folder, tmp_path / "tanh"))
    assert "is left out: summary_activation is 'tanh', and None is what a task here has" in told
    assert not run_folder.is_fine_tuned(str(tmp_path / "tanh"))


@pytest.mark.parametrize("head", ["score.weight", "multiple_choice_head.summary.weight"])
def test_heads_that_read_other_sequences_are_left_out(runs, tmp_path, head):
    folder = tmp_path / "hf"
    shutil.copytree(runs[None].parent / "hf", folder)  # our file beside them knows of no head
    grown(folder, ["[PAD]"])
    change_weights(folder, lambda arrays: arrays.update({head: np.ones((2, 12), np.float32)}))
    damage_json(folder / "config.json",
                lambda config: config.update(id2label={"0": "bad", "1": "good"}))
    told = "\n".join(to_run("huggingface", folder, tmp_path / "back"))
    assert ("(bad, good) is left out: it reads the last token" in told) == (head == "score.weight")
    assert "is left out" in told and "1 of 96 rows of the token table ([PAD]) are behind" in told
    assert_same_weights(runs[None], tmp_path / "back")


def logits_of(folder):
    model, task, _ = weights.load_task_model(str(folder))
    ids = np.random.default_rng(0).integers(0, 95, (4, task.num_sequences, 9)).astype(np.int32)
    return model(tf.constant(ids), tf.fill(ids.shape[:2], 9)).numpy()


@pytest.mark.parametrize("form", task_data.TASKS)
def test_a_task_without_our_file(runs, tmp_path, form):
    """What transformers carries along says the task; the head's bias stands in its kernel."""
    folder = by_others(runs, form, tmp_path / "hf")
    to_run("huggingface", folder, tmp_path / "back")
    for name in ("model.json", "task.json"):
        assert (tmp_path / "back" / name).read_bytes() == (runs[form] / name).read_bytes()
    np.testing.assert_allclose(logits_of(tmp_path / "back"), logits_of(runs[form]), atol=2e-5)
    # From here on nothing changes any more.
    from_run("huggingface", tmp_path / "back", tmp_path / "again")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes(), name


def test_another_head_than_ours(runs, tmp_path):
    shutil.copytree(runs["classification"].parent / "hf", tmp_path / "hf")
    change_weights(tmp_path / "hf", lambda arrays: arrays.update({
        "score.weight": np.ones((3, 12), np.float32)}))
    with pytest.raises(UserError, match="another head than gpt_tf.safetensors beside it"):
        to_run("huggingface", tmp_path / "hf", tmp_path / "back")
    (tmp_path / "hf" / "gpt_tf.safetensors").unlink()
    damage_json(tmp_path / "hf" / "config.json", lambda config: config.update(
        id2label={"0": "a", "1": "b", "2": "c"}))
    to_run("huggingface", tmp_path / "hf", tmp_path / "back")
    task, length = run_folder.load_task(str(tmp_path / "back"))
    assert (task.labels, task.label_names, task.form, length) == (
        ("a", "b", "c"), (), "classification", 20)
    damage_json(tmp_path / "hf" / "config.json", lambda config: config[
        "task_specific_params"]["gpt_tf"].update(max_length=25) and None)
    with pytest.raises(UserError, match="a max_length of 25"):
        to_run("huggingface", tmp_path / "hf", tmp_path / "none")


def test_a_bias_in_a_kernel():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 64))
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    gamma, beta = 1 + 0.2 * rng.normal(size=64), 0.1 + 0.1 * rng.normal(size=64)
    kernel, bias = rng.normal(size=(64, 3)), np.array([0.5, -0.3, 0.0])
    folded = class_heads.fold_bias(*(each.astype(np.float32) for each in (
        kernel, bias, gamma, beta)))
    hidden = x * gamma + beta
    np.testing.assert_allclose(hidden @ folded, hidden @ kernel + bias, atol=1e-5)
    # Without biases of the normalisation all outputs lie on a plane through 0; nor is 1 / 0 there.
    zero, gamma[3] = np.zeros(64), 0
    assert class_heads.fold_bias(kernel, bias, 1 + zero, zero) is None
    assert class_heads.fold_bias(kernel, bias, gamma, beta) is None
    assert class_heads.fold_bias(kernel, 0 * bias, gamma, beta) is kernel


def test_the_released_repository(tmp_path, tokenizer):
    write_released(tmp_path / "finetune-transformer-lm" / "model", tokenizer)
    to_run("openai", tmp_path / "finetune-transformer-lm", tmp_path / "run", num_heads=3)
    assert run_folder.load_config(str(tmp_path / "run")) == make_config(tokenizer, SHAPES[1])


SENTENCES = [
    "", " ", "The end.", "He said: \"I don't, can't and shouldn't've!\"", "'Twas he'd've; 'em.",
    "Mr. Smith's U.S. trip at 10a.m. cost $5.50 (or 5km, or 20%)...",
    "a\u2014b \u201cc\u201d\u2026",
    "A.B.Cat went.Dog x:y a=b <c> e.g. i.e. \u00a35 \u20ac7 10\u00b0C. etc.", "....!!!???---",
    "one\n\n  two \t three\r\nfour\n", "I'm you're we'll they'd cannot gonna",
    "na\u00efve \u00c9COLE"]
CHINESE = "\u4f60\u597d\uff0c2024\u5e745\u6708\uff27PT4 \u3002 \u304c\u3099"


def characters(language):
    """A tokenizer whose ids tell each character and where words end."""
    each = sorted({character for text in (*SENTENCES, CHINESE)
                   for character in text.lower()} - {" "})
    tokens = ["<unk>", *each, *(f"{character}</w>" for character in each)]
    return WordTokenizer({token: index for index, token in enumerate(tokens)}, [], language)


@pytest.mark.parametrize("language", ["en", "de", "zh"])
def test_words_of_tokenizer_json(tmp_path, language):
    ours = characters(language)
    tokenizer_json.write(tmp_path, ours)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for sentence in (*SENTENCES, *[CHINESE] * (language == "zh")):
        assert theirs.encode(sentence).tokens == [
            ours.tokens[index] for index in ours.encode(sentence)], sentence
    assert vocabularies.load("huggingface", str(tmp_path)).tokenizer.language == language


def test_sequences_of_tokenizer_json(runs):
    ours = Tokenizer.load(runs["classification"])
    theirs = tokenizers.Tokenizer.from_file(
        str(runs["classification"].parent / "hf" / "tokenizer.json"))
    special, (text, other) = forms.SpecialTokens.after(ours.vocabulary_size), SENTENCES[2:4]
    ids, more = ours.encode(text), ours.encode(other)
    assert [theirs.encode(text).ids] == forms.classification(ids, special, 99).token_ids
    assert [theirs.encode(text, other).ids] == forms.entailment(ids, more, special, 99).token_ids


def test_a_byte_level_tokenizer_json(tmp_path):
    vocabulary = {symbol: index for index, symbol in enumerate(BYTE_OF_SYMBOL)}
    ours = ByteLevelTokenizer(vocabulary | {"th": 256, "the": 257}, [("t", "h"), ("th", "e")])
    tokenizer_json.write(tmp_path, ours)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in (*SENTENCES, "\u4f60\u597d, Z\u00fcrich 42 \U0001f600\x01 the  THE"):
        assert theirs.encode(text).ids == ours.encode(text)
        assert theirs.decode(ours.encode(text)) == text
    found = vocabularies.load("huggingface", str(tmp_path)).tokenizer
    assert found.fingerprint == ours.fingerprint
