"""Memory: what there is, what an update takes, and the sentence where it is not enough."""

import contextlib
import dataclasses
import errno
import os
import resource
import types

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.common import memory as machine
from gpt_tf.common.errors import UserError
from gpt_tf.config import ModelConfig, TrainingConfig
from gpt_tf.model.gpt import GPT
from gpt_tf.training import distribution, memory
from pipelines import build_task
from pipelines.build_task import TaskConfig
from pipelines.building import frame
from tests import corpora, task_data
from tests.commands import run_command
from tests.runs import make_model, make_run
from tests.task_files import write_files
from tests.test_evaluate_task import make_run as make_task_run
from tests.zero_shot_files import FILES

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
GIB = 2**30


@contextlib.contextmanager
def no_more_than(size):
    """A block in which this process gets `size` bytes of addresses beside those it has."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="utf-8") as stream:
        used = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


# What the machine has.

@pytest.mark.parametrize("files, limit", [
    ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n",
      "sys/fs/cgroup/a/memory.max": "5000\n", "sys/fs/cgroup/memory.max": "7000\n"}, 5000),
    ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "6000\n"}, 6000),
    ({"proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/1\n0::/\n",  # a container's, with its path
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "4000\n"}, 4000),
    ({"proc/self/cgroup": "4:memory:/job\n",
      "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "3000\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 3000),
    ({"proc/self/cgroup": "4:memory:/\n",  # v1 writes this where there is no limit
      "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
    ({}, None)], ids=str)
def test_the_smaller_of_machine_and_cgroup(tmp_path, files, limit):
    write_files(tmp_path, {name: text.encode() for name, text in files.items()})
    with open("/proc/meminfo", encoding="utf-8") as stream:
        total = int(stream.readline().split()[1]) * 1024
    assert machine.machine_memory(tmp_path) == pytest.approx(limit or total, rel=0.01)


def test_devices_share_the_machine():
    one = memory.device_memory(distribution.make_strategy("one_device"))
    assert one == machine.machine_memory() > GIB
    assert memory.device_memory(distribution.make_strategy("mirrored")) == one // 2


def test_what_tensorflow_says_of_its_devices():
    """No GPU here: that the names it is asked by are there, and agree with the public list."""
    session = tf.compat.v1.Session(graph=tf.Graph())
    assert memory._limits("CPU") == [d.memory_limit_bytes for d in session.list_devices()]
    assert memory._limits("GPU") == []


# What errors say.

@pytest.mark.parametrize("fail, size", [
    (lambda: np.ones([2**18, 2**17]), 256 * GIB), (lambda: bytearray(256 * GIB), None)],
    ids=["numpy", "python"])
def test_errors_that_say_so(fail, size):
    with no_more_than(64 * GIB), pytest.raises(MemoryError) as raised:
        fail()
    assert machine.is_out_of_memory(raised.value)
    assert machine.missing_bytes(raised.value) == size
    has = f"this machine has {machine.size_text(machine.machine_memory())} in all; do this."
    assert machine.out_of_memory_message(raised.value, "do this") == "Out of memory: " + (
        "256.0 GiB could not be had and " if size else "") + has


@pytest.mark.parametrize("error, size", [
    (tf.errors.ResourceExhaustedError(  # an operation without XLA
        None, None, "Graph execution error:\n\nOOM when allocating tensor with shape[1024,1024] "
        "and type float on /job:localhost/replica:0/task:0/device:CPU:0"), 2**22),
    (tf.errors.ResourceExhaustedError(
        None, None, "Out of memory while trying to allocate 48818139136 bytes."), 48818139136),
    (tf.errors.ResourceExhaustedError(
        None, None, "OOM when allocating tensor with shape[8,4] and type bfloat16 on GPU:0"), 64),
    (tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"), None),
    (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), None)], ids=str)
def test_errors_of_other_machines(error, size):
    assert machine.is_out_of_memory(error) and machine.missing_bytes(error) == size


@pytest.mark.parametrize("error", [
    tf.errors.ResourceExhaustedError(None, None, "data/run; No space left on device"),
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ValueError("out of memory")], ids=str)
def test_errors_that_say_something_else(error):
    assert not machine.is_out_of_memory(error)


def test_sizes_as_they_are_read():
    assert [machine.size_text(size) for size in (45.47 * GIB, 2.33 * 2**40, 5 * 2**20, 1000)] == [
        "45.5 GiB", "2.3 TiB", "5.0 MiB", "0.0 MiB"]


# What an update takes.

PAPER = ModelConfig()


# With one row for each: vocabulary, blocks, heads, width, inner width; T; sequences of the share
# and of a micro-batch; bytes.
@pytest.mark.parametrize("shape, length, share, micro, jit_compile, measured", [
    ((40478, 12, 12, 768, 3072), 512, 2, 2, True, 3.65e9),
    ((40478, 12, 12, 768, 3072), 512, 8, 8, True, 4.92e9),
    ((40478, 12, 12, 768, 3072), 512, 8, 2, True, 4.47e9),
    ((40478, 12, 12, 768, 3072), 512, 2, 1, True, 3.96e9),
    ((8478, 4, 4, 256, 1024), 256, 16, 16, True, 1.45e9),
    ((8478, 4, 4, 256, 1024), 256, 64, 64, True, 2.40e9),
    ((1000, 24, 2, 128, 512), 128, 16, 16, True, 1.53e9),
    ((8478, 6, 8, 256, 1024), 1024, 4, 4, True, 2.00e9),
    ((8478, 2, 8, 1024, 4096), 64, 32, 32, True, 1.92e9),
    ((8478, 4, 16, 256, 1024), 512, 16, 16, True, 2.45e9),
    ((2000, 4, 4, 256, 8192), 128, 32, 32, True, 2.43e9),
    ((8478, 4, 4, 256, 1024), 256, 16, 16, False, 1.89e9),
    ((8478, 4, 16, 256, 1024), 512, 8, 8, False, 2.21e9)])
def test_the_estimate_is_what_processes_took(shape, length, share, micro, jit_compile, measured):
    """Peaks (VmHWM) of processes that took three updates."""
    vocabulary, blocks, *rest = shape
    model = ModelConfig(vocabulary, 0, blocks, *rest, length)
    parts = memory.run_memory(model, length, share, micro, jit_compile)
    assert sum(parts.values()) == pytest.approx(measured, rel=0.12)


def test_parts_by_hand():
    model = ModelConfig(30, 1, num_layers=3, num_heads=2, hidden_dim=8, intermediate_dim=16,
                        max_sequence_length=20)
    numbers = (31 + 20) * 8 + 3 * (4 * 72 + 2 * 128 + 24 + 32)
    # Of 4 sequences of 10 tokens: a validation has 2 x 10 x (8 + 2 x 10) numbers of each of 4, an
    # update 1.5 P more gradients and what it keeps of 2.
    update = {"gradients": 4 * 2.5 * numbers, "kept for the backward pass": 4 * 2 * 3 * 10 * 72,
              "block at hand": 4 * 2 * (10 * (64 + 64) + 3 * 2 * 100)}
    parts = memory.run_memory(model, 10, 4, 2)
    assert list(parts.items())[:-1] == [
        ("weights", 4 * numbers), ("Adam's moments", 8 * numbers), *update.items(),
        ("more for a validation", 0)]
    assert parts["process and programs"] == (725 + 190 + 19 + 3 * 8) * 2**20
    # With many rows the softmax is larger than a block, and of many sequences a validation.
    parts = memory.run_memory(dataclasses.replace(model, vocabulary_size=9999), 10, 4000, 2)
    assert parts["LM softmax"] == 4 * 10_000 * (8 + 2 * 20)
    validation = 4 * 4000 * 10 * 2 * (8 + 2 * 10)
    assert sum(list(parts.values())[2:-1]) == validation > parts["more for a validation"] > 0


# What is chosen.

def choose(gib, batch_size=64, micro_batch_size=0, model=PAPER, length=512, task=None,
           strategy="one_device", before=0):
    manifest = types.SimpleNamespace(sequence_length=length, task=task)
    config = types.SimpleNamespace(
        model=model, data=types.SimpleNamespace(manifest=manifest),
        training=TrainingConfig(batch_size=batch_size, micro_batch_size=micro_batch_size))
    chosen = memory.choose(config, distribution.make_strategy(strategy), before,
                           lambda _: int(gib * GIB))
    chosen.check()
    return chosen


def test_the_largest_size_that_fits():
    sizes = {gib: choose(gib).size for gib in (1000, 26, 23.5, 12.5, 9, 6, 5.5, 5, 4)}
    assert sizes == {1000: 64, 26: 64, 23.5: 32, 12.5: 16, 9: 8, 6: 4, 5.5: 2, 5: 1, 4: 1}
    assert choose(20, batch_size=60).size == 30
    assert choose(23.5, strategy="mirrored").rows == 32
    assert choose(23.5, task=task_data.TASKS["multiple_choice"]).size == 16  # of 3 sequences each
    small = ModelConfig(8478, 0, 4, 4, 256, 1024, 256)
    assert choose(4, batch_size=16, model=small, length=256).size == 16
    assert str(choose(23.5)) == "Micro-batches of 32 of 64 sequences: about 11.9 GiB of 23.5 GiB."


def test_smaller_than_what_takes_least_is_no_use():
    # Validation of 512 sequences at once takes more than the update of any 16.
    assert choose(12, batch_size=512).size == 16


def test_a_run_goes_on_as_it_began_where_that_fits():
    assert choose(60, before=16).size == 16 and choose(7.5, before=16).size == 8
    assert choose(60, before=7).size == 64  # of another batch
    assert choose(60, before=16, micro_batch_size=2).size == 2


def test_what_is_asked_for_is_taken():
    assert choose(23.5, micro_batch_size=2).size == 2
    assert choose(16, micro_batch_size=16).size == 16  # more than the share that is chosen by


@pytest.mark.parametrize("values, message", [
    (dict(gib=18, micro_batch_size=64),
     r"^--micro_batch_size=64 would take about 19.7 GiB of memory, and there are 18.0 GiB: leave "
     r"the flag out, and it is 32 \(about 11.9 GiB\)\.$"),
    (dict(gib=3.5),
     r"^One sequence of 512 tokens at a time would take about 3.9 GiB of memory, and there are "
     r"3.5 GiB: choose a smaller model \(--num_layers, --hidden_dim\)"),
    (dict(gib=3.5, micro_batch_size=8), "would take about 5.6 GiB .* choose a smaller model")])
def test_what_does_not_fit(values, message):
    with pytest.raises(UserError, match=message):
        choose(**values)


# What commands say.

@pytest.fixture(name="folders", scope="module")
def folders_fixture(tmp_path_factory, tokenizer_dir, tokenizer):
    """run/, task_run/, zero_shot/, data/ and text.txt."""
    folder = tmp_path_factory.mktemp("memory")
    size = tokenizer.vocabulary_size
    make_run(folder / "run", tokenizer, {1: make_model(size)})
    task = task_data.TASKS["classification"]
    make_task_run(str(folder / "task_run"), tokenizer, task)
    task_data.write(str(folder / "task"), tokenizer, task)
    (folder / "text.txt").write_text("the and in")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "Encoders", corpora.InProcess)
        build_task.build(TaskConfig(
            task="dpr", input=write_files(folder / "dpr", FILES["dpr"]), num_workers=1,
            tokenizer=str(tokenizer_dir), output_dir=str(folder / "zero_shot"), zero_shot=True,
            max_length=64))
    return folder


@pytest.mark.parametrize("module, values, remedy", [
    ("evaluate", ["model_dir=run", "text=text.txt"], "give --batch_size=1, or less than 32."),
    ("evaluate", ["model_dir=task_run", "data_dir=task", "batch_size=2"], "give --batch_size=1."),
    ("generate", ["model_dir=run", "prompt=the"], "give --batch_size=1, or less than 8."),
    ("predict", ["model_dir=task_run", "input=text.txt"],
     "give --batch_size=1, or less than 32."),
    ("zero_shot", ["model_dir=run", "data_dir=zero_shot", "batch_size=1"],
     "take a machine with more memory, or a smaller model."),
    ("export", ["model_dir=run", "output_dir=out"],
     "take a machine with more memory, or a smaller model."),
    ("convert", ["input=run", "to=huggingface", "output_dir=out"],
     "take a machine with more memory, or a smaller model."),
    ("finetune", ["model_dir=new", "data_dir=task", "init_from=none"],
     "take a machine with more memory, or a smaller model."),
], ids=lambda value: value if isinstance(value, str) else None)
def test_commands_say_it_in_a_sentence(folders, monkeypatch, module, values, remedy):
    def build(self, input_shape=None):
        raise tf.errors.ResourceExhaustedError(
            None, None, "Out of memory while trying to allocate 45.47GiB.")

    monkeypatch.setattr(GPT, "build", build)
    done = run_command(f"gpt_tf.{module}", *(f"--{value}" for value in values), cwd=folders)
    assert done.code == 1
    assert done.stderr == ("error: Out of memory: 45.5 GiB could not be had and this machine has "
                           f"{machine.size_text(machine.machine_memory())} in all; {remedy}\n")
