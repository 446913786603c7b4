"""Compiled programs in the user's cache: found again, and never a reason to fail."""

import os
import subprocess
import sys

import pytest
import tensorflow as tf

from gpt_tf.common import compile_cache
from tests.house import ROOT

PROGRAM = "xla_compile_cache__1__2__XLA_CPU_JIT.pb"


class Process:
    """What a command sees of the cache: a folder in place of TensorFlow's memory."""

    def __init__(self, monkeypatch, memory):
        self.memory, at_exit = memory, []
        monkeypatch.setattr(compile_cache, "_MEMORY", str(memory))
        monkeypatch.setattr(compile_cache.atexit, "register", lambda *call: at_exit.append(call))
        compile_cache.fill(tf)
        self.found = {path.name: path.read_bytes() for path in memory.iterdir()}
        self._at_exit = at_exit

    def compile(self, name, program):
        (self.memory / name).write_bytes(program)

    def end(self):
        for function, *arguments in self._at_exit:
            function(*arguments)


@pytest.fixture(name="process")
def process_fixture(monkeypatch, tmp_path):
    """Makes processes, one after the other or side by side; the cache is in tmp_path / "cache"."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    numbers = iter(range(100))
    return lambda: Process(monkeypatch, tmp_path / f"memory{next(numbers)}")


def files(tmp_path):
    return sorted((tmp_path / "cache" / "gpt_tf" / "compiled").iterdir())


def test_the_next_command_has_the_programs(process, tmp_path):
    first, beside = process(), process()
    assert first.found == beside.found == {}
    first.compile(PROGRAM, b"code")
    beside.compile(PROGRAM, b"code")
    first.end()
    beside.end()
    assert len(files(tmp_path)) == 1
    assert process().found == {PROGRAM: b"code"}


@pytest.mark.parametrize("name, value", [
    ("XLA_FLAGS", "--xla_cpu_max_isa=AVX2"), ("TF_XLA_FLAGS", "--tf_xla_auto_jit=2"),
    ("argv", ["evaluate.py"])])
def test_other_settings_and_commands_have_others(monkeypatch, process, name, value):
    first = process()
    first.compile(PROGRAM, b"code")
    first.end()
    if name == "argv":
        monkeypatch.setattr(sys, name, value)
    else:
        monkeypatch.setenv(name, value)
    assert process().found == {}


def test_another_processor_has_others(monkeypatch, process):
    first = process()
    first.compile(PROGRAM, b"code")
    first.end()
    monkeypatch.setattr(compile_cache, "_PROCESSOR", compile_cache.re.compile("nothing is so"))
    assert process().found == {}


@pytest.mark.parametrize("damage", [
    lambda content: b"", lambda content: content[:20], lambda content: content[:-1],
    lambda content: content[:-1] + b"E", lambda content: bytes(len(content))])
def test_what_is_damaged_is_made_again(process, tmp_path, damage):
    first = process()
    first.compile(PROGRAM, b"code")
    first.end()
    [path] = files(tmp_path)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    second = process()
    assert second.found == {}
    second.compile(PROGRAM, b"code")
    second.end()
    assert path.read_bytes() == content


def test_the_oldest_go(monkeypatch, process, tmp_path):
    monkeypatch.setattr(compile_cache, "LIMIT", 2 * (32 + 1000))
    for number in range(4):
        each = process()
        each.compile(f"{number}.pb", bytes(1000))
        each.end()
        for age, path in enumerate(reversed(files(tmp_path))):
            os.utime(path, (0, 100 - age))
    assert process().found.keys() == {"2.pb", "3.pb"}


def test_a_cache_that_cannot_be_written(monkeypatch, process, tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    process().end()
    (tmp_path / "cache").unlink()
    each = process()
    each.compile(PROGRAM, b"code")

    def full(path):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(compile_cache, "atomic_write", full)
    each.end()
    assert not files(tmp_path)


def test_whose_wish_counts(monkeypatch):
    given = f"--tf_xla_auto_jit=0 {compile_cache._DIRECTORY}/mine"
    monkeypatch.setenv("TF_XLA_FLAGS", given)
    assert not compile_cache.request()  # TensorFlow is here
    monkeypatch.delitem(sys.modules, "tensorflow")
    assert not compile_cache.request() and os.environ["TF_XLA_FLAGS"] == given
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_auto_jit=0")
    assert compile_cache.request()
    assert os.environ["TF_XLA_FLAGS"].startswith(f"--tf_xla_auto_jit=0 {compile_cache._DIRECTORY}")


def test_a_command_loads_what_another_has_compiled(tmp_path):
    code = """
from gpt_tf.common import cli
from gpt_tf.config import CompilationConfig
cli.define_flags(CompilationConfig)
cli.flags.FLAGS(["command"])
cli.import_tensorflow()
import tensorflow as tf
cell = tf.function(lambda x: tf.reduce_sum(tf.tanh(x @ x) / 3.0), jit_compile=True)
print(cell(tf.reshape(tf.range(64.0), [8, 8]) / 64.0).numpy().tobytes().hex())
"""
    environment = {name: value for name, value in os.environ.items() if name != "TF_XLA_FLAGS"} | {
        "XDG_CACHE_HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "0",
        "TF_CPP_VMODULE": "device_executable_persistor=1"}
    cold, warm = (subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, text=True,
                                 env=environment, capture_output=True) for _ in range(2))
    assert cold.stdout == warm.stdout
    assert "Loading cached entry" not in cold.stderr and "Loading cached entry" in warm.stderr
