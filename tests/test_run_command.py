"""Commands run in this process are as those of a process, and leave nothing behind."""

import os
import sys

from absl import flags
import pytest

from tests.commands import run_command

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
