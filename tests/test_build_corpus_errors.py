"""What build_corpus refuses, and what a full disk or a kill leaves behind."""

import contextlib
import errno
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import lock_folder
from gpt_tf.common.small_files import SUMS
from gpt_tf.data.manifest import Manifest
from gpt_tf.data.reader import SplitReader
from pipelines import build_corpus
from pipelines.corpus import shards
from pipelines.corpus.windows import WindowWriter
from tests import corpora, disks
from tests.commands import run_command
from tests.conftest import REPOSITORY
from tests.corpora import contents, make_text

# Fixtures are found by name.
build_fixture = corpora.build_fixture
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture


@pytest.mark.parametrize("files, flags, message", [
    ({}, {}, "no file matches"),
    ({"a.txt": " \n"}, {}, "holds no text"),
    ({"a.txt": "."}, {}, "no document for training has two tokens"),
    ({"a.txt": b"Zo\xeb"}, {}, "a.txt, byte 2: not UTF-8"),
    ({"a.jsonl": b'{"text": "x"}\n{"text"\n'}, {}, "a.jsonl, row 2: not valid JSON"),
    ({"a.txt": "x"}, {"tokenizer": "/nowhere"}, "/nowhere"),
])
def test_bad_input(build, tmp_path, files, flags, message):
    with pytest.raises(UserError, match=message):
        build(files, **flags)
    with pytest.raises(UserError, match="No manifest.json|data: no such folder"):
        Manifest.load(tmp_path / "data")


@pytest.mark.parametrize("flags, message", [
    ({"input": ""}, "--input must be given"), ({"tokenizer": ""}, "--tokenizer must be given"),
    ({"output_dir": ""}, "--output_dir"), ({"sequence_length": 1}, "--sequence_length=1"),
    ({"validation_fraction": 1.0}, "--validation_fraction=1.0"),
    ({"validation_fraction": -0.1}, "--validation_fraction=-0.1"),
    ({"shard_megabytes": 0.0}, "--shard_megabytes"), ({"num_workers": -1}, "--num_workers=-1"),
])
def test_bad_flags(flags, message):
    values = dict(input="a", tokenizer="b", output_dir="c") | flags
    with pytest.raises(ValueError, match=message):
        build_corpus.CorpusConfig(**values)


def test_finished_folder_needs_overwrite(build, tmp_path):
    texts = {f"{number}.txt": make_text(number, 9) for number in range(9)}
    build(texts, shard_megabytes=0.001)
    before = contents(tmp_path / "data")
    with pytest.raises(UserError, match="finished data folder.*--overwrite"):
        build({"9.txt": "more"})
    assert contents(tmp_path / "data") == before
    (tmp_path / "data" / "notes.md").write_text("mine")
    build({}, overwrite=True, shard_megabytes=1.0)
    after = contents(tmp_path / "data")
    assert after.pop("notes.md") == b"mine"
    assert sum(name.endswith(".tfrecord") for name in after) == 2
    assert sum(name.endswith(".tfrecord") for name in before) > 4


def test_bad_input_does_not_cost_the_folder(build, tmp_path):
    build({"a.txt": make_text(1, 3), "b.txt": make_text(2, 3)})
    before = contents(tmp_path / "data")
    with pytest.raises(UserError, match="not UTF-8"):
        build({"0.txt": b"\xff"}, overwrite=True)
    assert contents(tmp_path / "data") == before


def test_folder_can_be_built_again_with_its_own_tokenizer(build, tmp_path):
    build({"a.txt": make_text(1, 3), "b.txt": make_text(2, 3)})
    before = contents(tmp_path / "data")
    build({}, overwrite=True, tokenizer=str(tmp_path / "data"))
    after = contents(tmp_path / "data")
    assert {name for name in after if after[name] != before[name]} == {"manifest.json", SUMS}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("names", [["thesis.tex"], ["manifest.json", "merges.txt"]])
def test_folder_of_other_files_is_left_alone(build, tmp_path, overwrite, names):
    (tmp_path / "data").mkdir()
    for name in names:
        (tmp_path / "data" / name).write_text("{}")
    with pytest.raises(UserError, match=f"holds other files, such as {names[0]}"):
        build({"a.txt": make_text(1, 3)}, overwrite=overwrite)
    assert set(contents(tmp_path / "data")) == set(names)


@pytest.mark.parametrize("name", [".made", ".lock", "UNFINISHED", "manifest.json", "SHA256SUMS",
                                  "train-00000.tfrecord", "train-00000.index.npy"])
def test_nothing_is_written_or_removed_through_a_link(build, tmp_path, name):
    """A link in the folder is refused or replaced; what it leads to stays as it is."""
    build({"a.txt": make_text(1, 9)})
    data, other = tmp_path / "data", tmp_path / "other"
    shutil.move(data, tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", data)
    other.mkdir()
    (other / "thesis").write_text("x")
    (data / "UNFINISHED").touch()
    (data / name).unlink(missing_ok=True)
    (data / name).symlink_to(other if name == ".made" else other / "thesis")
    before = contents(other)
    if name in (".made", ".lock"):
        with pytest.raises(UserError, match=rf"{name}.*remove it"):
            build({}, overwrite=True)
        (data / name).unlink()
    build({}, overwrite=True)
    assert contents(other) == before
    assert contents(data) == contents(tmp_path / "moved") and not (data / name).is_symlink()


def test_names_that_are_not_utf8(build, tmp_path):
    """A corpus, a tokenizer and a data folder from an old disk."""
    name, place = os.fsdecode(b"caf\xe9.txt"), tmp_path / os.fsdecode(b"B\xfccher")
    manifest = build({name: make_text(1, 9)}, output_dir=str(place))
    assert manifest.splits["train"].records
    assert Manifest.load(place).flags["tokenizer"]
    manifest = build({}, input=f"{tmp_path}/source/{name}", tokenizer=str(place))
    assert Manifest.load(tmp_path / "data") == manifest
    assert manifest.flags["input"] == f"{tmp_path}/source/caf\\xe9.txt"
    assert manifest.flags["tokenizer"] == f"{tmp_path}/B\\xfccher"
    with pytest.raises(UserError, match=r"caf\\udce8.txt, byte 0: not UTF-8"):
        build({os.fsdecode(b"caf\xe8.txt"): b"\xe8"}, output_dir=str(tmp_path / "more"))


def test_folder_that_another_process_builds(build, tmp_path):
    with lock_folder(tmp_path / "data"), pytest.raises(UserError, match="Another process"):
        build({"a.txt": make_text(1, 3)})


def test_stopped_build_is_refused_and_made_again(build, tmp_path, monkeypatch):
    texts = {f"{number}.txt": make_text(number, 9) for number in range(9)}
    build(texts, output_dir=str(tmp_path / "whole"), shard_megabytes=0.001)
    finish, calls = WindowWriter.finish, []

    def stop_at_third(self):
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return finish(self)

    with monkeypatch.context() as patch:
        patch.setattr(WindowWriter, "finish", stop_at_third)
        with pytest.raises(KeyboardInterrupt):
            build({}, shard_megabytes=0.001)
    assert "UNFINISHED" in contents(tmp_path / "data")
    with pytest.raises(UserError, match="not a finished data folder"):
        SplitReader(tmp_path / "data", "train")
    (tmp_path / "data" / "train-00077.tfrecord.part-5").write_bytes(b"left by a kill")
    build({}, shard_megabytes=0.001)
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def test_full_disk(build, tmp_path):
    texts = {f"{number}.txt": make_text(number, 90, []) for number in range(30)}
    with disks.mounted(tmp_path / "disk", "size=256k"):
        with pytest.raises(UserError, match="Cannot write .*No space left on device"):
            build(texts, output_dir=str(tmp_path / "disk" / "data"), shard_megabytes=0.02)
        data = tmp_path / "disk" / "data"
        found = contents(data)
        assert "train-00000.tfrecord" in found and "manifest.json" not in found
        assert not [name for name in found if "part" in name]
        subprocess.run(["mount", "-o", "remount,size=4m", str(tmp_path / "disk")], check=True)
        finished = {path: path.stat().st_mtime_ns for path in data.glob("*-00000.*")}
        build(texts, output_dir=str(data), shard_megabytes=0.02)
        assert finished == {path: path.stat().st_mtime_ns for path in finished} != {}
        build(texts, output_dir=str(tmp_path / "roomy"), shard_megabytes=0.02)
        assert contents(data) == contents(tmp_path / "roomy")


def test_read_only_folder(build, tmp_path):
    """A disk that lets nobody write: an empty place, and a build that was to go on."""
    texts = {f"{number}.txt": make_text(number, 9) for number in range(3)}
    with disks.mounted(tmp_path / "disk", "size=256k"):
        data = tmp_path / "disk" / "data"
        (tmp_path / "disk" / "stopped").mkdir()
        (tmp_path / "disk" / "stopped" / "UNFINISHED").write_bytes(b"")
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        for folder in (data, tmp_path / "disk" / "stopped"):
            with pytest.raises(UserError, match="Cannot write .*Read-only file system"):
                build(texts, output_dir=str(folder))
        assert set(contents(tmp_path / "disk")) == {"stopped/UNFINISHED"}
        subprocess.run(["mount", "-o", "remount,rw", str(tmp_path / "disk")], check=True)
        build({}, output_dir=str(data))
        assert Manifest.load(data).splits["train"].records


def test_full_disk_at_the_last_moment(build, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="Cannot write .*No space left on device"):
        build({"a.txt": make_text(1, 3)})
    assert not {name for name in contents(tmp_path / "data") if name != ".lock"}


def start(*flags):
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.build_corpus", *flags], cwd=REPOSITORY,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_command(tokenizer_dir, tmp_path):
    """The command as typed: its words, its exit codes, no traceback."""
    (tmp_path / "a.txt").write_text(make_text(1, 30), encoding="utf-8")
    flags = [f"--input={tmp_path}/*.txt", f"--tokenizer={tokenizer_dir}",
             f"--output_dir={tmp_path}/data", "--sequence_length=16", "--num_workers=1"]
    process = start(*flags)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Built" in out and "Traceback" not in err
    assert Manifest.load(tmp_path / "data").splits["train"].records
    code, _, err = run_command("pipelines.build_corpus", *flags)
    assert code == 1
    assert err.splitlines()[-1].startswith("error: --output_dir=") and "Traceback" not in err


def test_without_beam(build, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "apache_beam", None)  # as where it is not installed
    with pytest.raises(UserError, match="not installed here: pip install .*requirements-beam.txt"):
        build({"a.txt": make_text(1, 3)}, runner="DirectRunner")
    assert not (tmp_path / "data").exists()


def test_flags_of_beam_want_a_runner():
    code, _, err = run_command("pipelines.build_corpus", "--input=a.txt", "--project=mine")
    assert code == 2
    assert err.startswith("error: --project is not a flag of this command")


def test_help_names_the_choices():
    code, out, err = run_command("pipelines.build_corpus", "--help")
    assert code == 0, err
    assert "--on_bad_utf8: <stop|skip>" in out


def children(process_id):
    """Processes whose parent is `process_id`."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = entry.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == process_id:
                found.append(int(entry.parent.name))
    return found


def test_killed_build_leaves_no_data_and_no_process(tokenizer_dir, tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(make_text(number, 3000, []), encoding="utf-8")
    process = start(f"--input={tmp_path}/*.txt", f"--tokenizer={tokenizer_dir}",
                    f"--output_dir={tmp_path}/data", "--num_workers=2", "--shard_megabytes=0.5")
    with process:
        deadline = time.monotonic() + 300
        while not (tmp_path / "data" / "train-00001.index.npy").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        workers = children(process.pid)
        assert len(workers) >= 2
        process.kill()
        process.wait()
    with pytest.raises(UserError, match="not a finished data folder"):
        SplitReader(tmp_path / "data", "train")
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < deadline, "a worker outlives the command"
        time.sleep(0.02)


def kill_own_process(tokenizer_dir, chunk):
    del tokenizer_dir, chunk
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_worker_is_a_sentence(tokenizer_dir, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text(make_text(0, 9), encoding="utf-8")
    monkeypatch.setattr(shards, "encode_text", kill_own_process)
    with pytest.raises(UserError, match="process was killed.*--num_workers"):
        build_corpus.build(build_corpus.CorpusConfig(
            input=f"{tmp_path}/*.txt", tokenizer=str(tokenizer_dir), num_workers=1,
            output_dir=str(tmp_path / "data")))
