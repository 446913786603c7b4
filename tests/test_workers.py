"""Several processes that train one model: the same run as one, and what a lost or stopped one does.

Real processes over the loopback address.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.training import distribution
from gpt_tf.training.cluster_environment import expand_hosts, find_workers
from tests import corpora, task_data, workers
from tests.commands import run_command

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
# Three workers share a batch of 9, each in micro-batches of one; 64 rows to train and 24 to
# validate, so the last batch of both is short.
FLAGS = ["--num_layers=1", "--num_heads=2", "--hidden_dim=16", "--intermediate_dim=32",
         "--max_sequence_length=32", "--batch_size=9", "--micro_batch_size=1", "--init_from=none",
         "--num_epochs=3", "--learning_rate=1e-2", "--clip_norm=0.5", "--log_every=1",
         "--save_every=4", "--nojit_compile"]
LONG = ["--num_steps=200", "--evaluations_per_epoch=0", "--batch_size=8", "--micro_batch_size=0",
        "--save_every=25"]  # to be interrupted


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory, tokenizer):
    return task_data.write(str(tmp_path_factory.mktemp("task") / "data"), tokenizer,
                           task_data.TASKS["classification"])


def command(data, model_dir, *flags):
    return [sys.executable, "-m", "gpt_tf.finetune", f"--data_dir={data}",
            f"--model_dir={model_dir}", *FLAGS, *flags]


def start(data, model_dir, count, *flags):
    return workers.start(command(data, model_dir, "--strategy=multi_worker", *flags), count,
                         text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait(processes):
    """[(exit code, what it said)]"""
    said = [process.communicate(timeout=180) for process in processes]
    return [(process.returncode, out + err) for process, (out, err) in zip(processes, said)]


def until(processes, condition):
    while not condition():
        assert all(process.poll() is None for process in processes), wait(processes)
        time.sleep(0.01)


def run_one_device(data, model_dir, *flags):
    _, _, module, *own = command(data, model_dir, *flags)
    done = run_command(module, *own)
    assert done.code == 0, done.stderr


def rows(model_dir):
    """What the run reports, the measures of time left out."""
    timed = {"train/tokens_per_second", "train/input_wait"}
    with open(model_dir / "metrics.jsonl", encoding="utf-8") as stream:
        return [{name: value for name, value in json.loads(line).items() if name not in timed}
                for line in stream]


def test_three_workers_train_as_one_device_does(data, tmp_path):
    found = wait(start(data, tmp_path / "three", 3))
    assert [code for code, _ in found] == [0, 0, 0], found
    assert "is finished: 21 updates" in found[0][1]
    for _, said in found[1:]:  # when all are there, the chief alone speaks
        [line] = said.splitlines()
        assert line.startswith("Waiting for at most 100 seconds (--worker_timeout) for all 3 work")
    run_one_device(data, tmp_path / "one")
    ours, theirs = rows(tmp_path / "three"), rows(tmp_path / "one")
    assert len(ours) == len(theirs) == 24 and sum("validation/f1" in row for row in ours) == 3
    for our, their in zip(ours, theirs):
        assert our == pytest.approx(their, rel=1e-5)


def test_a_stopped_and_a_lost_worker(data, tmp_path):
    run, newest = tmp_path / "run", tmp_path / "run" / "checkpoints" / "checkpoint"
    stopped = start(data, run, 2, *LONG)
    until(stopped, newest.exists)
    stopped[1].send_signal(signal.SIGTERM)
    found = wait(stopped)
    assert [code for code, _ in found] == [128 + signal.SIGTERM] * 2, found
    saved = int(tf.train.latest_checkpoint(run / "checkpoints").rpartition("-")[2])
    assert all(f"Saved at update {saved} of 200" in said for _, said in found)

    shutil.copytree(run, tmp_path / "on one device")
    broken = start(data, run, 2, *LONG)
    until(broken, lambda: f"ckpt-{saved}" not in newest.read_text())
    broken[0].kill()
    killed = time.monotonic()
    (first, _), (second, said) = wait(broken)
    assert time.monotonic() - killed < 120
    assert (first, second) == (-signal.SIGKILL, 1)
    assert "Another worker of this run was lost" in said and "Traceback" not in said

    found = wait(start(data, run, 2, *LONG))
    assert [code for code, _ in found] == [0, 0], found
    run_one_device(data, tmp_path / "on one device", *LONG)
    ours, theirs = rows(run), rows(tmp_path / "on one device")
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for our, their in list(zip(ours, theirs))[:saved + 25]:
        assert our == pytest.approx(their, rel=1e-5)


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_that_never_starts(data, tmp_path, index):
    config = {"cluster": {"worker": workers.free_addresses(2)},
              "task": {"type": "worker", "index": index}}
    done = subprocess.run(
        command(data, tmp_path / "run", "--strategy=multi_worker", "--worker_timeout=2"),
        env=os.environ | {"TF_CONFIG": json.dumps(config)}, capture_output=True, text=True,
        timeout=120, check=False)
    assert done.returncode == 1 and not (tmp_path / "run").exists()
    assert done.stderr.startswith("Waiting for at most 2 seconds (--worker_timeout) for all 2 wor")


@pytest.mark.parametrize("value", [
    "[]", "{", '{"cluster": {"worker": ["a:1"]}}',
    '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "one"}}',
    '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
    '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    '{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
    '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}'])
def test_a_tf_config_that_names_nobody(value):
    with pytest.raises(UserError, match="TF_CONFIG=.* does not name the workers"):
        find_workers({"TF_CONFIG": value})


def test_workers_of_tf_config():
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:2"]}
    for job, index, number in (("chief", 0, 0), ("worker", 0, 1), ("worker", "1", 2)):
        text = json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})
        assert find_workers({"TF_CONFIG": text}) == (["a:1", "b:1", "c:2"], number)


@pytest.mark.parametrize("value", ["", "{}", '{"task": {"type": "worker", "index": 0}}',
                                   '{"cluster": {}, "task": {}}'])
def test_a_tf_config_that_another_job_has_left_is_one_machine(value, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", value)
    assert distribution.join("auto").share.count == 1
    with pytest.raises(UserError, match="srun, or set TF_CONFIG"):
        find_workers({"TF_CONFIG": value})
    assert find_workers(slurm() | {"TF_CONFIG": value}).index == 2


def slurm(**changes):
    values = {"STEP_NODELIST": "node[9-10],gpu7", "STEP_TASKS_PER_NODE": "1(x2),2",
              "JOB_ID": "1003", "PROCID": "2"} | changes
    return {f"SLURM_{name}": value for name, value in values.items()}


def test_workers_of_slurm():
    # In Slurm's order, which is not the alphabet's.
    assert find_workers(slurm()) == (["node9:20096", "node10:20096", "gpu7:20096", "gpu7:20097"], 2)
    assert expand_hosts("a[08-10,3]-ib,b.c") == ["a08-ib", "a09-ib", "a10-ib", "a3-ib", "b.c"]


@pytest.mark.parametrize("changes", [
    {"STEP_NODELIST": "node["}, {"STEP_NODELIST": ""}, {"STEP_NODELIST": "a"}, {"PROCID": "4"},
    {"STEP_TASKS_PER_NODE": "1(x"}, {"JOB_ID": "x"}], ids=str)
def test_slurm_that_makes_no_sense(changes):
    with pytest.raises(UserError, match="Slurm's variables do not say"):
        find_workers(slurm(**changes))


def test_nobody_is_named():
    with pytest.raises(UserError, match="srun, or set TF_CONFIG"):
        find_workers({})
