"""More ways to stop processes that train than the default tier tries, and workers that are lost."""

import shutil
import signal
import time

import pytest
import tensorflow as tf

from tests import corpora, test_finetune_command, test_workers
from tests.worker_runs import rows, run_one_device, start, wait

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
folder_fixture = test_finetune_command.folder_fixture
data_fixture = test_workers.data_fixture
LONG = ["--num_steps=200", "--evaluations_per_epoch=0", "--batch_size=8", "--micro_batch_size=0",
        "--save_every=25"]  # to be interrupted


def until(processes, condition):
    while not condition():
        assert all(process.poll() is None for process in processes), wait(processes)
        time.sleep(0.01)


def test_a_stopped_fine_tuning_ends_bit_identical(folder):
    test_finetune_command.stop_and_go_on(folder, signal.SIGTERM)


def test_a_worker_that_hangs(data, tmp_path):
    newest = tmp_path / "run" / "checkpoints" / "checkpoint"
    chief, hanging = running = start(data, tmp_path / "run", 2, *LONG)
    until(running, newest.exists)
    hanging.send_signal(signal.SIGSTOP)
    try:
        code = chief.wait(timeout=120)
    finally:
        hanging.kill()
    [(_, said), _] = wait(running)
    assert code == 1 and "Another worker of this run was lost" in said and "Traceback" not in said


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
