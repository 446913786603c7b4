"""Task files: which rows there are, to the character, and what is said of bad ones."""

import csv
import io
import json

from etils import epath
import pytest
from sklearn.model_selection import train_test_split
import tensorflow_datasets as tfds

from gpt_tf.common.errors import UserError
from pipelines.tasks.rows import open_task
from pipelines.tasks.table import find_task
from tests.task_files import (
    MSR_PARAPHRASE,
    PUBLISHED,
    lines,
    passage,
    passages,
    stories,
    write_files,
)


def read(task, given, on_bad_row="stop", tfds_dir=""):
    """split -> [(index, texts, label), ...], and split -> reason -> rows left out."""
    found = open_task(find_task(str(task)), str(given), str(tfds_dir), on_bad_row)
    rows = {split: [each[:3] for each in source.rows()] for split, source in found.items()}
    return rows, {split: dict(source.left_out) for split, source in found.items()}


@pytest.mark.parametrize("task, folder, counts", [
    ("cola", "CoLA", {"train": 8551, "validation": 1043}),
    ("sst2", "SST-2", {"train": 67349, "validation": 872}),
    ("rte", "RTE", {"train": 2490, "validation": 277, "test": 3000}),
    ("mrpc", "MRPC", {"train": 3668, "validation": 408, "test": 1725}),
    ("stsb", "STS-B", {"train": 5749, "validation": 1500}),
    ("race_middle", "RACE", {"train": 6068, "validation": 1436}),
])
def test_row_counts_are_the_published_ones(shared_data, task, folder, counts):
    given = str(shared_data / "tasks" / folder)
    for split, source in open_task(find_task(task), given, "", "stop").items():
        rows = list(source.rows())
        assert len(rows) == counts.pop(split)
        assert [row.index for row in rows] == list(range(len(rows)))
        assert source.labelled == (split != "test") and not source.left_out
    assert not counts


GLUE_ROWS = {
    "cola": {"train": [(0, ("Our \"friends came.",), 1), (1, ("Them came.",), 0)],
             "validation": [(0, ("I'm \"out.",), 1)],
             "test": [(0, ("Bill whistled.",), None), (1, ("Him did.",), None)]},
    "sst2": {"train": [(0, ("hide new secretions",), 0), (1, ("\"so fine",), 1)],
             "validation": [(0, ("a charming journey .",), 1)],
             "test": [(0, ("uneasy mishmash",), None), (1, ("by far worst",), None)]},
    "mnli": {"train": [(0, ("Fact", "Claim"), 1), (1, ("Fact 2", "Claim 2"), 0)],
             "validation_matched": [(0, ("In matched", "Claim"), 2)],
             "validation_mismatched": [(0, ("In mismatched", "Claim"), 2)],
             "test_matched": [(0, ("Test matched", "Claim"), None)],
             "test_mismatched": [(0, ("Test mismatched", "Claim"), None)]},
    "qqp": {"train": [(0, ("How?", "Why?"), 0), (4, ("Who is \"he?", "Who's he?"), 1)],
            "validation": [(0, ("A?", "B?"), 1)], "test": [(0, ("What?", "When?"), None)]},
    "stsb": {"train": [(0, ("A plane.", "A jet."), 5.0), (1, ("A \"man.", "A cat."), 0.25)],
             "validation": [(0, ("A hat.", "A cap."), 3.5)],
             "test": [(0, ("A girl.", "A woman."), None)]},
    "scitail": {"train": [(0, ("Pluto \"rotates.", "Pluto turns."), 0),
                          (1, ("Ice \"melts.", "Ice burns."), 1)],
                "validation": [(0, ("Salt.", "Sugar."), 1)], "test": [(0, ("Acid.", "Base."), 1)]},
    "race_middle": {
        "train": [(0, ("Nine\n.", "Who?", "I", "you", "he", "she"), 1),
                  (1, ("Nine\n.", "What?", "1", "2", "3", "4"), 0),
                  (2, ("Ten.", "Last _ ?", "a", "b", "c", "d"), 3)],
        "validation": [(0, ("Three.", "How?", "so", "thus", "no", "yes"), 2)],
        "test": [(0, ("Four.", "Why?", "w", "x", "y", "z"), 0)]},
} | dict.fromkeys(("qnli", "rte"), {
    "train": [(0, ("One fact.", "One claim."), 1), (1, ("A \"second fact.", "Another claim."), 0),
              (2, ("Third.", "Last."), 1)],
    "validation": [(0, ("Seen", "Unseen"), 1)],
    "test": [(0, ("Not known", "At all"), None), (1, ("Nor", "this"), None)]})


@pytest.mark.parametrize("task", GLUE_ROWS)
def test_published_files(tmp_path, task):
    rows, left_out = read(task, write_files(tmp_path, PUBLISHED[task]))
    assert rows == GLUE_ROWS[task]
    assert list(rows) == list(GLUE_ROWS[task])
    if task != "qqp":
        assert not any(left_out.values())


def test_qqps_known_defects_are_counted(tmp_path):
    """A question with a line break is two rows of too few columns; some have no text."""
    _, left_out = read("qqp", write_files(tmp_path, PUBLISHED["qqp"]))
    assert left_out == {"train": {"wrong number of columns": 2, "empty": 1}, "validation": {},
                        "test": {"empty": 1}}


def test_snlis_rows_without_a_gold_label_are_counted(tmp_path):
    def row(label, text):
        return json.dumps({"annotator_labels": [], "gold_label": label, "sentence1": text,
                           "sentence2": "Hm."}).encode() + b"\n"

    write_files(tmp_path, {
        "snli_1.0_train.jsonl": row("-", "a") + row("neutral", "b") + row("-", "c")
        + row("contradiction", "d"), "snli_1.0_test.jsonl": row("-", "e") + row("entailment", "f")})
    rows, left_out = read("SNLI", tmp_path)
    assert rows == {"train": [(1, ("b", "Hm."), 1), (3, ("d", "Hm."), 2)],
                    "test": [(1, ("f", "Hm."), 0)]}
    assert left_out == {"train": {"no gold label": 2}, "test": {"no gold label": 1}}


def test_cola_by_its_original_names(tmp_path):
    train, dev = lines("gj04|1||One.", "gj04|0|*|Two. "), lines("cj99|1||Three.")
    files = {"in_domain_train.tsv": train, "dev_glue.tsv": dev + lines("b|0|?|Four.")}
    wanted = {"train": [(0, ("One.",), 1), (1, ("Two.",), 0)],
              "validation": [(0, ("Three.",), 1), (1, ("Four.",), 0)]}
    assert read("cola", write_files(tmp_path / "a", files))[0] == wanted
    files = {"in_domain_train.tsv": train, "in_domain_dev.tsv": dev,
             "out_of_domain_dev.tsv": lines("b|0|?|Four.")}
    assert read("cola", write_files(tmp_path / "b", files))[0] == wanted


def test_stsb_by_its_original_names(tmp_path):
    files = {"sts-train.csv": lines("g|f|2012|1|5.000|A \"plane.|A jet.",
                                    "g|f|2016|2|0|Cats.|Dogs.|http://a|http://b"),
             "sts-test.csv": lines("g|f|2012|1|3.2|A, b.|A.")}
    assert read("stsb", write_files(tmp_path, files))[0] == {
        "train": [(0, ("A \"plane.", "A jet."), 5.0), (1, ("Cats.", "Dogs."), 0.0)],
        "test": [(0, ("A, b.", "A."), 3.2)]}


def test_mrpc_as_microsoft_published_it(tmp_path):
    rows, _ = read("mrpc", write_files(tmp_path, MSR_PARAPHRASE))
    assert rows == {"train": [(0, ("He said \"so.", "So he said."), 1),
                              (2, ("It is \"on.", "On it is."), 1)],
                    "validation": [(1, ("Gold rose.", "Gold fell."), 0)],
                    "test": [(0, ("Third.", "Fourth."), 0)]}
    (tmp_path / "mrpc_dev_ids.tsv").unlink()
    rows, _ = read("mrpc", tmp_path)
    assert [row[0] for row in rows["train"]] == [0, 1, 2] and list(rows) == ["train", "test"]


@pytest.mark.parametrize("names", [
    ("cloze_test_val__spring2016 - cloze_test_ALL_val.csv",
     "cloze_test_test__spring2016 - cloze_test_ALL_test.csv"),
    ("cloze_test_val__spring2016.csv", "cloze_test_test__spring2016.csv")])
def test_story_cloze(tmp_path, names):
    """As the released program reads it: csv, the four sentences joined, train_test_split."""
    data = stories(1871)
    folder = write_files(tmp_path, dict(zip(names, (data, stories(3)))))
    table = list(csv.reader(io.StringIO(data.decode())))[1:]
    wanted = [(number, (" ".join(cells[1:5]), "", cells[5], cells[6]), int(cells[7]) - 1)
              for number, cells in enumerate(table)]
    train, validation = train_test_split(wanted, test_size=374, random_state=3535999445)
    rows, _ = read("story_cloze", folder)
    assert rows["train"] == train and rows["validation"] == validation
    assert [row[2] for row in rows["test"]] == [0, 1, 0]


def test_story_cloze_of_2018_has_an_unlabelled_test(tmp_path):
    rows, _ = read("story_cloze", write_files(tmp_path, {
        "cloze_test_val__winter2018.csv": stories(10),
        "cloze_test_test__winter2018.csv": stories(4, labelled=False)}))
    assert {split: len(found) for split, found in rows.items()} == {
        "train": 8, "validation": 2, "test": 4}
    assert rows["test"][3] == (3, ('Ann, 3, said "go".\nSo Two. Three. Four.', "", "Good, 3.",
                                   "Bad."), None)


@pytest.mark.parametrize("task, name, damage, reason, message", [
    ("sst2", "train.tsv", b"fine |2\n", "unknown label", "line 4: the label '2' is none of 0, 1"),
    ("sst2", "train.tsv", b"fine |\n", "no label", "line 4: there is no label"),
    ("sst2", "train.tsv", b" |1\n", "empty", "line 4: a text is empty"),
    ("sst2", "train.tsv", b"fine\n", "wrong number of columns",
     "line 4: 1 columns where there should be 2"),
    ("sst2", "train.tsv", b"Zo\xeb|1\n", "not UTF-8", "line 4: byte 2 is not UTF-8"),
    ("sst2", "train.tsv", b"\nso fine|1\n", "empty", "line 4: the line is blank"),
    ("cola", "train.tsv", b"gj04|1|*|More|or less\n", "wrong number of columns",
     "line 3: 5 columns where there should be 4"),
    ("stsb", "dev.tsv", b"1|g|f|y|2|n|n|A|B|5.1\n", "unknown label",
     "line 3: the score '5.1' is not a number from 0 to 5"),
    ("stsb", "dev.tsv", b"1|g|f|y|2|n|n|A|B|nan\n", "unknown label", "line 3: the score 'nan'"),
    ("stsb", "dev.tsv", b"1|g|f|y|2|n|n|A|B|good\n", "unknown label", "line 3: the score 'good'"),
    ("qqp", "train.tsv", b"12|1|2|A|B|2\n", "unknown label", "line 7: the label '2'"),
    ("race_middle", "dev/middle/3.txt", b"x", "not JSON", ": not valid JSON"),
    ("story_cloze", "cloze_test_test__spring2016.csv", b"id,1,2,3,4,a,b,3\n", "unknown label",
     "line 5: the label '3' is none of 1, 2"),
    ("story_cloze", "cloze_test_test__spring2016.csv", b"id,1,2,3,4,a\xff,b,1\n", "not UTF-8",
     "line 5: a text is not UTF-8"),
])
def test_bad_rows(tmp_path, task, name, damage, reason, message):
    folder = write_files(tmp_path, PUBLISHED[task])
    good, known = read(task, folder)
    with open(tmp_path / name, "ab") as stream:
        stream.write(damage.replace(b"|", b"\t"))
    with pytest.raises(UserError, match=f"{name.split('/')[-1]}.*{message}.*--on_bad_row=skip"):
        read(task, folder)
    rows, left_out = read(task, folder, on_bad_row="skip")
    split = {"train.tsv": "train", "cloze_test_test__spring2016.csv": "test"}.get(
        name, "validation")
    assert left_out[split] == known[split] | {reason: 1}
    if reason == "not JSON":
        good["validation"] = []
    assert rows[split][:len(good[split])] == good[split]


@pytest.mark.parametrize("change, message", [
    ({"options": [["a", "b", "c"]]}, "5 texts where there should be 6"),
    ({"options": [["a", "b", "c", ""]]}, "a text is empty"),
    ({"options": [["a", "b", "c", 4]]}, "no text in one of article, question, options"),
    ({"answers": ["A", "B"]}, "3.txt: questions, options and answers are not lists of one length"),
    ({"questions": "Why?"}, "3.txt: questions, options and answers are not lists"),
    ({"answers": ["E"]}, "3.txt, question 1: the label 'E' is none of A, B, C, D"),
    ({"article": " "}, "a text is empty"),
])
def test_bad_passages(tmp_path, change, message):
    value = passage("Three.", ("Why?", ["a", "b", "c", "d"], "A")) | change
    folder = write_files(tmp_path, passages(dev_middle_3=value))
    with pytest.raises(UserError, match=message):
        read("race_middle", folder)
    assert read("race_middle", folder, "skip")[0] == {"validation": []}


def test_blank_lines_at_the_end_do_not_count(tmp_path):
    files = PUBLISHED["sst2"] | {"train.tsv": PUBLISHED["sst2"]["train.tsv"] + b"\n \n"}
    rows, left_out = read("sst2", write_files(tmp_path, files))
    assert rows == GLUE_ROWS["sst2"] and left_out["train"] == {}


def test_sources_can_be_read_again(tmp_path):
    folder = write_files(tmp_path, PUBLISHED["qqp"])
    source = open_task(find_task("qqp"), folder, "", "stop")["train"]
    assert source.labelled is None
    next(source.rows())
    assert source.labelled
    first, second = list(source.rows()), list(source.rows())
    assert first == second and source.left_out.total() == 3
    assert first[1].where.endswith("train.tsv, line 6")


@pytest.mark.parametrize("files, message", [
    ({"train.tsv": b""}, "train.tsv: the file is empty"),
    ({"train.tsv": b"text\tlabel\n"}, "train.tsv: no column sentence, but text, label"),
    ({"train.tsv": b"sentence\n"}, "train.tsv: no column label, but sentence"),
    ({"train.tsv": b"sent\xff\tlabel\n"}, "line 1: byte 4 is not UTF-8 .see --enc"),
    ({"notes.txt": b"", "a.tsv": b""},
     "has no file of sst2: looked for train.tsv, dev.tsv, test.tsv; or for files called train, "
     "validation, test that end in .tsv, .csv, .*. It holds a.tsv, notes.txt; .*=train=FILE"),
])
def test_files_that_cannot_be_used(tmp_path, files, message):
    with pytest.raises(UserError, match=message):
        read("sst2", write_files(tmp_path, files), on_bad_row="skip")


def test_missing_files_are_named_in_every_layout(tmp_path):
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(UserError, match="nowhere has no file of stsb: looked for train.tsv, dev.tsv"
                       ", test.tsv; or for sts-train.csv, sts-dev.csv, sts-test.csv; or .* It "
                       "holds nothing"):
        read("stsb", tmp_path / "nowhere")


# A user's own task.

TICKETS = {"name": "tickets", "form": "classification", "fields": {"text": "body"},
           "label": "kind", "labels": ["bug", "wish"], "metrics": ["accuracy"]}
QUIZ = {"name": "quiz", "form": "multiple_choice", "label": "right", "labels": [1, 2, 3],
        "fields": {"context": "story", "question": "asked", "answers": "ends"},
        "metrics": ["accuracy"]}
ALIKE = {"name": "alike", "form": "similarity", "fields": {"first": 2, "second": 1}, "label": 0,
         "score_range": [-1, 1], "metrics": ["pearson"]}


@pytest.fixture(name="spec")
def fixture_spec(tmp_path):
    def write(value):
        path = tmp_path / "specs" / f"{value['name']}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value))
        return path
    return write


def test_own_tsv(tmp_path, spec):
    """No quotes in a TSV; the columns may stand in any order."""
    path = tmp_path / "t.tsv"
    path.write_bytes(lines("kind|number|body", "wish|1|\"More, please ", "bug|2|It broke"))
    assert read(spec(TICKETS), path)[0] == {
        "train": [(0, ("\"More, please",), 1), (1, ("It broke",), 0)]}


def test_own_csv(tmp_path, spec):
    """Quoted cells may hold commas, quotes and line ends."""
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfbody,kind\r\n"a, ""b""\r\nc",bug\r\n\r\nplain,wish\r\n')
    rows = open_task(find_task(str(spec(TICKETS))), str(path), "", "stop")
    rows = list(rows["train"].rows())
    assert [row[:3] for row in rows] == [(0, ('a, "b"\r\nc',), 0), (1, ("plain",), 1)]
    assert [row.where for row in rows] == [f"{path}, line 2", f"{path}, line 5"]
    path.write_bytes(b'body,kind\nfine,bug\n"never closed,bug\nlost,bug\n')
    with pytest.raises(UserError, match="t.csv, line 3: unexpected end of data"):
        read(spec(TICKETS), path, "skip")


def test_own_jsonl(tmp_path, spec):
    path = tmp_path / "t.jsonl"
    row = {"story": "S.", "asked": "", "ends": ["a", "b", "c"], "right": 3}
    bad = [row | {"ends": ["a", "b"]}, row | {"ends": "abc"}, {}, [row], row | {"right": True},
           row | {"story": "\ud800"}]
    path.write_text("".join(json.dumps(each) + "\n" for each in [row, *bad, row | {"right": "1"}]))
    rows, left_out = read(spec(QUIZ), path, "skip")
    assert rows == {"train": [(0, ("S.", "", "a", "b", "c"), 2), (7, ("S.", "", "a", "b", "c"), 0)]}
    assert left_out["train"] == {"wrong number of columns": 2, "no label": 1, "not JSON": 1,
                                 "unknown label": 1, "not UTF-8": 1}


def test_own_files_without_a_header(tmp_path, spec):
    write_files(tmp_path, {"train.tsv": lines("0.5|a|b", "-1|c|d"), "dev.csv": b'1,"e, f",g\n',
                           "test.tsv": lines("?|h|i")})
    given = f"validation={tmp_path}/dev.csv, train={tmp_path}/train.tsv"
    wanted = {"train": [(0, ("b", "a"), 0.5), (1, ("d", "c"), -1.0)],
              "validation": [(0, ("g", "e, f"), 1.0)]}
    rows, _ = read(spec(ALIKE), given)
    assert rows == wanted and list(rows) == ["train", "validation"]
    assert read(spec(ALIKE), tmp_path, "skip")[0] == wanted | {"test": []}
    (tmp_path / "train.tsv").write_bytes(lines("0.5|a|b", "0.5|c"))
    with pytest.raises(UserError, match="line 2: 2 columns where there should be 3"):
        read(spec(ALIKE), tmp_path)
    (tmp_path / "train.tsv").write_bytes(lines("0.5|a"))
    with pytest.raises(UserError, match="train.tsv: no column 2, but 0, 1"):
        read(spec(ALIKE), tmp_path)


def test_own_test_split_may_lack_labels(tmp_path, spec):
    write_files(tmp_path, {"train.tsv": lines("body|kind", "x|bug"), "test.tsv": lines("body", "y"),
                           "dev.jsonl": b'{"body": "z", "kind": "wish"}\n'})
    sources = open_task(find_task(str(spec(TICKETS))), str(tmp_path), "", "stop")
    assert {split: [each.label for each in source.rows()] for split, source in sources.items()} == {
        "train": [0], "validation": [1], "test": [None]}
    assert [source.labelled for source in sources.values()] == [True, True, False]
    (tmp_path / "test.tsv").write_bytes(lines("body|kind", "y|", "z|bug"))
    with pytest.raises(UserError, match="line 3: some rows have a label and others have none"):
        list(sources["test"].rows())


@pytest.mark.parametrize("given, message", [
    ("{0}/none.tsv", "is no file or folder, nor a list of files such as train=a.tsv"),
    ("train={0}/none.tsv", "is no file or folder, nor a list"),
    ("dev={0}/train.tsv", "is no file or folder, nor a list"),
    ("{0}", "has train.csv and train.jsonl and train.tsv: which is train.*=train={0}/train.csv"),
    ("{0}/specs", "has no file of alike: looked for files called train, validation, test that"),
    ("{0}/train.txt", "train.txt ends in none of .tsv, .csv, .jsonl"),
    ("{0}/train.jsonl", "has fields by name, and the task's description numbers them"),
    ("tfds:glue/stsb", "--input=tfds:glue/stsb does not hold the task alike; give its files"),
])
def test_own_files_that_cannot_be_used(tmp_path, spec, given, message):
    path = spec(ALIKE)
    write_files(tmp_path, {f"train.{kind}": b"0.5\ta\tb\n" for kind in ("tsv", "csv", "txt",
                                                                       "jsonl")})
    with pytest.raises(UserError, match=message.format(tmp_path)):
        read(path, given.format(tmp_path))


# tensorflow-datasets.

def prepare(monkeypatch, name, downloaded, folder):
    """Runs the library's own builder on files that stand in for the downloaded ones."""
    def downloads(_, urls):
        if isinstance(urls, dict):  # MRPC's three files
            names = ("mrpc_dev_ids.tsv", "msr_paraphrase_train.txt", "msr_paraphrase_test.txt")
            return {key: str(downloaded / file) for key, file in zip(urls, names)}
        return epath.Path(downloaded)

    for method in ("download", "download_and_extract"):
        monkeypatch.setattr(tfds.download.DownloadManager, method, downloads)
    config = tfds.download.DownloadConfig(manual_dir=str(downloaded))
    tfds.builder(name, data_dir=str(folder)).download_and_prepare(download_config=config)


@pytest.mark.parametrize("task, name, folder", [
    ("cola", "glue/cola", "CoLA"), ("sst2", "glue/sst2", "SST-2"), ("mnli", "glue/mnli", "MNLI"),
    ("qnli", "glue/qnli", "QNLI"), ("rte", "glue/rte", "RTE"), ("qqp", "glue/qqp", "QQP"),
    ("stsb", "glue/stsb", "STS-B"), ("mrpc", "glue/mrpc", "."),
    ("scitail", "sci_tail", "SciTailV1.1/tsv_format"), ("race_middle", "race/middle", "RACE"),
    ("story_cloze", "story_cloze/2016", ".")])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library's own imports
def test_prepared_data_sets_hold_the_same_rows(tmp_path, monkeypatch, task, name, folder):
    """The library's builder and our reader find the same in the same published files."""
    files = dict(PUBLISHED.get(task, MSR_PARAPHRASE))
    if task == "scitail":  # the library reads quotes there, which merges rows
        files = {path: data.replace(b'"', b"") for path, data in files.items()}
    given = write_files(tmp_path / folder, files)
    prepare(monkeypatch, name, tmp_path, tmp_path / "prepared")
    theirs, _ = read(task, f"tfds:{name}", tfds_dir=tmp_path / "prepared")
    ours, _ = read(task, given)
    if task == "mrpc":  # the library hides the labels of this test
        ours["test"] = [(index, texts, None) for index, texts, _ in ours["test"]]
    if task == "story_cloze":  # the library shuffles, so that others are drawn for validation
        for rows in (ours, theirs):
            assert len(rows["validation"]) == 5
            rows["train"] += rows.pop("validation")
    assert list(theirs) == list(ours)
    has_numbers = name.startswith("glue/")
    for split, rows in theirs.items():
        key = (lambda row: row) if has_numbers else (lambda row: row[1:])
        assert sorted(map(key, rows)) == sorted(map(key, ours[split]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_prepared_snli(tmp_path, monkeypatch):
    """The library reads the tab-separated twins of the published files."""
    text = lines("gold_label|a|b|c|d|sentence1|sentence2", "-|||||x|y", "contradiction|||||v|w")
    write_files(tmp_path / "snli_1.0", {f"snli_1.0_{split}.txt": text
                                        for split in ("train", "dev", "test")})
    prepare(monkeypatch, "snli", tmp_path, tmp_path / "prepared")
    rows, left_out = read("snli", "tfds:snli", tfds_dir=tmp_path / "prepared")
    for split in ("train", "validation", "test"):
        assert [row[1:] for row in rows[split]] == [(("v", "w"), 2)]
        assert left_out[split] == {"no gold label": 1}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_data_sets_that_cannot_be_used(tmp_path):
    command = r"tfds.builder\('glue/rte', data_dir='.*'\).download_and_prepare\(\)"
    with pytest.raises(UserError, match=f"tfds:glue/rte: no split 'train' in .*{command}"):
        read("rte", "tfds:glue/rte", tfds_dir=tmp_path)
    with pytest.raises(UserError, match="--input=tfds:glue/sst2 does not hold the task rte; give "
                       "tfds:glue/rte"):
        read("rte", "tfds:glue/sst2", tfds_dir=tmp_path)
    with pytest.raises(UserError, match="cannot open 'glue/rte:9.9.9'"):
        read("rte", "tfds:glue/rte:9.9.9", tfds_dir=tmp_path)
