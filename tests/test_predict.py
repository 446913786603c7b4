"""Answers to texts: the same as evaluate's, whatever the texts come as, and what is refused."""

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pyarrow
from pyarrow import parquet
import pytest

from gpt_tf import predict as command
from gpt_tf.common.errors import UserError
from gpt_tf.data import records
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import TASK, Manifest, TaskSplit
from gpt_tf.evaluation import task_scores
from gpt_tf.predict import PredictionConfig
from gpt_tf.runs import weights
from gpt_tf.tasks import forms
from gpt_tf.tasks.lines import read_texts
from gpt_tf.tasks.tables import kind_of
from gpt_tf.tasks.task import Task
from gpt_tf.training.predictor import Predictions
from pipelines.building.shard_writer import ShardWriter
from pipelines.tasks import table
from tests import corpora, task_data
from tests.commands import run_command
from tests.test_evaluate_task import make_run

ROOT = pathlib.Path(__file__).resolve().parent.parent
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
MAX_LENGTH = 24
TASKS = {
    "classification": Task("feeling", "classification", 1, ("0", "1"), (), ("accuracy",),
                           label_names=("sad", "glad"), columns=(("body",),)),
    "entailment": Task("follows", "entailment", 1, ("yes", "no", "maybe"), (), ("accuracy",)),
    "similarity": Task("alike", "similarity", 2, (), (0, 5), ("pearson",)),
    "multiple_choice": Task("ending", "multiple_choice", 3, ("A", "B", "C"), (), ("accuracy",)),
}


def make_texts(form, count):
    """Rows of texts, some longer than the model takes."""
    rng = np.random.default_rng(0)
    number = {"classification": 1, "entailment": 2, "similarity": 2, "multiple_choice": 5}[form]
    words = ["the", "and", "in", "then", "it's", "42", "end.", "\u201cwell\u201d"]
    longest = 8 if number < 5 else 4  # words, so that some rows of each form fit
    rows = [[" ".join(rng.choice(words, rng.integers(1, longest))) for _ in range(number)]
            for _ in range(count)]
    if form == "multiple_choice":
        rows[0][1] = ""  # a question may be missing
    return rows


def write_data(folder, tokenizer, task, rows):
    """The data folder of the rows; returns how many were shortened."""
    special = forms.SpecialTokens.after(tokenizer.vocabulary_size)
    sequences = [forms.build(task.form, tokenizer.encode_batch(texts), special, MAX_LENGTH)
                 for texts in rows]
    os.makedirs(folder)
    with ShardWriter(folder, "test", 0) as writer:
        writer.write([records.encode_example(each.token_ids, None, index, task.is_score)
                      for index, each in enumerate(sequences)],
                     np.array([max(map(len, each.token_ids)) for each in sequences]))
        shard = writer.finish()
    split = TaskSplit((shard,), len(rows), len(rows), 0, 0, 0, False, 0, {})
    Manifest(TASK, MAX_LENGTH, tokenizer.vocabulary_size, tokenizer.fingerprint,
             {"test": split}, {}, task).save(folder)
    return sum(each.shortened for each in sequences)


@pytest.fixture(name="runs", scope="module")
def runs_fixture(tmp_path_factory, tokenizer):
    """Form -> run folder."""
    folder = tmp_path_factory.mktemp("runs")
    return {form: make_run(str(folder / form), tokenizer, task, MAX_LENGTH)
            for form, task in TASKS.items()}


def as_json(form, row):
    if form == "multiple_choice":
        return {"context": row[0], "question": row[1], "answers": row[2:], "id": 7}
    return dict(zip(forms.FIELDS[form], row))


def write_input(folder, form, rows, kind):
    path = folder / f"rows.{'txt' if kind == 'lines' else kind}"
    lines = [json.dumps(as_json(form, row)) if kind == "jsonl" else "\t".join(row) for row in rows]
    path.write_text("\ufeff" + "\n".join(lines) + "\n\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("form, kind", [
    ("classification", "lines"), ("classification", "tsv"), ("classification", "jsonl"),
    ("entailment", "tsv"), ("similarity", "tsv"), ("similarity", "jsonl"),
    ("multiple_choice", "tsv"), ("multiple_choice", "jsonl")])
def test_the_same_as_evaluate(tmp_path, runs, tokenizer, form, kind, monkeypatch, capsys):
    monkeypatch.setattr(command, "_POOL", 2)  # 4 rows at once, the last 3 of 11 alone
    task, rows = TASKS[form], make_texts(form, 11)
    shortened = write_data(tmp_path / "data", tokenizer, task, rows)
    model, *_ = weights.load_task_model(runs[form])
    expected = task_data.predict(model, evaluation_batches(tmp_path / "data", "test", 5))
    source, target = write_input(tmp_path, form, rows, kind), str(tmp_path / "out.jsonl")
    command.predict(PredictionConfig(model_dir=runs[form], input=source, output=target,
                                     probabilities=True, batch_size=2))
    found = [json.loads(line) for line in pathlib.Path(target).read_text("utf-8").splitlines()]
    np.testing.assert_allclose([list(each["probabilities"].values()) for each in found],
                               expected.probabilities, atol=1e-5)
    answers = [each["prediction"] for each in found]
    if task.is_score:
        np.testing.assert_allclose(answers, expected.predictions, rtol=1e-4)
    else:
        names = ["sad", "glad"] if form == "classification" else task.labels
        assert answers == [names[each] for each in expected.predictions]
    assert 0 < shortened < 11 or form == "classification"
    assert (f"{shortened} of 11 rows were too long" in capsys.readouterr().err) == (shortened > 0)

    command.predict(PredictionConfig(model_dir=runs[form], input=source,
                                     output=str(tmp_path / "out.tsv")))
    lines = (tmp_path / "out.tsv").read_text().splitlines()
    assert lines == [str(each) for each in answers] or task.is_score
    command.predict(PredictionConfig(model_dir=runs[form], input=source,
                                     output=str(tmp_path / "out.tsv"), probabilities=True))
    assert f"Columns: prediction, {', '.join(found[0]['probabilities'])}" in capsys.readouterr().err
    cells = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]
    np.testing.assert_allclose(np.array([row[1:] for row in cells], float),
                               expected.probabilities, atol=1e-5)


def test_what_build_task_took_is_taken(tmp_path, runs, tokenizer_dir):
    """The columns of a task's own files, of any kind; the labels that stand there are not read."""
    spec = {"name": "tickets", "form": "classification", "fields": {"text": "body"},
            "label": "kind", "labels": ["bug", "wish"], "metrics": ["accuracy"]}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    rows = [{"kind": "bug", "body": "the end, \u00e9."}, {"kind": "wish", "body": "and then"},
            {"kind": "bug", "body": "in"}]
    path = tmp_path / "t.csv"
    path.write_bytes("kind;body\nbug;the end, \u00e9.\nwish;and then\n\nbug;in\n".encode("latin-1"))
    built = run_command("pipelines.build_task", f"--task={tmp_path}/spec.json", f"--input={path}",
                        "--encoding=latin-1", f"--tokenizer={tokenizer_dir}", "--num_workers=1",
                        f"--output_dir={tmp_path}/data", "--validation_fraction=0.4")
    assert built.code == 0, built.stderr
    assert built.stderr.count("Warning: ") >= 2  # few rows, and maybe of one class, on both sides
    task = Manifest.load(tmp_path / "data").task
    assert task.columns == TASKS["classification"].columns
    flags = ["gpt_tf.predict", f"--model_dir={runs['classification']}"]
    wanted = run_command(*flags, stdin="".join(row["body"] + "\n" for row in rows))
    assert len(wanted.stdout.splitlines()) == 3
    found = run_command(*flags, f"--input={path}", "--encoding=latin-1")
    assert (found.code, found.stdout) == (0, wanted.stdout)
    for name, data in files_of(rows).items():
        (tmp_path / name).write_bytes(data)
        with open(tmp_path / name, "rb") as stream:
            texts = [each for _, each in read_texts(task, stream, kind_of(name), name)]
        assert texts == [[row["body"]] for row in rows], name


def files_of(rows):
    """Name -> bytes of the rows in each kind of table."""
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
    return {"t.parquet": stream.getvalue(),
            "t.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
            "t.tsv": "\n".join(["kind\tbody", *(f"{row['kind']}\t{row['body']}"
                                               for row in rows)]).encode(),
            "t.csv": "\n".join(["kind, body,", *(f'{row["kind"]}, "{row["body"]}",'
                                               for row in rows)]).encode()}


ALIKE = Task("alike", "similarity", 2, (), (0, 5), ("pearson",), columns=((2,), (1,)))
QUIZ = Task("quiz", "multiple_choice", 2, ("1", "2"), (), ("accuracy",),
            columns=(("s1", "s2"), (), ("end1",), ("end2",)))


@pytest.mark.parametrize("task, kind, data, wanted", [
    # Columns by number, and the texts alone in the form's order.
    (ALIKE, "csv", b'3,"b, c",a\n4,d,e\n', [["a", "b, c"], ["e", "d"]]),
    (ALIKE, "csv", b"3;b;a\n", [["a", "b"]]),
    (ALIKE, "tsv", b"a\tb\n", [["a", "b"]]),
    (ALIKE, "csv", b"second,first\nb,a\n", [["a", "b"]]),
    (QUIZ, "csv", b"end1,end2,s1,s2\nx,y,a,b\n", [["a b", "", "x", "y"]]),
    (QUIZ, "jsonl", b'{"s1": "a", "s2": "b", "end1": "x", "end2": "y"}\n', [["a b", "", "x", "y"]]),
    (QUIZ, "jsonl", b'{"context": "a", "answers": ["x", "y"]}\n', [["a", "", "x", "y"]]),
    (QUIZ, "tsv", b"a\t\tx\ty\n", [["a", "", "x", "y"]]),
    (TASKS["entailment"], "csv", b"hypothesis,premise\nb,a\n", [["a", "b"]]),
    (TASKS["entailment"], "tsv", b"hypothesis\tpremise\nb\ta\n", [["a", "b"]])])
def test_columns_by_name_and_number(task, kind, data, wanted):
    assert [texts for _, texts in read_texts(task, io.BytesIO(data), kind, "in")] == wanted


@pytest.mark.parametrize("task, kind, data, message", [
    ("classification", "lines", b"", "in holds no row to answer: give text, a row a line"),
    ("classification", "lines", b"\n \n", "in holds no row to answer"),
    ("classification", "csv", b"", "in holds no row to answer"),
    ("classification", "csv", b"kind,body\n", "in holds no row to answer"),
    ("classification", "tsv", b"body\n", "in holds no row to answer"),
    ("classification", "csv", b"kind,text of it\nbug,a\n", "in: no column body, but kind, text of"),
    ("classification", "csv", b"kind,body\nbug\n", "in, line 2: 1 columns where there should be 2"),
    ("classification", "csv", b"kind,body\nbug,\n", "in, line 2: the text of text is empty"),
    ("classification", "csv", b"body\n\xff\n", "in, line 2: a text is not UTF-8"),
    ("classification", "tsv", b"bug\ta\n", "line 1: 2 texts .*; or a first line that names body"),
    ("classification", "jsonl", b'{"kind": "a"}\n', "'text' must be a text, or the fields be na"),
    ("classification", "jsonl", b'{"body": 3}\n', "line 1: no text in one of body"),
    ("classification", "parquet", b"PAR1", "in cannot be read as Parquet, after 0 rows"),
    ("classification", "tsv", "bug\ta\n".encode("utf-16"), "in is UTF-16 text"),
    ("entailment", "csv", b"premise\na\n", "no column hypothesis, but premise")])
def test_tables_that_cannot_be_answered(task, kind, data, message):
    with pytest.raises(UserError, match=message):
        read(task, data, kind)


@pytest.mark.parametrize("output_format, lines", [
    ("tsv", ["positive\t0.250000\t0.750000\n", "negative\t0.875000\t0.125000\n"]),
    ("jsonl", [
        '{"prediction": "positive", "probabilities": {"negative": 0.25, "positive": 0.75}}\n',
        '{"prediction": "negative", "probabilities": {"negative": 0.875, "positive": 0.125}}\n'])])
def test_published_numbers_are_shown_by_their_names(tmp_path, output_format, lines):
    found = Predictions(np.array([1, 0]), np.array([1, 1]),
                        np.array([[0.25, 0.75], [0.875, 0.125]], np.float32), np.array([1, 0]), 0.0)
    task = table.TASKS["sst2"].task()
    config = PredictionConfig(model_dir="run", output_format=output_format, probabilities=True)
    assert list(command.lines_of(task, found, config)) == lines
    task_scores.write_predictions(tmp_path / "SST-2.tsv", task, found, True)
    assert (tmp_path / "SST-2.tsv").read_text() == (
        "index\tprediction\t0\t1\n0\t0\t0.875000\t0.125000\n1\t1\t0.250000\t0.750000\n")
    plain = PredictionConfig(model_dir="run")
    assert "".join(command.lines_of(task.published, found, plain)) == "1\n0\n"


BLANKS = "\n the end.\n\n \n\nand then\nin\n\n"


@pytest.mark.parametrize("pool", [1, 32])
@pytest.mark.parametrize("flags, blank", [
    ([], ""), (["--probabilities"], "\t\t"),
    (["--output_format=jsonl", "--probabilities"], '{"prediction": null}')], ids=str)
def test_blank_lines(runs, monkeypatch, pool, flags, blank):
    monkeypatch.setattr(command, "_POOL", pool)

    def run(given, *more):
        return run_command("gpt_tf.predict", f"--model_dir={runs['classification']}",
                           "--batch_size=1", *flags, *more, stdin=given)

    expected = run("the end.\nand then\nin\n").stdout.splitlines()
    assert len(expected) == 3
    done = run(BLANKS, "--on_blank_line=skip")
    assert (done.code, done.stdout.splitlines()) == (0, expected)
    assert done.stderr.endswith("4 blank lines left out.\n")
    done = run(BLANKS, "--on_blank_line=empty")
    assert done.stdout.splitlines() == [blank, expected[0], blank, blank, blank, *expected[1:]]
    assert done.stderr.endswith("4 blank lines answered with nothing.\n")
    refused = run(BLANKS)
    assert (refused.code, refused.stdout) == (1, "")
    assert "standard input, line 1: the line is blank (see --on_blank_line)" in refused.stderr


class Terminal(io.BytesIO):
    """Somebody who types, and notes what had been answered before each line."""

    def __init__(self, lines, answered):
        super().__init__(b"".join(lines))
        self._answered = answered
        self.before = []

    def isatty(self):
        return True

    def __next__(self):
        self.before.append(self._answered().count("\n"))
        return super().__next__()


def test_a_terminal_is_answered_line_by_line(runs, monkeypatch, capsys):
    out = io.BytesIO()
    terminal = Terminal([b"the end.\n", b"and then\n", b"in\n"], lambda: out.getvalue().decode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(terminal))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    command.predict(PredictionConfig(model_dir=runs["classification"]))
    assert terminal.before == [0, 1, 2, 3]
    assert set(out.getvalue().decode().split()) <= {"sad", "glad"}
    assert "Give text as lines" in capsys.readouterr().err


def test_the_command(runs, tmp_path):
    """As users type it; a mistake is one sentence and leaves no file."""
    flags = ["gpt_tf.predict", f"--model_dir={runs['entailment']}"]
    answered = subprocess.run([sys.executable, "-m", *flags], cwd=ROOT, text=True, check=False,
                              input="the end.\tand then\nin\tthe\n", capture_output=True)
    assert answered.returncode == 0, answered.stderr
    assert len(answered.stdout.splitlines()) == 2
    assert set(answered.stdout.split()) <= {"yes", "no", "maybe"}
    refused = run_command(*flags, f"--output={tmp_path}/answers.tsv",
                          stdin="the end.\tand then\nin\n")
    assert refused.code == 1 and not list(tmp_path.iterdir())
    assert refused.stderr == ("error: standard input, line 2: 1 texts where follows needs 2: "
                              "premise, hypothesis; correct or remove it.\n")


def read(form, data, kind):
    return [texts for _, texts in read_texts(TASKS[form], io.BytesIO(data), kind, "in")]


def test_spaces_ends_and_blank_ends_do_not_count():
    assert read("classification", b"\xef\xbb\xbf one \r\ntwo\tthree\n\n \n", "lines") == [
        ["one"], ["two\tthree"]]
    assert read("multiple_choice", b"c\t\ta\tb\td\n", "tsv") == [["c", "", "a", "b", "d"]]
    assert read("multiple_choice", b'{"context": "c", "answers": ["a", "b", "d"]}', "jsonl") == [
        ["c", "", "a", "b", "d"]]


@pytest.mark.parametrize("form, kind, data, message", [
    ("classification", "lines", b"a\n\nb\n", "in, line 2: the line is blank"),
    ("classification", "lines", b"a\n\xff\n", "in, line 2: byte 0 is not UTF-8"),
    ("classification", "tsv", b"a\tb\n", "line 1: 2 texts where feeling needs 1: text"),
    ("entailment", "tsv", b"a\tb\nc\t \n", "line 2: the text of hypothesis is empty"),
    ("entailment", "lines", b"a\n", "needs premise, hypothesis: give --format=tsv"),
    ("entailment", "jsonl", b'{"premise": "a"}\n', "line 1: 'hypothesis' must be a text"),
    ("entailment", "jsonl", b'{"premise": "a", "hypothesis": 3}\n', "'hypothesis' must be a text"),
    ("entailment", "jsonl", b'["a", "b"]\n',
     r"not a JSON object, .*jq -c '.\[\]' makes lines of a list"),
    ("entailment", "jsonl", b'{"premise": \n', "line 1: .*column"),
    ("classification", "jsonl", b'{"text": "\\ud800"}\n', "line 1: .*surrogates"),
    ("multiple_choice", "tsv", b"c\tq\ta\tb\n", "4 texts where ending needs 5"),
    ("multiple_choice", "tsv", b"c\tq\ta\tb\t\n", "the text of answers is empty"),
    ("multiple_choice", "jsonl", b'{"context": "c", "answers": "a"}\n',
     "'answers' must be a list of texts"),
    ("multiple_choice", "jsonl", b'{"context": "c", "answers": ["a", 2, "b"]}\n',
     "'answers' must be a list of texts")])
def test_bad_lines(form, kind, data, message):
    with pytest.raises(UserError, match=message):
        read(form, data, kind)


def test_the_input_is_not_written_over(runs, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("the end.\n")
    (tmp_path / "link.txt").symlink_to(path)
    with pytest.raises(UserError, match="--output=.*link.txt is what --input names"):
        command.predict(PredictionConfig(model_dir=runs["classification"], input=str(path),
                                         output=str(tmp_path / "link.txt")))
    assert path.read_text() == "the end.\n"


def test_the_newest_weights_answer_if_asked_for(runs, tmp_path):
    """Of a run whose best are gone; by their own the best of the other."""
    run = tmp_path / "run"
    shutil.copytree(runs["classification"], run)
    os.rename(run / "best", run / "checkpoints")
    (tmp_path / "texts.txt").write_text("the end.\nand then\n")
    for model_dir, which in ((run, "newest"), (runs["classification"], "best")):
        command.predict(PredictionConfig(
            model_dir=str(model_dir), weights=which, input=str(tmp_path / "texts.txt"),
            output=str(tmp_path / which), probabilities=True))
    assert (tmp_path / "newest").read_bytes() == (tmp_path / "best").read_bytes()


def test_what_does_not_fit(runs, tmp_path):
    def error(match, run=runs["classification"], **values):
        with pytest.raises(UserError, match=match):
            command.predict(PredictionConfig(model_dir=run, **values))

    error("Cannot read .*nothing.txt", input=str(tmp_path / "nothing.txt"))
    error("rows.doc ends in none of .txt, .tsv, .csv, .* say what .*--format", input="rows.doc")
    error("not a fine-tuned run", run=str(tmp_path))
    (tmp_path / "empty.txt").write_text("\x01\n", encoding="utf-8")
    error("empty.txt, line 1: .* correct or remove it", input=str(tmp_path / "empty.txt"))
    with pytest.raises(ValueError, match="--batch_size=0"):
        PredictionConfig(model_dir="run", batch_size=0)
