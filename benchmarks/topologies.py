"""The same run on one device, on several, and in several processes: losses side by side, and cost.

  python -m benchmarks.topologies --data_dir=quickstart/data --task_dir=quickstart/feeling-data

Pre-training and fine-tuning of a small model, dropout, clipping, micro-batches of one sequence and
the joint loss on, on every topology; all workers on this machine, over the loopback address. Each
value of `metrics.jsonl` is compared with the one device's.

Then, with --timed_updates, the cost: a larger model's median time per update, peak memory of a
process and bytes sent over the loopback device, where nothing else is to use it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from tests import workers

# Name -> (--strategy, logical CPU devices, processes).
TOPOLOGIES = {"one device": ("one_device", 1, 1), "2 replicas": ("mirrored", 2, 1),
              "4 replicas": ("mirrored", 4, 1), "2 workers": ("multi_worker", 1, 2),
              "3 workers": ("multi_worker", 1, 3)}
_ONE = "one device"
_TIMES = {"train/tokens_per_second", "train/input_wait"}
_BATCH = 12  # divides by 2, 3 and 4
_SHAPE = ["--num_layers=2", "--num_heads=2", "--hidden_dim=64", "--intermediate_dim=128",
          "--max_sequence_length=256", f"--batch_size={_BATCH}", "--micro_batch_size=1",
          "--log_every=1", "--save_every=1000", "--clip_norm=0.5"]
_PRETRAIN = ["--warmup_steps=10", "--learning_rate=1e-3", "--evaluate_every=25",
             "--evaluation_batches=3"]
_FINETUNE = ["--init_from=none", "--learning_rate=1e-3", "--warmup_fraction=0.2"]
_TIMED = ["--num_layers=4", "--num_heads=4", "--hidden_dim=256", "--intermediate_dim=1024",
          "--max_sequence_length=256", f"--batch_size={_BATCH}", "--log_every=1",
          "--save_every=1000", "--evaluate_every=0", "--warmup_steps=10"]
# A process with so many logical devices, then the command.
_ENTRY = """
import runpy, sys
count, module = int(sys.argv[1]), sys.argv[2]
sys.argv[1:] = sys.argv[3:]
from gpt_tf.common import cli
cli.import_tensorflow()
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Data folder of pipelines.build_corpus.",
                                required=True)
_TASK_DIR = flags.DEFINE_string("task_dir", None, "Data folder of pipelines.build_task.",
                                required=True)
_UPDATES = flags.DEFINE_integer("updates", 50, "Updates that are compared; 0: none.", lower_bound=0)
_TIMED_UPDATES = flags.DEFINE_integer("timed_updates", 0, "Updates that are timed; 0: none.",
                                      lower_bound=0)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Alternating rounds of the timing.", lower_bound=1)


def run(topology: str, module: str, arguments: list[str]) -> float:
    """Runs a command on a topology; returns the largest peak memory of its processes, in MiB.

    Raises:
      UserError: it failed.
    """
    strategy, devices, processes = TOPOLOGIES[topology]
    command = [sys.executable, "-c", _ENTRY, str(devices), module, *arguments,
               f"--strategy={strategy}"]
    started = workers.start(command, processes, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    for process in started:
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise UserError(f"{topology}: {module} failed: {said.decode()[-2000:]}")
        peak = max(peak, usage.ru_maxrss / 1024)
    return peak


def rows(model_dir: str) -> list[dict[str, float]]:
    """The rows of a run's `metrics.jsonl`."""
    with open(os.path.join(model_dir, "metrics.jsonl"), encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def compare(ours: list[dict], theirs: list[dict], prefix: str) -> float:
    """The largest relative difference among the values whose names begin with `prefix`."""
    if [(row.keys(), row["step"]) for row in ours] != [(row.keys(), row["step"]) for row in theirs]:
        raise UserError("The runs do not report the same updates.")
    return max(abs(our[name] - their[name]) / max(abs(their[name]), 1e-12)
               for our, their in zip(ours, theirs) for name in our
               if name.startswith(prefix) and name not in _TIMES)


def compare_all(folder: str) -> str:
    """Runs both commands on all topologies; returns the table."""
    table = []
    for module, data_dir, options in (("gpt_tf.pretrain", _DATA_DIR.value, _PRETRAIN),
                                      ("gpt_tf.finetune", _TASK_DIR.value, _FINETUNE)):
        found = {}
        for topology in TOPOLOGIES:
            model_dir = os.path.join(folder, f"{module} {topology}")
            run(topology, module, [f"--data_dir={data_dir}", f"--model_dir={model_dir}", *_SHAPE,
                                   *options, f"--num_steps={_UPDATES.value}"])
            found[topology] = rows(model_dir)
            train = [row["train/loss"] for row in found[topology] if "train/loss" in row]
            table.append([f"{module}, {topology}", f"{train[0]:.6f}", f"{train[-1]:.6f}",
                          *(f"{compare(found[topology], found[_ONE], prefix):.1e}"
                            for prefix in ("train/loss", "train/gradient_norm", "validation/"))])
            print(*table[-1], sep=", ", file=sys.stderr, flush=True)
    return report.markdown_table(
        ["run", "loss, update 1", f"loss, update {_UPDATES.value}",
         "loss, relative difference", "gradient norm", "validation"], table)


def _loopback_bytes() -> int:
    with open("/proc/net/dev", encoding="utf-8") as stream:
        return next(int(line.split()[1]) for line in stream if line.strip().startswith("lo:"))


def time_topology(folder: str, topology: str) -> dict:
    """Times one run; {"seconds": median of an update, "wait": share, "mib": float, "sent": MB}."""
    model_dir = os.path.join(folder, f"{topology} {time.monotonic()}")
    before = _loopback_bytes()
    peak = run(topology, "gpt_tf.pretrain", [
        f"--data_dir={_DATA_DIR.value}", f"--model_dir={model_dir}", *_TIMED,
        f"--num_steps={_TIMED_UPDATES.value}"])
    sent = (_loopback_bytes() - before) / _TIMED_UPDATES.value / 1e6
    # The first updates compile.
    timed = [row for row in rows(model_dir) if "train/loss" in row][5:]
    tokens = _BATCH * 256
    return {"seconds": statistics.median(tokens / row["train/tokens_per_second"] for row in timed),
            "wait": statistics.median(row["train/input_wait"] for row in timed),
            "mib": peak, "sent": sent}


def time_all(folder: str) -> str:
    """Times the topologies in alternating rounds; returns the table."""
    found = report.alternate(list(TOPOLOGIES), _ROUNDS.value,
                             lambda topology: time_topology(folder, topology))
    seconds = {topology: [each["seconds"] for each in results]
               for topology, results in found.items()}

    def median(topology, name):
        return statistics.median(each[name] for each in found[topology])

    return report.markdown_table(
        ["topology", "s/update", "over one device", "input wait", "peak MiB of a process",
         "MB/update over loopback"],
        [[topology, f"{median(topology, 'seconds'):.3f}",
          report.ratio(seconds[topology], seconds[_ONE]), f"{median(topology, 'wait'):.2%}",
          f"{median(topology, 'mib'):.0f}", f"{median(topology, 'sent'):.1f}"]
         for topology in TOPOLOGIES])


def main() -> None:
    """Prints a table for each of the two questions."""
    print(report.describe_machine(["tensorflow"]))
    with tempfile.TemporaryDirectory() as folder:
        if _UPDATES.value:
            print(f"\n{compare_all(folder)}", flush=True)
        if _TIMED_UPDATES.value:
            print(f"\n{time_all(folder)}")


if __name__ == "__main__":
    cli.run(main)
