"""benchmarks/gpu on this machine's CPU: JAX trains as TensorFlow does, and the weights come back.

Needs requirements-peers.txt (`make test-peers`).
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("jax", reason="needs requirements-peers.txt")

from benchmarks.gpu import arithmetic, initial, packed
from gpt_tf.data.batches import train_batches
from gpt_tf.runs import checkpoint_files, weights
from tests import corpora
from tests.commands import run_command

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
build_fixture = corpora.build_fixture
_ROOT = pathlib.Path(__file__).parents[2]
_STEPS = 8
_FLAGS = ("--num_layers=2", "--num_heads=2", "--hidden_dim=16", "--intermediate_dim=32",
          "--initializer_range=0.1", "--batch_size=4", f"--num_steps={_STEPS}",
          "--learning_rate=0.01", "--warmup_steps=2", "--seed=5")


def _start(*arguments):
    """`benchmarks.gpu.there` in a process without TensorFlow and what tokenizes."""
    code = ("import runpy, sys; "
            "sys.modules |= dict.fromkeys(['tensorflow', 'tokenizers', 'ftfy', 'spacy']); "
            "runpy.run_module('benchmarks.gpu.there', run_name='__main__')")
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], cwd=_ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "JAX_PLATFORMS": "cpu"})


def _there(*arguments):
    """What `benchmarks.gpu.there` prints."""
    with _start(*arguments) as process:
        printed, errors = process.communicate()
    assert process.returncode == 0, errors
    return printed


def test_training_there_is_training_here(build, tmp_path):
    build({f"{i}.txt": corpora.make_text(i, 30) for i in range(8)}, validation_fraction=0.2)
    data, step, out = tmp_path / "data", tmp_path / "step", tmp_path / "out"
    done = run_command("benchmarks.gpu.export", *_FLAGS, f"--data_dir={data}",
                       f"--output_dir={step}", "--parts=2")
    assert done.code == 0, done.stderr
    apart = tmp_path / "apart"  # a part may come by itself
    apart.mkdir()
    (step / "tokens-1.xz").rename(apart / "tokens-1.xz")
    printed = _there("train", step, "--data", step, apart, f"--num_steps={_STEPS}",
                     "--log_every=1", "--output", out, "--updates=2",
                     "--checkpoints_per_decade=1")
    losses = [float(loss) for loss in re.findall(r"update \d+  loss (\S+)", printed)]

    here, there = tmp_path / "here", tmp_path / "there"
    done = run_command("gpt_tf.pretrain", *_FLAGS, f"--data_dir={data}", f"--model_dir={here}",
                       "--log_every=1")
    assert done.code == 0, done.stderr
    rows = map(json.loads, (here / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    expected = [row["train/loss"] for row in rows if "train/loss" in row]
    np.testing.assert_allclose(losses, expected, atol=1e-4)  # it prints four digits
    assert max(expected) - min(expected) > 0.05  # it learnt

    done = run_command("benchmarks.gpu.bring_back", f"--input={out}", f"--data_dir={data}",
                       f"--model_dir={there}")
    assert done.code == 0, done.stderr
    ours, its = (weights.load_model(str(run), weights="newest")[0] for run in (here, there))
    for variable, other in zip(ours.trainable_variables, its.trainable_variables, strict=True):
        if variable.path.endswith("key/bias"):
            continue  # its gradient is zero, and Adam magnifies the rounding
        difference = np.linalg.norm(variable.numpy() - other.numpy())
        assert difference < 1e-5 * np.linalg.norm(variable.numpy()), variable.path
    assert checkpoint_files.steps(str(there / "checkpoints")) == [1, _STEPS]
    done = run_command("gpt_tf.evaluate", f"--model_dir={there}", f"--data_dir={data}")
    assert done.code == 0, done.stderr


def test_a_training_that_is_stopped_leaves_its_weights(build, tmp_path):
    build({f"{i}.txt": corpora.make_text(i, 30) for i in range(8)})
    step, out, data = tmp_path / "step", tmp_path / "out", tmp_path / "data"
    exported = ("benchmarks.gpu.export", *_FLAGS, f"--data_dir={data}")
    assert run_command(*exported, f"--output_dir={step}").code == 0
    with _start("train", step, "--data", step, "--num_steps=1000000", "--log_every=1", "--output",
                out, "--updates=1", "--checkpoints_per_decade=1") as process:
        for line in process.stdout:
            if line.startswith("update 12 "):
                process.send_signal(signal.SIGTERM)
                break
        rest, errors = process.communicate()
    assert process.returncode == 0, errors
    (stopped,) = re.findall(r"stopped after update (\d+) of 1000000", rest)
    described, flat = packed.read_weights(str(out))
    assert (described["updates"], described["planned"]) == (int(stopped), 10**6)
    assert described["kept"][:2] == [1, 10]
    assert max(described["kept"]) <= int(stopped) and np.isfinite(flat).all()

    (step / "tokens-0.xz").write_bytes((step / "tokens-0.xz").read_bytes()[:-9])
    with _start("train", step, "--data", step, "--num_steps=3", "--output", out) as process:
        _, errors = process.communicate()
    assert process.returncode == 1 and "Traceback" not in errors
    assert "the tokens cannot be read" in errors and "tokens-0.xz is damaged" in errors
    done = run_command(*exported, f"--output_dir={tmp_path / 'short'}", "--max_sequence_length=2")
    assert done.code == 1 and "--max_sequence_length=2: leave that to the data" in done.stderr
    assert not (tmp_path / "short").exists()


def test_tokens_and_lengths_are_unpacked(build, tmp_path):
    manifest = build({f"{i}.txt": corpora.make_text(i, 20) for i in range(6)})
    described = packed.write(str(tmp_path), str(tmp_path / "data"), manifest, "train", 3)
    token_ids, lengths = packed.read([str(tmp_path)], described)
    windows = corpora.read_windows(tmp_path / "data", "train")
    assert lengths.tolist() == list(map(len, windows))
    assert [row[:length].tolist() for row, length in zip(token_ids, lengths)] == windows
    assert next(iter(train_batches(tmp_path / "data", 2, 0)))["token_ids"].shape[1] == \
        token_ids.shape[1]
    (tmp_path / "tokens-2.xz").unlink()
    with pytest.raises(FileNotFoundError, match="tokens-2.xz"):
        packed.read([str(tmp_path)], described)


@pytest.mark.parametrize("shape", [[7], [3, 5], [64, 33]])
def test_normal_numbers_are_tensorflows(shape):
    expected = tf.random.stateless_normal(shape, [2**31 - 3, 0])
    np.testing.assert_allclose(initial.normal(shape, 2**31 - 3), expected, rtol=2e-5, atol=2e-6)


def test_share_of_the_peak_by_hand():
    # N = 12 (4 768^2 + 2 768 3072) + 40,478 768 = 116,021,760
    by_hand = 6 * 116_021_760 + 12 * 12 * 768 * 512
    figures = arithmetic.figures({"model": {}, "sequence_length": 512}, 64, 0.1, "H100")
    assert figures["tokens_per_second"] == 327_680
    assert figures["share_of_peak"] == pytest.approx(327_680 * by_hand / 989e12)


def test_what_is_no_result_is_told(build, tmp_path):
    build({f"{i}.txt": corpora.make_text(i, 20) for i in range(6)})
    done = run_command("benchmarks.gpu.bring_back", f"--input={tmp_path}",
                       f"--data_dir={tmp_path / 'data'}", f"--model_dir={tmp_path / 'run'}")
    assert done.code == 1 and "weights.json" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
    (tmp_path / "weights.json").write_text("{}")
    done = run_command("benchmarks.gpu.bring_back", f"--input={tmp_path}",
                       f"--data_dir={tmp_path / 'data'}", f"--model_dir={tmp_path / 'run'}")
    assert done.code == 1 and "weights.json is damaged" in done.stderr
    for module, flag in (("bring_back", "model_dir"), ("export", "output_dir")):
        values = [f"--input={tmp_path}"] * (module == "bring_back")
        done = run_command(f"benchmarks.gpu.{module}", *values, f"--data_dir={tmp_path / 'data'}",
                           f"--{flag}={tmp_path / 'data'}")
        assert done.code == 1 and "exists: name a folder" in done.stderr, done.stderr
    assert (tmp_path / "data" / "manifest.json").exists()
