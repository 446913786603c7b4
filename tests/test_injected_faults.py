"""Operations of the disk that fail, and kills: a sample of `python -m benchmarks.faults`, which
tries every operation of every command."""

import subprocess
import sys

import pytest

from tests import faults

pytestmark = pytest.mark.skipif(
    not faults.compiler(), reason="no fault was injected: tests/faults.c needs a C compiler (cc, "
    "gcc or clang; Debian's gcc and libc6-dev)")


def disturb(*flags):
    """The figures of all trials, by their names in the table's head."""
    done = subprocess.run([sys.executable, "-m", "benchmarks.faults", *flags], check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    head, *_, last = [line.strip("|").split("|") for line in done.stdout.splitlines()
                      if line.startswith("|")]
    return {name.strip(): int(figure.replace(",", ""))
            for name, figure in list(zip(head, last))[1:]}


def test_a_disturbed_command_loses_nothing_and_ends_as_if_undisturbed():
    found = disturb("--commands=finetune", "--errors=EIO", "--kinds=rename", "--every=15")
    assert found["trials"] >= 3 and found["refused"] == found["faults"] == found["trials"]
    assert not found["defects"]
