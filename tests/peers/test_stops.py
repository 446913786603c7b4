"""More ways to stop processes that train than the default tier tries, and a worker that hangs."""

import signal

from tests import corpora, test_finetune_command, test_workers
from tests.test_workers import LONG, start, until, wait

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
folder_fixture = test_finetune_command.folder_fixture
data_fixture = test_workers.data_fixture


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
