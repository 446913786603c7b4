"""A fine-tuning by several workers, real processes over the loopback address, and by one device."""

import json
import subprocess
import sys

from tests import workers
from tests.commands import run_command

# Three workers share a batch of 9, each in micro-batches of one; 64 rows to train and 24 to
# validate, so the last batch of both is short.
FLAGS = ["--num_layers=1", "--num_heads=2", "--hidden_dim=16", "--intermediate_dim=32",
         "--max_sequence_length=32", "--batch_size=9", "--micro_batch_size=1", "--init_from=none",
         "--num_epochs=3", "--learning_rate=1e-2", "--clip_norm=0.5", "--log_every=1",
         "--save_every=4", "--nojit_compile"]


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
