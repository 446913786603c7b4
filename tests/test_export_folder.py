"""Folders of exported models: versions, whole or absent, what a kill left; and the command."""

import os
import pathlib
import shutil

import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.serving import saved_model
from tests import corpora, task_data
from tests.test_commands import run
from tests.test_evaluate_task import make_run as make_task_run
from tests.test_finetuning import make_run

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture


@pytest.fixture(name="little", scope="module")
def little_fixture():
    """Something to write that takes no seconds."""
    root = tf.Module()
    root.weight = tf.Variable(1.0)
    double = tf.function(lambda x: {"y": root.weight * x}).get_concrete_function(
        tf.TensorSpec([], name="x"))
    return saved_model.Served(root, {saved_model.DEFAULT: double}, 1, "")


def save(built, output_dir, version=1, overwrite=False):
    return saved_model.save(built, str(output_dir), version, overwrite)


def test_versions(little, tmp_path):
    out = tmp_path / "out"
    assert saved_model.next_version(str(out)) == 1
    for version in (1, 7):
        save(little, out, version)
    assert saved_model.next_version(str(out)) == 8
    with pytest.raises(UserError, match="out/7 holds an exported model: .*--overwrite"):
        save(little, out, 7)
    (out / "7" / "mark").touch()
    save(little, out, 7, overwrite=True)
    assert not (out / "7" / "mark").exists() and (out / "7" / "saved_model.pb").exists()
    assert sorted(os.listdir(out)) == [".lock", "1", "7"]


@pytest.mark.parametrize("error", [
    OSError("no"), tf.errors.ResourceExhaustedError(None, None, "no"), KeyboardInterrupt(),
], ids=lambda error: type(error).__name__)
def test_whole_or_absent(little, tmp_path, monkeypatch, error):
    out = tmp_path / "out"
    save(little, out)
    before = (out / "1" / "saved_model.pb").read_bytes()

    def half_a_model(root, path, signatures):
        del root, signatures
        pathlib.Path(path, "saved_model.pb").write_bytes(b"half")
        raise error

    monkeypatch.setattr(tf.saved_model, "save", half_a_model)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UserError
    with pytest.raises(expected) as raised:
        save(little, out, overwrite=True)
    assert expected is not UserError or str(raised.value).startswith(
        f"Cannot write {out}/1: no; make room")
    assert (out / "1" / "saved_model.pb").read_bytes() == before
    assert sorted(os.listdir(out)) == [".lock", "1"]


def test_what_a_kill_left_is_tidied(little, tmp_path):
    """Killed while it was written; with 3 in its place and not yet removed; 2 not yet in it."""
    out = tmp_path / "out"
    for name in ("4.part-1234567890", "3", "3.old-1234567890", "2.old-1234567890",
                 "2.part-1234567890", "hf.part-1234567890"):
        (out / name).mkdir(parents=True)
        (out / name / "mark").write_text(name)
    (out / "5.part-1234567890").touch()
    assert saved_model.next_version(str(out)) == 4
    save(little, out)
    assert sorted(os.listdir(out)) == [".lock", "1", "2", "3", "5.part-1234567890",
                                       "hf.part-1234567890"]  # not ours
    assert [(out / name / "mark").read_text() for name in ("2", "3")] == ["2.old-1234567890", "3"]


def test_the_command(tmp_path, tokenizer):
    """As users type it, and their mistakes."""
    model_dir = make_task_run(str(tmp_path / "run"), tokenizer,
                              task_data.TASKS["classification"], num_layers=1)
    flags = [f"--model_dir={model_dir}", f"--output_dir={tmp_path}/out"]
    out, _ = run("gpt_tf.export", *flags)
    assert f"{tmp_path}/out/1: {model_dir}, update 9 (best validation)" in out
    assert "classify_text" in out and (tmp_path / "out" / "1" / "saved_model.pb").exists()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    unsaved = tmp_path / "unsaved"
    make_run(unsaved, tokenizer)
    shutil.rmtree(unsaved / "checkpoints")
    for changed, message in (
            (["--version=1"], "out/1 holds an exported model: give another --version"),
            ([f"--model_dir={tmp_path}/empty"], f"No model.json in {tmp_path}/empty"),
            ([f"--model_dir={unsaved}"], f"No checkpoint in {unsaved}/checkpoints"),
            ([f"--output_dir={tmp_path}/ft [v]"], "which it takes for a pattern or an"),
            ([f"--output_dir={tmp_path}/\udcfc"], "/\\udcfc, which it takes for a pattern"),
            ([f"--output_dir={tmp_path}/file"], f"{tmp_path}/file is a file and not a folder")):
        _, err = run("gpt_tf.export", *flags, *changed, code=1)
        assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert sorted(os.listdir(tmp_path / "out")) == [".lock", "1"]
