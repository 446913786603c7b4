"""A run that goes on with another number of updates than it began with."""

import dataclasses
import json
import pathlib

import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.config import OptimizerConfig
from gpt_tf.model.schedules import scheduled_rate
from gpt_tf.runs import beginning, run_folder
from tests import corpora, fuzz_seeds, task_data
from tests.commands import run_command
from tests.test_finetuning import assert_same_tensors, finetune, make_run_config

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
RATE = 1e-2


@pytest.fixture(name="config_of", scope="module")
def config_of_fixture(tmp_path_factory, tokenizer):
    """The config of a run of fine-tuning, of 4 updates an epoch, that validates at its end only."""
    folder = tmp_path_factory.mktemp("length")
    data = task_data.write(str(folder / "data"), tokenizer, task_data.TASKS["classification"])

    def config_of(name, num_steps, schedule="constant", warmup_fraction=0.002, **fields):
        config = make_run_config(
            folder / name, data, tokenizer,
            {"lm_coef": 0.0, "evaluations_per_epoch": 0.0, "warmup_fraction": warmup_fraction},
            {"num_steps": num_steps},
            optimizer=OptimizerConfig(learning_rate=RATE, schedule=schedule), **fields)
        return dataclasses.replace(config, flags_text=f"--seed=0\n--num_steps={num_steps}\n")
    return config_of


def test_at_a_constant_rate_it_ends_as_if_it_had_been_so_long_from_the_start(config_of):
    """Its end fell into the middle of an epoch, and of a pool of rows of like length."""
    finetune(config_of("made-longer", 7))
    longer, whole = config_of("made-longer", 11), config_of("whole", 11)
    for config in (longer, whole):
        assert finetune(config).steps == 11
    assert_same_tensors(*(run_folder.checkpoint_folder(config.model_dir)
                          for config in (longer, whole)))
    # And its checksum is right.
    assert run_folder.load_flags(longer.model_dir)["num_steps"] == "11"


def begun(config, done):
    """The folder of a run that has saved update `done`, without its weights."""
    folder = pathlib.Path(config.model_dir)
    folder.mkdir()
    beginning.begin(config.model_dir, config.flags_text, config.resumable, config.model,
                    config.data.manifest, config.data.tokenizer)
    (folder / "checkpoints").mkdir()
    for name in ("index", "data-00000-of-00001"):
        (folder / "checkpoints" / f"ckpt-{done}.{name}").write_bytes(b"")


@pytest.mark.parametrize("values, was, is_now", [
    (dict(schedule="linear"), 5e-3, RATE * (1 - 5 / 12)),
    (dict(schedule="cosine"), 5e-3, 6.29e-3),
    (dict(warmup_fraction=0.5), RATE, RATE * 5 / 6)])
def test_where_the_rates_hang_on_its_length_it_asks(config_of, values, was, is_now):
    name = "-".join(map(str, values.values()))
    begun(config_of(name, 8, **values), done=4)
    with pytest.raises(UserError, match=(
            f"{name} is a run of 8 updates, of which it has taken 4, and --num_steps=12 makes 12: "
            rf".* would go from {was:.3g} at update 4 to {is_now:.3g} at the next .* Give "
            "--change_length to go on so, the run's own number, or another --model_dir.")):
        config_of(name, 12, **values).check()
    config_of(name, 12, **values, change_length=True).check()
    config_of(name, 8, **values).check()


def test_what_a_run_has_taken_it_does_not_take_back(config_of):
    begun(config_of("taken", 8), done=6)
    config_of("taken", 7).check()
    with pytest.raises(UserError, match="taken has taken 6 updates and --num_steps=6 makes 6: "):
        config_of("taken", 6, change_length=True).check()
    # It is replaced, as any other run, where that is asked for.
    assert "num_steps" not in config_of("taken", 6, overwrite=True).free_flags
    config_of("taken", 6, overwrite=True).check()


def test_the_command(tmp_path):
    (tmp_path / "data").mkdir()
    fuzz_seeds.corpus_data(tmp_path / "data")
    flags = ["--data_dir=data", "--model_dir=run", "--num_layers=1", "--num_heads=1",
             "--hidden_dim=8", "--intermediate_dim=16", "--max_sequence_length=0",
             "--batch_size=4", "--warmup_steps=1", "--log_every=1", "--nojit_compile"]

    def pretrain(*more):
        return run_command("gpt_tf.pretrain", *flags, *more, cwd=tmp_path)

    done = pretrain("--num_epochs=2147483647")
    assert done.code == 1 and "makes 3,221,225,470 updates, and a run has fewer" in done.stderr
    assert pretrain("--num_steps=1").code == 0
    done = pretrain("--num_epochs=1")
    assert done.code == 1
    assert "--num_epochs=1 makes 2: the learning rate (--schedule=cosine)" in done.stderr
    done = pretrain("--num_epochs=1.5", "--change_length")
    assert done.code == 0 and "going on at update 1 of 2." in done.stdout, done.stderr
    text = (tmp_path / "run" / "pretrain.flags").read_text()
    assert "--num_epochs=1.5\n--num_heads=1\n" in text
    assert "change_length" not in text and "dry_run" not in text
    rows = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    rates = [row["train/learning_rate"] for row in rows if "train/learning_rate" in row]
    config = OptimizerConfig(warmup_steps=1)
    assert rates == pytest.approx([scheduled_rate(config, 1, 1), scheduled_rate(config, 2, 2)],
                                  abs=1e-12)
