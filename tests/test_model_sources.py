"""What Keras saved, taken by the commands as they take a run folder."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading

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
from gpt_tf.common import cache
from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import SUMS
from gpt_tf.runs import run_folder, weights
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import Tokenizer
from tests import corpora, runs
from tests.commands import run_command
from tests.conftest import REPOSITORY
from tests.test_commands import run

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
TEXTS = ["the cat sat", "and the dog ran in the end"]
LENGTH = 12


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory, tokenizer):
    """run/, and what Keras saves: lm, classifier and backbone, as presets and as .keras files."""
    folder = tmp_path_factory.mktemp("sources")
    model = runs.make_model(tokenizer.vocabulary_size, num_layers=1, hidden_dim=8,
                            max_sequence_length=32)
    layer = GPTTokenizer.from_preset(runs.make_run(folder / "run", tokenizer, {1: model}))
    lm = GPTCausalLM.from_preset(folder / "run")
    classifier = GPTTextClassifier(lm.backbone.with_special_tokens(), 2,
                                   GPTTextClassifierPreprocessor(layer, LENGTH), dropout=0.2)
    for name, each in (("lm", lm), ("classifier", classifier), ("backbone", lm.backbone)):
        each.save_to_preset(folder / name)
        each.save(folder / f"{name}.keras")
    layer.save_to_preset(folder / "backbone")
    return folder


@pytest.fixture(name="cached", autouse=True, scope="module")
def cached_fixture(tmp_path_factory):
    """The user's cache, a folder of its own."""
    home = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home / "gpt_tf"


@pytest.fixture(name="classifier", scope="module")
def classifier_fixture(folder):
    return GPTTextClassifier.from_preset(folder / "classifier")


@pytest.mark.parametrize("name", ["run", "nowhere", "run/model.json", ""])
def test_what_no_keras_model_wrote_comes_back_as_it_is(folder, name, cached):
    assert resolve.run_folder(str(folder / name)) == str(folder / name)
    (folder / "hugging").mkdir(exist_ok=True)
    (folder / "hugging" / "config.json").write_text('{"model_type": "openai-gpt"}')
    assert not resolve.is_keras(str(folder / "hugging"))


def test_a_run_folder_needs_no_tensorflow(folder):
    code = ("import sys; from gpt_tf.sources import resolve; print(resolve.run_folder(sys.argv[1])"
            "); assert not {'tensorflow', 'keras'} & set(sys.modules)")
    found = subprocess.run([sys.executable, "-c", code, folder / "run"], check=True,
                           cwd=REPOSITORY, capture_output=True, text=True)
    assert found.stdout == f"{folder}/run\n"


def test_what_is_converted_before_a_command_begins_needs_no_tensorflow_here(folder, tmp_path):
    """As workers must be joined before TensorFlow computes; an error comes through as it is."""
    shutil.copytree(folder / "lm", tmp_path / "damaged")
    (tmp_path / "damaged" / "config.json").write_text('{"registered_name": "gpt_tf>GPTCausalLM"}')
    code = ("import sys\nfrom gpt_tf.common.errors import UserError\n"
            "from gpt_tf.sources import resolve\n"
            "print(resolve.run_folder(sys.argv[1]))\n"
            "try: resolve.run_folder(sys.argv[2])\nexcept UserError as error: print(error)\n"
            "assert not {'tensorflow', 'keras'} & set(sys.modules)")
    found = subprocess.run([sys.executable, "-c", code, folder / "lm", tmp_path / "damaged"],
                           cwd=REPOSITORY, capture_output=True, text=True, check=True,
                           env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)})
    made, error = found.stdout.splitlines()
    assert made.startswith(f"{tmp_path}/gpt_tf/keras-")
    model, _ = weights.load_model(made)
    expected, _ = weights.load_model(str(folder / "run"))
    for ours, theirs in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=theirs.path)
    assert str(tmp_path / "damaged") in error


def test_a_damaged_run_folder_of_the_cache_is_to_be_removed(folder, tmp_path, cached):
    shutil.copytree(folder / "lm", tmp_path / "lm")
    (tmp_path / "lm" / "metadata.json").write_text('{"of": "its own folder in the cache"}')
    found = pathlib.Path(resolve.run_folder(str(tmp_path / "lm")))
    remedy = re.escape(f"remove {found}, and it is made anew")
    model = (found / "model.json").read_bytes()
    (found / "model.json").write_bytes(model + b" ")
    with pytest.raises(UserError, match=f"model.json .* is not as it was written: .*; {remedy}"):
        weights.load_model(str(found))
    (found / "model.json").write_bytes(model)
    for path in (found / "checkpoints").glob("*.data*"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    with pytest.raises(UserError, match=f"are damaged; {remedy}"):
        weights.load_model(str(found))
    shutil.rmtree(found / "checkpoints")
    with pytest.raises(UserError, match=f"No checkpoint in .*: {remedy}"):
        weights.load_model(str(found))


@pytest.mark.parametrize("name", ["lm", "lm.keras", "backbone"])
def test_a_language_model_has_its_weights_in_a_run_folder(folder, name, tokenizer, cached, capsys):
    found = resolve.run_folder(str(folder / name))
    assert os.path.dirname(found) == str(cached)
    model, step = weights.load_model(found)
    expected, _ = weights.load_model(str(folder / "run"))
    assert (model.config, step) == (expected.config, 0)
    for ours, theirs in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=theirs.path)
    assert Tokenizer.load(found).fingerprint == tokenizer.fingerprint
    assert f"{folder / name} is a model of Keras; its run folder is {found}." in (
        capsys.readouterr().err)


@pytest.mark.parametrize("name", ["classifier", "classifier.keras"])
def test_a_classifier_has_its_head_task_and_length(folder, name, classifier):
    found = resolve.run_folder(str(folder / name))
    model, task, _ = weights.load_task_model(found)
    for ours, theirs in zip(model.head.weights, classifier.task_model.head.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ids = np.array([[[5, 6, 7]]], np.int32)
    np.testing.assert_array_equal(
        model(tf.constant(ids), tf.constant([[3]])),
        classifier({"token_ids": ids, "padding_mask": np.ones_like(ids)}))
    assert run_folder.load_task(found) == (task, LENGTH)
    assert (task.form, task.labels, task.metrics) == ("classification", ("0", "1"), ("accuracy",))


@pytest.mark.parametrize("name, policy", [
    ("preset", "mixed_bfloat16"), ("model.keras", "mixed_bfloat16"), ("model.keras", "bfloat16")])
def test_a_model_of_another_policy_has_its_weights_in_float32(folder, tmp_path, name, policy):
    backbone = GPTBackbone.from_preset(folder / "run", dtype=policy)
    model = GPTCausalLM(backbone, GPTCausalLMPreprocessor.from_preset(folder / "run"))
    (model.save_to_preset if name == "preset" else model.save)(tmp_path / name)
    found, _ = weights.load_model(resolve.run_folder(str(tmp_path / name)))
    for ours, theirs in zip(found.weights, backbone.gpt.weights, strict=True):
        assert ours.dtype == "float32"
        np.testing.assert_array_equal(ours, np.asarray(theirs, np.float32))


def test_a_run_folder_is_made_once_for_each_content(folder, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(resolve, "_convert", lambda source, path: (made.append(source),
                                                                    os.mkdir(path)))
    for name in ("a", "b"):
        shutil.copytree(folder / "lm", tmp_path / name)
    (tmp_path / "b" / "metadata.json").write_text("{}")
    first = resolve.run_folder(str(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    assert resolve.run_folder(str(tmp_path / "copy")) in (first, resolve.run_folder(
        str(folder / "lm")))
    assert resolve.run_folder(str(tmp_path / "b")) != first
    assert made.count(str(tmp_path / "b")) == 1 and str(tmp_path / "copy") not in made


def test_who_wants_the_same_folder_waits(cached):
    started, go, made = threading.Event(), threading.Event(), []

    def make(path):
        made.append(path)
        started.set()
        assert go.wait(30)
        os.mkdir(path)

    cached.mkdir(exist_ok=True)
    (cached / "same.part-1234567890").mkdir()  # what a kill has left
    found = []
    threads = [threading.Thread(target=lambda: found.append(cache.folder("same", make)))
               for _ in range(3)]
    threads[0].start()
    assert started.wait(30)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert found == [str(cached / "same")] * 3 and len(made) == 1
    assert not (cached / "same.part-1234567890").exists()
    with pytest.raises(ZeroDivisionError):
        cache.folder("other", lambda path: 1 / 0)
    assert not (cached / "other").exists()


def test_where_the_cache_is(monkeypatch, tmp_path):
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache.root() == os.path.expanduser("~/.cache/gpt_tf")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="Cannot write .*file/gpt_tf"):
        cache.folder("a", os.mkdir)


def test_predict_answers_as_keras_does(folder, classifier):
    logits = classifier.predict(TEXTS, verbose=0)
    done = run_command("gpt_tf.predict", f"--model_dir={folder}/classifier.keras",
                       "--probabilities", stdin="\n".join(TEXTS) + "\n")
    assert done.code == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [str(np.argmax(row)) for row in logits]
    np.testing.assert_allclose(np.array([row[1:] for row in rows], float), tf.nn.softmax(logits),
                               atol=2e-6)


def test_convert_makes_a_run_folder_of_a_preset(folder, tmp_path):
    target = tmp_path / "run"
    out, _ = run("gpt_tf.convert", "--from=keras", f"--input={folder}/classifier",
                 f"--output_dir={target}")
    assert "a classifier of 0, 1" in out
    found = pathlib.Path(resolve.run_folder(str(folder / "classifier")))
    for name in ("model.json", "task.json", "tokenizer_info.json"):
        assert (target / name).read_bytes() == (found / name).read_bytes()
    assert f"--from=keras\n--input={folder}/classifier\n" in (target / "convert.flags").read_text()
    error = run("gpt_tf.convert", "--from=keras", f"--input={folder}/run",
                f"--output_dir={tmp_path}/other", code=1)[1]
    assert "neither a folder of a Keras model's save_to_preset nor a .keras file" in error
    out, _ = run("gpt_tf.convert", "--to=openai", f"--input={folder}/lm.keras",
                 f"--output_dir={tmp_path}/openai")
    assert (tmp_path / "openai" / "params_0.npy").exists()


def a_model_without_tokenizer(folder, tokenizer):
    return GPTCausalLM(GPTBackbone.from_preset(str(folder / "lm")))


def a_model_with_another_tokenizer(folder, tokenizer):
    backbone = GPTBackbone(vocabulary_size=tokenizer.vocabulary_size + 1, num_layers=1,
                           num_heads=1, hidden_dim=8, intermediate_dim=8, max_sequence_length=8)
    return GPTCausalLM(backbone, GPTCausalLMPreprocessor.from_preset(str(folder / "lm")))


@pytest.mark.parametrize("make, message", [
    (a_model_without_tokenizer, "has no tokenizer: save the model with its preprocessor"),
    (a_model_with_another_tokenizer, "rows for 96 tokens and a tokenizer of 95")],
    ids=lambda value: getattr(value, "__name__", ""))
def test_models_that_no_run_folder_holds(folder, tokenizer, tmp_path, cached, make, message):
    model = make(folder, tokenizer)
    model.save_to_preset(tmp_path / "preset")
    before = {path for path in cached.iterdir() if path.is_dir()}
    with pytest.raises(UserError, match=message):
        resolve.run_folder(str(tmp_path / "preset"))
    assert {path for path in cached.iterdir() if path.is_dir()} == before


@pytest.mark.parametrize("setting", [{"hidden_dim": 8}, {"activation": "sigmoid"}], ids=str)
def test_heads_that_no_run_folder_holds(folder, tmp_path, monkeypatch, setting):
    shutil.copytree(folder / "classifier", tmp_path / "preset")
    (tmp_path / "preset" / "metadata.json").write_text(json.dumps(setting))  # another content
    config = GPTTextClassifier.get_config
    monkeypatch.setattr(GPTTextClassifier, "get_config", lambda self: config(self) | setting)
    [(name, value)] = setting.items()
    with pytest.raises(UserError, match=f"classifier with {name}={value!r} is more than"):
        resolve.run_folder(str(tmp_path / "preset"))


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("name, damage, message", [
    ("lm.keras", cut, "is damaged, or no file that Keras saved"),
    ("lm/model.weights.h5", cut, "preset cannot be loaded|is damaged"),
    ("lm/config.json", cut, "not valid JSON"),
    ("lm/assets/tokenizer/merges.txt", os.remove, "preset cannot be loaded|No tokenizer"),
    ("lm/config.json", lambda path: path.write_text(path.read_text().replace(
        "gpt_tf>GPTBackbone", "keras_hub>GPT2Backbone")), "describes no config of a model"),
    ("lm/task.json", lambda path: path.write_text("[]"), "describes no task of a model")])
def test_damaged_and_foreign_models_get_one_sentence(folder, tmp_path, name, damage, message):
    source, _, part = name.partition("/")
    copy = tmp_path / ("preset" if part else source)
    (shutil.copytree if part else shutil.copy)(folder / source, copy)
    if part:
        (copy / SUMS).unlink()
    damage(copy / part if part else copy)
    done = run_command("gpt_tf.generate", f"--model_dir={copy}", "--prompt=a")
    assert done.code == 1 and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert np.any([each in done.stderr for each in message.split("|")]), done.stderr
