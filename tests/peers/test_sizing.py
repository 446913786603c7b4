"""`pretrain --dry_run` by several workers, real processes over the loopback address."""

import os
import subprocess
import sys

from tests import fuzz_seeds, workers
from tests.worker_runs import wait


def test_the_chief_says_what_two_workers_would_take(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    fuzz_seeds.corpus_data(tmp_path / "data")
    (tmp_path / "temp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temp"))
    (chief, said), (other, nothing) = wait(workers.start(
        [sys.executable, "-m", "gpt_tf.pretrain", "--strategy=multi_worker", "--dry_run",
         f"--data_dir={tmp_path}/data", f"--model_dir={tmp_path}/run", "--num_layers=1",
         "--num_heads=2", "--hidden_dim=8", "--intermediate_dim=16", "--max_sequence_length=0",
         "--batch_size=4", "--num_steps=10", "--nojit_compile"],
        2, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    assert (chief, other) == (0, 0), said + nothing
    assert "\nthe run, on 2 devices" in said and "\non 4 devices" in said
    assert len(nothing.splitlines()) == 1  # that it waits for the others
    assert sorted(os.listdir(tmp_path)) == ["data", "temp"] and not os.listdir(tmp_path / "temp")
