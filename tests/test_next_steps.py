"""What each command prints as the next one: it suits what was made, and a shell takes it."""

import dataclasses
import re
import shlex
import string

import pytest

from gpt_tf.common import flagfiles
from gpt_tf.common.cli import command_line
from gpt_tf.common.names import unused
from gpt_tf.data.manifest import Manifest, Split
from gpt_tf.runs import run_folder
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.training.pretraining import small_text_note
from pipelines import build_corpus, build_task, story_tasks, train_bpe
from pipelines.building import frame
from pipelines.corpus import next_run
from pipelines.corpus.corpus import InputConfig
from tests import corpora, runs
from tests.corpora import make_text

# Fixtures are found by name.
build_fixture = corpora.build_fixture
tokenizer_fixture = corpora.tokenizer_fixture
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture


def next_commands(capsys):
    """The commands that were printed, each as its module and its flags."""
    found = []
    for line in re.findall(r"python -m (.*)", capsys.readouterr().out):
        module, *words = shlex.split(line)
        found.append((module, dict(word.removeprefix("--").split("=", 1) for word in words)))
    return found


def of_tokens(tokens, length=256, records=1000, vocabulary_size=1000):
    split = Split((), 2, records, tokens, tokens - records, 4 * tokens)
    return Manifest("language_model", length, vocabulary_size, "", {"train": split}, {})


def test_a_command_line_is_what_a_shell_takes():
    line = command_line("pipelines.build_corpus", input="it's/my *.txt", output_dir="data")
    assert shlex.split(line) == ["python", "-m", "pipelines.build_corpus",
                                 "--input=it's/my *.txt", "--output_dir=data"]


def test_unused(tmp_path):
    assert unused(f"{tmp_path}/data") == f"{tmp_path}/data"
    (tmp_path / "data").mkdir()
    (tmp_path / "data-2").touch()
    assert unused(f"{tmp_path}/data") == f"{tmp_path}/data-3"


@pytest.mark.parametrize("pattern, name", [
    ("books/*.txt", "books"), ("mine/letters.jsonl.gz,b/*.txt", "letters"), ("*.txt", "text"),
    ("tfds:wiki40b/en", "en"), ("../*.txt", "text"), ("/*/*.txt", "text"), ("~/a b/**", "a b")])
def test_what_a_corpus_is_called(pattern, name):
    assert InputConfig(input=pattern).corpus_name == name


@pytest.mark.parametrize("tokens, flagfile", [
    (150_000, "small_text.flags"), (2_999_999, "small_text.flags"), (3_000_000, "books_tiny.flags"),
    (99_999_999, "books_tiny.flags"), (100_000_000, "gpt1.flags")])
def test_the_flagfile_suits_the_text(tokens, flagfile):
    assert next_run.suitable(tokens) == flagfile
    assert (flagfiles.SHIPPED / flagfile).exists()


def test_operations_by_hand():
    """quickstart.flags: 2 blocks of 4 128 x 128 and 2 128 x 512, with 1,664 biases and gains each;
    1,000 rows of the softmax; attention over 256 positions; 1,150 updates of 4 windows."""
    multiplied = 2 * (4 * 128 * 128 + 2 * 128 * 512 + 1664) + 1000 * 128
    expected = (6 * multiplied + 12 * 256 * 2 * 128) * 256 * 4 * 1150
    assert next_run.operations("quickstart.flags", of_tokens(10**6)) == expected
    # gpt1.flags counts epochs: 100 of 1,000 windows, 64 an update, rounded.
    updates = [next_run.operations("gpt1.flags", of_tokens(10**6, records=records))
               for records in (64, 640)]
    assert updates[1] == pytest.approx(10 * updates[0])


@pytest.mark.parametrize("minutes, said", [
    (0.2, "a minute"), (4.4, "4 minutes"), (119, "119 minutes"), (150, "2 hours"),
    (60 * 47, "47 hours"), (60 * 24 * 9.6, "10 days")])
def test_durations(minutes, said, monkeypatch):
    operations = next_run.operations("small_text.flags", of_tokens(10**6))
    monkeypatch.setattr(next_run, "speed",
                        lambda: operations / minutes / 60 / next_run._EFFICIENCY)
    assert next_run.duration("small_text.flags", of_tokens(10**6)) == said


def test_a_text_too_small_for_the_model():
    assert small_text_note(1000, 1000, 0) == ""
    note = small_text_note(921_088, 160_212, 0)
    assert "160,212 training tokens for 921,088 parameters" in note
    assert "--early_stopping=3 would end" in note
    assert "ends after 2 validations without gain" in small_text_note(1000, 999, 2)


def test_speed_is_that_of_a_processor():
    assert 1e8 < next_run.speed() < 1e15


def test_after_build_corpus(build, tmp_path, capsys):
    texts = {f"{number}.txt": make_text(number, 3) for number in range(9)}
    folder = str(tmp_path / "it's data")
    build(texts, output_dir=folder)
    (module, values), = next_commands(capsys)
    assert module == "gpt_tf.pretrain" and values == {
        "flagfile": "small_text.flags", "data_dir": folder, "model_dir": "runs/it's data"}


def test_after_a_corpus_without_validation(build, tmp_path, capsys):
    """It trains all the same, to its end, as nothing tells that it should stop before."""
    build({f"{number}.txt": make_text(number, 3) for number in range(9)}, validation_fraction=0.0)
    (module, values), = next_commands(capsys)
    assert module == "gpt_tf.pretrain" and values["early_stopping"] == "0"


def test_much_text_is_for_gpus(tmp_path):
    config = build_corpus.CorpusConfig(input="a", tokenizer="b", output_dir="data/c")
    manifest = of_tokens(200_000_000)
    manifest.splits["validation"] = manifest.splits["train"]
    gpus, here = build_corpus.next_step(config, manifest).splitlines()
    assert gpus.startswith("Next, on GPUs: ") and "--flagfile=gpt1.flags " in gpus
    assert " on the processors here: " in here and "--flagfile=books_tiny.flags " in here


def test_after_train_bpe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old letters").mkdir()
    (tmp_path / "old letters" / "a.jsonl").write_text('{"body": "ab ab ab"}\n' * 9)
    config = train_bpe.TrainBpeConfig(input="old letters/*.jsonl", text_field="body",
                                      output_dir="bpe", num_merges="1", num_workers=1)
    train_bpe.train(config)
    (module, values), = next_commands(capsys)
    assert module == "pipelines.build_corpus" and values == {
        "input": "old letters/*.jsonl", "text_field": "body", "tokenizer": "bpe",
        "output_dir": "data/old letters"}


def sst2(folder):
    folder.mkdir()
    rows = "".join(f"{letter} and {letter}\t{number % 2}\n"
                   for number, letter in enumerate(string.ascii_lowercase))
    for name in ("train.tsv", "dev.tsv"):
        (folder / name).write_text(f"sentence\tlabel\n{rows}")
    return str(folder)


@pytest.fixture(name="folder")
def folder_fixture(tmp_path, tokenizer_dir, monkeypatch):
    """Stands in a folder with rows of SST-2; the run has 24 positions."""
    monkeypatch.setattr(frame, "Encoders", corpora.InProcess)
    monkeypatch.chdir(tmp_path)
    tokenizer = Tokenizer.load(tokenizer_dir)
    runs.make_run(tmp_path / "run", tokenizer, {
        1: runs.make_model(tokenizer.vocabulary_size, max_sequence_length=24)})
    sst2(tmp_path / "rows")
    return tmp_path


def build_rows(**flags):
    return build_task.build(build_task.TaskConfig(
        **{"task": "sst2", "input": "rows", "output_dir": "data/sst2", "num_workers": 1} | flags))


def test_after_build_task_with_a_run(folder, capsys):
    manifest = build_rows(tokenizer="run")
    assert manifest.sequence_length == 24  # the run's positions
    assert manifest.flags["max_length"] == 24
    assert next_commands(capsys) == [("gpt_tf.finetune", {
        "flagfile": "quickstart_finetune.flags", "data_dir": "data/sst2", "init_from": "run",
        "model_dir": "runs/sst2"})]
    build_rows(tokenizer="run", zero_shot=True, overwrite=True)
    assert next_commands(capsys) == [
        ("gpt_tf.zero_shot", {"data_dir": "data/sst2", "model_dir": "run"})]


def test_after_build_task_with_a_tokenizer(folder, tokenizer_dir, capsys):
    """No run yet: text for one; then a run that takes fewer tokens; then one that suits."""
    tokenizer = str(tokenizer_dir)
    assert build_rows(tokenizer=tokenizer).sequence_length == 512
    (first, corpus), (second, again) = next_commands(capsys)
    assert (first, second) == ("pipelines.build_corpus", "pipelines.build_task")
    assert corpus == {"input": "*.txt", "tokenizer": tokenizer, "output_dir": "data/text"}
    assert again["tokenizer"] == "runs/text" and again["overwrite"] == "True"
    assert "max_length" not in again  # the run decides
    (folder / "runs").mkdir()
    (folder / "run").rename(folder / "runs" / "text")
    build_rows(tokenizer=tokenizer, overwrite=True)
    (module, again), = next_commands(capsys)
    assert module == "pipelines.build_task"
    assert (again["tokenizer"], again["max_length"]) == ("runs/text", "24")
    build_rows(tokenizer=tokenizer, overwrite=True, max_length=12)
    assert next_commands(capsys)[0][1]["init_from"] == "runs/text"


def test_rows_to_validate_on_are_asked_for(folder, capsys):
    (folder / "rows" / "dev.tsv").unlink()
    build_rows(tokenizer="run", validation_fraction=0.0)
    out = capsys.readouterr().out
    assert "There is no validation split with labels, which fine-tuning needs" in out
    assert "Next" not in out


@pytest.mark.parametrize("width, rows, flagfile", [
    (128, 1999, "quickstart_finetune.flags"), (128, 2000, "books_tiny_finetune.flags"),
    (256, 2000, "books_small_finetune.flags"), (768, 100, "finetune.flags")])
def test_a_small_run_has_a_larger_rate(folder, width, rows, flagfile):
    model = dataclasses.replace(run_folder.load_config("run"), hidden_dim=width)
    assert build_task._flagfile(model, of_tokens(10**6, records=rows)) == flagfile
    assert (flagfiles.SHIPPED / flagfile).exists()


def test_after_story_tasks(folder, capsys):
    config = story_tasks.StoryTaskConfig(output_dir="my rows", task="ending")
    assert "\nand what that and the following commands print" in story_tasks.next_step(config)
    print(story_tasks.next_step(config))
    (first, _), (second, values) = next_commands(capsys)
    assert (first, second) == ("pipelines.stories", "pipelines.build_task")
    assert values == {"task": "my rows/spec.json", "input": "my rows",
                      "tokenizer": "runs/stories", "output_dir": "data/ending"}
    (folder / "quickstart").mkdir()
    (folder / "run").rename(folder / "quickstart" / "run")
    print(story_tasks.next_step(config))
    (_, values), = next_commands(capsys)
    assert values["tokenizer"] == "quickstart/run"
