"""Models by handle: what is fetched, converted, found again and refused; and uploads."""

import errno
import json
import os
import pathlib
import shutil
import sys
import time

import kagglehub
from kagglehub.exceptions import KaggleApiHTTPError
import keras_hub
import numpy as np
import pytest
import requests
import tensorflow as tf

from gpt_tf import (
    GPTCausalLM,
    GPTCausalLMPreprocessor,
    GPTTextClassifier,
    GPTTokenizer,
)
from gpt_tf.common.errors import UserError
from gpt_tf.hub import models
from gpt_tf.hub.handles import Handle
from gpt_tf.interop import conversion, targets
from gpt_tf.runs import run_folder, weights
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import Tokenizer
from pipelines.building import frame
from tests import corpora, runs
from tests.commands import run_command
from tests.converted import change_weights
from tests.hub import TOKEN, Hub
from tests.test_next_steps import sst2

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
    assert fetched(hub) == ["config.json", "merges.txt", "model.safetensors", "tokenizer.json",
                            "tokenizer_config.json", "vocab.json"]
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
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (ours / name).unlink()
    tables = {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokenizer.tokens)},
              "merges": list(map(list, tokenizer.merges)), "end_of_word_suffix": "</w>"}
    (ours / "tokenizer.json").write_text(json.dumps({"model": tables}))
    assert GPTTokenizer.from_preset("hf://ours/copy").get_vocabulary() == list(tokenizer.tokens)
    (ours / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="hf://ours/copy holds no tokenizer that can be read"):
        GPTTokenizer.from_preset("hf://ours/copy")


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


def edit(name, change):
    """Changes a JSON file of the repository."""
    def act(folder, hub):
        path = folder / name
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))
    return act


def remove(*names):
    def act(folder, hub):
        for name in names:
            (folder / name).unlink()
    return act


def preset_of_another_class(folder, hub):
    shutil.rmtree(folder)
    shutil.copytree(hub.root / "tests" / "preset", folder)
    (folder / "SHA256SUMS").unlink()
    edit("config.json", lambda value: value.update(
        registered_name="keras_hub>GPT2Backbone"))(folder, hub)


REFUSED = {
    "private": (lambda folder, hub: hub.private.add("ours/copy"),
                "no such repository at {hub}, or it is private.*set HF_TOKEN"),
    "gated": (lambda folder, hub: hub.gated.add("ours/copy"),
              "is given to whom its owner lets have it: ask at {hub}"),
    "unknown": (lambda folder, hub: shutil.move(folder, folder.parent / "moved"),
                "no such repository at {hub}"),
    "down": (lambda folder, hub: setattr(hub, "status", 503),
             "cannot be fetched from {hub} .*503.* check the network"),
    "forbidden": (lambda folder, hub: setattr(hub, "status", 403), r"{hub} refuses it \(403\)"),
    "GPT-2": (edit("config.json", lambda value: value.update(model_type="gpt2")),
              "is a model of type 'gpt2', and only one of type 'openai-gpt'"),
    "no model": (remove("config.json"), "is a model of type None"),
    "no weights": (remove("model.safetensors", "pytorch_model.bin"), "holds no weights in a form"),
    "another's preset": (preset_of_another_class, "describes no config of a model of gpt_tf"),
    "not JSON": (lambda folder, hub: (folder / "config.json").write_text("{"), "not valid JSON"),
    "damaged": (lambda folder, hub: hub.damage.update({"vocab.json": lambda data: data[::-1]}),
                "vocab.json of hf://ours/copy came damaged: its checksum is not [0-9a-f]{{40}},"),
    "damaged weights": (
        lambda folder, hub: hub.damage.update({"model.safetensors": lambda data: data[::-1]}),
        "model.safetensors of hf://ours/copy came damaged: its checksum is not [0-9a-f]{{64}},"),
    "cut": (lambda folder, hub: hub.damage.update({"model.safetensors": lambda data: data[:-9]}),
            "cannot be fetched from {hub} .*peer closed connection"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_had_is_told_in_one_sentence(hub, ours, tmp_path, monkeypatch, what):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # before the client tries again
    spoil, message = REFUSED[what]
    spoil(ours, hub)
    with hub.used(tmp_path):
        done = run_command("gpt_tf.generate", "--model_dir=hf://ours/copy", "--prompt=a")
        assert done.code == 1 and "Traceback" not in done.stderr
        with pytest.raises(UserError, match=message.format(hub=hub.url)) as caught:
            GPTCausalLM.from_preset("hf://ours/copy")
        assert str(caught.value) == done.stderr.splitlines()[-1].removeprefix("error: ")
        shutil.rmtree(ours.parent / "moved", ignore_errors=True)
        # Once it is right, nothing of the failure is in the way.
        if what.startswith(("damaged", "cut", "down")):
            hub.damage.clear()
            hub.status = 0
            assert resolve.run_folder("hf://ours/copy")


def test_a_token_opens_what_is_private(hub, ours, tmp_path, monkeypatch):
    hub.private.add("ours/copy")
    with hub.used(tmp_path):
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert resolve.run_folder("hf://ours/copy")


def test_a_full_disk_is_told(hub, ours, tmp_path):
    (tmp_path / "file").touch()
    with hub.used(tmp_path / "file"), pytest.raises(UserError, match="Cannot write .*/file: Not a "
                                                                     "directory. Make room, or "):
        resolve.run_folder("hf://ours/copy")


def test_pickles_are_fetched_where_there_is_nothing_else(hub, ours, tmp_path, monkeypatch):
    (ours / "model.safetensors").unlink()
    taken = []
    monkeypatch.setattr(models, "_convert",
                        lambda name, folder, path: (taken.append(folder), os.mkdir(path)))
    with hub.used(tmp_path):
        resolve.run_folder("hf://ours/copy")
    [folder] = taken
    assert os.path.exists(os.path.join(folder, "pytorch_model.bin"))


@pytest.mark.parametrize("handle", [
    "hf://", "hf://../x", "hf://a/..", "hf://a/b/c", "hf://a/b@", "hf://a/b@../../x", "hf://a/b@/x",
    "hf:///etc/passwd", "hf://a/b?c", "kaggle://a/b", "kaggle://a/b/keras/d/e",
    "kaggle://a/../keras/d"])
def test_handles_that_are_none(hub, handle):
    hub.requests.clear()
    with pytest.raises(UserError, match="is no handle: it has the form (hf|kaggle)://"):
        resolve.run_folder(handle)
    assert not hub.requests


def test_handles_taken_apart():
    for text, name, revision in (("hf://a/b", "a/b", None), ("hf://gpt", "gpt", None),
                                 ("hf://a/b@refs/pr/1", "a/b", "refs/pr/1"),
                                 ("kaggle://a/b/keras/c", "a/b/keras/c", None),
                                 ("kaggle://a/b/keras/c/3", "a/b/keras/c", "3")):
        handle = Handle.parse(text)
        assert (handle.name, handle.revision) == (name, revision)


def test_commands_take_handles(hub, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(frame, "Encoders", corpora.InProcess)
    done = run_command("gpt_tf.generate", f"--model_dir={GPT1}", "--prompt=the cat",
                       "--max_new_tokens=3")
    assert done.code == 0 and done.stdout.startswith("the cat"), done.stderr
    done = run_command("gpt_tf.convert", "--from=huggingface", f"--input={GPT1}",
                       f"--output_dir={tmp_path}/run")
    assert done.code == 0, done.stderr
    assert f"--input={GPT1}\n" in (tmp_path / "run" / "convert.flags").read_text()
    done = run_command("gpt_tf.convert", "--from=keras", f"--input={PRESET}",
                       f"--output_dir={tmp_path}/preset")
    assert done.code == 0, done.stderr
    done = run_command("gpt_tf.convert", "--to=openai", f"--input={GPT1}",
                       f"--output_dir={tmp_path}/openai")
    assert done.code == 0 and (tmp_path / "openai" / "params_0.npy").exists(), done.stderr
    (tmp_path / "text.txt").write_text(corpora.make_text(1, 20))
    done = run_command("gpt_tf.evaluate", f"--model_dir={PRESET}", f"--text={tmp_path}/text.txt",
                       "--nojit_compile")
    assert done.code == 0 and "bits_per_byte" in done.stdout, done.stderr
    done = run_command("pipelines.build_corpus", f"--input={tmp_path}/text.txt",
                       f"--tokenizer={PRESET}", f"--output_dir={tmp_path}/data", "--num_workers=1",
                       "--sequence_length=16")
    assert done.code == 0, done.stderr
    assert Tokenizer.load(tmp_path / "data").fingerprint == tokenizer.fingerprint
    done = run_command("pipelines.build_task", "--task=sst2", f"--tokenizer={GPT1}",
                       f"--input={sst2(tmp_path / 'rows')}", f"--output_dir={tmp_path}/task",
                       "--num_workers=1", "--max_length=32")
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "Next: python -m gpt_tf.finetune --flagfile=finetune.flags "
        f"--data_dir={tmp_path}/task --init_from={GPT1} --model_dir=runs/task")
    done = run_command("pipelines.build_task", "--task=sst2", "--zero_shot",
                       f"--tokenizer={GPT1}", f"--input={tmp_path}/rows", "--num_workers=1",
                       f"--output_dir={tmp_path}/zero", "--max_length=32")
    assert done.code == 0, done.stderr
    of_runs = ["--batch_size=8", "--nojit_compile", "--strategy=one_device"]
    for module, *flags in (
            ("pretrain", f"--data_dir={tmp_path}/data", f"--init_from={PRESET}", "--num_steps=1",
             "--warmup_steps=1", f"--model_dir={tmp_path}/pretrained", *of_runs),
            ("finetune", f"--data_dir={tmp_path}/task", f"--init_from={GPT1}", "--num_epochs=1",
             f"--model_dir={tmp_path}/tuned", *of_runs),
            ("zero_shot", f"--data_dir={tmp_path}/zero", f"--model_dir={GPT1}", "--nojit_compile"),
            ("export", "--format=preset", f"--model_dir={GPT1}",
             f"--output_dir={tmp_path}/exported")):
        done = run_command(f"gpt_tf.{module}", *flags)
        assert done.code == 0, done.stderr
        assert "Saved in" not in done.stdout
    # What is measured of a handle is printed: its run folder is nobody's to look into.
    assert not os.path.exists(os.path.join(resolve.run_folder(GPT1), "evaluations"))


def test_what_was_left_out_is_said_at_each_use(hub, ours, tokenizer):
    """A classifier of transformers', whose decoder alone is taken."""
    handle = "hf://ours/copy"
    change_weights(ours, lambda arrays: arrays.update({"score.weight": np.ones((2, 8), "f4")}))
    edit("config.json", lambda value: value.update(id2label={"0": "bad", "1": "good"}))(ours, hub)
    left_out = "the head of OpenAIGPTForSequenceClassification (bad, good) is left out: it reads"
    for _ in range(2):
        done = run_command("gpt_tf.predict", f"--model_dir={handle}", stdin="the cat\n")
        assert done.code == 1 and done.stderr.count(left_out) == 1
        assert done.stderr.splitlines()[-1] == (
            f"error: {handle} is a language model without a head of a task, or one that was left "
            "out, as said above: fine-tune it with python -m gpt_tf.finetune "
            f"--init_from={handle} ...")
    with pytest.raises(UserError, match=f"^{handle} is no classifier's: give num_classes"):
        GPTTextClassifier.from_preset(handle)
    with pytest.raises(UserError, match=f"{PRESET} is a language model without a head of a task: "):
        resolve.fine_tuned_run(PRESET)


@pytest.fixture(name="kaggle_models")
def kaggle_models_fixture(hub, tmp_path, monkeypatch):
    """Kaggle, of which `model_download` finds tests/preset as version 2 of a variation; what it was
    asked for, and an error that it raises where one is put in."""
    asked, errors = [], []

    def model_download(handle, path):
        asked.append((handle, path))
        if errors:
            raise errors[0]
        source = hub.root / "tests" / "preset" / path
        if not handle.startswith("tests/gpt/keras/tiny") or not source.exists():
            response = requests.Response()
            response.status_code = 404
            raise KaggleApiHTTPError("404 Client Error.\n\nResource not found", response=response)
        target = tmp_path / "keras" / "tiny" / "2" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        return str(target)

    monkeypatch.setattr(kagglehub, "model_download", model_download)
    return asked, errors


def test_kaggle(kaggle_models, hub, tokenizer):
    asked, errors = kaggle_models
    handle = "kaggle://tests/gpt/keras/tiny"
    ids = np.array([[5, 6, 7]], np.int32)
    expected = GPTCausalLM.from_preset(PRESET)
    np.testing.assert_array_equal(GPTCausalLM.from_preset(handle).score(ids), expected.score(ids))
    assert asked[0] == ("tests/gpt/keras/tiny", "config.json")
    assert {model for model, _ in asked[1:]} == {"tests/gpt/keras/tiny/2"}
    asked.clear()
    assert GPTTokenizer.from_preset(f"{handle}/2").get_vocabulary() == list(tokenizer.tokens)
    assert not [path for _, path in asked if path.endswith(".h5")]
    response = requests.Response()
    response.status_code = 403
    for error, message in (
            (None, "Kaggle has no such model, variation or version"),
            (KaggleApiHTTPError("403 Client Error.\n\nYou", response=response),
             r"is not for who asks \(403\): agree to its terms on Kaggle"),
            (requests.ConnectionError("no route to host"), r"cannot be fetched \(no route to host"),
            (OSError(errno.ENOSPC, "No space left on device"), "Cannot write config.json of .*: No "
                                                               "space left on device. Make room")):
        errors[:] = [error] if error else []
        with pytest.raises(UserError, match=message):
            resolve.run_folder("kaggle://tests/gpt/keras/other" if error is None else handle)


def test_kaggle_without_its_client(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(UserError, match="is fetched by kagglehub, which cannot be imported here"):
        resolve.run_folder("kaggle://tests/gpt/keras/tiny")


def test_weights_in_several_files(hub, kaggle_models, tmp_path, model):
    preset = hub.root / "tests" / "preset"
    shutil.move(preset, tmp_path / "whole")
    try:
        lm = GPTCausalLM.from_preset(str(tmp_path / "whole"))
        lm.save_to_preset(preset, max_shard_size=3e-6)
        assert len(list(preset.glob("model_*.weights.h5"))) > 1
        ids = np.array([[5, 6, 7]], np.int32)
        with hub.used(tmp_path / "cache"):
            for handle in (PRESET, "kaggle://tests/gpt/keras/tiny"):
                np.testing.assert_array_equal(GPTCausalLM.from_preset(handle).score(ids),
                                              lm.score(ids))
    finally:
        shutil.rmtree(preset, ignore_errors=True)
        shutil.move(tmp_path / "whole", preset)


@pytest.mark.filterwarnings("ignore:Use 'content=<...>'")  # the client's, to its HTTP library
def test_upload_preset(hub, ours, tmp_path, monkeypatch):
    preset, target = hub.root / "tests" / "preset", "hf://ours/uploaded"
    with hub.used(tmp_path), pytest.raises(Exception, match="401"):
        keras_hub.upload_preset(target, str(preset))
    with hub.used(tmp_path):
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        keras_hub.upload_preset(target, str(preset))
        sent = corpora.contents(hub.root / "ours" / "uploaded")
        assert b"pipeline_tag: text-generation" in sent.pop("README.md")
        assert sent == corpora.contents(preset)
        ids = np.array([[5, 6, 7]], np.int32)
        expected = GPTCausalLM.from_preset(str(preset)).score(ids)
        for face in (GPTCausalLM, keras_hub.models.CausalLM):
            np.testing.assert_array_equal(face.from_preset(target).score(ids), expected)
