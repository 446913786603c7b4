"""Models by handle: what is fetched, converted, found again, refused; uploads. A hub on loopback."""

import json
import os
import pathlib
import shutil
import time

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import (
    GPTCausalLM,
    GPTCausalLMPreprocessor,
    GPTTextClassifier,
    GPTTokenizer,
)
from gpt_tf.common.errors import UserError
from gpt_tf.hub import kaggle, models
from gpt_tf.hub.handles import Handle
from gpt_tf.interop import conversion, targets
from gpt_tf.runs import run_folder, weights
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import Tokenizer
from tests import corpora, runs
from tests.commands import run_command
from tests.hub import TOKEN, Hub

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
GPT1, PRESET = "hf://openai-community/tiny", "hf://tests/preset"


@pytest.fixture(name="model", scope="module")
def model_fixture(tokenizer):
    return runs.make_model(tokenizer.vocabulary_size, num_layers=1, hidden_dim=8,
                           intermediate_dim=32, max_sequence_length=32)


@pytest.fixture(name="hub", scope="module")
def hub_fixture(tmp_path_factory, model, tokenizer):
    """openai-community/tiny as others publish it, and tests/preset as Keras saves it."""
    root = tmp_path_factory.mktemp("hub")
    tiny = root / "openai-community" / "tiny"
    tiny.mkdir(parents=True)
    conversion.write_files("huggingface", str(tiny), model, tokenizer)
    for name in (targets.KEPT, "SHA256SUMS", "tokenizer_info.json"):
        (tiny / name).unlink()
    (tiny / "README.md").write_text("# tiny")
    (tiny / "pytorch_model.bin").write_bytes(b"a pickle")
    (tiny / "onnx").mkdir()
    (tiny / "onnx" / "config.json").write_text("{}")
    run = runs.make_run(root / "run", tokenizer, {1: model})
    GPTCausalLM.from_preset(run).save_to_preset(root / "tests" / "preset")
    with Hub(root) as hub:
        yield hub


@pytest.fixture(name="caches", autouse=True, scope="module")
def caches_fixture(tmp_path_factory, hub):
    """The hub in use, and the caches of its client and of ours."""
    home = tmp_path_factory.mktemp("caches")
    with hub.used(home / "hf"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield home


@pytest.fixture(name="ours")
def ours_fixture(hub):
    """A copy of `openai-community/tiny` for a test to change, and its handle."""
    folder = hub.root / "ours" / "copy"
    shutil.copytree(hub.root / "openai-community" / "tiny", folder)
    yield folder
    shutil.rmtree(hub.root / "ours")
    hub.private.clear()
    hub.gated.clear()
    hub.damage.clear()
    hub.status = 0


def fetched(hub):
    """The files that were asked for, in the order of their names."""
    return sorted({path.split("/", 5)[-1] for method, path in hub.requests
                   if method == "GET" and "/resolve/" in path})


def test_a_published_model_is_a_run_folder_made_once(hub, model, tokenizer, monkeypatch, capsys):
    hub.requests.clear()
    found = resolve.run_folder(GPT1)
    assert fetched(hub) == ["config.json", "merges.txt", "model.safetensors", "vocab.json"]
    loaded, step = weights.load_model(found)
    for ours, theirs in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=theirs.path)
    assert (step, Tokenizer.load(found).fingerprint) == (0, tokenizer.fingerprint)
    assert f"The run folder of {GPT1} is {found}." in capsys.readouterr().err
    flags = (pathlib.Path(found) / "convert.flags").read_text()
    assert f"--from=huggingface\n--input={GPT1}\n" in flags
    hub.requests.clear()
    monkeypatch.setattr(models, "_convert", None)  # found, and not made again
    assert resolve.run_folder(GPT1) == found and not fetched(hub)
    assert resolve.run_folder(f"{GPT1}@{hub.commit('openai-community/tiny')}") == found


def test_keras_classes_take_handles(hub, model, tokenizer):
    ids = np.array([[5, 6, 7]], np.int32)
    expected = model.logits(model(tf.constant(ids)))
    for handle in (GPT1, PRESET):
        lm = GPTCausalLM.from_preset(handle, dtype="float32")
        np.testing.assert_array_equal(lm.score(ids), expected)
        assert lm.preprocessor.sequence_length == 32
        layer = GPTTokenizer.from_preset(handle)
        assert layer.get_vocabulary() == list(tokenizer.tokens)
        assert GPTCausalLMPreprocessor.from_preset(handle, sequence_length=8).sequence_length == 8
    classifier = GPTTextClassifier.from_preset(GPT1, num_classes=2)
    assert classifier.predict(["the cat"], verbose=0).shape == (1, 2)


def test_a_tokenizer_comes_without_weights(hub, ours, tokenizer, tmp_path):
    for name in ("ours/copy", "tests/preset"):
        hub.requests.clear()
        with hub.used(tmp_path / name):
            assert GPTTokenizer.from_preset(f"hf://{name}").get_vocabulary() == list(
                tokenizer.tokens)
            folder = resolve.tokenizer_folder(f"hf://{name}")
        assert Tokenizer.load(folder).fingerprint == tokenizer.fingerprint
        assert fetched(hub) and not [each for each in fetched(hub) if "model." in each]


def test_a_new_revision_is_a_new_folder_and_the_old_one_stays(hub, ours, model):
    handle = "hf://ours/copy"
    first, commit = resolve.run_folder(handle), hub.commit("ours/copy")
    shutil.copytree(ours, ours.parent / "copy@v1")
    changed = ours / "config.json"
    changed.write_text(changed.read_text().replace('"resid_pdrop": 0.1', '"resid_pdrop": 0.2'))
    second = resolve.run_folder(handle)
    assert second != first and hub.commit("ours/copy") != commit
    assert run_folder.load_config(second).dropout == 0.2
    assert resolve.run_folder(f"{handle}@{commit}") == first
    assert resolve.run_folder(f"{handle}@v1") == first


@pytest.mark.parametrize("is_offline", [True, False], ids=["offline", "no network"])
def test_what_was_fetched_is_found_without_a_network(hub, ours, monkeypatch, is_offline, capsys):
    found = {name: resolve.run_folder(name) for name in ("hf://ours/copy", PRESET)}
    hub.requests.clear()
    if is_offline:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    else:
        hub.status = 503
    capsys.readouterr()
    for handle, folder in found.items():
        assert resolve.run_folder(handle) == folder
        assert f"{handle} is taken as it was fetched before" in capsys.readouterr().err
    assert len(hub.requests) == (0 if is_offline else 2)
    for handle in ("hf://ours/other", "hf://ours/copy@v2"):
        message = ("HF_HUB_OFFLINE keeps it from being fetched" if is_offline else
                   r"cannot be fetched from .* \(Server error '503")
        with pytest.raises(UserError, match=f"{handle} .*{message}"):
            resolve.run_folder(handle)
    with pytest.raises(UserError, match="is not in the cache|cannot be fetched"):
        hub.status = 503
        shutil.rmtree(os.path.dirname(models.fetch("hf://ours/copy", tokenizer_only=True).folder))
        resolve.run_folder("hf://ours/copy")
