"""Checksums of the small files that decide answers: sha256sum is the other implementation."""

import json
import os
import random
import shutil
import subprocess

import pytest

from gpt_tf.common import small_files
from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import SUMS, json_bytes, read_json, read_text, record, write_recorded

LABELS = {"task": {"labels": ["angry", "glad"], "zero_shot": False}, "max_length": 32}


def sha256sum(folder, *arguments):
    return subprocess.run(["sha256sum", *arguments], cwd=folder, check=False, capture_output=True,
                          text=True)


@pytest.fixture(name="folder")
def folder_fixture(tmp_path):
    write_recorded(tmp_path / "task.json", json_bytes(LABELS))
    write_recorded(tmp_path / "run.flags", b"--seed=5\n--input=caf\xe9\n")
    return tmp_path


def test_sha256sum_agrees(folder):
    done = sha256sum(folder, "--check", "--strict", SUMS)
    assert (done.returncode, done.stdout) == (0, "run.flags: OK\ntask.json: OK\n")
    assert read_json(folder / "task.json", "the task") == LABELS


def test_every_flipped_bit_is_found(folder):
    """Most of them would leave valid JSON, and other labels."""
    path = folder / "task.json"
    whole = path.read_bytes()
    valid = 0
    for place in range(len(whole)):
        bit = 1 << random.Random(place).randrange(7)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1:])
        try:
            json.loads(path.read_bytes())
            valid += 1
        except ValueError:
            pass
        with pytest.raises(UserError, match="task.json .the task. is not as it was written"):
            read_json(path, "the task")
    assert valid > len(whole) // 4


def test_an_edit_by_hand_is_accepted_by_the_command_of_the_message(folder):
    path = folder / "task.json"
    path.write_bytes(path.read_bytes().replace(b"glad", b"happy"))
    with pytest.raises(UserError) as raised:
        read_json(path, "the task")
    command = str(raised.value).rpartition("accept it with ")[2].removesuffix(".")
    subprocess.run(command, shell=True, check=True)
    assert read_json(path, "the task")["task"]["labels"] == ["angry", "happy"]
    assert sha256sum(folder, "--check", SUMS).returncode == 0


def test_other_programs_lists(folder):
    (folder / SUMS).write_text(sha256sum(folder, "--binary", "task.json").stdout)
    assert read_json(folder / "task.json", "the task") == LABELS
    with pytest.raises(UserError, match="task.json"):
        (folder / "task.json").write_text("{}")
        read_json(folder / "task.json", "the task")
    (folder / SUMS).write_bytes(b"\xffhello\n")
    with pytest.raises(UserError, match=f"{SUMS}, line 1 is no checksum of a file: restore it"):
        read_json(folder / "task.json", "the task")


def test_a_folder_without_sums_is_told_of_once(folder, capsys):
    small_files.notice_without_sums(folder)
    assert capsys.readouterr().err == ""
    (folder / SUMS).unlink()
    assert read_json(folder / "task.json", "the task") == LABELS
    for _ in range(2):
        small_files.notice_without_sums(folder)
    assert capsys.readouterr().err.count(f"{folder} has no {SUMS}") == 1


@pytest.mark.parametrize("renames", [1, 2, 3, 4])
def test_a_kill_at_any_rename_leaves_what_is_listed(folder, tmp_path, monkeypatch, renames):
    """The old file or the new one, and never one that is called damaged."""
    calls = 0

    class Kill(BaseException):
        pass

    def replace(source, target):
        nonlocal calls
        calls += 1
        if calls == renames:
            raise Kill
        shutil.move(source, target)

    monkeypatch.setattr(os, "replace", replace)
    try:
        write_recorded(folder / "task.json", json_bytes({"new": 1}))
        assert renames == 4
    except Kill:
        pass
    monkeypatch.undo()
    new = renames > 2
    assert read_json(folder / "task.json", "the task") == ({"new": 1} if new else LABELS)
    write_recorded(folder / "task.json", json_bytes({"new": 2}))
    assert sha256sum(folder, "--check", SUMS).returncode == 0
    assert len((folder / SUMS).read_text().splitlines()) == 2


def test_files_that_others_wrote(folder):
    (folder / "config.json").write_text("{}")
    record(folder, ["config.json"])
    assert read_text(folder / "config.json", "a part") == "{}"
    (folder / "config.json").write_text("[]")
    with pytest.raises(UserError, match="config.json"):
        read_text(folder / "config.json", "a part")
    record(folder, ["config.json"])
    assert read_text(folder / "config.json", "a part") == "[]"


def test_what_cannot_be_read_is_not_recorded(tmp_path):
    (tmp_path / "whole").write_bytes(b"1")
    record(tmp_path, ["whole"])
    before = (tmp_path / SUMS).read_bytes()
    (tmp_path / "bad").symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match="bad: Input/output error"):
        record(tmp_path, ["bad"])
    record(tmp_path, ["none"])
    assert (tmp_path / SUMS).read_bytes() == before
