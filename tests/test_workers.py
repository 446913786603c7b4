"""Several processes that train one model: the same run as one, and who never comes.

Real processes over the loopback address; stopped and lost ones: tests/peers/test_stops.py.
"""

import json
import os
import subprocess

import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.training import distribution
from gpt_tf.training.cluster_environment import expand_hosts, find_workers
from tests import corpora, task_data, workers
from tests.worker_runs import command, rows, run_one_device, start, wait

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory, tokenizer):
    return task_data.write(str(tmp_path_factory.mktemp("task") / "data"), tokenizer,
                           task_data.TASKS["classification"])


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
