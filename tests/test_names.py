"""Mistyped names, and folders where files are meant: the sentence names what was meant."""

import os

import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.common.names import check_folder, find_files, nearest
from gpt_tf.data.manifest import Manifest
from gpt_tf.runs import run_folder
from gpt_tf.tokenizer import Tokenizer
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


@pytest.fixture(name="files")
def files_fixture(tmp_path, monkeypatch):
    """Files of awkward names, in the folder of the process and in the home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", f"{tmp_path}/home")
    for name in ("a.txt", "b.TXT", "Whale", "Whale, The (1851).txt", "notes [draft].txt",
                 "notes d.txt", "text8", "wiki.raw", "home/n.txt", "books/1.txt", "books/.2.txt",
                 "books/more/3.JSONL", "books/cover.jpg", "books/.git/4.txt", "empty/none.pdf",
                 os.fsdecode(b"caf\xe9.txt")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return lambda value: find_files("input", value, ENDINGS)


@pytest.mark.parametrize("value, found", [
    ("a.txt", ["a.txt"]), ("a.txt,a.txt, *.TXT", ["a.txt", "b.TXT"]),
    # What is there is meant as it is named, before its reading as a list or a glob.
    ("Whale, The (1851).txt", ["Whale, The (1851).txt"]),
    ("Whale,a.txt", ["Whale", "a.txt"]),
    ("a.txt,Whale, The (1851).txt,notes [draft].txt",
     ["a.txt", "Whale, The (1851).txt", "notes [draft].txt"]),
    ("notes [d].txt", ["notes d.txt"]), ("text8,wiki.raw", ["text8", "wiki.raw"]),
    ("*.raw", ["wiki.raw"]), ("a.txt,~/n.txt,~/*.txt", ["a.txt", "{home}/n.txt"]),
    ("caf*.txt", [os.fsdecode(b"caf\xe9.txt")]),
    ("**/*.txt", ["Whale, The (1851).txt", "a.txt", "books/1.txt", os.fsdecode(b"caf\xe9.txt"),
                  "home/n.txt", "notes [draft].txt", "notes d.txt"])])
def test_the_files_that_are_meant(files, tmp_path, value, found):
    assert files(value) == [name.format(home=tmp_path / "home") for name in found]


@pytest.mark.parametrize("value, message", [
    (" , ", "--input is empty: name files, separated by commas."),
    ("nowhere/*.txt", "--input: no file matches 'nowhere/*.txt'; check the path, and put quotes "
     "around a glob so that the shell leaves it alone."),
    ("a.txt,missing", "--input: no file matches 'missing'; check the path, and put quotes around "
     "a glob so that the shell leaves it alone."),
    ("empty", "--input: the folder empty holds no .txt, .jsonl; name files, or a folder of such."),
    ("bo*", "--input: 'bo*' matches folders alone, such as books; name one folder, or the files in "
     "them, as in --input='bo*/*'."),
    ("wiki*", "--input: wiki.raw is none of .txt, .jsonl; narrow the glob, as in '*.txt'. A file "
     "that is named without one, or by a glob that ends as it does, is read as text.")])
def test_names_that_mean_no_file(files, value, message):
    with pytest.raises(UserError) as error:
        files(value)
    assert str(error.value) == message


def test_a_folder_is_all_files_in_it(files, capsys):
    assert files("books") == ["books/1.txt", "books/more/3.JSONL"]
    assert capsys.readouterr().err == (
        "--input: 1 files in books are none of .txt, .jsonl and are left out, such as "
        "books/cover.jpg.\n")
    assert files("books/more/") == ["books/more/3.JSONL"]
    assert not capsys.readouterr().err


def test_a_long_list_is_split_at_once(files):
    """Each part could begin a name with commas in it."""
    assert len(files(",".join(["a.txt"] * 10_000))) == 1
