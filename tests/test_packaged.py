"""Models and rows that come with the package: made, found by name, checked, listed, installed."""

import dataclasses
import fnmatch
import hashlib
import json
import os
import pathlib
import re
import shutil
import tomllib

import numpy as np
import pytest
import safetensors.numpy

from benchmarks.gpu import packed as gpu
import gpt_tf
from gpt_tf import GPTBackbone, GPTCausalLM, GPTTextClassifier, GPTTokenizer
from gpt_tf.common.errors import UserError
from gpt_tf.config import OptimizerConfig
from gpt_tf.data.manifest import Manifest
from gpt_tf.hub import packaged
from gpt_tf.runs import run_folder, weights
from gpt_tf.sources import resolve
from gpt_tf.tokenizer import Tokenizer
from pipelines import build_corpus
from pipelines.build_task import TaskConfig
from pipelines.building import frame
from pipelines.tasks.rows import open_task
from pipelines.tasks.table import SAMPLES, find_spec, find_task
from tests import corpora, runs
from tests.commands import run_command
from tests.house import ROOT

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
NAME = "gpt_mini_en"
FLAGS = "# data_fingerprint=0\n--batch_size=4\n--data_dir=here\n--num_steps=9\n--nojit_compile\n"


@pytest.fixture(name="box", scope="module")
def box_fixture(tmp_path_factory, tokenizer, tokenizer_dir):
    """run/, a run; data/, its data; texts, their titles; presets/gpt_mini_en, packed of it."""
    folder = tmp_path_factory.mktemp("box")
    model = runs.make_model(tokenizer.vocabulary_size, num_layers=1, hidden_dim=8,
                            intermediate_dim=32, max_sequence_length=32)
    run = pathlib.Path(runs.make_run(folder / "run", tokenizer, {7: model}))
    (run / "pretrain.flags").write_text(FLAGS)
    (run / "metrics.jsonl").write_text('{"step": 3, "train/loss": 9, "induction/gain": 0.25}\n'
                                       '{"step": 7, "validation/loss": 8, "induction/gain": 1.5}\n')
    for name, title in (("books-0", "A Tale"), ("wiki-0", "Tea\tand\ncake"), ("wiki-1", "Bees")):
        row = {"title": title, "text": corpora.make_text(title, 30)}
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "Encoders", corpora.InProcess)
        build_corpus.build(build_corpus.CorpusConfig(
            input=f"{folder}/*.jsonl", tokenizer=str(tokenizer_dir), num_workers=1,
            output_dir=f"{folder}/data", sequence_length=32, validation_fraction=0.3))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(packaged, "FOLDER", folder / "presets")
        made = make(folder)
        assert made.code == 0, made.stderr
        yield folder, made.stdout


def make(folder, target=f"presets/{NAME}", **values):
    given = {"model_dir": folder / "run", "data_dir": folder / "data",
             "texts": folder / "*.jsonl", "output_dir": folder / target} | values
    return run_command("benchmarks.make_preset",
                       *(f"--{name}={value}" for name, value in given.items()))


@pytest.fixture(name="copy")
def copy_fixture(box, tmp_path, monkeypatch):
    """The packed folder, a copy to damage, which is the one that the name stands for."""
    shutil.copytree(box[0] / "presets", tmp_path / "presets")
    monkeypatch.setattr(packaged, "FOLDER", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "presets" / NAME


def test_a_preset_holds_the_run_rounded_to_float16(box):
    folder, _ = box
    arrays = safetensors.numpy.load_file(folder / "presets" / NAME / "model.safetensors")
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    expected, _ = weights.load_model(str(folder / "run"))
    found, step = weights.load_model(resolve.run_folder(NAME))
    assert (step, found.config) == (7, expected.config)
    for ours, theirs in zip(found.weights, expected.weights, strict=True):
        assert ours.dtype == "float32"
        np.testing.assert_array_equal(ours, np.asarray(theirs).astype(np.float16), theirs.path)
    assert Tokenizer.load(resolve.run_folder(NAME)).fingerprint == (
        Tokenizer.load(folder / "run").fingerprint)


def test_the_card_says_what_was_measured(box):
    folder, stdout = box
    card = (folder / "presets" / NAME / "README.md").read_text()
    losses = []
    for name in (f"{folder}/run", NAME):
        done = run_command("gpt_tf.evaluate", f"--model_dir={name}", f"--data_dir={folder}/data")
        losses.append(float(re.search(r"^  loss +([\d.]+)$", done.stdout, re.M)[1]))
    row = re.search(r"^\| data \|.*$", card, re.M)[0]
    cells = [cell.strip() for cell in row.split("|")]
    assert row in stdout and float(cells[3]) == losses[0]
    assert float(cells[6]) == pytest.approx(losses[1] - losses[0], abs=1.01e-4)
    assert f"# {NAME}\n" in card and "of update 7 of 9, of 4 windows of 32 tokens each" in card
    assert "- 1 whole books" in card and "- 2 articles" in card and "CC BY-SA 3.0" in card
    assert "\n- induction/gain: 1.5000 after update 7\n" in card and "--batch_size=4\n" in card
    assert "--data_dir=here" not in card and "$" not in card
    assert (folder / "presets" / NAME / "TEXTS.tsv").read_text() == (
        "books-0.jsonl\tA Tale\nwiki-0.jsonl\tTea and cake\nwiki-1.jsonl\tBees\n")


def test_the_card_of_a_run_that_was_trained_elsewhere(box):
    folder, _ = box
    model, _ = weights.load_model(str(folder / "run"))
    described = {"model": dataclasses.asdict(model.config), "updates": 7, "kept": [],
                 "sequence_length": 32,
                 "optimizer": dataclasses.asdict(OptimizerConfig(schedule="cosine", l2=0.125)),
                 "training": {"batch_size": 4, "seed": 3, "dtype": "mixed_bfloat16"},
                 "variables": [{"name": variable.path, "shape": list(variable.shape)}
                               for variable in model.trainable_variables]}
    (folder / "there").mkdir()
    gpu.write_weights(str(folder / "there"), [np.asarray(variable) for variable in
                                              model.trainable_variables], described)
    done = make(folder, f"elsewhere/{NAME}", there=folder / "there")
    assert done.code == 0, done.stderr
    card, own = ((folder / name / NAME / "README.md").read_text()
                 for name in ("elsewhere", "presets"))
    assert "of update 7 of 7, of 4 windows of 32 tokens each" in card and "$" not in card
    flags = re.findall(r"^--(\w+)=(.*)$", card, re.M)
    assert {"l2": "0.125", "seed": "3", "schedule": "cosine", "num_steps": "7", "batch_size": "4",
            "dtype": "mixed_bfloat16", "num_heads": str(model.config.num_heads)}.items() <= (
                dict(flags).items())
    assert "vocabulary_size" not in dict(flags) and "num_special_tokens" not in dict(flags)
    for text, where in (("there train step --data step --num_steps=7", card), ("train_bpe", own)):
        assert text in where and text not in (own if where is card else card)
    gpu.write_weights(str(folder / "there"), [np.asarray(variable) + 1 for variable in
                                              model.trainable_variables], described)
    shutil.copytree(folder / "there", folder / "spoilt")
    (folder / "spoilt" / "weights.json").write_text("{}")
    for name, others in (("shorter", {"sequence_length": 16}), ("stopped", {"planned": 9})):
        shutil.copytree(folder / "there", folder / name)
        gpu.write_weights(str(folder / name), [np.asarray(variable) for variable in
                                               model.trainable_variables], described | others)
    for there, message in ((folder / "there", "has other weights than"),
                           (folder / "shorter", "shorter was trained on windows of 16: build"),
                           (folder / "stopped", "stopped was stopped after 7 of 9 updates: no"),
                           (folder / "spoilt", "is damaged, or no folder of benchmarks.gpu.there"),
                           (folder / "none", "weights.json (No such file")):
        done = make(folder, "none/none", there=there)
        assert done.code == 1 and message in done.stderr and "Traceback" not in done.stderr


def test_the_same_run_makes_the_same_bytes(box):
    folder, _ = box
    assert make(folder, f"again/{NAME}").code == 0
    made = corpora.contents(folder / "presets" / NAME)
    assert corpora.contents(folder / "again" / NAME) == made
    listed = dict(line.split("  ")[::-1] for line in made.pop("SHA256SUMS").decode().splitlines())
    assert listed == {name: hashlib.sha256(data).hexdigest() for name, data in made.items()}


def test_what_cannot_be_packed(box, tmp_path):
    folder, _ = box
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run" / "pretrain.flags").unlink()
    (tmp_path / "untitled.jsonl").write_text('{"text": "a"}\n')
    for values, message in (({"model_dir": tmp_path / "run"}, "has no flagfile of a run"),
                            ({"texts": tmp_path / "untitled.jsonl"}, "line 1 is no row with a")):
        done = make(folder, "none/none", **values)
        assert done.code == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert not (folder / "none" / "none").exists()


def test_keras_classes_take_the_name(box):
    folder, _ = box
    expected, _ = weights.load_model(resolve.run_folder(NAME))
    model = GPTCausalLM.from_preset(NAME)
    for backbone in (model.backbone, GPTBackbone.from_preset(NAME)):
        for ours, theirs in zip(backbone.gpt.weights, expected.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for make in (GPTBackbone, GPTCausalLM, GPTTextClassifier):
        with pytest.raises(ValueError, match="weights='bset' must be 'best' or 'newest'"):
            make.from_preset(NAME, weights="bset",
                             **{"num_classes": 2} if make is GPTTextClassifier else {})
    classifier = GPTTextClassifier.from_preset(NAME, num_classes=2)
    assert classifier.preprocessor.sequence_length == 32
    assert GPTTokenizer.from_preset(NAME).tokenizer.fingerprint == (
        Tokenizer.load(folder / "run").fingerprint)
    for task in (model, classifier):
        assert type(task.preprocessor).from_preset(NAME).sequence_length == 32


@pytest.mark.parametrize("name", sorted(set(gpt_tf.__all__) - {"GPTAdam", "__version__"}))
def test_presets_of_every_class(box, name):
    expected, _ = weights.load_model(resolve.run_folder(NAME))
    path = str(box[0] / "presets" / NAME)
    [(found, value)] = getattr(gpt_tf, name).presets.items()
    assert (found, value.keys()) == (NAME, {"metadata"})
    description = value["metadata"].pop("description")
    assert value["metadata"] == {"params": expected.count_params(), "path": path}
    assert description.startswith("GPT-1 of 1 blocks of width 8")


def test_commands_take_the_name(box, tmp_path, monkeypatch):
    monkeypatch.setattr(frame, "Encoders", corpora.InProcess)
    done = run_command("gpt_tf.generate", f"--model_dir={NAME}", "--prompt=the cat",
                       "--max_new_tokens=3")
    assert done.code == 0 and done.stdout.startswith("the cat"), done.stderr
    for way in ("--from=huggingface", "--to=openai"):
        done = run_command("gpt_tf.convert", way, f"--input={NAME}", f"--output_dir={tmp_path}/a",
                           "--overwrite")
        assert done.code == 0, done.stderr
        shutil.rmtree(tmp_path / "a")
    done = run_command("pipelines.build_task", "--task=reviews", f"--tokenizer={NAME}",
                       f"--output_dir={tmp_path}/reviews", "--num_workers=1")
    assert done.code == 0, done.stderr
    assert json.loads((tmp_path / "reviews" / "manifest.json").read_text())["sequence_length"] == 32
    assert done.stdout.splitlines()[-1] == (
        "Next: python -m gpt_tf.finetune --flagfile=quickstart_finetune.flags "
        f"--data_dir={tmp_path}/reviews --init_from={NAME} --model_dir=runs/reviews")
    # The same wherever the cache is.
    assert Manifest.load(str(tmp_path / "reviews")).flags["tokenizer"] == NAME


def test_a_local_folder_goes_first(copy, tokenizer):
    model = runs.make_model(tokenizer.vocabulary_size, seed=9)
    runs.make_run(NAME, tokenizer, {3: model})
    assert resolve.run_folder(NAME) == resolve.tokenizer_folder(NAME) == NAME
    np.testing.assert_array_equal(GPTBackbone.from_preset(NAME).gpt.weights[0], model.weights[0])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name, damage", [
    ("model.safetensors", flip), ("model.safetensors", os.remove), ("vocab.json", flip),
    ("SHA256SUMS", os.remove)])
def test_a_damaged_one_gets_one_sentence(copy, name, damage):
    damage(copy / name)
    done = run_command("gpt_tf.generate", f"--model_dir={NAME}", "--prompt=a")
    assert done.code == 1 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr == (
        f"error: {copy}/{name} is not as it came with gpt_tf: install gpt_tf again.\n")
    with pytest.raises(UserError, match="install gpt_tf again"):
        GPTTextClassifier.from_preset(NAME, num_classes=2)


def test_a_mistyped_name(copy):
    for command in (["gpt_tf.generate", "--model_dir=gpt_mini_em", "--prompt=a"],
                    ["gpt_tf.convert", "--to=huggingface", "--input=gpt_mini_em", "--output_dir=x"],
                    ["pipelines.build_task", "--task=reviews", "--tokenizer=gpt_mini_em",
                     "--output_dir=out"]):
        done = run_command(*command)
        assert (done.code, done.stderr) == (
            1, "error: gpt_mini_em: no such folder, and no model that comes with gpt_tf; did you "
               f"mean {NAME}?\n")
    with pytest.raises(UserError, match=f"did you mean {NAME}"):
        GPTTokenizer.from_preset("gpt_mimi_en")
    with pytest.raises(UserError, match=f"did you mean {NAME}"):
        resolve.run_folder(f"{NAME}/")
    with pytest.raises(UserError, match="review is not known: name one of .* the sample reviews"):
        TaskConfig(task="review", tokenizer=NAME, output_dir="x")
    os.mkdir("gpt_mini_e")  # a folder that is nearer
    assert resolve.run_folder("gpt_mini_") == "gpt_mini_"
    assert resolve.run_folder("runs/gpt_mini_em") == "runs/gpt_mini_em"


def test_rows_of_the_sample(tmp_path):
    found = open_task(find_task("reviews"), str(SAMPLES / "reviews"), "", "stop")
    rows = {split: list(source.rows()) for split, source in found.items()}
    assert {split: len(each) for split, each in rows.items()} == {"train": 200, "validation": 250}
    for each in rows.values():
        assert sum(row.label for row in each) * 2 == len(each)
    words = [tuple(re.findall(r"\w+", row.texts[0].lower()))
             for each in rows.values() for row in each]
    assert len(set(words)) == len(words) and min(map(len, words)) > 2
    assert find_spec("tickets/spec.json") == "tickets/spec.json" and find_spec("sst2") == ""


def test_a_spec_says_where_its_rows_are(tmp_path, tokenizer_dir, monkeypatch):
    monkeypatch.setattr(frame, "Encoders", corpora.InProcess)
    shutil.copytree(SAMPLES / "reviews", tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    built = {}
    for name, task in (("a", "spec.json"), ("b", f"{tmp_path}/mine/spec.json"), ("c", "reviews")):
        done = run_command("pipelines.build_task", f"--task={task}", "--num_workers=1",
                           f"--tokenizer={tokenizer_dir}", f"--output_dir={tmp_path}/{name}")
        assert done.code == 0, done.stderr
        built[name] = {path.name: path.read_bytes()
                       for path in (tmp_path / name).glob("*.tfrecord")}
    assert len(built["a"]) == 2 and built["a"] == built["b"] == built["c"]


def test_a_wheel_holds_it_all():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package, folders in (("gpt_tf", ("presets", "flagfiles")), ("pipelines", ("samples",))):
        patterns = project["tool"]["setuptools"]["package-data"][package]
        for folder in folders:
            files = [path for path in (ROOT / package / folder).rglob("*") if path.is_file()]
            assert files, folder
            for path in files:
                name = path.relative_to(ROOT / package).as_posix()
                assert any(fnmatch.fnmatch(name, pattern) and name.count("/") == pattern.count("/")
                           for pattern in patterns), name


@pytest.mark.parametrize("name", ["gpt_small_en", "gpt_tiny_en"])
def test_the_models_in_the_box(box, monkeypatch, name):
    monkeypatch.setattr(packaged, "FOLDER", ROOT / "gpt_tf" / "presets")
    assert list(packaged.folders()) == ["gpt_small_en", "gpt_tiny_en"]
    folder = packaged.FOLDER / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20e6
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    assert {line.split("  ")[1] for line in sums} == (
        {path.name for path in folder.iterdir()} - {"SHA256SUMS"})
    found = packaged.fetch(name)
    assert found.is_gpt1 and "model.safetensors" in found.names
    assert run_folder.load_config(resolve.run_folder(name)).num_parameters == (
        packaged.presets()[name]["metadata"]["params"])
    assert f"# {name}\n" in (folder / "README.md").read_text()
    assert Tokenizer.load(resolve.run_folder(name)).fingerprint == (
        Tokenizer.load(resolve.run_folder("gpt_tiny_en")).fingerprint)  # data fit both


def test_the_shape_that_the_quickstart_trains_beside_it():
    config = json.loads((ROOT / "gpt_tf/presets/gpt_tiny_en/config.json").read_text())
    shape = {"num_layers": config["n_layer"], "num_heads": config["n_head"],
             "hidden_dim": config["n_embd"], "intermediate_dim": 4 * config["n_embd"],
             "max_sequence_length": config["n_positions"]}
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    assert re.search(r"^TINY_SHAPE = (.*)$", makefile, re.M)[1].split() == [
        f"--{name}={value}" for name, value in shape.items()]  # what trains from scratch beside it
