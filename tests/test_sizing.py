"""`pretrain --dry_run`: what it says by hand, and that nothing is left of it."""

import errno
import os
import re
import signal
import tempfile
import types

import pytest

from gpt_tf.common.errors import Interrupted
from gpt_tf.config import ModelConfig, TrainingConfig
from gpt_tf.runs import checkpoint_files
from gpt_tf.training import memory, pretraining, products, sizing
from tests import corpora, fuzz_seeds
from tests.commands import run_command
from tests.runs import make_model, make_run

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
SHAPE = ["--num_layers=1", "--num_heads=2", "--hidden_dim=8", "--intermediate_dim=16",
         "--max_sequence_length=0", "--batch_size=4", "--num_steps=10"]


def config(records=50, validation=17, probed=(), **training):
    """What the rows are made of: a model of 600 parameters in each block, windows of 16 tokens."""
    splits = {"train": types.SimpleNamespace(records=records, tokens=records * 12),
              "validation": types.SimpleNamespace(records=validation)}
    training = TrainingConfig(batch_size=4, **training)
    return types.SimpleNamespace(
        model=ModelConfig(10, 1, num_layers=3, num_heads=2, hidden_dim=8, intermediate_dim=16,
                          max_sequence_length=20),
        training=training, total_steps=training.total_steps(records), validates=validation > 0,
        data=types.SimpleNamespace(manifest=types.SimpleNamespace(
            sequence_length=16, splits=splits)),
        probe_manifests={str(count): types.SimpleNamespace(
            splits={"validation": types.SimpleNamespace(records=count)}) for count in probed})


def values(rows):
    return {row.what.strip(): row.value for row in rows}


def test_a_run_by_hand():
    assert values(sizing.model_rows(config())) == {
        "parameters": "2,048", "blocks": "1,800", "token table": "88", "position table": "160",
        # 6 (3 x (4 x 64 + 2 x 128) + 88) + 12 x 3 x 8 x 16
        "FLOPs a token": "14,352"}
    found = sizing.token_rows(config(num_steps=100))
    assert values(found) == {"tokens of the run": "6,400", "passes over the data": "8.00"}
    assert found[1].note == "of 50 windows, 25% of them padding"
    assert values(sizing.token_rows(config(num_epochs=2)))["tokens of the run"] == "1,600"


def test_memory_is_its_parts():
    micro_batches = memory.MicroBatches(8, 2, {"a": 3 << 20, "b": 2 << 20, "c": 0}, 2 << 30)
    assert list(map(str, sizing.memory_rows(micro_batches))) == [
        "memory of a device                  5.0 MiB   estimated, of 2.0 GiB; 2 of 8 sequences at "
        "once",
        "  a                                 3.0 MiB",
        "  b                                 2.0 MiB"]


TIMINGS = sizing.Timings(updates=9, update=2.0, start=10.0, validation=5.0, batch=3.0, best=0.5,
                         save=1.0, peak=1e6)


def test_the_rate_by_hand():
    found = values(sizing.rate_rows(config(), TIMINGS))  # 4 x 16 tokens of 14,352 FLOP in 2 s
    assert found == {"tokens a second": "32", "share of peak": "46%"}


@pytest.mark.parametrize("values_, validations, saves, updates", [
    # 17 windows are 5 batches. Of 100 updates, validated at 30, 60, 90 and the end: 4 times 2
    # batches, and all at the end; saved at 50 and 100.
    (dict(evaluate_every=30, evaluation_batches=2, save_every=50), (4, 4 * 2 + 5), 2, 100),
    (dict(evaluate_every=50, save_every=1000), (2, 2 * 5), 1, 100),  # the last is of all anyway
    (dict(evaluate_every=0, evaluation_batches=9, save_every=99), (1, 5), 2, 100),
    # Beside 50 and 100, updates 1 and 10.
    (dict(evaluate_every=0, save_every=50, checkpoints_per_decade=1), (1, 5), 4, 100)], ids=str)
def test_the_duration_by_hand(values_, validations, saves, updates):
    rows = sizing.duration_rows(config(num_steps=updates, **values_), TIMINGS, devices=1)
    times, batches = validations
    rest = times * (5.0 - 3.0 + 0.5)
    divided, others = 2.0 * updates + 3.0 * batches, 10 + rest + saves
    assert [(row.what.strip(), row.value) for row in rows] == [
        ("the run, on 1 device", sizing.duration(divided + others)),
        ("start, compilation", "10.0 seconds"), ("updates", sizing.duration(2.0 * updates)),
        ("validations", sizing.duration(3.0 * batches + rest)), ("saves", f"{saves:.1f} seconds"),
        ("on 2 devices", sizing.duration(divided / 2 + others)),
        ("on 4 devices", sizing.duration(divided / 4 + others))]  # 8 do not divide a batch of 4


def test_the_duration_of_probes_by_hand():
    # 2 validations of 3 batches, and of 3 and 1 of the probed; at the end 5 more, and of the
    # probed those 5 of their 8 that were left out.
    rows = sizing.duration_rows(config(num_steps=100, probed=[30, 4], evaluate_every=50,
                                       evaluation_batches=3, save_every=100), TIMINGS, devices=1)
    assert values(rows)["validations"] == sizing.duration(
        3.0 * (2 * (3 + 3 + 1) + 5 + 5) + 2 * (5.0 - 3 * 3.0 + 0.5))


def test_nothing_to_validate_on():
    rows = sizing.duration_rows(config(num_steps=5, validation=0), TIMINGS, devices=4)
    assert [row.what.strip() for row in rows] == ["the run, on 4 devices", "start, compilation",
                                                  "updates", "saves"]


def test_durations_as_they_are_read():
    assert [sizing.duration(seconds) for seconds in (3.21, 119, 130, 7000, 7300, 9e5)] == [
        "3.2 seconds", "119.0 seconds", "2.2 minutes", "116.7 minutes", "2.0 hours", "250.0 hours"]


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
            for path in sorted(folder.rglob("*"))}


@pytest.fixture(name="folder")
def folder_fixture(tmp_path, monkeypatch, tokenizer):
    """data/ and another run in run/; no temporary folder is left beside it."""
    (tmp_path / "here" / "data").mkdir(parents=True)
    fuzz_seeds.corpus_data(tmp_path / "here" / "data")
    make_run(tmp_path / "here" / "run", tokenizer, {1: make_model(tokenizer.vocabulary_size)})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path / "here"
    # TensorFlow's own files go when the process ends.
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["here"]


def test_the_command_leaves_nothing_behind(folder, monkeypatch):
    monkeypatch.setattr(sizing, "_SECONDS", 0.0)
    monkeypatch.setattr(products, "_SECONDS", 0.0)
    # It takes long to compile.
    monkeypatch.setattr(pretraining.LanguageModelValidation, "_report_samples",
                        lambda self, step: None)
    before = contents(folder)
    done = run_command("gpt_tf.pretrain", "--data_dir=data", "--model_dir=run", *SHAPE,
                       "--strategy=mirrored", "--nojit_compile", "--dry_run", cwd=folder)
    assert done.code == 0, done.stderr
    assert contents(folder) == before
    first, *lines = done.stdout.splitlines()
    assert first.startswith("CPU, ") and first.endswith("2 replicas, float32.")
    # All values end in one column.
    assert all(re.fullmatch(r".{28} .{13}\S(   \S.*)?", line) for line in lines), lines
    named = {line[:28].strip(): line[29:43].strip() for line in lines}
    assert {"weights", "LM softmax", "gradients", "tokens a second", "share of peak",
            "validations", "on 4 devices"} <= set(named)
    assert named["tokens of the run"] == f"{10 * 4 * fuzz_seeds.LENGTH:,}"
    assert "measured: 3 updates" in done.stdout and "the run, on 2 devices" in done.stdout


def test_a_model_too_large_ends_before_anything_is_compiled(folder):
    before = contents(folder)
    done = run_command("gpt_tf.pretrain", "--data_dir=data", "--model_dir=new", *SHAPE[:2],
                       "--hidden_dim=200000", "--max_sequence_length=0", "--dry_run", cwd=folder)
    assert done.code == 1 and "compiling" not in done.stderr
    assert re.search(r"\n  Adam's moments +[\d.]+ TiB\n", done.stdout)
    assert re.search(r"error: One sequence of \d+ tokens at a time would take about [\d.]+ TiB of "
                     "memory", done.stderr)
    assert contents(folder) == before


def test_no_room_for_the_save_that_is_timed(folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sizing, "_SECONDS", 0.0)
    monkeypatch.setattr(pretraining.LanguageModelValidation, "_report_samples",
                        lambda self, step: None)
    monkeypatch.setattr(checkpoint_files, "publish", full)
    done = run_command("gpt_tf.pretrain", "--data_dir=data", "--model_dir=new", *SHAPE,
                       "--nojit_compile", "--dry_run", cwd=folder)
    assert done.code == 1
    assert (f"saves in {folder.parent}, to see how long that takes, and cannot (No space "
            "left on device): name a folder with more room in the environment variable TMPDIR"
            ) in done.stderr


def test_a_signal_removes_the_folder_too():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as raised, sizing._temporary_folder() as folder:
        assert os.path.isdir(folder)
        os.kill(os.getpid(), signal.SIGTERM)
    assert raised.value.number == signal.SIGTERM and not os.path.exists(folder)
    assert signal.getsignal(signal.SIGTERM) == before
