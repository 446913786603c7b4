"""Kills a pre-training run at random instants and compares its final weights with an unbroken one.

  python -m benchmarks.kill_and_resume --data_dir=quickstart/data --kills=10

Each trial starts `gpt_tf.pretrain` on a folder of its own, sends SIGKILL at a random instant of its
life (start-up, compilation, training, saving, validation), starts the same command again, and
compares every variable and both moments bit for bit with a run that was never killed.
"""

import os
import random
import subprocess
import sys
import tempfile
import time

from absl import flags

from gpt_tf import cli

_DATA_DIR = flags.DEFINE_string("data_dir", None, "Data folder of pipelines.build_corpus.",
                                required=True)
_KILLS = flags.DEFINE_integer("kills", 10, "Instants tried.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 1, "Decides the instants.")

_RUN = ["--num_layers=2", "--num_heads=2", "--hidden_dim=64", "--intermediate_dim=128",
        "--batch_size=8", "--num_steps=200", "--warmup_steps=20", "--learning_rate=1e-3",
        "--save_every=10", "--evaluate_every=40", "--evaluation_batches=2"]


def _command(model_dir: str) -> list[str]:
    return [sys.executable, "-m", "gpt_tf.pretrain", f"--data_dir={_DATA_DIR.value}",
            f"--model_dir={model_dir}", *_RUN]


def _run(model_dir: str) -> float:
    start = time.monotonic()
    subprocess.run(_command(model_dir), check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return time.monotonic() - start


def _kill(model_dir: str, seconds: float) -> None:
    process = subprocess.Popen(_command(model_dir), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.kill()
    process.wait()


def _saved(model_dir: str) -> list[int]:
    folder = os.path.join(model_dir, "checkpoints")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(int(name[5:-6]) for name in names if name.endswith(".index"))


def _weights(model_dir: str) -> dict[str, bytes]:
    import tensorflow as tf
    reader = tf.train.load_checkpoint(os.path.join(model_dir, "checkpoints"))
    return {name: reader.get_tensor(name).tobytes()
            for name in reader.get_variable_to_shape_map()
            if name.split("/")[0] in ("model", "mean", "square", "step")}


def main() -> None:
    """Prints a line for each instant, and the count of identical endings."""
    cli.import_tensorflow()
    instants = random.Random(_SEED.value)
    identical = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = os.path.join(folder, "whole")
        seconds = _run(whole)
        expected = _weights(whole)
        print(f"Unbroken: {seconds:.1f} s, {len(expected)} tensors.", flush=True)
        for trial in range(_KILLS.value):
            model_dir = os.path.join(folder, str(trial))
            instant = instants.uniform(0.0, seconds)
            _kill(model_dir, instant)
            saved = _saved(model_dir)
            _run(model_dir)
            same = _weights(model_dir) == expected
            identical += same
            print(f"Killed after {instant:5.1f} s, newest checkpoint "
                  f"{saved[-1] if saved else 'none'}: "
                  f"{'identical' if same else 'DIFFERENT'}", flush=True)
    print(f"{identical} of {_KILLS.value} ended bit-identical.")
    sys.exit(identical != _KILLS.value)


if __name__ == "__main__":
    cli.run(main)
