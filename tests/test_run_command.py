"""Commands run in this process are as those of a process, and leave nothing behind."""

import os
import subprocess
import sys

from absl import flags
import pytest

from tests.commands import run_command
from tests.conftest import REPOSITORY

REPEATING = """
import os, sys, warnings
from absl import flags
from gpt_tf.common import cli

def main():
    warnings.warn("take care")
    os.environ["LEFT_BY_TEST"] = "1"
    sys.stdout.buffer.write(sys.stdin.buffer.read() * flags.FLAGS.times)
    sys.stdout.flush()
    os.write(1, b"by number")
    print(cli.flagfile_text(), file=sys.stderr)
    if flags.FLAGS.fail:
        raise KeyError("a defect")

if __name__ == "__main__":
    flags.DEFINE_integer("times", 1, "How often.", short_name="t")
    flags.DEFINE_bool("fail", False, "Whether to fail.")
    cli.run(main)
"""


def state():
    return (list(sys.argv), sys.modules["__main__"], sys.stdin, sys.stdout, sys.stderr,
            os.getcwd(), dict(os.environ), sorted(flags.FLAGS), flags.FLAGS.is_parsed(),
            flags.FLAGS.is_gnu_getopt())


@pytest.fixture(name="module")
def module_fixture(tmp_path, monkeypatch):
    (tmp_path / "repeating.py").write_text(REPEATING)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "repeating"


def test_streams_and_flags(module, tmp_path):
    before = state()
    (tmp_path / "three.flags").write_text("--times=3\n")
    done = run_command(module, "--flagfile=three.flags", cwd=tmp_path, stdin="Zo\u00eb ")
    assert (done.code, done.stdout) == (0, "Zo\u00eb " * 3 + "by number")
    assert "UserWarning: take care" in done.stderr and "--nofail\n--times=3\n" in done.stderr
    assert run_command(module, "-t", 2, stdin=b"x").stdout == "xxby number"
    assert run_command(module, stdin=b"x").stdout == "xby number"  # the default again
    assert state() == before


def test_errors(module):
    before = state()
    done = run_command(module, "--fail")
    assert done.code == 1 and "Traceback" in done.stderr and "KeyError: 'a defect'" in done.stderr
    done = run_command(module, "--times=x")
    assert done.code == 2 and done.stderr.startswith("error: flag --times=x")
    done = run_command("pipelines.stories", "--output=x.pdf")
    assert (done.code, done.stdout) == (1, "") and done.stderr.startswith("error: --output=x.pdf")
    done = run_command("pipelines.stories", "--help")
    assert done.code == 0 and "python -m pipelines.stories" in done.stdout
    assert "--megabytes" in done.stdout and "--times" not in done.stdout
    assert state() == before


@pytest.mark.parametrize("given, message", [
    (["--modl_dir=x"], "--modl_dir is not a flag of this command; did you mean --model_dir or "
                        "--data_dir?"),
    (["--num_stepz=3"], "--num_stepz is not a flag of this command; did you mean --num_steps or "
                         "--num_epochs?"),
    (["--nojit_compil"], "--nojit_compil is not a flag of this command; did you mean "
                         "--nojit_compile or --jit_compile?"),
    (["--flagfil=x"], "--flagfil is not a flag of this command; did you mean --flagfile?"),
    (["--num_steps =3"], "--num_steps=VALUE is written without spaces around =."),
    (["--xyzzy=3"], "--xyzzy is not a flag of this command."),
    (["--flagfile"], "--flagfile is given without a file: write --flagfile=NAME."),
    (["--num_layers=x"], "flag --num_layers=x: invalid literal for int() with base 10: 'x'."),
    (["--data_dir=x"], "--model_dir must be given."),
    ([], "--data_dir and --model_dir must be given.")], ids=str)
def test_wrong_flags_are_told_in_our_words(tmp_path, given, message):
    done = run_command("gpt_tf.pretrain", *given, cwd=tmp_path)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == f"error: {message} Try --help.\n"


def test_a_flagfile_within_a_flagfile(tmp_path):
    (tmp_path / "outer.flags").write_text("--flagfile=inner.flags\n")
    done = run_command("gpt_tf.pretrain", "--flagfile=outer.flags", cwd=tmp_path)
    assert done.code == 2
    assert done.stderr.startswith("error: --flagfile=inner.flags is neither a file nor")


def run_without_reader(*arguments):
    """A process whose standard output nobody reads any more, as behind `| head`."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run([sys.executable, "-m", *arguments], cwd=REPOSITORY, stdout=writer,
                              stderr=subprocess.PIPE, input="text\n", text=True, check=False)
    finally:
        os.close(writer)


def test_a_reader_that_goes_away_leaves_no_traceback():
    done = run_without_reader("gpt_tf.generate", "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_goes_away_hides_no_error(module, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run_without_reader(module)
    assert done.returncode == 0 and "BrokenPipe" not in done.stderr
    done = run_without_reader("pipelines.stories", "--output=x.pdf")
    assert done.returncode == 1 and done.stderr.startswith("error: --output=x.pdf")
