"""The commands as users type them, on a small corpus: text in, model out, and every mistake."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.runs import weights
from gpt_tf.tokenizer import Tokenizer
from tests import disks, generators
from tests.commands import Done, run_command

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHAPE = ["--num_layers=1", "--num_heads=2", "--hidden_dim=32", "--intermediate_dim=64",
         "--max_sequence_length=0", "--batch_size=8", "--num_steps=12", "--warmup_steps=2",
         "--learning_rate=1e-2", "--log_every=2", "--save_every=3", "--evaluate_every=5"]
COMMANDS = ["gpt_tf.pretrain", "gpt_tf.finetune", "gpt_tf.evaluate", "gpt_tf.generate",
            "gpt_tf.predict", "gpt_tf.zero_shot", "gpt_tf.report", "gpt_tf.convert",
            "gpt_tf.export", "pipelines.stories", "pipelines.story_tasks", "pipelines.train_bpe",
            "pipelines.build_corpus", "pipelines.build_task"]


def start(module, *flags):
    return subprocess.Popen([sys.executable, "-m", module, *map(str, flags)], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(module, *flags, code=0):
    """Runs a command in this process and returns what it printed, (stdout, stderr)."""
    return check(run_command(module, *flags, cwd=ROOT), code)


def run_process(module, *flags, code=0):
    """Runs a command as a process of its own, as users do, for each has to start as one."""
    process = start(module, *flags)
    out, err = process.communicate(timeout=300)
    return check(Done(process.returncode, out, err), code)


def check(done, code):
    assert done.code == code, done.stdout + done.stderr
    if code:
        assert "Traceback" not in done.stderr, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """stories.jsonl, bpe/, data/ and run/, made by the commands."""
    folder = tmp_path_factory.mktemp("commands")
    run_process("pipelines.stories", f"--output={folder}/stories.jsonl", "--megabytes=0.2")
    run_process("pipelines.train_bpe", f"--input={folder}/stories.jsonl",
                f"--output_dir={folder}/bpe", "--num_merges=300")
    run_process("pipelines.build_corpus", f"--input={folder}/stories.jsonl",
                f"--tokenizer={folder}/bpe", f"--output_dir={folder}/data", "--sequence_length=32")
    out, _ = run_process(*pretraining(folder, "run"))
    assert "is finished: 12 updates" in out
    assert re.match(r"CPU, \d+ cores?, float32\.\n[\d,]+ parameters", out)
    # The prompt is the data's own text.
    assert re.search(r"Next: python -m gpt_tf.generate --model_dir=\S+ --prompt='?(\w+ )*\w+", out)
    return folder


def pretraining(folder, name, *flags, data="data"):
    return ("gpt_tf.pretrain", f"--data_dir={folder}/{data}", f"--model_dir={folder}/{name}",
            *SHAPE, *flags)


def pretrain(folder, name, *flags, code=0, data="data"):
    return run(*pretraining(folder, name, *flags, data=data), code=code)


def saved_weights(folder, name, kind="checkpoints"):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(f"{folder}/{name}/{kind}"))
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()
            if "VARIABLE_VALUE" in key and not key.startswith("save_counter")}


def assert_same_weights(folder, one, two):
    for kind in ("checkpoints", "best"):
        first, second = saved_weights(folder, one, kind), saved_weights(folder, two, kind)
        assert first.keys() == second.keys()
        for name, value in first.items():
            np.testing.assert_array_equal(value, second[name], err_msg=f"{kind}: {name}")


def test_what_a_run_leaves(folder):
    run_folder = folder / "run"
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    train = [row for row in rows if "train/loss" in row]
    assert [row["step"] for row in train][:3] == [2, 3, 4]
    assert train[-1]["train/loss"] < train[0]["train/loss"]
    assert rows[-1]["step"] == 12 and rows[-1]["validation/bits_per_byte"] > 0
    flags = (run_folder / "pretrain.flags").read_text()
    # Positions are the data's, and the flagfile says how many.
    assert "--learning_rate=0.01\n" in flags and "--max_sequence_length=32\n" in flags
    assert json.loads((run_folder / "model.json").read_text())["max_sequence_length"] == 32
    assert list(run_folder.glob("events*"))
    assert len(list((run_folder / "checkpoints").glob("*.index"))) == 3


def test_killed_at_any_instant_it_ends_bit_identical(folder):
    process = start(*pretraining(folder, "killed"))
    while not list((folder / "killed").glob("checkpoints/*.index")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    pretrain(folder, "killed")
    assert_same_weights(folder, "run", "killed")


def test_sigterm_saves_and_says_so(folder):
    flags = ("--num_steps=60", "--save_every=1000", "--evaluate_every=0", "--nojit_compile")
    process = start(*pretraining(folder, "term", *flags))
    metrics = folder / "term" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "Saved at update" in err and "goes on from there" in err
    pretrain(folder, "term", *flags)
    pretrain(folder, "whole", *flags)
    assert_same_weights(folder, "whole", "term")


def test_going_on_from_weights(folder):
    flags = [flag for flag in SHAPE if flag.startswith(("--batch", "--log"))]
    started = (f"--data_dir={folder}/data", f"--model_dir={folder}/further",
               f"--init_from={folder}/run", *flags, "--num_steps=1", "--learning_rate=1e-6",
               "--warmup_steps=0", "--dropout=0.2", "--nojit_compile")
    run("gpt_tf.pretrain", *started)
    before, after = saved_weights(folder, "run"), saved_weights(folder, "further")
    for name, value in before.items():
        if name.startswith("model/"):
            change = np.abs(after[name] - value).max()
            assert change <= 1.1e-6, name
    text = (folder / "further" / "pretrain.flags").read_text()
    assert {"--num_layers=1", "--dropout=0.2", "--max_sequence_length=32"} <= set(text.split())
    error = run("gpt_tf.pretrain", *started, "--num_heads=4", code=1)[1]
    assert "num_heads 2: leave the flag out" in error


def test_a_finished_run_stays_as_it_is(folder):
    before = saved_weights(folder, "run")
    out, _ = pretrain(folder, "run")
    assert "is finished" in out
    after = saved_weights(folder, "run")
    assert all((before[name] == value).all() for name, value in after.items())


def test_evaluate(folder):
    out, _ = run("gpt_tf.evaluate", f"--model_dir={folder}/run", f"--data_dir={folder}/data",
                 "--trigram")
    rows = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    perplexity = json.loads(rows[-1])["validation/perplexity"]
    found = float(out.split("perplexity")[1].split()[0])
    # Other batches than in training: the sum is taken in another order.
    assert found == pytest.approx(perplexity, rel=1e-4)
    assert float(out.split("trigram perplexity")[1].split()[0]) > 1


def test_generate(folder):
    flags = (f"--model_dir={folder}/run", "--prompt=One morning", "--max_new_tokens=20")
    tokenizer = Tokenizer.load(f"{folder}/run")
    prompt = tokenizer.encode("One morning")
    model, _ = weights.load_model(f"{folder}/run")
    new, = generators.make(model, 20, seed=1)([prompt])
    out, _ = run_process("gpt_tf.generate", *flags, "--seed=1")
    assert out == tokenizer.decode(prompt + new) + "\n" and len(new) == 20
    greedy, = generators.make(model, 20, temperature=0.0)([prompt])
    assert greedy != new
    out, _ = run("gpt_tf.generate", *flags, "--temperature=0", "--seed=5")
    assert out == tokenizer.decode(prompt + greedy) + "\n"


def test_generate_from_a_file(folder, tmp_path):
    (tmp_path / "prompts.txt").write_text(
        "One morning\nThe dog of Tom\n\nOne morning\n\n\u4f60\u597d, Tom\n\n")
    flags = (f"--model_dir={folder}/run", "--max_new_tokens=10")
    out, err = run("gpt_tf.generate", *flags, f"--prompts_file={tmp_path}/prompts.txt",
                   "--num_samples=2", "--batch_size=3", "--log_probabilities")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["prompt"], line["sample"]) for line in lines] == [
        (number, sample) for number in (1, 2, 4, 6) for sample in (0, 1)]
    assert lines[0]["text"] == lines[4]["text"] != lines[1]["text"]
    assert lines[0]["text"] + "\n" == run("gpt_tf.generate", *flags, "--prompt=One morning")[0]
    assert sum(lines[2]["log_probabilities"]) == pytest.approx(lines[2]["log_probability"])
    assert len(lines[2]["token_ids"]) == 10
    assert f"{tmp_path}/prompts.txt, line 6: the vocabulary lacks 2 of its characters" in err
    assert err.count("lacks") == 1


def test_generate_says_what_is_wrong(folder, tmp_path):
    (tmp_path / "prompts.txt").write_text("a word\n" + "a word " * 40)
    flags = (f"--model_dir={folder}/run", f"--prompts_file={tmp_path}/prompts.txt")
    _, err = run("gpt_tf.generate", *flags, code=1)
    assert "prompts.txt, line 2 cannot be continued" in err and "32 positions" in err
    assert "say two things" in run("gpt_tf.generate", *flags, "--prompt=a", code=1)[1]


@pytest.mark.parametrize("module", COMMANDS)
def test_help_is_quick_and_says_what(module):
    process = subprocess.run([sys.executable, "-X", "importtime", "-m", module, "--help"],
                             cwd=ROOT, text=True, capture_output=True, check=True)
    assert "--" in process.stdout and f"python -m {module}" in process.stdout
    # What takes seconds to import; a clock would measure the machine's other work.
    imported = {line.split("|")[-1].strip() for line in process.stderr.splitlines()}
    assert "absl.flags" in imported
    assert not imported & {"tensorflow", "keras", "spacy"}


@pytest.mark.parametrize("module, flags, message", [
    ("pretrain", ["--data_dir=daat", "--model_dir=x"], "daat: no such folder; did you mean data?"),
    ("pretrain", ["--data_dir=data", "--model_dir=run"], "holds a run with"),
    ("pretrain", ["--data_dir=data", "--model_dir=x", "--init_from=rum"], "did you mean run?"),
    ("pretrain", ["--data_dir=data", "--model_dir=x", "--max_sequence_length=8"], "windows of 32"),
    ("pretrain", ["--data_dir=data", "--model_dir=x", "--init_from="], "--init_from must be given"),
    ("pretrain", ["--data_dir=data", "--model_dir=gpt_tiny_en"], "name another, as runs/gpt_tiny"),
    ("finetune", ["--data_dir=data", "--model_dir=x", "--init_from=run"], "fine-tuning needs"),
    ("generate", ["--model_dir=rum", "--prompt=a"], "did you mean run?"),
    ("generate", ["--model_dir=bpe", "--prompt=a"], "it is not a run folder"),
    ("generate", ["--model_dir=run", "--prompts_file=none"], "Cannot read none"),
    ("generate", ["--model_dir=run", "--prompt=a", "--top_p=2"], "--top_p=2.0 must be"),
    ("generate", ["--model_dir=run", "--prompt=a", "--stop="], "--stop= is empty"),
    ("evaluate", ["--model_dir=rum", "--data_dir=data"], "did you mean run?"),
    ("evaluate", ["--model_dir=run", "--data_dir=data", "--split=tset"],
     "no records for split 'tset'"),
    ("evaluate", ["--model_dir=run", "--text=none.txt"], "no file matches 'none.txt'"),
    ("evaluate", ["--model_dir=run", "--data_dir=data", "--predictions=data/manifest.json"],
     "--predictions=data/manifest.json is there and holds no predictions: name another file"),
    ("zero_shot", ["--model_dir=run", "--data_dir=data", "--predictions=data/manifest.json"],
     "holds no predictions"),
    ("predict", ["--model_dir=run"], "it is not a fine-tuned run"),
    ("zero_shot", ["--model_dir=run", "--data_dir=data"], "holds data of kind"),
    ("export", ["--model_dir=rum", "--output_dir=x"], "did you mean run?"),
    ("convert", ["--to=openai", "--input=rum", "--output_dir=x"], "did you mean run?"),
    ("convert", ["--to=openai", "--input=run", "--output_dir=data"], "holds other files"),
    ("convert", ["--from=openai", "--input=gpt_tiny_en", "--output_dir=x"],
     "gpt_tiny_en is in the layout of huggingface: give --from=huggingface")])
def test_a_mistake_is_told_before_tensorflow_is_imported(folder, monkeypatch, module, flags,
                                                        message):
    def fail():
        raise AssertionError("TensorFlow's import takes seconds")

    monkeypatch.setattr("gpt_tf.common.cli.import_tensorflow", fail)
    assert message in check(run_command(f"gpt_tf.{module}", *flags, cwd=folder), 1)[1]


@pytest.mark.parametrize("flags, message", [
    (["--learning_rate=2e-2"], "holds a run with --learning_rate=0.01"),
    (["--seed=3"], "holds a run with --seed=0"),
    (["--dtype=tf32"], "holds a run with --dtype=float32"),
    (["--hidden_dim=64"], "holds a run with --hidden_dim=32"),
    (["--max_sequence_length=16"], "windows of 32 tokens and --max_sequence_length=16: leave that"),
    (["--max_sequence_length=-1"], "--max_sequence_length=-1 must be at least 1"),
    (["--num_heads=5"], "multiple of"),
    (["--micro_batch_size=3"], "--micro_batch_size=3 must divide"),
    (["--dropout=1.5"], "--dropout=1.5"),
    (["--worker_timeout=-1"], "--worker_timeout=-1.0 must be at least 0"),
], ids=str)
def test_flags_that_do_not_fit(folder, flags, message):
    assert message in pretrain(folder, "run", *flags, code=1)[1]


@pytest.mark.parametrize("flags, message", [
    (["--no_such_flag=1"], "no_such_flag"), (["--num_layers=x"], "num_layers"),
    (["word"], "'word' is not a flag"), (["--strategy=tpu"], "one_device|mirrored")], ids=str)
def test_flags_that_do_not_parse(folder, flags, message):
    assert message in pretrain(folder, "run", *flags, code=2)[1]


def copy_data(folder, name):
    shutil.copytree(folder / "data", folder / name)
    return folder / name


def test_no_manifest(folder):
    (copy_data(folder, "unfinished") / "manifest.json").unlink()
    assert "No manifest.json in" in pretrain(folder, "x", data="unfinished", code=1)[1]


def test_truncated_shard(folder):
    shard = copy_data(folder, "truncated") / "train-00000.tfrecord"
    os.truncate(shard, shard.stat().st_size // 2)
    error = pretrain(folder, "y", data="truncated", code=1)[1]
    assert "truncated/train-00000.tfrecord" in error


def test_altered_shard(folder):
    shard = copy_data(folder, "altered") / "train-00000.tfrecord"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    error = pretrain(folder, "z", "--num_epochs=2", "--num_steps=0", "--nojit_compile",
                     data="altered", code=1)[1]
    assert "altered/train-00000.tfrecord" in error and "record" in error


def test_other_tokenizer(folder):
    run("pipelines.train_bpe", f"--input={folder}/stories.jsonl", f"--output_dir={folder}/bpe2",
        "--num_merges=200")
    run("pipelines.build_corpus", f"--input={folder}/stories.jsonl", f"--tokenizer={folder}/bpe2",
        f"--output_dir={folder}/data2", "--sequence_length=32")
    error = run("gpt_tf.evaluate", f"--model_dir={folder}/run", f"--data_dir={folder}/data2",
                code=1)[1]
    assert "another tokenizer" in error
    assert "other data" in pretrain(folder, "run", data="data2", code=1)[1]
    assert "another tokenizer than" in pretrain(
        folder, "other", f"--init_from={folder}/run", data="data2", code=1)[1]


def test_run_folders_that_are_none(folder, tmp_path):
    for module, flag in (("gpt_tf.generate", "--prompt=a"),
                         ("gpt_tf.evaluate", f"--data_dir={folder}/data")):
        error = run(module, f"--model_dir={tmp_path}", flag, code=1)[1]
        assert str(tmp_path) in error


def test_a_second_run_on_the_folder_is_refused(folder):
    import fcntl
    (folder / "owned").mkdir()
    with open(folder / "owned" / ".lock", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "Another process" in pretrain(folder, "owned", code=1)[1]


def test_a_full_disk_loses_nothing(folder, tmp_path):
    with disks.mounted(tmp_path / "disk", "size=600k") as disk:
        error = run("gpt_tf.pretrain", f"--data_dir={folder}/data", f"--model_dir={disk}/run",
                    *SHAPE, "--keep_checkpoints=100", "--save_every=1", code=1)[1]
        assert "Cannot" in error and "No space left" in error
        shutil.copytree(disk / "run", folder / "full")
    pretrain(folder, "full", "--keep_checkpoints=100", "--save_every=1")
    assert_same_weights(folder, "run", "full")
