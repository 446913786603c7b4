"""Who trains together: TF_CONFIG, or the variables that Slurm gives each process of a step."""

from collections.abc import Mapping
import re
from typing import Any, NamedTuple

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import parse_json

_EXAMPLE = ('{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", '
            '"index": 0}}')

# Two jobs may share a machine: each has ports of its own, as far as a thousand numbers go.
_FIRST_PORT = 20000
_PORTS_PER_JOB = 32


class WorkerAddresses(NamedTuple):
    """Addresses, host:port, of all processes in one order, and the number of this one in it."""

    addresses: list[str]
    index: int


def names_workers(environment: Mapping[str, str]) -> bool:
    """Whether TF_CONFIG is set to more than what TensorFlow, too, takes for one machine: nothing,
    or an object without a cluster, as another job may have left it.

    Args:
      environment: `os.environ`.
    """
    try:
        value = parse_json(environment.get("TF_CONFIG") or "{}")
    except ValueError:
        return True  # `find_workers` says what is wrong with it
    return not isinstance(value, dict) or bool(value.get("cluster"))


def find_workers(environment: Mapping[str, str]) -> WorkerAddresses:
    """The workers that TF_CONFIG names, or else Slurm.

    Args:
      environment: `os.environ`.

    Raises:
      UserError: neither is set, or what they say does not make sense.
    """
    if names_workers(environment):
        return _from_tf_config(environment["TF_CONFIG"])
    if "SLURM_STEP_NODELIST" in environment:
        return _from_slurm(environment)
    raise UserError("--strategy=multi_worker has to know the other processes: start it with "
                    f"srun, or set TF_CONFIG on each, as in TF_CONFIG='{_EXAMPLE}'.")


def _from_tf_config(text: str) -> WorkerAddresses:
    try:
        value = parse_json(text)
        cluster, task = value["cluster"], value["task"]
        jobs = {job: _strings(cluster.get(job, [])) for job in ("chief", "worker")}
        index = task["index"]
        if isinstance(index, str):  # TensorFlow takes it, too
            index = int(index)
        if (set(cluster) - set(jobs) or type(index) is not int
                or not 0 <= index < len(jobs[task["type"]])):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"TF_CONFIG={text} does not name the workers and which of them this is; it "
                        f"must look like {_EXAMPLE}.") from error
    before = len(jobs["chief"]) if task["type"] == "worker" else 0
    return WorkerAddresses(jobs["chief"] + jobs["worker"], before + index)


def _strings(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError
    return value


def _from_slurm(environment: Mapping[str, str]) -> WorkerAddresses:
    try:
        hosts = expand_hosts(environment["SLURM_STEP_NODELIST"])
        tasks = _expand_counts(environment["SLURM_STEP_TASKS_PER_NODE"])
        port = _FIRST_PORT + int(environment["SLURM_JOB_ID"]) % 1000 * _PORTS_PER_JOB
        # Tasks are numbered host by host (srun's --distribution=block, its default).
        addresses = [f"{host}:{port + number}" for host, count in zip(hosts, tasks, strict=True)
                     for number in range(count)]
        index = int(environment["SLURM_PROCID"])
        if not 0 <= index < len(addresses):
            raise ValueError(f"SLURM_PROCID={index} of {len(addresses)} tasks")
    except (KeyError, ValueError) as error:
        raise UserError(f"Slurm's variables do not say who works together ({error}): start the "
                        "command with srun, or set TF_CONFIG.") from error
    return WorkerAddresses(addresses, index)


def expand_hosts(text: str) -> list[str]:
    """Slurm's list of hosts, in its order.

    Example: node[09-10,12],gpu7 -> node09, node10, node12, gpu7

    Raises:
      ValueError: it is not one.
    """
    # Commas inside brackets separate numbers, the others hosts.
    parts = re.split(r",(?![^\[]*\])", text)
    return [host for part in parts for host in _expand_host(part)]


def _expand_host(text: str) -> list[str]:
    match = re.fullmatch(r"([\w.-]+)(?:\[([\d,-]+)\])?([\w.-]*)", text)
    if not match:
        raise ValueError(f"SLURM_STEP_NODELIST has {text!r}")
    prefix, numbers, suffix = match.groups()
    if numbers is None:
        return [text]
    hosts = []
    for item in numbers.split(","):
        first, _, last = item.partition("-")
        for number in range(int(first), int(last or first) + 1):
            hosts.append(f"{prefix}{number:0{len(first)}d}{suffix}")
    return hosts


def _expand_counts(text: str) -> list[int]:
    """2(x3),1 -> 2, 2, 2, 1"""
    counts = []
    for item in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", item)
        if not match:
            raise ValueError(f"SLURM_STEP_TASKS_PER_NODE={text}")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts
