"""What a run's files survive: flipped bytes, missing files, a full disk, a read-only folder."""

import os
import pathlib
import random
import shutil

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.runs.checkpoint import BestCheckpoint, Checkpoints
from gpt_tf.runs.reporting import Reporter
from tests import disks

SHAPES = {"a": [40, 30], "b/c": [7], "d.e": []}


class Saved:
    """Checkpoints of a few variables, whose values are a function of the step."""

    def __init__(self, folder, keep=2):
        self.variables = {name: tf.Variable(tf.zeros(shape)) for name, shape in SHAPES.items()}
        self.checkpoints = Checkpoints(str(folder), {"model": self.variables}, keep=keep)

    @staticmethod
    def value(name, step):
        return np.random.default_rng(step).normal(size=SHAPES[name]).astype(np.float32)

    def save(self, step):
        for name, variable in self.variables.items():
            variable.assign(self.value(name, step))
        self.checkpoints.save(step)

    def restore(self):
        """The step of the newest whole checkpoint, whose values are seen to be those saved."""
        step = self.checkpoints.restore_latest()
        for name, variable in self.variables.items():
            np.testing.assert_array_equal(variable.numpy(), self.value(name, step))
        return step


@pytest.fixture(name="folder")
def folder_fixture(tmp_path):
    saved = Saved(tmp_path)
    for step in (3, 6, 9):
        saved.save(step)
    return tmp_path


def test_a_flipped_byte_is_found(folder, capsys):
    chance = random.Random(0)
    files = sorted(folder.glob("ckpt-9.*"))
    assert len(files) == 2
    found = 0
    for _ in range(40):
        path = chance.choice(files)
        whole = path.read_bytes()
        place = chance.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)])
                         + whole[place + 1:])
        # A byte that holds nothing (padding of the index's footer) may be any: the values are
        # those of update 9 then, which `restore` compares.
        step = Saved(folder).restore()
        assert step in (6, 9)
        said = capsys.readouterr().err
        assert (f"{folder}/ckpt-9 is damaged" in said) == (step == 6)
        found += step == 6
        path.write_bytes(whole)
    assert found >= 35


@pytest.mark.parametrize("name", ["ckpt-9.index", "ckpt-9.data-00000-of-00001"])
def test_a_missing_file_is_found(folder, capsys, name):
    (folder / name).unlink()
    saved = Saved(folder)
    assert saved.restore() == 6
    assert f"{folder}/ckpt-9 is damaged" in capsys.readouterr().err
    saved.save(7)
    assert saved.checkpoints.steps == [6, 7]  # the damaged one is not kept in a good one's place
    (folder / "ckpt-7.index").write_bytes(b"")
    (folder / "ckpt-6.index").write_bytes(b"")
    with pytest.raises(UserError, match="ckpt-7, .*ckpt-6 are damaged"):
        saved.restore()


def test_the_list_of_checkpoints_may_be_lost(folder):
    assert tf.train.latest_checkpoint(folder) == f"{folder}/ckpt-9"
    (folder / "checkpoint").write_text('model_checkpoint_path: "../../elsewhere"')
    assert Saved(folder).restore() == 9
    (folder / "checkpoint").unlink()
    assert Saved(folder).restore() == 9


def test_what_a_kill_inside_a_save_leaves(folder):
    (folder / "part_temp").mkdir()
    (folder / "part.index").write_bytes(b"x")
    (folder / "ckpt-12.data-00000-of-00001").write_bytes(b"x")  # killed between two renames
    saved = Saved(folder)
    saved.checkpoints.remove_unfinished()
    assert saved.restore() == 9
    saved.save(12)
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint", "ckpt-12.data-00000-of-00001", "ckpt-12.index",
        "ckpt-9.data-00000-of-00001", "ckpt-9.index"]


def test_what_a_kill_after_a_save_has_its_name_leaves(folder):
    """An older one too many, and a list without the newest, in a run whose last save it was."""
    for path in list(folder.glob("ckpt-6.*")):
        shutil.copy(path, folder / path.name.replace("6", "4", 1))
    (folder / "checkpoint").write_text('model_checkpoint_path: "ckpt-6"\n')
    checkpoints = Saved(folder).checkpoints
    checkpoints.finish_save(6)  # as where 9 is damaged, which a copy may replace
    assert checkpoints.steps == [4, 6, 9]
    checkpoints.finish_save(9)
    assert checkpoints.steps == [6, 9]
    assert tf.train.latest_checkpoint(folder) == f"{folder}/ckpt-9"


def test_a_finished_run_that_is_looked_at_again_keeps_its_checkpoints(folder):
    """With flags that keep fewer: the next save prunes, if there is one."""
    saved = Saved(folder, keep=1)
    saved.checkpoints.finish_save(saved.restore())
    assert saved.checkpoints.steps == [6, 9]
    saved.save(12)
    assert saved.checkpoints.steps == [12]


def test_what_a_kill_inside_the_first_save_leaves(tmp_path):
    """Between its two renames; a lost index is another matter, and no reason to begin anew."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "ckpt-5.data-00000-of-00001").write_bytes(b"x")
    saved = Saved(folder)
    saved.checkpoints.remove_unfinished()
    with pytest.raises(UserError, match="ckpt-5 are damaged"):
        saved.restore()
    (folder / "part.index").write_bytes(b"x")
    assert saved.checkpoints.latest is None and saved.checkpoints.restore_latest() is None
    best = BestCheckpoint(str(folder), saved.variables, ["validation/f1"], writes=False)
    assert best.step is None and len(list(folder.iterdir())) == 2
    BestCheckpoint(str(folder), saved.variables, ["validation/f1"])
    assert not list(folder.iterdir())


def test_a_lost_index_beside_a_save_that_was_cut_off_earlier(folder, capsys):
    (folder / "part.data-00000-of-00001").write_bytes(b"x")
    (folder / "part.index").write_bytes(b"x")
    (folder / "ckpt-9.index").unlink()
    assert Saved(folder).restore() == 6
    assert f"{folder}/ckpt-9 is damaged" in capsys.readouterr().err


def test_an_index_that_declares_a_size_without_bound(folder, capsys):
    """Its last 48 bytes say where its own index begins and ends, as in LevelDB's tables."""
    path = folder / "ckpt-9.index"
    endless = b"\0\0\0" + b"\xff" * 8 + b"\x7f"
    path.write_bytes(path.read_bytes()[:-48] + endless.ljust(40, b"\0") + path.read_bytes()[-8:])
    assert Saved(folder).restore() == 6
    assert "ckpt-9 is damaged (its index declares a size that no" in capsys.readouterr().err


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path):
    with disks.mounted(tmp_path / "disk", "size=40k") as disk:
        saved = Saved(disk, keep=1)
        saved.save(1)
        filler = disk / "filler"
        filler.write_bytes(bytes(24 << 10))
        with pytest.raises(UserError, match=f"{disk}.*ckpt-1 is intact; make room"):
            saved.save(2)
        assert Saved(disk).restore() == 1
        filler.unlink()
        saved.save(2)
        assert Saved(disk).restore() == 2 and saved.checkpoints.steps == [2]


def test_a_full_disk_under_tensorboard(tmp_path):
    with disks.mounted(tmp_path / "disk", "size=80k") as disk:
        reporter = Reporter(str(disk))
        (disk / "filler").write_bytes(bytes(40 << 10))
        with pytest.raises(UserError, match=f"'s files in {disk}: No space left.*make room"):
            for step in range(100):
                reporter.text(step, "long", "x" * 4000)
        (disk / "filler").unlink()
        reporter.close()


def test_a_read_only_folder(tmp_path):
    with disks.mounted(tmp_path / "disk", "ro") as disk:
        with pytest.raises(UserError, match=f"Cannot write {disk}.*Read-only"):
            Reporter(str(disk / "run"))
        with pytest.raises(UserError, match=f"{disk}.*Read-only"):
            Saved(disk / "run").save(1)


# Patterns to TensorFlow, addresses, what shells and terminals mind, and bytes that are no UTF-8.
NAMES = ["lr[0.1]", "a*b?", "a{b,c}", "a\\b", "a\nb", "-a", "ram://a", os.fsdecode(b"B\xfccher")]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_folder_may_be_any(tmp_path, monkeypatch, name):
    """As a relative path, with a slash behind it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    folder = f"{name}/"
    reporter = Reporter(folder)
    reporter.start_profile()
    reporter.scalars(1, {"train/loss": 2.0})
    reporter.settings({"init_from": folder, "seed": 0})
    reporter.text(1, "flags", f"--model_dir={folder}")
    reporter.close()
    saved = Saved(folder)
    for step in (3, 6, 9):
        saved.save(step)
    assert Saved(folder).restore() == 9 and saved.checkpoints.steps == [6, 9]
    saved.checkpoints.restore(6)
    found = {path.name for path in pathlib.Path(folder).iterdir()}
    assert found > {"metrics.jsonl", "plugins", "checkpoint", "ckpt-6.index", "ckpt-9.index"}
    events, = (tmp_path / folder).glob("events.out.tfevents.*")
    assert b"train/loss" in events.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"temporary", name.partition("/")[0]}
    assert not list((tmp_path / "temporary").iterdir())


def test_metrics_that_are_a_link_are_replaced(tmp_path):
    for number, exists in enumerate((True, False)):
        run, other = tmp_path / f"run-{number}", tmp_path / f"other-{number}.jsonl"
        run.mkdir()
        (run / "metrics.jsonl").symlink_to(other)
        if exists:
            other.write_text('{"step": 1}\n{"step": 2}\n')
        reporter = Reporter(str(run), resume_step=1)
        reporter.scalars(2, {"train/loss": 2.0})
        reporter.close()
        rows = (run / "metrics.jsonl").read_text()
        assert rows == '{"step": 1}\n' * exists + '{"step": 2, "train/loss": 2.0}\n'
        assert other.exists() == exists
        assert not exists or other.read_text() == '{"step": 1}\n{"step": 2}\n'


@pytest.mark.parametrize("line", [b'{"st\xffep": 2}', b"[]", b"{}", b'{"step": "2"}'])
def test_a_damaged_line_of_metrics(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b"\n")
    with pytest.raises(UserError, match="metrics.jsonl, line 2 is no row of metrics: remove"):
        Reporter(str(tmp_path), resume_step=3)
