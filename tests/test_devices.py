"""What a run computes on: the first line, GPUs that TensorFlow does not see, TF32.

Machines with GPUs are made of the files that their systems show, and of what TensorFlow 2.21 wrote
beside a driver that was made to answer so.
"""

import dataclasses
import re
import subprocess
from types import SimpleNamespace

import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.config import OptimizerConfig, TrainingConfig
from gpt_tf.data.batches import BatchShare
from gpt_tf.model.gpt import GPT
from gpt_tf.model.objectives import joint_loss, language_model_loss, loss_names
from gpt_tf.model.optimizer import Adam
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import weights
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.training import devices, distribution
from gpt_tf.training.distribution import Cluster
from gpt_tf.training.train_step import TrainStep
from tests import runs, test_evaluate_task
from tests.commands import run_command
from tests.house import ROOT
from tests.test_task_model import CONFIG, TASKS, make_batch

SAVED = ROOT / "tests" / "saved"
H100 = {"device_name": "NVIDIA H100 80GB HBM3", "compute_capability": (9, 0)}
T4 = {"device_name": "Tesla T4", "compute_capability": (7, 5)}
START = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795732990.066511   24013 cudart_stub.cc:31] Could not find cuda drivers on your \
machine, GPU will not be used.
"""
NO_LIBRARIES = START + """\
E0000 00:00:1795732991.276282   24013 cuda_executor.cc:1737] INTERNAL: CUDA Runtime error: Failed \
call to cudaGetRuntimeVersion: Error loading CUDA libraries. GPU will not be used.
W0000 00:00:1795732991.281405   24013 gpu_device.cc:2365] Cannot dlopen some GPU libraries. Please \
make sure the missing libraries mentioned above are installed properly if you would like to use GPU.
Skipping registering GPU devices...
"""
NO_DEVICE = START + """\
E0000 00:00:1795732853.223417   22893 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA \
error: Failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected
"""
TOO_OLD = START + """\
I0000 00:00:1795732853.223417   22893 gpu_device.cc:2390] Ignoring visible gpu device (device: 0, \
name: Tesla K80) with Cuda compute capability 3.7. The minimum required Cuda capability is 6.0.
"""


@pytest.fixture(name="machine")
def machine_fixture(tmp_path, monkeypatch):
    """(GPUs, notices) -> a system that shows these, where TensorFlow sees none and writes those."""
    root = tmp_path / "machine"
    ours = devices.nvidia_gpus

    def make(gpus, notices=""):
        for number, gpu in enumerate(gpus):
            folder = root / f"proc/driver/nvidia/gpus/0000:0{number}:00.0"
            folder.mkdir(parents=True)
            (folder / "information").write_text(
                f"Model: \t\t {gpu['device_name']}\nIRQ:   \t\t 100\n")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(devices, "nvidia_gpus", lambda: ours(root))
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(
            stderr=notices.encode()))
        return root

    return make


@pytest.fixture(autouse=True)
def tf32_as_it_was():
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)


@pytest.mark.parametrize("gpus, replicas, workers, dtype, line", [
    ([H100], 1, 1, "mixed_bfloat16", "1 x NVIDIA H100 80GB HBM3, mixed_bfloat16."),
    ([H100], 1, 1, "tf32", "1 x NVIDIA H100 80GB HBM3, tf32."),
    ([H100], 1, 1, "float32", "1 x NVIDIA H100 80GB HBM3, float32.\nA new run is faster here "
                              "with --dtype=mixed_bfloat16."),
    ([H100] * 4, 4, 2, "mixed_bfloat16",
     "4 x NVIDIA H100 80GB HBM3, mixed_bfloat16, on the first of 2 workers."),
    ([H100, T4], 2, 1, "float32", "1 x NVIDIA H100 80GB HBM3 and 1 x Tesla T4, float32."),
    ([T4], 1, 1, "tf32", "1 x Tesla T4, float32 (there is no TF32 here)."),
    ([{}], 1, 1, "float32", "1 x GPU, float32."),
    ([], 1, 1, "float32", "CPU, 2 cores, float32."),
    ([], 2, 1, "mixed_bfloat16",
     "CPU, 2 cores, 2 replicas, mixed_bfloat16.\nA new run is faster here with --dtype=float32: on "
     "a CPU XLA makes the products of bfloat16 in float32."),
    ([], 1, 3, "tf32", "CPU, 2 cores, float32 (there is no TF32 here), on the first of 3 "
                       "workers.")])
def test_first_line(gpus, replicas, workers, dtype, line):
    assert devices.first_line(gpus, 2, replicas, workers, dtype) == line


def test_first_line_of_a_strategy(monkeypatch):
    for name, replicas in (("one_device", ""), ("mirrored", ", 2 replicas")):
        line = devices.describe(Cluster(distribution.make_strategy(name)), "float32")
        assert re.fullmatch(rf"CPU, \d+ cores?{replicas}, float32\.", line)
    # The second of two GPUs, which has the number 1 in this process.
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["first", "second"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details",
                        {"first": H100, "second": T4}.get)
    extended = SimpleNamespace(worker_devices=("/job:localhost/replica:0/task:0/device:GPU:1",))
    cluster = SimpleNamespace(strategy=SimpleNamespace(extended=extended), share=BatchShare(0, 1))
    assert devices.describe(cluster, "float32") == "1 x Tesla T4, float32."


def test_the_gpus_of_a_system(machine, tmp_path):
    def touch(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    for name in ("nvidiactl", "nvidia-uvm", "nvidia-caps"):
        touch(f"none/dev/{name}")
    assert devices.nvidia_gpus(tmp_path / "none") == []
    for name in ("nvidia0", "nvidia11", "nvidiactl"):
        touch(f"nodes/dev/{name}")
    assert devices.nvidia_gpus(tmp_path / "nodes") == ["NVIDIA GPU"] * 2
    touch("windows/usr/lib/wsl/lib/libcuda.so.1")
    assert devices.nvidia_gpus(tmp_path / "windows") == ["NVIDIA GPU"]
    root = machine([H100, H100, T4])
    for number in range(3):
        touch(root / f"dev/nvidia{number}")
    assert devices.counted(devices.nvidia_gpus()) == "2 x NVIDIA H100 80GB HBM3 and 1 x Tesla T4"


@pytest.mark.parametrize("visible, hidden", [
    (None, False), ("", True), ("-1", True), ("-1,0", True), ("NoDevFiles", True), ("0", False),
    ("0,-1", False), ("9", False), ("GPU-8932f937", False)])
def test_whoever_hides_gpus_wants_none(visible, hidden):
    assert devices.are_hidden(visible) == hidden


@pytest.mark.parametrize("notices, reason", [
    (NO_LIBRARIES, "Cannot dlopen some GPU libraries"),
    (NO_DEVICE, "failed call to cuInit: INTERNAL: CUDA error: Failed call to cuInit: "
                "CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected"),
    (TOO_OLD, "Ignoring visible gpu device (device: 0, name: Tesla K80) with Cuda compute "
              "capability 3.7. The minimum required Cuda capability is 6.0"),
    (START, "")])
def test_tensorflows_reason(notices, reason):
    assert devices.last_reason(notices) == reason


def test_the_reason_of_this_tensorflow():
    """GPUs are hidden from tests, or there are none: CUDA finds no device or is not there."""
    if not tf.test.is_built_with_cuda():
        pytest.skip("this TensorFlow is built without CUDA")
    reason, remedy = devices.why_unseen()
    assert reason.startswith("failed call to cuInit: ") and "nvidia-smi" in remedy


def refused():
    with pytest.raises(UserError) as error:
        devices.choose("auto", "float32")
    return str(error.value)


def test_a_gpu_that_tensorflow_does_not_see(machine, monkeypatch, capsys):
    machine([H100], NO_LIBRARIES)
    assert refused() == (
        "This machine has 1 x NVIDIA H100 80GB HBM3, and TensorFlow sees no GPU (Cannot dlopen "
        "some GPU libraries): python -m pip install 'tensorflow[and-cuda]==2.21.0' adds CUDA's "
        "libraries; or train on the CPU with --device=cpu.".replace("2.21.0", tf.__version__))
    devices.choose("cpu", "float32")
    devices.warn_of_unseen()
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("On the CPU: TensorFlow does not see this machine's 1 x NV")
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: False)
    assert "(it is built without CUDA): python -m pip install --force-reinstall" in refused()


def test_a_gpu_without_a_driver_or_a_word(machine):
    machine([H100] * 2, NO_DEVICE)
    assert "2 x NVIDIA H100 80GB HBM3, and" in refused()
    assert "no CUDA-capable device is detected): see whether nvidia-smi lists one" in refused()


def test_a_reason_that_is_not_given(machine):
    machine([H100], START)
    assert "TensorFlow sees no GPU (it does not say why): see whether nvidia-smi" in refused()


def test_gpus_that_are_seen_or_hidden_or_not_there(machine, monkeypatch, capsys):
    devices.choose("auto", "float32")  # hidden from all tests
    machine([])
    devices.choose("auto", "float32")
    machine([H100])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["GPU:0"])
    devices.choose("auto", "float32")
    devices.warn_of_unseen()
    assert capsys.readouterr() == ("", "")


def test_the_cpu_hides_gpus_from_tensorflow(monkeypatch):
    calls = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *given: calls.append(given))
    devices.choose("auto", "float32")
    assert not calls
    devices.choose("cpu", "float32")
    assert calls == [([], "GPU")]


def pretrain(folder, *flags):
    return run_command("gpt_tf.pretrain", f"--data_dir={SAVED}/data/stories",
                       f"--model_dir={folder}", "--max_sequence_length=0", *flags)


def test_a_command_says_what_it_computes_on(tmp_path, machine):
    machine([H100], NO_LIBRARIES)
    code, out, err = pretrain(tmp_path / "run")
    assert (code, out) == (1, "") and not (tmp_path / "run").exists()
    assert "\nerror: This machine has 1 x NVIDIA H100 80GB HBM3, and TensorFlow sees" in err
    # What it says before it finds that three sequences cannot be had from two devices.
    code, out, err = pretrain(tmp_path / "run", "--device=cpu", "--dtype=tf32",
                              "--strategy=mirrored", "--batch_size=3")
    assert code == 1 and "--batch_size=3 cannot be divided over 2 devices" in err
    assert re.fullmatch(r"CPU, \d+ cores?, 2 replicas, float32 \(there is no TF32 here\)\.\n", out)


@pytest.mark.parametrize("command", [
    ["generate", "--prompt=a"], ["evaluate", "--text=a.txt"],
    ["evaluate", f"--data_dir={SAVED}/data/stories"], ["predict", "--input=a.txt"],
    ["zero_shot", f"--data_dir={SAVED}/data/dpr"],
    ["report", f"--data_dir={SAVED}/data/stories", "--output_dir=report"]],
    ids=lambda command: command[0])
def test_commands_that_do_not_train_say_so_and_go_on(tmp_path, machine, monkeypatch, command):
    machine([H100])
    module, *flags = command
    (tmp_path / "a.txt").write_text("a\n")
    tokenizer = Tokenizer.load(SAVED / "bpe")
    if module == "predict":
        test_evaluate_task.make_run(tmp_path / "run", tokenizer, TASKS["classification"])
    else:
        runs.make_run(tmp_path / "run", tokenizer, {1: runs.make_model(tokenizer.vocabulary_size)})
        (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "train/loss": 2.0}\n')

    def loaded(*_, **__):
        raise UserError("it went on")

    monkeypatch.setattr(weights, "load_model", loaded)
    monkeypatch.setattr(weights, "load_task_model", loaded)
    code, out, err = run_command(f"gpt_tf.{module}", "--model_dir=run", *flags, cwd=tmp_path)
    assert (code, out) == (1, "") and err.endswith("error: it went on\n")
    assert "On the CPU: TensorFlow does not see this machine's 1 x NVIDIA H100" in err


def language_model(dtype_policy):
    model = GPT(dataclasses.replace(CONFIG, num_layers=1), dtype=dtype_policy)
    return model, language_model_loss(model, 0, True), (), {
        "token_ids": tf.ones([2, 12], tf.int32), "lengths": tf.constant([12, 9]),
        "batch_rows": tf.range(2), "step": tf.constant(1, tf.int64)}


def classifier(dtype_policy):
    task = TASKS["multiple_choice"]
    model = TaskModel(dataclasses.replace(CONFIG, num_layers=1), task, dtype=dtype_policy)
    return model, joint_loss(model, 0.5, 0, True), loss_names(0.5), make_batch(task)


def products(dtype, build):
    """{(type, precision)} of the matrix products in XLA's program of an update's gradients."""
    devices.allow_tf32(dtype)
    config = TrainingConfig(dtype=dtype)
    model, loss, names, batch = build(config.dtype_policy)
    step = TrainStep(distribution.make_strategy("one_device"), model.trainable_variables, loss,
                     Adam(model.trainable_variables, OptimizerConfig(), 10), config, names)
    program = tf.function(step._sum_micro_batches, jit_compile=True)
    text = program.experimental_get_compiler_ir(batch)(stage="hlo")
    found = re.findall(r"= (\w+)\[[\d,]*\]\S* (?:dot|convolution)\((.*)", text)
    assert len(found) > 10
    return {(kind, re.search(r"operand_precision=\{(.*?)\}|$", rest)[1]) for kind, rest in found}


@pytest.mark.parametrize("dtype, expected", [
    ("float32", ("f32", "highest,highest")), ("tf32", ("f32", None)),
    ("mixed_bfloat16", ("bf16", None))])
@pytest.mark.parametrize("build", [language_model, classifier])
def test_float32_is_float32_in_xla(dtype, expected, build):
    """On GPUs XLA takes TF32 for products of the default precision, and not of the highest."""
    assert products(dtype, build) == {expected}
