"""A run that goes on with another number of updates than it began with."""

import dataclasses
import json

import numpy as np
import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.config import OptimizerConfig
from gpt_tf.model.schedules import scheduled_rate
from gpt_tf.runs import run_folder
from tests import corpora, fuzz_seeds, task_data
from tests.commands import run_command
from tests.test_finetuning import assert_same_tensors, finetune, make_run_config

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
CONSTANT = OptimizerConfig(learning_rate=1e-2, schedule="constant")


@pytest.fixture(name="take", scope="module")
def take_fixture(tmp_path_factory, tokenizer):
    """Takes a run of fine-tuning, of 4 updates an epoch, to its end; returns its folder."""
    folder = tmp_path_factory.mktemp("length")
    data = task_data.write(str(folder / "data"), tokenizer, task_data.TASKS["classification"])

    def take(name, num_steps, options=None, optimizer=CONSTANT, **fields):
        config = make_run_config(folder / name, data, tokenizer, options,
                                 {"num_steps": num_steps}, optimizer=optimizer, **fields)
        finetune(dataclasses.replace(config, flags_text=f"--seed=0\n--num_steps={num_steps}\n"))
        return config.model_dir
    return take


@pytest.fixture(name="seven", scope="module")
def seven_fixture(take):
    return take("seven", 7)


def checkpoint_of(model_dir):
    return run_folder.checkpoint_folder(model_dir)


def test_at_a_constant_rate_it_ends_as_if_it_had_been_so_long_from_the_start(take, seven):
    """Its end fell into the middle of an epoch, and of a pool of rows of like length."""
    assert_same_tensors(checkpoint_of(take("seven", 11)), checkpoint_of(take("eleven", 11)))
    assert run_folder.load_flags(seven)["num_steps"] == "11"  # and its checksum is right


def test_what_it_has_taken_it_does_not_take_back(take, seven):
    with pytest.raises(UserError, match=r"seven has taken \d+ updates and --num_steps=5 makes 5: "
                                        "give a larger number"):
        take("seven", 5)


@pytest.mark.parametrize("changes", [
    dict(options={"warmup_fraction": 0.5}),
    dict(optimizer=OptimizerConfig(learning_rate=1e-2, schedule="linear"))])
def test_where_the_rates_hang_on_its_length_it_asks(take, changes):
    name = "asked-" + "-".join(changes)
    take(name, 4, **changes)
    with pytest.raises(UserError, match=(
            f"{name} is a run of 4 updates, of which it has taken 4, and --num_steps=8 makes 8: .*"
            r"would go from \S+ at update 4 to \S+ at the next .*Give --change_length")):
        take(name, 8, **changes)
    assert run_folder.load_flags(take(name, 4, **changes))["num_steps"] == "4"
    with open(take(name, 8, change_length=True, **changes) + "/metrics.jsonl",
              encoding="utf-8") as stream:
        rates = [row["train/learning_rate"] for row in map(json.loads, stream)
                 if "train/learning_rate" in row]
    config = dataclasses.replace(changes.get("optimizer", CONSTANT))
    share = changes.get("options", {}).get("warmup_fraction", 0.002)
    expected = [scheduled_rate(dataclasses.replace(config, warmup_steps=share * total), step, total)
                for total, steps in ((4, range(1, 5)), (8, range(5, 9))) for step in steps]
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=1e-12)


def test_overwritten_it_begins_anew(take):
    take("anew", 2, overwrite=True)
    model_dir = take("anew", 3, overwrite=True)
    assert run_folder.load_flags(model_dir)["num_steps"] == "3"
    with open(f"{model_dir}/metrics.jsonl", encoding="utf-8") as stream:
        assert [json.loads(line)["step"] for line in stream] == [1, 2, 3, 3]


def test_the_command(tmp_path):
    (tmp_path / "data").mkdir()
    fuzz_seeds.corpus_data(tmp_path / "data")
    flags = ["--data_dir=data", "--model_dir=run", "--num_layers=1", "--num_heads=1",
             "--hidden_dim=8", "--intermediate_dim=16", "--max_sequence_length=0",
             "--batch_size=4", "--warmup_steps=1", "--nojit_compile"]

    def pretrain(*more):
        return run_command("gpt_tf.pretrain", *flags, *more, cwd=tmp_path)

    done = pretrain("--num_epochs=2147483647")
    assert done.code == 1 and "makes 3,221,225,470 updates, and a run has fewer" in done.stderr
    done = pretrain("--num_steps=1")
    assert done.code == 0, done.stderr
    done = pretrain("--num_epochs=1")
    assert done.code == 1 and "1 updates and --num_epochs=1 makes 2" not in done.stderr
    assert "--num_epochs=1 makes 2: the learning rate (--schedule=cosine)" in done.stderr
    done = pretrain("--num_epochs=1", "--change_length")
    assert done.code == 0 and "going on at update 1 of 2." in done.stdout, done.stderr
    text = (tmp_path / "run" / "pretrain.flags").read_text()
    assert "--num_epochs=1.0\n--num_heads=1\n" in text and "change_length" not in text
    done = pretrain("--num_epochs=1")
    assert done.code == 0 and "run is finished: 2 updates." in done.stdout
