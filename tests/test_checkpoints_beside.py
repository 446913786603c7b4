"""Checkpoints at every instant of a save, of a kill, and beside a run that saves and prunes."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.runs import beginning, checkpoint_files
from gpt_tf.runs.checkpoint import BestCheckpoint, Checkpoints

SHAPES = {"a": [40, 30], "b/c": [7], "d.e": []}


def value(name, step):
    return np.random.default_rng(step).normal(size=SHAPES[name]).astype(np.float32)


class Course:
    """A run's course in `checkpoints/`, whose values are a function of the step."""

    def __init__(self, folder, keep=1):
        self.variables = {name: tf.Variable(tf.zeros(shape)) for name, shape in SHAPES.items()}
        self.checkpoints = Checkpoints(str(folder), {"model": self.variables}, keep=keep)

    def set(self, step):
        for name, variable in self.variables.items():
            variable.assign(value(name, step))

    def save(self, step):
        self.set(step)
        self.checkpoints.save(step)

    def go_on(self):
        """As a run does that is started again; returns the step it goes on from."""
        self.checkpoints.remove_unfinished()
        step = self.checkpoints.restore_latest()
        self.check(step)
        return step

    def check(self, step):
        for name, variable in self.variables.items() if step else ():
            np.testing.assert_array_equal(variable.numpy(), value(name, step))


class Best(Course):
    """The same of `best/`, whose score is the step."""

    def __init__(self, folder):
        super().__init__(folder)
        self.folder = str(folder)
        self.best = self.opened()

    def opened(self):
        return BestCheckpoint(self.folder, self.variables, ["validation/f1"])

    def save(self, step):
        self.set(step)
        self.best.offer(step, {"validation/f1": float(step)})

    def go_on(self):
        self.best = self.opened()
        if self.best.step:
            assert self.best.scores == {"validation/f1": float(self.best.step)}
            self.checkpoints.restore(self.best.step)
        self.check(self.best.step)
        return self.best.step


@pytest.mark.parametrize("kind", [Course, Best])
def test_killed_at_every_change_of_a_file(tmp_path, monkeypatch, kind, capsys):
    """It goes on from the last whole save, or anew before the first, and saves as before."""
    folder, states = tmp_path / "run", []

    def copying(change):
        def changed(*arguments, **options):
            states.append((tmp_path / f"state-{len(states)}", kept[-1]))
            shutil.copytree(folder, states[-1][0])
            return change(*arguments, **options)
        return changed

    course, kept = kind(folder), [None]
    with monkeypatch.context() as patch:
        for name in ("replace", "remove", "unlink", "fsync"):
            patch.setattr(os, name, copying(getattr(os, name)))
        for step in (3, 6):
            course.save(step)
            kept.append(step)
    assert len(states) > 12
    found = set()
    for state, step in states:
        again = kind(state)
        found.add((went_on := again.go_on(), step))
        assert went_on in (step, 3 if step is None else 6)
        again.save(9)
        assert {path.name for path in state.iterdir() if ".part-" not in path.name} == {
            "checkpoint", "ckpt-9.data-00000-of-00001", "ckpt-9.index"}
    assert found == {(None, None), (3, None), (3, 3), (6, 3)}
    assert capsys.readouterr().err == ""


@pytest.fixture(name="beside")
def beside_fixture(tmp_path, monkeypatch):
    """(a run that has saved update 3, what to do before its reader opens a checkpoint, when it has
    the index, and when it has the data, too)."""
    course = Course(tmp_path / "run")
    course.save(3)
    load, actions = tf.train.load_checkpoint, {"opens": [], "index": [], "data": []}

    def act(when):
        if actions[when]:
            actions[when].pop(0)()

    def watched(prefix):
        act("opens")
        reader = load(prefix)
        act("index")
        if actions["data"]:
            reader.get_tensor("step/.ATTRIBUTES/VARIABLE_VALUE")
            act("data")
        return reader

    monkeypatch.setattr(tf.train, "load_checkpoint", watched)
    return course, actions


def test_what_was_pruned_before_it_was_opened_is_not_called_damaged(beside, tmp_path, capsys):
    course, actions = beside
    actions["opens"] = [lambda: course.save(6), lambda: course.save(9)]
    reader = Course(tmp_path / "run")
    assert reader.checkpoints.restore_latest() == 9
    reader.check(9)
    assert capsys.readouterr() == ("", "") and not actions["opens"]


def test_a_checkpoint_half_pruned_is_not_called_damaged(beside, tmp_path, capsys):
    """Its index is deleted, its data not yet."""
    _, actions = beside
    keeping = Course(tmp_path / "run", keep=2)
    actions["opens"] = [lambda: (keeping.save(6), os.remove(tmp_path / "run" / "ckpt-3.index"))]
    reader = Course(tmp_path / "run")
    assert reader.checkpoints.restore_latest() == 6
    reader.check(6)
    assert capsys.readouterr() == ("", "")


def test_what_is_pruned_while_it_is_read_is_read_to_its_end(beside, tmp_path):
    course, actions = beside
    actions["data"] = [lambda: course.save(6)]
    reader = Course(tmp_path / "run")
    assert reader.checkpoints.restore_latest() == 3
    reader.check(3)


@pytest.mark.parametrize("when, seed", [("opens", 77), ("index", 77), ("data", 3)])
def test_a_checkpoint_replaced_by_one_of_its_name_is_not_mixed_with_it(beside, tmp_path, when,
                                                                       seed):
    """Another run's, of the same update: what is read is the one or the other."""
    _, actions = beside
    other = Course(tmp_path / "other")
    other.set(77)
    other.checkpoints.save(3)

    def replaced():
        for path in (tmp_path / "other").iterdir():
            os.replace(path, tmp_path / "run" / path.name)

    actions[when] = [replaced]
    reader = Course(tmp_path / "run")
    assert reader.checkpoints.restore_latest() == 3
    reader.check(seed)


def test_one_update_that_is_gone_is_told_as_such(beside, tmp_path):
    course, actions = beside
    reader = Course(tmp_path / "run").checkpoints
    actions["opens"] = [lambda: course.save(6)]
    with pytest.raises(UserError, match="ckpt-3 is gone: the run keeps it no longer"):
        reader.restore(3)


def test_a_listing_is_of_one_instant(beside, tmp_path, monkeypatch):
    """What is pruned between its name and its size makes no folder that seems to be empty."""
    course, _ = beside
    names = os.listdir

    def pruned(folder):
        found = names(folder)
        monkeypatch.undo()
        course.save(6)
        return found

    monkeypatch.setattr(os, "listdir", pruned)
    assert checkpoint_files.data_size(str(tmp_path / "run")) > 4 * 1200
    assert checkpoint_files.steps(str(tmp_path / "run")) == [6]


def test_a_damaged_checkpoint_is_told_once_and_in_our_words_alone(tmp_path, capsys, monkeypatch):
    course = Course(tmp_path / "run", keep=2)
    for step in (3, 6):
        course.save(step)
    path = tmp_path / "run" / "ckpt-6.data-00000-of-00001"
    whole = path.read_bytes()
    path.write_bytes(whole[:2000] + bytes(50) + whole[2050:])
    logged = []
    monkeypatch.setattr(tf.get_logger(), "handle", logged.append)
    reader = Course(tmp_path / "run")
    assert reader.checkpoints.restore_latest() == 3
    reader.check(3)
    del reader
    out, err = capsys.readouterr()
    assert (out, logged) == ("", [])
    assert err.startswith(f"Checkpoint {tmp_path}/run/ckpt-6 is damaged (") and err.count("\n") == 1


def test_links_in_a_folder_of_checkpoints_lead_nowhere(tmp_path):
    """What a save writes and deletes replaces links, and leaves alone what they lead to."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    for name in ("file", "folder/file"):
        (outside / name).write_text("somebody's")
    run = tmp_path / "run"
    run.mkdir()
    links = {"part_temp": "folder", "part.index": "file", "part.data-00000-of-00001": "file",
             "ckpt-3.data-00000-of-00001": "file", "checkpoint": "file", "part.x": "nothing"}
    for name, target in links.items():
        (run / name).symlink_to(outside / target)
    course = Course(run)
    course.checkpoints.remove_unfinished()
    course.save(3)
    course.save(6)
    assert Course(run).go_on() == 6
    assert not [path for path in run.iterdir() if path.is_symlink()]
    assert sorted(path.name for path in outside.iterdir()) == ["file", "folder"]
    assert {(outside / name).read_text() for name in ("file", "folder/file")} == {"somebody's"}


@pytest.mark.parametrize("name", ["checkpoints", "best", "plugins", "evaluations"])
def test_a_run_does_not_write_through_a_linked_folder(tmp_path, name):
    (tmp_path / "outside").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match=f"run/{name} is a link, and nothing is written outside"):
        beginning.begin(str(tmp_path / "run"), "", frozenset(), None, None, None, overwrite=True)
