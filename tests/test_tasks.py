"""The TASKS table against tensorflow-datasets' builders, and users' own spec.json."""

import json

import numpy as np
import pytest
from sklearn.model_selection import train_test_split
import tensorflow_datasets as tfds

from gpt_tf.common.errors import UserError
from gpt_tf.tasks.metrics import METRICS
from pipelines.tasks import spec
from pipelines.tasks.description import DrawnPart
from pipelines.tasks.table import TASKS, find_task

CATALOGUE = [(name, theirs) for name, task in TASKS.items() for theirs in task.catalogue]
SPEC = {"name": "tickets", "form": "classification", "fields": {"text": "body"}, "label": "kind",
        "labels": ["bug", "wish"], "metrics": ["f1", "accuracy"]}
QUIZ = {"name": "quiz", "form": "multiple_choice", "label": 4, "labels": [0, 1, 2],
        "fields": {"context": 0, "answers": [1, 2, 3]}, "metrics": ["accuracy"]}


@pytest.mark.parametrize("given, name", [
    ("cola", "cola"), ("CoLA", "cola"), ("SST-2", "sst2"), ("STS-B", "stsb"), ("QQP", "qqp"),
    ("story_cloze", "story_cloze"), ("RACE-middle", "race_middle"), ("race_high", "race_high")])
def test_names(given, name):
    assert find_task(given).name == name


def test_unknown_name():
    with pytest.raises(UserError, match="--task=sst3 is not known: name one of cola, sst2, snli"):
        find_task("sst3")


def test_metrics_of_the_paper():
    """Tables 2 to 4 of the paper; where there are two, the first is the table's."""
    assert {name: task.metrics for name, task in TASKS.items()
            if task.metrics != ("accuracy",)} == {
        "cola": ("matthews",), "mrpc": ("f1", "accuracy"), "qqp": ("f1", "accuracy"),
        "stsb": ("pearson", "spearman")}


def test_numbers_have_names():
    """GLUE's own words, in the order of the published numbers."""
    assert {name: task.label_names for name, task in TASKS.items() if task.label_names} == {
        "cola": ("unacceptable", "acceptable"), "sst2": ("negative", "positive"),
        "mrpc": ("not_equivalent", "equivalent"), "qqp": ("not_duplicate", "duplicate")}
    for task in (TASKS["sst2"].task(), TASKS["sst2"].zero_shot_task()):
        assert task.labels == ("0", "1") and task.label_names == ("negative", "positive")


def test_metrics_exist():
    assert {*spec.CLASS_METRICS, *spec.SCORE_METRICS} == set(METRICS)
    for task in TASKS.values():
        assert set(task.metrics) <= set(METRICS)


@pytest.mark.parametrize("name, form, sequences, classes", [
    ("cola", "classification", 1, 2), ("mnli", "entailment", 1, 3), ("stsb", "similarity", 2, 6),
    ("story_cloze", "multiple_choice", 2, 2), ("race_high", "multiple_choice", 4, 4)])
def test_what_the_manifest_says(name, form, sequences, classes):
    task = TASKS[name].task()
    assert (task.name, task.form, task.num_sequences, task.num_classes) == (
        name, form, sequences, classes)
    assert task.is_score == (name == "stsb")


@pytest.mark.parametrize("name, theirs", CATALOGUE)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library's own imports
def test_columns_and_classes_are_the_catalogues(name, theirs, tmp_path):
    """Every field that the table names is one of tensorflow-datasets', and every class."""
    features = tfds.builder(theirs, data_dir=str(tmp_path)).info.features
    task = TASKS[name]
    flattened = {"question": "questions", "answer": "answers"} if name.startswith("race") else {}
    for source in task.catalogue[theirs].values():
        for column in [*source.columns, source.label]:
            assert flattened.get(column, column) in features
        assert source.index is None or source.index in features
    if "label" in features and isinstance(features["label"], tfds.features.ClassLabel):
        assert features["label"].names == list(task.label_names or task.labels)


@pytest.mark.parametrize("rows, held_out", [(1871, 374), (1571, 314), (5, 1)])
def test_story_cloze_is_parted_as_the_released_program_does(rows, held_out):
    train, validation = train_test_split(np.arange(rows), test_size=held_out,
                                         random_state=3535999445)
    layout = TASKS["story_cloze"].layouts[0]
    assert isinstance(layout["train"].part, DrawnPart)
    np.testing.assert_array_equal(layout["train"].part.numbers(rows), train)
    np.testing.assert_array_equal(layout["validation"].part.numbers(rows), validation)
    if rows == 1871:
        assert (len(train), len(validation)) == (1497, 374)


def write(tmp_path, spec):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec))
    return str(path)


def test_a_users_own_task(tmp_path):
    task = find_task(write(tmp_path, SPEC)).task()
    assert (task.name, task.form, task.num_sequences) == ("tickets", "classification", 1)
    assert (task.labels, task.score_range) == (("bug", "wish"), ())
    assert task.metrics == ("f1", "accuracy")
    quiz = find_task(write(tmp_path, QUIZ)).task()
    assert (quiz.num_sequences, quiz.labels) == (3, ("0", "1", "2"))


def test_the_examples_of_the_documentation(tmp_path):
    text, decoder, forms = spec.__doc__, json.JSONDecoder(), []
    start = text.find('{"name"')
    while start >= 0:
        example, end = decoder.raw_decode(text, start)
        forms.append(find_task(write(tmp_path, example)).task().form)
        start = text.find('{"name"', end)
    assert forms == ["classification", "similarity", "multiple_choice"]


@pytest.mark.parametrize("change, message", [
    ({"form": "clasification"}, "'form' must be one of classification"),
    ({"form": ["classification"]}, "'form' must be one of"),
    ({"fields": {"premise": "body"}}, "'fields' must name the columns of text"),
    ({"fields": {"text": -1}}, "the field 'text' must be a column's name or number"),
    ({"fields": {"text": True}}, "the field 'text' must be a column's name or number"),
    ({"fields": {"text": 0}}, "all names, or all numbers"),
    ({"label": None}, "'label' must be a column's name or number"),
    ({"labels": ["bug"]}, "'labels' must be two or more"),
    ({"labels": ["1", 1]}, "'labels' must be two or more"),
    ({"labels": {"bug": 0}}, "'labels' must be a list"),
    ({"labels": ["a", "b", "c"]}, "f1 is for two labels"),
    ({"score_range": [0, 5]}, "either 'labels' or 'score_range'"),
    ({"metrics": ["f2"]}, "'metrics' must be a list of some of accuracy, f1, matthews"),
    ({"metrics": []}, "'metrics' must be a list"),
    ({"metrics": ["pearson"]}, "'metrics' must be a list of some of accuracy"),
    ({"metric": "f1"}, "metric not known"),
    ({"name": " "}, "'name' must be a word"),
])
def test_bad_descriptions(tmp_path, change, message):
    with pytest.raises(UserError, match=f"spec.json: .*{message}.*examples"):
        find_task(write(tmp_path, SPEC | change))


@pytest.mark.parametrize("change, message", [
    ({"labels": ["a", "b"]}, "3 answers need as many 'labels'"),
    ({"fields": {"context": 0, "answers": [1, "b", 2]}}, "all names, or all numbers"),
    ({"fields": {"context": 0, "answers": [1, None, 2]}}, "'answers' must be columns"),
    ({"fields": {"answers": [1, 2, 3]}}, "'fields' must name the columns of context"),
])
def test_bad_descriptions_of_a_choice(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        find_task(write(tmp_path, QUIZ | change))


@pytest.mark.parametrize("score_range", [[5, 0], [0, 4.5], [0], [False, True], "05", [1, 1]])
def test_bad_score_ranges(tmp_path, score_range):
    spec = {key: value for key, value in SPEC.items() if key != "labels"}
    with pytest.raises(UserError, match=r"'score_range' must be \[low, high\]"):
        find_task(write(tmp_path, spec | {"score_range": score_range, "metrics": ["pearson"]}))
    with pytest.raises(UserError, match="a choice has 'labels'"):
        choice = {key: value for key, value in QUIZ.items() if key != "labels"}
        find_task(write(tmp_path, choice | {"score_range": [0, 5]}))


@pytest.mark.parametrize("key", ["name", "form", "fields", "label", "metrics"])
def test_missing_keys(tmp_path, key):
    spec = {name: value for name, value in SPEC.items() if name != key}
    with pytest.raises(UserError, match=f"'{key}' is missing"):
        find_task(write(tmp_path, spec))


def test_descriptions_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="Cannot read .*none.json"):
        find_task(str(tmp_path / "none.json"))
    with pytest.raises(UserError, match="expected a JSON object"):
        find_task(write(tmp_path, [SPEC]))
