"""Task files as people have them: dialects, encodings, what data hubs export, and odd labels."""

import collections
import csv
import io
import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
import pyarrow
from pyarrow import parquet
import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.tasks.table_files import check_encoding, read_cells
from gpt_tf.tasks.tables import CSV
from pipelines.tasks import balance
from pipelines.tasks.rows import open_task
from pipelines.tasks.table import TASKS, find_task
from tests.task_files import PUBLISHED, stories, write_files

TICKETS = {"name": "tickets", "form": "classification", "fields": {"text": "body"},
           "label": "kind", "labels": ["bug", "wish"], "metrics": ["accuracy"]}


@pytest.fixture(name="tickets")
def tickets_fixture(tmp_path):
    return write_spec(tmp_path)


def write_spec(folder, **change):
    (folder / "spec").mkdir(exist_ok=True)
    path = folder / "spec" / "tickets.json"
    path.write_text(json.dumps(TICKETS | change))
    return str(path)


def read(task, given, on_bad_row="stop", encoding="utf-8"):
    """Split -> [(index, texts, label), ...], and split -> reason -> rows left out."""
    found = open_task(find_task(task), str(given), "", on_bad_row, encoding)
    rows = {split: [each[:3] for each in source.rows()] for split, source in found.items()}
    return rows, {split: dict(source.left_out) for split, source in found.items()}


PLAIN = 'body,kind\n"More, please; é",wish\n"It ""broke""\n| twice",bug\nC:\\new\\,bug\n'
WANTED = [(0, ("More, please; é",), 1), (1, ('It "broke"\n| twice',), 0), (2, ("C:\\new\\",), 0)]


@pytest.mark.parametrize("text", [
    PLAIN,
    "\ufeff" + PLAIN.replace("\n", "\r\n").replace("\r\n|", "\n|"),
    'body;kind\n"More, please; é";wish\n"It ""broke""\n| twice";bug\nC:\\new\\;bug\n',
    'body\tid\tkind\n"More, please; é"\t7\twish\n"It ""broke""\n| twice"\t8\tbug\n'
    'C:\\new\\\t9\tbug',
    'id|body|kind\n1|More, please; é|wish\n2|"It ""broke""\n| twice"|bug\n3|C:\\new\\|bug\n',
    'body,kind\n"More, please; é",wish\n"It \\"broke\\"\n| twice",bug\n"C:\\new\\\\",bug\n',
    'body, kind\n"More, please; é", wish\n "It ""broke""\n| twice",  bug\nC:\\new\\ , bug\n',
    'body,kind,\n"More, please; é",wish,\n"It ""broke""\n| twice",bug,\nC:\\new\\,bug\n',
    'body,kind\n"More, please; é",wish,,\n"It ""broke""\n| twice",bug,\nC:\\new\\,bug\n',
    'body,kind\r"More, please; é",wish\r"It ""broke""\n| twice",bug\r\rC:\\new\\,bug\r',
], ids=["plain", "crlf", "semicolon", "tab", "bar", "backslash", "blanks", "comma at the end",
        "commas after rows", "cr"])
def test_dialects_of_csv(tmp_path, tickets, text):
    (tmp_path / "t.csv").write_bytes(text.encode())
    assert read(tickets, tmp_path / "t.csv")[0] == {"train": WANTED}


CELLS = st.lists(st.text(st.sampled_from("ab ,;|\t\n\"é'")), min_size=3, max_size=3)


@given(st.lists(CELLS, max_size=5), st.sampled_from(",;|\t"), st.booleans(),
       st.sampled_from(["\n", "\r\n"]))
def test_what_pythons_csv_writes_is_read(rows, delimiter, doubles, end):
    """With quotes twice, or after a backslash: there one between other signs shows which it is."""
    if not doubles:
        rows = [[cell.replace('"', '"a') for cell in cells] for cells in rows]
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end, doublequote=doubles,
                        escapechar=None if doubles else "\\", quoting=csv.QUOTE_ALL)
    rows = [["first", "second", "third"], *rows]
    writer.writerows(rows)
    data = io.BytesIO(stream.getvalue().encode())
    assert [cells for _, cells in read_cells(
        data, CSV, "t", "utf-8", lambda first: "second" in first)] == rows


def test_without_a_header_the_delimiter_gives_the_columns_that_are_numbered(tmp_path):
    spec = write_spec(tmp_path, fields={"text": 2}, label=1)
    (tmp_path / "t.csv").write_text('7;bug;"It, broke"\n8;wish;More\n')
    assert read(spec, tmp_path / "t.csv")[0]["train"] == [
        (0, ("It, broke",), 0), (1, ("More",), 1)]


@pytest.mark.parametrize("text, message", [
    ("body:kind\nIt broke:bug\n", "t.csv: no column body, kind, but body:kind; the task's columns"),
    ('body,kind\n"It \\"broke",bug\nso "it" is,\n"never', "t.csv, line 2: .* in a row that starts"),
    ("body,kind,,\nIt broke,bug,a,b,c\n", "t.csv, line 2: 5 columns where there should be 2 or 3"),
])
def test_csv_that_cannot_be_read(tmp_path, tickets, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read(tickets, tmp_path / "t.csv")


@pytest.mark.parametrize("name, text", [
    ("t.csv", PLAIN), ("t.tsv", "body\tkind\nMore, please; é\twish\r\nZoë\tbug\n"),
    ("t.jsonl", '{"body": "é", "kind": "bug"}\n')])
@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_encodings(tmp_path, tickets, name, text, encoding):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    wanted = read(tickets, path)
    path.write_bytes(text.encode(encoding))
    assert read(tickets, path, encoding=encoding) == wanted
    message = "is UTF-16 text, .* give --encoding=utf-16" if encoding == "utf-16" else (
        "line 2: .* not UTF-8 .see --encoding.|line 1: .* not UTF-8 .see --encoding.")
    with pytest.raises(UserError, match=message):
        read(tickets, path)


def test_encodings_that_cannot_be(tmp_path, tickets):
    (tmp_path / "t.csv").write_text(PLAIN)
    with pytest.raises(UserError, match="t.csv is not text in the encoding utf-16 .* another"):
        read(tickets, tmp_path / "t.csv", encoding="utf-16")
    for name in ("utf-99", "hex", "a\0b"):
        with pytest.raises(ValueError, match="--encoding=.* is no encoding of text"):
            check_encoding(name)


# Data hubs: what the columns of each task are called there, and its rows with labels as they have
# them; -1 stands for none. The texts and labels of each are those of a row of ours.
PAIR = ("One.", "Two.")
HUB = {
    "cola": ({"sentence": "One.", "label": 1, "idx": 5}, ("One.",), 1),
    "sst2": ({"sentence": "One.", "label": 0, "idx": 5}, ("One.",), 0),
    "snli": ({"premise": "One.", "hypothesis": "Two.", "label": 2}, PAIR, 2),
    "mnli": ({"premise": "One.", "hypothesis": "Two.", "label": 1, "idx": 5}, PAIR, 1),
    "qnli": ({"question": "One.", "sentence": "Two.", "label": 1, "idx": 5}, PAIR, 1),
    "rte": ({"sentence1": "One.", "sentence2": "Two.", "label": 0, "idx": 5}, PAIR, 0),
    "scitail": ({"premise": "One.", "hypothesis": "Two.", "label": "neutral"}, PAIR, 1),
    "mrpc": ({"sentence1": "One.", "sentence2": "Two.", "label": 1, "idx": 5}, PAIR, 1),
    "qqp": ({"question1": "One.", "question2": "Two.", "label": 0, "idx": 5}, PAIR, 0),
    "stsb": ({"sentence1": "One.", "sentence2": "Two.", "label": 2.5, "idx": 5}, PAIR, 2.5),
    "story_cloze": ({"story_id": "x", **{f"input_sentence_{n}": f"{n}." for n in range(1, 5)},
                     "sentence_quiz1": "A.", "sentence_quiz2": "B.", "answer_right_ending": 2},
                    ("1. 2. 3. 4.", "", "A.", "B."), 1),
    "dpr": ({"sentence": "Al saw Bo as he left.", "pronoun": "he", "candidates": ["Al", "Bo"],
             "label": 0}, ("Al saw Bo as he left.", "he", "Al", "Bo"), 0),
} | dict.fromkeys(("race_middle", "race_high"), (
    {"example_id": "high1.txt", "article": "One.", "answer": "C", "question": "Two?",
     "options": ["a", "b", "c", "d"]}, ("One.", "Two?", "a", "b", "c", "d"), 2))


def write_rows(path, rows):
    """JSONL, CSV or Parquet by the path's ending."""
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with open(path, "w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("task, kind", [
    (task, kind) for task in TASKS for kind in ("jsonl", "parquet", "csv")
    if kind != "csv" or not any(isinstance(value, list) for value in HUB[task][0].values())])
def test_what_data_hubs_export(tmp_path, task, kind):
    """Files of any name, named by --input; a test split whose labels are hidden."""
    row, texts, label = HUB[task]
    hidden = row | {next(iter(TASKS[task].exported.values())).label: -1}
    splits = {split: [hidden] if split.startswith("test") else [row, row]
              for split in TASKS[task].exported}
    given = []
    for number, (split, rows) in enumerate(splits.items()):
        path = tmp_path / f"my {number}.{kind}"
        write_rows(path, rows)
        given.append(f"{split}={path}")
    rows, left_out = read(task, ",".join(given))
    index = row.get("idx")
    if task == "snli":  # whose annotators did not agree
        assert rows.pop("test") == [] and left_out["test"] == {"no gold label": 1}
    for split, found in rows.items():
        assert found == [(number if index is None else index, texts,
                          None if split.startswith("test") else label)
                         for number in range(len(splits[split]))]


def test_part_files_of_a_data_hub(tmp_path):
    """Numbered parts of a split, in their order, as pyarrow reads them."""
    row, texts, _ = HUB["mnli"]
    parts = [[row | {"label": number % 3, "idx": number} for number in range(first, first + 3)]
             for first in (0, 3, 6)]
    for number, part in enumerate(parts):
        write_rows(tmp_path / f"train-0000{number}-of-00003.parquet", part)
    hidden = [row | {"label": -1, "idx": 0}]
    for split in ("validation_matched", "validation_mismatched"):
        write_rows(tmp_path / f"{split}-00000-of-00001.parquet", parts[0])
    write_rows(tmp_path / "test_matched-00000-of-00001.parquet", hidden)
    rows, _ = read("mnli", tmp_path)
    assert list(rows) == ["train", "validation_matched", "validation_mismatched", "test_matched"]
    assert rows["train"] == [
        (each["idx"], texts, each["label"]) for number in range(3) for each in
        parquet.read_table(tmp_path / f"train-0000{number}-of-00003.parquet").to_pylist()]
    assert rows["test_matched"] == [(0, texts, None)]
    (tmp_path / "train-00001-of-00003.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="train-00001-of-00003.parquet cannot be read as Parquet"):
        read("mnli", tmp_path)


def test_a_folder_of_an_exported_story_cloze_is_parted_as_the_published_file(tmp_path):
    row, texts, _ = HUB["story_cloze"]
    write_rows(tmp_path / "validation.jsonl", [row] * 10)
    rows, _ = read("story_cloze", tmp_path)
    assert {split: len(found) for split, found in rows.items()} == {"train": 8, "validation": 2}
    write_files(tmp_path / "2018", {
        "cloze_test_val__winter2018-cloze_test_ALL_val - 1 - 1.csv": stories(10),
        "cloze_test_test__winter2018-cloze_test_ALL_test - 1.csv": stories(4, labelled=False)})
    rows, _ = read("story_cloze", tmp_path / "2018")
    assert {split: len(found) for split, found in rows.items()} == {
        "train": 8, "validation": 2, "test": 4}


def test_multinlis_own_distribution(tmp_path):
    def row(label, text):
        return json.dumps({"annotator_labels": [label], "gold_label": label, "pairID": "1n",
                           "sentence1": text, "sentence2": "Hm.", "genre": "x"}).encode() + b"\n"

    write_files(tmp_path, {
        "multinli_1.0_train.jsonl": row("neutral", "a") + row("entailment", "b"),
        "multinli_1.0_dev_matched.jsonl": row("-", "c") + row("contradiction", "d"),
        "multinli_1.0_dev_mismatched.jsonl": row("entailment", "e") + row("-", "f")})
    rows, left_out = read("mnli", tmp_path)
    assert rows == {"train": [(0, ("a", "Hm."), 1), (1, ("b", "Hm."), 0)],
                    "validation_matched": [(1, ("d", "Hm."), 2)],
                    "validation_mismatched": [(0, ("e", "Hm."), 0)]}
    assert left_out == {"train": {}, "validation_matched": {"no gold label": 1},
                        "validation_mismatched": {"no gold label": 1}}


@pytest.mark.parametrize("task", ["cola", "sst2", "qnli", "scitail", "stsb", "story_cloze"])
def test_published_files_of_other_names(tmp_path, task):
    """Which of a task's layouts a file has is seen by its columns."""
    wanted, _ = read(task, write_files(tmp_path, PUBLISHED[task]))
    names = {split: next(name for name in PUBLISHED[task] if part in name)
             for split, part in (("train", "train"), ("validation", "dev"), ("test", "test"))
             if task != "story_cloze"} or {"test": "cloze_test_test__spring2016.csv"}
    for split, name in names.items():
        (tmp_path / name).rename(tmp_path / f"{split} of mine{name[-4:]}")
    given = ",".join(f"{split}={tmp_path}/{split} of mine{name[-4:]}"
                     for split, name in names.items())
    assert read(task, given)[0] == {split: wanted[split] for split in names}


@pytest.mark.parametrize("name, data, message", [
    ("x.jsonl", b'{"text": "a", "label": 1}\n', "x.jsonl is no file of sst2: it has text, label, "
     "and sentence, label are looked for"),
    ("x.csv", b"sentence\na\n", "x.csv is no file of sst2: it has sentence, and sentence, label"),
    ("x.csv", b"", "it has no row, and"), ("x.doc", b"a", "it has an unknown ending, and")])
def test_files_that_are_not_of_the_task(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message):
        read("sst2", f"train={tmp_path}/{name}")
    with pytest.raises(UserError, match="the splits of sst2 are train, validation, test"):
        read("sst2", f"dev={tmp_path}/{name}")


# Labels.

@pytest.mark.parametrize("labels, spelled", [
    ([0, 1], ["0.0", " 1 ", "1.0", "0"]), (["bug", "wish"], [" bug", "wish ", "wish", "bug"]),
    ([False, True], ["false", "true", " true", "false "]),
    (["-1", "1"], ["-1", "1.0", "1", "-1.0"])])
def test_spellings_of_labels(tmp_path, labels, spelled):
    task = write_spec(tmp_path, labels=labels)
    (tmp_path / "t.csv").write_text("body,kind\n" + "".join(f"a,{each}\n" for each in spelled))
    assert [row[2] for row in read(task, tmp_path / "t.csv")[0]["train"]] == [0, 1, 1, 0]


@pytest.mark.parametrize("value", [-1, -1.0, "-1", "", None, float("nan")])
def test_no_label(tmp_path, value):
    """As hubs and tables with gaps have it: of a test split, and of no other."""
    task = write_spec(tmp_path, labels=[0, 1])
    for split in ("train", "test"):
        write_rows(tmp_path / f"{split}.jsonl", [{"body": "a", "kind": value}] * 2)
    assert [row[2] for row in read(task, tmp_path, "skip")[0]["test"]] == [None, None]
    with pytest.raises(UserError, match="train.jsonl, line 1: there is no label"):
        read(task, tmp_path)
    write_rows(tmp_path / "test.jsonl", [{"body": "a", "kind": value}, {"body": "a", "kind": 1}])
    with pytest.raises(UserError, match="test.jsonl, line 2: some rows have a label and others"):
        read(task, f"test={tmp_path}/test.jsonl")


@pytest.mark.parametrize("label, hint", [
    ("Bug", "none of bug, café; did you mean 'bug'?"),
    ("\ufeffbug", r"did you mean 'bug'?"),
    ("bgu", "did you mean 'bug'?"),
    (unicodedata.normalize("NFD", "café"),
     r"'café' looks like it and is 'caf\xe9', and this is 'cafe\u0301'"),
    ("something else", "is none of bug, café; correct or remove the row"),
    ("0", "the label '0' is none of bug, café; correct")])
def test_labels_that_are_none(tmp_path, label, hint):
    task = write_spec(tmp_path, labels=["bug", "café"])
    write_rows(tmp_path / "t.jsonl", [{"body": "a", "kind": label}])
    with pytest.raises(UserError) as error:
        read(task, tmp_path / "t.jsonl")
    assert hint in str(error.value)


def test_many_labels_are_not_all_listed(tmp_path):
    task = write_spec(tmp_path, labels=[f"kind {number}" for number in range(77)])
    write_rows(tmp_path / "t.jsonl", [{"body": "a", "kind": "kind"}])
    with pytest.raises(UserError, match="kind 10, kind 11 and 65 more; did you mean 'kind"):
        read(task, tmp_path / "t.jsonl")


def test_known_classes_by_their_names_and_numbers(tmp_path):
    (tmp_path / "t.csv").write_text("sentence,label\na,positive\nb,0\nc,negative\nd,1.0\n")
    assert [row[2] for row in read("sst2", tmp_path / "t.csv")[0]["train"]] == [1, 0, 0, 1]


# What labels say of a split.

@pytest.mark.parametrize("task, labels, wanted", [
    ("sst2", {0: 63, 1: 1}, ["few rows of train are positive 1.6% (1 of 64 rows): whoever always "
                             "answers negative has an accuracy of 98.4%. Add rows, or measure "
                             "matthews."]),
    ("sst2", {0: 95, 1: 5}, []), ("sst2", {None: 2}, []), ("sst2", {}, []),
    ("sst2", {1: 20}, ["all 20 rows of train are of one class, positive: there is nothing to tell "
                       "apart; add rows of negative."]),
    ("sst2", {0: 1, 1: 1}, ["train has 2 rows, and one is 50% of every measure: add rows."]),
    ("sst2", {0: 10, 1: 10}, []),
    ("snli", {0: 50, 1: 50}, ["few rows of train are contradiction 0.0% (0 of 100 rows): whoever "
                              "always answers entailment has an accuracy of 50.0%. Add rows, or "
                              "measure matthews."]),
    ("stsb", {2.5: 30}, ["every score of train is 2.5: there is nothing to tell apart; add rows "
                         "with others."]),
    ("stsb", {2.5: 29, 0.0: 1}, []), ("race_high", {0: 30}, [])])
def test_what_is_said_of_a_split(task, labels, wanted):
    assert balance.cautions(TASKS[task].task(), "train", collections.Counter(labels)) == wanted


def test_numbered_rows_need_a_number(tmp_path):
    row, *_ = HUB["rte"]
    write_rows(tmp_path / "t.jsonl", [row, row | {"idx": "x"}])
    with pytest.raises(UserError, match="line 2: idx should be the row's number and is 'x'"):
        read("rte", tmp_path / "t.jsonl")
