"""Mistyped names, and folders where files are meant: the sentence names what was meant."""

import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.common.names import check_folder, nearest, refuse_folder
from gpt_tf.data.manifest import Manifest
from gpt_tf.runs import run_folder
from gpt_tf.tokenizer import Tokenizer
from pipelines.corpus.corpus import open_corpus
from tests.commands import run_command

ENDINGS = (".txt", ".jsonl")


def test_nearest():
    assert nearest("boks", ["data", "books"]) == ["books"]
    assert nearest("boks", ["data"]) == []


@pytest.fixture(name="runs")
def runs_fixture(tmp_path, monkeypatch):
    """runs/books and runs/sst2, in the folder of the process; and a file beside them."""
    for name in ("books", "sst2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    (tmp_path / "runs" / "boks.txt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.mark.parametrize("path, message", [
    ("runs/boks", "runs/boks: no such folder; did you mean runs/books?"),
    ("runs/boks/", "runs/boks: no such folder; did you mean runs/books?"),
    ("rns/books", "rns/books: no such folder; did you mean runs?"),
    ("rnus", "rnus: no such folder; did you mean runs?"),
    ("runs/xyz", "runs/xyz: no such folder; check the path."),
    ("nowhere/at/all", "nowhere/at/all: no such folder; check the path.")])
def test_a_folder_that_is_not_there(runs, path, message):
    for load in (check_folder, Tokenizer.load, Manifest.load, run_folder.load_task,
                 run_folder.load_config, run_folder.load_flags):
        with pytest.raises(UserError) as error:
            load(path)
        assert str(error.value) == message
    with pytest.raises(UserError) as error:
        check_folder(runs / ("x" * 5000))
    assert "no such folder; check the path." in str(error.value)


def test_a_folder_that_is_there_is_told_what_it_lacks(runs):
    check_folder("runs/books")
    check_folder(runs / "boks.txt")
    with pytest.raises(UserError, match="No model.json in runs/books: it is not a run folder"):
        run_folder.load_config("runs/books")


@pytest.mark.parametrize("module, flags", [
    ("gpt_tf.generate", ["--model_dir=runs/boks", "--prompt=a"]),
    ("gpt_tf.predict", ["--model_dir=runs/boks"]),
    ("gpt_tf.evaluate", ["--model_dir=runs/boks", "--text=runs/boks.txt"]),
    ("gpt_tf.evaluate", ["--model_dir=runs/books", "--data_dir=runs/boks"]),
    ("gpt_tf.export", ["--model_dir=runs/boks", "--output_dir=exported"]),
    ("gpt_tf.convert", ["--from=openai", "--input=runs/boks", "--output_dir=made"]),
    ("pipelines.build_task", ["--task=sst2", "--input=runs/boks", "--tokenizer=runs/books",
                              "--output_dir=data"]),
    ("pipelines.build_corpus", ["--input=runs/boks.txt", "--tokenizer=runs/boks",
                                "--output_dir=data", "--num_workers=1"])])
def test_commands_name_the_nearest_folder(runs, module, flags):
    done = run_command(module, *flags, cwd=runs.parent)
    assert done.code == 1
    assert done.stderr.splitlines()[-1] == (
        "error: runs/boks: no such folder; did you mean runs/books?")


def test_a_folder_where_files_are_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books" / "more").mkdir(parents=True)

    def message():
        return str(refuse_folder("input", "books", ENDINGS))

    assert message() == ("--input: books is a folder; name files, as in --input='books/*.txt'; "
                         "it holds no .txt, .jsonl now.")
    (tmp_path / "books" / "more" / "a.txt").touch()
    assert message() == "--input: books is a folder; name files, as in --input='books/**/*.txt'."
    (tmp_path / "books" / "rows.jsonl").touch()
    assert message() == "--input: books is a folder; name files, as in --input='books/*.jsonl'."
    (tmp_path / "books" / "a.txt").touch()
    assert message().endswith("as in --input='books/*.txt' or --input='books/*.jsonl'.")
    for pattern in ("books", "bo*", "books/"):
        with pytest.raises(UserError, match=r"is a folder; name files, as in --input='books/\*"):
            open_corpus(pattern)
    done = run_command("pipelines.build_corpus", "--input=books", "--tokenizer=bpe",
                       "--output_dir=data", cwd=tmp_path)
    assert done.code == 1
    assert done.stderr == ("error: --input: books is a folder; name files, as in "
                           "--input='books/*.txt' or --input='books/*.jsonl'.\n")
