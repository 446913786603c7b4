"""Exports for LiteRT and ONNX by the interpreters that people install, without TensorFlow's ops."""

import subprocess
import sys
import warnings

import pytest

litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs requirements-peers.txt")
onnx = pytest.importorskip("onnx", reason="needs requirements-peers.txt")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs requirements-peers.txt")
pytest.importorskip("tf2onnx", reason="needs requirements-peers.txt")

import numpy as np

from gpt_tf.config import BEST
from gpt_tf.serving import portable
from tests import corpora, exported
from tests.commands import run_command
from tests.test_evaluate_task import make_run as make_task_run
from tests.test_finetuning import make_run
from tests.test_predict import MAX_LENGTH, TASKS

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
POSITIONS = 32


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory, tokenizer):
    """A pre-trained run, and one of each form, with their exports in litert/ and onnx/."""
    folder = tmp_path_factory.mktemp("formats")
    make_run(folder / "pretrained", tokenizer, initializer_range=0.5)
    make_run(folder / "over_positions", tokenizer, initializer_range=0.5,
             softmax_over_positions=True)
    for form, task in TASKS.items():
        make_task_run(str(folder / form), tokenizer, task, MAX_LENGTH)
    with warnings.catch_warnings():  # tf2onnx's and its protocol buffers'
        warnings.simplefilter("ignore", DeprecationWarning)
        for kind in ("litert", "onnx"):
            for form in ("pretrained", "over_positions", *TASKS):
                portable.write(str(folder / form), BEST, kind, str(folder / kind / form))
    return folder


def open_litert(path, name):
    runner = litert.Interpreter(str(path)).get_signature_runner(name)
    return lambda inputs: runner(**inputs)


def open_onnx(path, name):
    del name
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs)))


@pytest.mark.parametrize("form", ["pretrained", "over_positions", *TASKS])
@pytest.mark.parametrize("kind, open_file", [("litert", open_litert), ("onnx", open_onnx)],
                         ids=["litert", "onnx"])
def test_answers(folder, kind, open_file, form):
    said = exported.check(folder / form, folder / kind / form, open_file)
    assert said["format"] == kind


@pytest.mark.parametrize("kind, file, open_file", [
    ("litert", "model.tflite", open_litert), ("onnx", "logits.onnx", open_onnx)],
    ids=["litert", "onnx"])
def test_what_a_model_has_not_is_an_error(folder, tokenizer, kind, file, open_file):
    ask = open_file(folder / kind / "pretrained" / file, "logits")
    for token_ids in ([[1, tokenizer.vocabulary_size]], [[1] * (POSITIONS + 1)]):
        with pytest.raises(Exception, match="out of (data )?bounds"):
            ask({"token_ids": np.array(token_ids, np.int32)})


def test_an_onnx_file_names_sizes_and_weights(folder):
    model = onnx.load(folder / "onnx" / "similarity" / "classify.onnx")
    sizes = {each.name: [size.dim_param or size.dim_value
                         for size in each.type.tensor_type.shape.dim]
             for each in (*model.graph.input, *model.graph.output)}
    assert sizes == {"token_ids": ["batch", 2, "time"], "lengths": ["batch", 2],
                     "probabilities": ["batch", 6], "scores": ["batch"]}
    names = {each.name for each in model.graph.initializer}
    assert {"gpt/embedding/token/embeddings", "task_head/projection/bias"} <= names


def test_the_command(folder, tmp_path):
    flags = ["--format=onnx", f"--model_dir={folder}/classification",
             f"--output_dir={tmp_path}/out"]
    # A process of its own: in one with tables of other models TensorFlow warns of theirs.
    done = subprocess.run([sys.executable, "-m", "gpt_tf.export", *flags], capture_output=True,
                          text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Signatures: classify, logits, of token ids" in done.stdout
    (tmp_path / "out" / "mark").touch()
    done = run_command("gpt_tf.export", *flags, "--overwrite")
    assert done.code == 0 and not (tmp_path / "out" / "mark").exists()
    said = exported.check(folder / "classification", tmp_path / "out", open_onnx)
    assert said["class_names"] == ["sad", "glad"]  # what people are shown
