"""Exports for apps: LiteRT, by the interpreter that TensorFlow brings.

All forms, ONNX and the interpreters that people install: tests/peers/test_formats.py.
"""

import errno
import os

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf import export as command
from gpt_tf.common.errors import UserError
from gpt_tf.config import BEST
from gpt_tf.runs import run_folder
from gpt_tf.serving import portable
from gpt_tf.tokenizer import Tokenizer
from tests import corpora, exported
from tests.commands import run_command
from tests.test_evaluate_task import make_run as make_task_run
from tests.test_finetuning import make_run
from tests.test_predict import MAX_LENGTH, TASKS

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
FORMS = ("similarity", "multiple_choice")
pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory, tokenizer):
    """A pre-trained run, and one of classes and one of scores, of several sequences each."""
    folder = tmp_path_factory.mktemp("portable")
    make_run(folder / "pretrained", tokenizer, initializer_range=0.5, num_layers=1)
    for form in FORMS:
        make_task_run(str(folder / form), tokenizer, TASKS[form], MAX_LENGTH)
    return folder


def open_litert(path, name):
    interpreter = tf.lite.Interpreter(str(path))
    # TensorFlow's interpreter has these, and those that people install have not.
    assert not [each for each in interpreter._get_ops_details() if "Flex" in each["op_name"]]
    runner = interpreter.get_signature_runner(name)
    return lambda inputs: runner(**inputs)


def export(*flags):
    return run_command("gpt_tf.export", *flags)


def test_a_language_model(folder, tmp_path):
    flags = ["--format=litert", f"--model_dir={folder}/pretrained", f"--output_dir={tmp_path}/out"]
    done = export(*flags)
    assert (done.code, done.stderr) == (0, "")
    first, second, third = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path}/out: {folder}/pretrained, update 9, 0.")
    assert second == ("Signatures: logits, of token ids; what they take and give stands in "
                      f"{tmp_path}/out/signatures.json.")
    assert third == (
        "Neither strings nor the loop that generates are in it: a SavedModel can hold both.")
    exported.check(folder / "pretrained", tmp_path / "out", open_litert)
    assert Tokenizer.load(tmp_path / "out").fingerprint == Tokenizer.load(
        folder / "pretrained").fingerprint
    names = sorted(os.listdir(tmp_path / "out"))
    assert "model.tflite" in names and not [name for name in names if "saved_model" in name]
    assert "holds an export: name another --output_dir" in export(*flags).stderr
    command._check_free(str(tmp_path / "out"), portable.DESCRIPTION, overwrite=True)


@pytest.mark.parametrize("form", FORMS)
def test_a_classifier(folder, tmp_path, form):
    signatures, step = portable.write(str(folder / form), BEST, "litert", str(tmp_path / "out"))
    assert (signatures, step) == (["classify", "logits"], 9)
    said = exported.check(folder / form, tmp_path / "out", open_litert)
    assert said["class_names"] == (list("012345") if form == "similarity" else list("ABC"))
    size = Tokenizer.load(folder / form).vocabulary_size
    assert said["special_tokens"] == {"start": size, "delimiter": size + 1, "extract": size + 2}
    assert run_folder.load_task(str(tmp_path / "out")) == run_folder.load_task(str(folder / form))
    parameters = run_folder.load_config(str(folder / form)).num_parameters
    # Both signatures have the same weights, and programs of some 40 kB.
    assert os.path.getsize(tmp_path / "out" / "model.tflite") < 4 * parameters + 130_000


def test_what_is_refused(folder, tmp_path, monkeypatch):
    flags = [f"--model_dir={folder}/pretrained", f"--output_dir={tmp_path}/out"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    for more, message in (
            (["--format=litert", "--version=3"], "--version and --jit_compile are for"),
            (["--format=preset", "--jit_compile"], "--version and --jit_compile are for"),
            (["--format=litert", f"--output_dir={tmp_path}/mine", "--overwrite"],
             f"--output_dir={tmp_path}/mine holds something else: name a new or empty folder.")):
        done = export(*flags, *more)
        assert done.code == 1 and done.stderr.startswith("error: ") and message in done.stderr
        assert done.stderr.count("\n") == 1
    config = command.ExportConfig(model_dir="run", output_dir="out", format="onnx")
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs tf2onnx, which is not installed: pip install"):
        command._check_format(config, 100)
    monkeypatch.undo()
    litert = command.ExportConfig(model_dir="run", output_dir="out", format="litert")
    command._check_format(litert, 500_000_000)
    with pytest.raises(UserError, match="weights are 2.2 GiB, and a file of --format=litert"):
        command._check_format(litert, 600_000_000)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
                                   tf.errors.ResourceExhaustedError(None, None, "no room"),
                                   KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_whole_or_absent(folder, tmp_path, monkeypatch, error):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()

    def save(root, path, signatures):
        del root, signatures
        os.mkdir(path)
        raise error

    monkeypatch.setattr(tf.saved_model, "save", save)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UserError
    with pytest.raises(expected) as raised:
        portable.write(str(folder / "pretrained"), BEST, "litert", str(target))
    assert expected is not UserError or str(raised.value).startswith(f"Cannot write {target}: ")
    assert os.listdir(tmp_path) == ["out"] and os.listdir(target) == ["old"]


def test_a_product_of_one_op_is_a_dense_layer():
    """The one place where what is exported is computed otherwise."""
    from gpt_tf.model.linear import products_of_one_op, project
    layer = tf.keras.layers.Dense(5, bias_initializer="ones")
    x = tf.constant(np.random.default_rng(0).normal(size=[2, 3, 4]), tf.float32)
    expected = project(layer, x)
    # Five terms a sum, which may cancel: each is rounded.
    rounding = 5 * np.finfo(np.float32).eps * (np.abs(x) @ np.abs(layer.kernel) + 1)
    with products_of_one_op():
        assert (np.abs(project(layer, x) - expected) <= rounding).all()
        graph = tf.function(lambda x: project(layer, x)).get_concrete_function(
            tf.TensorSpec([None, None, 4])).graph
    assert [each.type for each in graph.get_operations() if "MatMul" in each.type] == [
        "BatchMatMulV2"]
    assert not [each for each in graph.get_operations() if each.type == "Shape"]
