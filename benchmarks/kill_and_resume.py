"""Kills runs at random instants and compares their final weights with an unbroken one's.

  python -m benchmarks.kill_and_resume --data_dir=quickstart/data --kills=50
  python -m benchmarks.kill_and_resume --data_dir=quickstart/feeling-data --kills=50
  python -m benchmarks.kill_and_resume --data_dir=quickstart/data --kills=20 --inside_saves
  python -m benchmarks.kill_and_resume --data_dir=quickstart/data --kills=20 --workers=2

Each trial starts `gpt_tf.pretrain`, or `gpt_tf.finetune` on a task's data, in a folder of its own,
sends SIGKILL at a random instant of its life (start-up, training, saving, validation; a run that
ended before is no trial), or in the first save after it, starts the same command again, and
compares every variable and both moments bit for bit with a run that was never killed. Of several
workers a random one is killed; the others must end by themselves, not with 0, within two minutes,
before all start again.
"""

import glob
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from absl import flags

from benchmarks import report
from gpt_tf.common import cli
from gpt_tf.common.errors import UserError
from gpt_tf.data.manifest import LANGUAGE_MODEL, Manifest
from tests import workers

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Data folder of pipelines.build_corpus or "
                                                  "build_task.", required=True)
_KILLS = flags.DEFINE_integer("kills", 10, "Instants tried.", lower_bound=1)
_WORKERS = flags.DEFINE_integer("workers", 1, "Processes that train together.", lower_bound=1)
_INSIDE_SAVES = flags.DEFINE_bool("inside_saves", False, "Whether to wait at each instant until a "
                                  "checkpoint is being written, and kill then.")
_SEED = flags.DEFINE_integer("seed", 1, "Decides the instants.")

_RUN = ["--num_layers=2", "--num_heads=2", "--hidden_dim=64", "--intermediate_dim=128",
        "--max_sequence_length=256", "--batch_size=8", "--num_steps=60", "--learning_rate=1e-3",
        "--save_every=2", "--log_every=5", "--nojit_compile"]
_PRETRAIN = ["--warmup_steps=20", "--evaluate_every=12", "--evaluation_batches=2"]
_FINETUNE = ["--warmup_fraction=0.1", "--init_from=none", "--evaluations_per_epoch=1"]
_PATIENCE = 120.0  # seconds that the others have after one of them was killed


def _start(model_dir: str) -> list[subprocess.Popen]:
    is_text = Manifest.load(_DATA_DIR.value).kind == LANGUAGE_MODEL
    command = [sys.executable, "-m", "gpt_tf.pretrain" if is_text else "gpt_tf.finetune",
               f"--data_dir={_DATA_DIR.value}", f"--model_dir={model_dir}", *_RUN,
               *(_PRETRAIN if is_text else _FINETUNE)]
    if _WORKERS.value > 1:
        command.append("--strategy=multi_worker")
        return workers.start(command, _WORKERS.value, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    return [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)]


def _run(model_dir: str) -> float:
    """Runs to the end; returns its seconds."""
    start = time.monotonic()
    codes = [process.wait() for process in _start(model_dir)]
    if any(codes):
        raise UserError(f"The run in {model_dir} ended with {codes}.")
    return time.monotonic() - start


def _kill(model_dir: str, seconds: float, victim: int) -> tuple[float, bool] | None:
    """Kills one process after so many seconds, or in the first save after them (--inside_saves).

    Returns:
      How long the others lived on, and whether all of them ended by themselves, not with 0. None
      if the run had ended before.
    """
    processes = _start(model_dir)
    time.sleep(seconds)
    while _INSIDE_SAVES.value and not _is_saving(model_dir) and processes[victim].poll() is None:
        time.sleep(1e-4)
    if processes[victim].poll() is not None:
        for process in processes:
            process.wait()
        return None
    processes[victim].kill()
    killed = time.monotonic()
    ended_well = True
    for number, process in enumerate(processes):
        try:
            code = process.wait(timeout=max(1.0, killed + _PATIENCE - time.monotonic()))
            ended_well &= number == victim or code != 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            ended_well = False
    return time.monotonic() - killed, ended_well


def _is_saving(model_dir: str) -> bool:
    return bool(glob.glob(f"{glob.escape(model_dir)}/*/part[._]*"))


def _newest(model_dir: str) -> str:
    """The newest checkpoint's step, and whether the kill met a save."""
    names = os.listdir(folder) if os.path.isdir(folder := f"{model_dir}/checkpoints") else []
    steps = sorted(int(name[5:-6]) for name in names if name.endswith(".index"))
    in_save = ", inside a save" if _is_saving(model_dir) else ""
    return f"{steps[-1] if steps else 'none'}{in_save}"


def _weights(model_dir: str) -> dict[str, bytes]:
    import tensorflow as tf
    reader = tf.train.load_checkpoint(os.path.join(model_dir, "checkpoints"))
    return {name: reader.get_tensor(name).tobytes()
            for name in reader.get_variable_to_shape_map()
            if name.split("/")[0] in ("model", "mean", "square", "step")}


def main() -> None:
    """Prints a line for each instant, and the count of identical endings."""
    cli.import_tensorflow()
    print(report.describe_machine(["tensorflow"]))
    chance = random.Random(_SEED.value)
    good = trials = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = os.path.join(folder, "whole")
        seconds = _run(whole)
        expected = _weights(whole)
        print(f"Unbroken: {seconds:.1f} s, {len(expected)} tensors.", flush=True)
        while trials < _KILLS.value:
            model_dir = os.path.join(folder, "killed")
            shutil.rmtree(model_dir, ignore_errors=True)
            instant, victim = chance.uniform(0.0, seconds), chance.randrange(_WORKERS.value)
            killed = _kill(model_dir, instant, victim)
            if killed is None:
                seconds = instant
                continue
            trials += 1
            lived_on, ended_well = killed
            newest = _newest(model_dir)
            _run(model_dir)
            same = _weights(model_dir) == expected
            good += same and ended_well
            others = (f"; worker {victim}, the others ended after {lived_on:.1f} s"
                      f"{'' if ended_well else ', NOT WELL'}" if _WORKERS.value > 1 else "")
            print(f"Killed after {instant:5.1f} s, newest checkpoint {newest}{others}: "
                  f"{'identical' if same else 'DIFFERENT'}", flush=True)
    print(f"{good} of {_KILLS.value} ended bit-identical.")
    sys.exit(good != _KILLS.value)


if __name__ == "__main__":
    cli.run(main)
