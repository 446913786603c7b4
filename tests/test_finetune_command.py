"""python -m gpt_tf.finetune as users type it: a run, its resumption, its flags."""

import json
import re
import signal
import subprocess
import time

import pytest

from tests import corpora, task_data
from tests.commands import run_command
from tests.test_commands import run, start
from tests.test_finetuning import assert_same_tensors, make_run

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
FLAGS = ["--batch_size=8", "--num_epochs=3", "--learning_rate=1e-2", "--save_every=5",
         "--log_every=1", "--evaluations_per_epoch=2", "--nojit_compile"]


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory, tokenizer):
    """pretrained/, data/ and the whole run/."""
    folder = tmp_path_factory.mktemp("finetune")
    make_run(folder / "pretrained", tokenizer, num_layers=1, dropout=0.05)
    task_data.write(str(folder / "data"), tokenizer, task_data.TASKS["classification"], shortest=2)
    out, _ = finetune(folder, "run")
    assert "24 updates" in out and "validation/accuracy" in out
    assert f"python -m gpt_tf.evaluate --model_dir={folder}/run --data_dir={folder}/data" in out
    rows = re.search(rf"(printf .*) \| python -m gpt_tf.predict --model_dir={folder}/run\n", out)[1]
    shown = subprocess.run(rows, shell=True, text=True, capture_output=True, check=True).stdout
    assert run_command("gpt_tf.predict", f"--model_dir={folder}/run", stdin=shown).code == 0
    return folder


def command(folder, name, *flags):
    return ("gpt_tf.finetune", f"--data_dir={folder}/data", f"--model_dir={folder}/{name}",
            f"--init_from={folder}/pretrained", *FLAGS, *flags)


def finetune(folder, name, *flags, code=0):
    return run(*command(folder, name, *flags), code=code)


def test_what_a_run_leaves(folder):
    names = {path.name for path in (folder / "run").iterdir()}
    assert {"model.json", "task.json", "finetune.flags", "metrics.jsonl", "checkpoints",
            "best"} <= names
    assert any(name.startswith("events.out.tfevents.") for name in names)
    model = json.loads((folder / "run" / "model.json").read_text())
    before = json.loads((folder / "pretrained" / "model.json").read_text())
    assert model == before | {"num_special_tokens": 3}
    flags = (folder / "run" / "finetune.flags").read_text()
    assert "--num_layers=1\n" in flags and "--dropout=0.05\n" in flags
    assert "--warmup_fraction=0.002\n" in flags and "warmup_steps" not in flags
    # The resolved flagfile is the same command again.
    out, _ = run("gpt_tf.finetune", f"--flagfile={folder}/run/finetune.flags", "--device=cpu")
    assert re.match(r"CPU, \d+ cores?, float32\.\n\S*run is finished: 24 updates", out)


def stop_and_go_on(folder, number):
    """Stops a run at its first checkpoint by a signal; goes on, and compares with the whole run."""
    name = f"stopped-{number.value}"
    process = start(*command(folder, name))
    while not list((folder / name).glob("checkpoints/*.index")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), err
    finetune(folder, name)
    for part in ("best", "checkpoints"):
        assert_same_tensors(folder / "run" / part, folder / name / part)


def test_killed_at_any_instant_it_ends_bit_identical(folder):
    stop_and_go_on(folder, signal.SIGKILL)


def test_several_seeds_from_scratch(folder):
    flags = ("--init_from=none", "--num_layers=1", "--num_heads=2", "--hidden_dim=16",
             "--intermediate_dim=32", "--max_sequence_length=0", "--dropout=0.3", "--seed=7",
             "--num_epochs=1", "--num_runs=2")
    out, _ = finetune(folder, "seeds", *flags)
    assert "seed 7" in out and "seed 8" in out and "median" in out
    runs = json.loads((folder / "seeds" / "runs.json").read_text())["runs"]
    assert [each["seed"] for each in runs] == [7, 8]
    text = (folder / "seeds" / "run-8" / "finetune.flags").read_text()
    assert "--seed=8\n" in text and f"--model_dir={folder}/seeds/run-8\n" in text
    model = json.loads((folder / "seeds" / "run-7" / "model.json").read_text())
    assert (model["dropout"], model["max_sequence_length"]) == (0.3, 24)


@pytest.mark.parametrize("flags, message", [
    (["--hidden_dim=64"], "--hidden_dim=64, but the model of .*pretrained has hidden_dim 16"),
    (["--attention_dropout=1.5"], "--attention_dropout=1.5"),
    (["--strategy=multi_worker", "--worker_timeout=-1"],
     "--worker_timeout=-1.0 must be at least 0"),
    (["--lm_coef=0"], "holds a run with --lm_coef=0.5"),
    (["--attention_dropout=0"], "holds a run with --attention_dropout=0.1"),
    (["--init_from={folder}/nothing"], "nothing: no such folder; check the path"),
    (["--data_dir={folder}/pretrained"], "not a finished data folder"),
], ids=str)
def test_flags_that_do_not_fit(folder, flags, message):
    error = finetune(folder, "run", *(flag.format(folder=folder) for flag in flags), code=1)[1]
    assert re.search(message, error), error
