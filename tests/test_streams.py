"""Standard streams, outputs that are no files, locks and errors of the system, of processes."""

import errno
import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import tty

import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import (
    atomic_folder,
    atomic_write,
    explain_disk_errors,
    lock_folder,
    open_output,
    open_to_read,
)
from tests.conftest import REPOSITORY

COMMAND = """
import sys
from absl import flags
from gpt_tf.common import cli

def main():
    for number in range(9000):  # more than a pipe holds, 64 KiB
        print("caf\\u00e9", number, "\\udce9", flush=number % 100 == 0)
    if flags.FLAGS.fail:
        raise OSError(flags.FLAGS.fail, "It failed", "data/train-00000.tfrecord")
    print("The end.", file=sys.stderr)

if __name__ == "__main__":
    flags.DEFINE_integer("fail", 0, "Number of an error.")
    cli.run(main, makes_files={makes_files})
"""


@pytest.fixture(name="run", scope="module")
def run_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    for name, makes_files in (("printing", False), ("making", True)):
        (folder / f"{name}.py").write_text(COMMAND.replace("{makes_files}", str(makes_files)))

    def run(name, redirection="", flag="", **environment):
        done = subprocess.run(
            ["bash", "-c", f'"{sys.executable}" {name}.py {flag} {redirection}; '
             'echo "rc ${PIPESTATUS[0]}" >&2'],
            cwd=folder, env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
            capture_output=True, check=False)
        errors, _, code = done.stderr.decode().rpartition("rc ")
        return int(code), done.stdout, errors
    return run


def test_ascii_and_names_that_are_not_utf8(run):
    code, out, errors = run("printing", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (code, errors) == (0, "The end.\n")
    assert out.startswith(b"caf\xc3\xa9 0 \xe9\n") and out.count(b"\n") == 9000


def test_a_terminal_is_not_moved():
    """What a vocabulary or a label holds is shown there, and written as it is elsewhere."""
    text = "\x1b[2J\r\x9b31m\x07 caf\u00e9\t\u202e \u0645\u06cc\u200c\u0634\xa0!\u3000\n"
    program = (f"from gpt_tf.common.streams import standard_streams\n"
               f"with standard_streams(False): print({text!r}, end='')")
    outer, inner = os.openpty()
    tty.setraw(inner)
    for output in (inner, subprocess.PIPE):
        done = subprocess.run([sys.executable, "-c", program], stdout=output, cwd=REPOSITORY,
                              check=True)
        if output == inner:
            shown = os.read(outer, 1000).decode()
            assert shown == ("\\x1b[2J\\r\\x9b31m\\x07 caf\u00e9\t\\u202e "
                             "\u0645\u06cc\u200c\u0634\xa0!\u3000\n")
        else:
            assert done.stdout.decode() == text
    for end in (outer, inner):
        os.close(end)


@pytest.mark.parametrize("redirection, why", [
    (">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_output_that_cannot_be_written(run, redirection, why):
    assert run("printing", redirection) == (
        1, b"", f"error: Cannot write to standard output: {why}.\n")
    assert run("making", redirection) == (
        0, b"", f"Standard output cannot be written ({why}): the work goes on without it.\n"
                "The end.\n")


def test_a_reader_that_leaves(run):
    assert run("printing", "| head -1") == (0, b"caf\xc3\xa9 0 \xe9\n", "")
    assert run("making", "| head -1") == (0, b"caf\xc3\xa9 0 \xe9\n", "The end.\n")
    assert run("making", "2>/dev/full")[0] == 0
    for name in ("printing", "making"):  # a pipe to a process of its own is another matter
        assert run(name, flag=f"--fail={errno.EPIPE}")[0] == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ETXTBSY])
def test_errors_of_the_system(run, number, tmp_path):
    code, _, errors = run("making", flag=f"--fail={number}")
    assert code == 1 and errors == (
        "error: data/train-00000.tfrecord: It failed. What was saved before is intact; put it "
        "right, then run the same command again.\n")
    with pytest.raises(UserError, match="Cannot write x: .*intact"), explain_disk_errors("x"):
        raise OSError(number, "")


def test_outputs_that_are_no_files(tmp_path):
    with open_output("/dev/null") as stream:
        stream.write(b"nothing")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(UserError, match="/dev/full: No space left"):
        with open_output("/dev/full") as stream:
            stream.write(b"x")
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with open_output(str(pipe)) as stream:
        stream.write(b"through")
    reader.join()
    assert read == [b"through"] and stat.S_ISFIFO(os.stat(pipe).st_mode)


@pytest.mark.parametrize("redirection", ["", "| cat", ">> kept.txt", "2>&1 | cat"])
def test_names_of_standard_streams(tmp_path, redirection):
    """Whatever a shell has made of them: what stands in a file that it adds to stays."""
    (tmp_path / "kept.txt").write_bytes(b"before\n")
    program = ("from gpt_tf.common.files import open_output\n"
               "for name in '/dev/stdout', '/dev/stderr', '/proc/self/fd/1':\n"
               "    with open_output(name) as stream: stream.write(b'a row\\n')")
    done = subprocess.run(["bash", "-c", f'"{sys.executable}" -c "{program}" {redirection}'],
                          cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
                          capture_output=True, check=True)
    rows = (done.stdout + done.stderr + (tmp_path / "kept.txt").read_bytes()).splitlines()
    assert sorted(rows) == [b"a row"] * 3 + [b"before"]


def test_a_links_target_is_what_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "answers.tsv", tmp_path / "link.tsv"
    link.symlink_to("there/answers.tsv")
    for content in (b"new", b"again"):  # it need not be there before
        with open_output(str(link)) as stream:
            stream.write(content)
        assert link.is_symlink() and target.read_bytes() == content
    with pytest.raises(KeyError), open_output(str(link)) as stream:
        stream.write(b"half")
        raise KeyError
    assert target.read_bytes() == b"again" and len(list(target.parent.iterdir())) == 1
    with atomic_write(link) as stream:  # of a file in a folder of ours
        stream.write(b"mine")
    assert not link.is_symlink() and target.read_bytes() == b"again"


def test_reading_what_fails(tmp_path):
    with pytest.raises(UserError, match=f"Cannot read {tmp_path}: Is a directory"):
        open_to_read(tmp_path)
    with open_to_read("/proc/self/mem") as stream:
        with pytest.raises(UserError, match="Cannot read /proc/self/mem: Input/output error"):
            stream.read(10)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EIO])
def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(fcntl, "flock", flock)
    with lock_folder(tmp_path):
        pass
    assert f"No lock on {tmp_path}/.lock ({os.strerror(number)})" in capsys.readouterr().err


def test_a_lock_that_is_a_link(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=".lock is a link, and a lock is a file: remove it"):
        with lock_folder(tmp_path / "run"):
            pass
    assert not (tmp_path / "elsewhere").exists()


def test_tilde_is_the_home(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.stories", "--output=~/st.txt", "--megabytes=0.001"],
        cwd=tmp_path, env=os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (tmp_path / "st.txt").stat().st_size > 1000, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["st.txt"]


NUMBER = "1234567890"


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path):
    path = tmp_path / "answers.tsv"
    names = [f"answers.tsv.part-{NUMBER}", f"other.tsv.part-{NUMBER}", "answers.tsv.part-1"]
    for name in names:
        (tmp_path / name).write_bytes(b"left")
    with atomic_write(path) as one, atomic_write(path) as other:  # neither takes the other's away
        one.write(b"1")
        other.write(b"2")
    assert sorted(os.listdir(tmp_path)) == ["answers.tsv", *sorted(names[1:])]
    assert path.read_bytes() == b"1"


@pytest.mark.parametrize("stands", [False, True])
def test_what_a_killed_maker_of_a_folder_left(tmp_path, stands):
    """The old one takes its name back where the new one had not taken it, and is what stays if the
    next maker fails, too."""
    for name in (f"bpe.part-{NUMBER}", f"bpe.old-{NUMBER}", "bpe.part-1", *["bpe"] * stands):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mark").write_text(name)
    with pytest.raises(KeyError), atomic_folder(tmp_path / "bpe"):
        raise KeyError
    assert sorted(os.listdir(tmp_path)) == ["bpe", "bpe.part-1"]
    assert (tmp_path / "bpe" / "mark").read_text() == ("bpe" if stands else f"bpe.old-{NUMBER}")


def test_a_folder_on_its_way_is_left_to_its_maker(tmp_path):
    with atomic_folder(tmp_path / "bpe") as one:
        with atomic_folder(tmp_path / "bpe"):
            assert os.path.isdir(one)
        assert os.path.isdir(one)


def test_what_cannot_be_removed_is_said(tmp_path, monkeypatch, capsys):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error", path)
    (tmp_path / "bpe").mkdir()
    monkeypatch.setattr(shutil, "rmtree", fail)
    with atomic_folder(tmp_path / "bpe"):
        pass
    assert re.search(r"bpe\.old-\d+ cannot be removed \(Input/output error\): whoever",
                     capsys.readouterr().err)
