"""Measures and predictions files of fine-tuned runs, and what is refused."""

import csv
import dataclasses
import json
import os
import pathlib
import shutil

import numpy as np
import pytest

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import write_json
from gpt_tf.config import ModelConfig
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import TASK, Manifest
from gpt_tf.evaluate import EvaluationConfig, evaluate_task
from gpt_tf.evaluation import task_scores
from gpt_tf.model.task_model import TaskModel
from gpt_tf.runs import run_folder, weights
from gpt_tf.runs.checkpoint import Checkpoints
from gpt_tf.tasks.task import Task
from gpt_tf.training.predictor import Predictions
from tests import corpora, task_data

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture


def make_run(folder, tokenizer, task, max_length=task_data.MAX_LENGTH, seed=5, num_layers=2):
    """A fine-tuned run folder, of random weights large enough for answers to differ."""
    config = ModelConfig(vocabulary_size=tokenizer.vocabulary_size, num_special_tokens=3,
                         num_layers=num_layers, num_heads=2, hidden_dim=16, intermediate_dim=32,
                         max_sequence_length=max_length, initializer_range=0.5)
    os.makedirs(folder)
    write_json(os.path.join(folder, "model.json"), dataclasses.asdict(config))
    write_json(os.path.join(folder, "task.json"),
               {"task": task.to_json(), "max_length": max_length})
    tokenizer.save(folder)
    Checkpoints(run_folder.best_folder(folder), {
        "model": weights.model_variables(TaskModel(config, task, seed=seed))}).save(9)
    return folder


@pytest.fixture(name="tasks", scope="module")
def tasks_fixture(tmp_path_factory, tokenizer):
    """Form -> (run folder, data folder)."""
    folder = tmp_path_factory.mktemp("tasks")
    return {name: (make_run(str(folder / f"run_{name}"), tokenizer, task),
                   task_data.write(str(folder / name), tokenizer, task))
            for name, task in task_data.TASKS.items()}


def config(**values):
    return EvaluationConfig(**dict(batch_size=5, jit_compile=False) | values)


def predicted(run, data, split="validation"):
    model, task, _ = weights.load_task_model(run)
    return task, task_data.predict(model, evaluation_batches(data, split, 24))


def saved(run):
    path, = (os.path.join(run, "evaluations", name)
             for name in os.listdir(os.path.join(run, "evaluations")))
    with open(path, encoding="utf-8") as stream:
        return path, json.load(stream)


@pytest.mark.parametrize("form", task_data.TASKS)
def test_metrics_are_printed_and_saved(tasks, form, capsys):
    run, data = tasks[form]
    evaluate_task(config(), run, data)
    out = capsys.readouterr().out
    task, found = predicted(run, data)
    path, value = saved(run)
    assert f"Saved in {path}." in out and "update 9" in out
    scores = value.pop("scores")["fine-tuned"]
    assert value == {"data_dir": data, "split": "validation", "rows": 24, "update": 9}
    assert list(scores) == [*task.metrics, "loss"]
    expected = {"accuracy": np.mean(found.labels == found.predictions),
                "pearson": np.corrcoef(found.labels, found.predictions)[0, 1]}
    first = task.metrics[0]
    assert scores[first] == pytest.approx(expected[first], rel=1e-4)
    assert f"  {first:20} {scores[first]:.4f}\n" in out


def test_what_was_measured_before_stays(tasks, tmp_path, tokenizer):
    run, data = make_run(str(tmp_path / "run"), tokenizer, task_data.TASKS["classification"]), (
        tasks["classification"][1])
    evaluate_task(config(bag_of_words=True), run, data)
    path, before = saved(run)
    evaluate_task(config(), run, data)
    assert saved(run) == (path, before)
    assert {"fine-tuned", "bag of words"} <= set(before["scores"])
    os.rename(os.path.join(run, "best"), os.path.join(run, "checkpoints"))
    evaluate_task(config(weights="newest"), run, data)
    os.remove(path)
    newest, found = saved(run)  # beside, and without what was not asked for
    assert newest == path.removesuffix(".json") + "-newest.json"
    assert found == before | {"scores": {"fine-tuned": before["scores"]["fine-tuned"]}}


def unwritable(folder):
    """A run folder in which no folder `evaluations` can be made; the reason."""
    (folder / "evaluations").write_text("")
    return "is a file and not a folder"


def linked(folder):
    (folder / "elsewhere").mkdir()
    (folder / "evaluations").symlink_to(folder / "elsewhere")
    return "is a link, and nothing is written outside"


@pytest.mark.parametrize("make", [unwritable, linked])
def test_a_run_folder_that_cannot_be_written_is_measured_all_the_same(tasks, tmp_path, capsys,
                                                                      make):
    run, data = tasks["scores"]
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluations"))
    reason = make(tmp_path / "run")
    answers = tmp_path / "answers.tsv"
    evaluate_task(config(predictions=str(answers)), str(tmp_path / "run"), data)
    out, err = capsys.readouterr()
    assert "pearson" in out and "Saved" not in out and len(answers.read_text().splitlines()) == 25
    assert err.startswith("Note: the run folder keeps none of these measures. ") and reason in err
    assert not list(tmp_path.glob("run/elsewhere/*"))


@pytest.mark.parametrize("form", task_data.TASKS)
@pytest.mark.parametrize("probabilities", [False, True])
def test_predictions_file(tasks, tmp_path, form, probabilities):
    run, data = tasks[form]
    path = tmp_path / "new" / "answers.tsv"
    evaluate_task(config(predictions=str(path), probabilities=probabilities), run, data)
    with open(path, encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream, delimiter="\t")
    task, found = predicted(run, data)
    # As published, whatever the names are: GLUE's site takes nothing else.
    classes = {"classification": ["0", "1"], "scores": ["0", "1", "2", "3", "4", "5"],
               "multiple_choice": ["1", "2", "3"]}[form]
    assert header == ["index", "prediction"] + (classes if probabilities else [])
    assert [int(row[0]) for row in rows] == list(range(24))
    if task.is_score:
        np.testing.assert_allclose([float(row[1]) for row in rows], found.predictions, rtol=1e-4)
    else:
        assert [row[1] for row in rows] == [classes[each] for each in found.predictions]
        assert len({row[1] for row in rows}) > 1
    if probabilities:
        np.testing.assert_allclose(np.array([row[2:] for row in rows], float),
                                   found.probabilities, atol=1e-5)


def test_names_do_not_part_a_run_and_its_data(tasks, tmp_path, tokenizer):
    """A run of before there were names is measured on the same data, built again."""
    run, data = tasks["classification"]
    old = make_run(str(tmp_path / "old"), tokenizer, task_data.TASKS["classification"].published)
    assert "label_names" not in (tmp_path / "old" / "task.json").read_text()
    files = {}
    for name, each in (("new", run), ("old", old)):
        run_folder.check_data(each, data, Manifest.load(data))
        evaluate_task(config(predictions=f"{tmp_path}/{name}.tsv"), each, data)
        files[name] = (tmp_path / f"{name}.tsv").read_text()
    assert files["new"] == files["old"]


def test_order_and_range_of_the_file(tmp_path):
    found = Predictions(
        source_rows=np.array([7, 0, 3]), labels=np.full(3, np.nan, np.float32),
        probabilities=np.zeros((3, 6), np.float32),
        predictions=np.array([5.0000005, 1.25, -1e-7], np.float32), loss=float("nan"))
    path = tmp_path / "scores.tsv"
    task_scores.write_predictions(str(path), task_data.TASKS["scores"], found, False)
    assert path.read_text() == "index\tprediction\n0\t1.25\n3\t0.0\n7\t5.0\n"


def test_without_labels(tasks, tmp_path, tokenizer, capsys):
    run, _ = tasks["classification"]
    data = task_data.write(str(tmp_path / "data"), tokenizer, task_data.TASKS["classification"],
                           {"test_matched": 7}, labelled=False)
    with pytest.raises(UserError, match="test_matched split of .* has no labels.*--predictions"):
        evaluate_task(config(split="test_matched"), run, data)
    path = tmp_path / "answers.tsv"
    before = os.listdir(os.path.join(run, "evaluations")) if os.path.exists(
        os.path.join(run, "evaluations")) else None
    evaluate_task(config(split="test_matched", predictions=str(path)), run, data)
    assert "no labels" in capsys.readouterr().out
    assert len(path.read_text().splitlines()) == 8
    after = os.listdir(os.path.join(run, "evaluations")) if before is not None else None
    assert before == after


def test_a_bag_of_words_beside(tasks, capsys):
    run, data = tasks["classification"]
    evaluate_task(config(bag_of_words=True), run, data)
    line, = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  accuracy"))
    labels = {split: np.concatenate([batch["labels"].numpy() for batch in
                                     evaluation_batches(data, split, 1)])
              for split in ("train", "validation")}
    majority = np.mean(labels["validation"] == np.bincount(labels["train"]).argmax())
    assert line.endswith(f"majority class {majority:.4f}")
    # The last word decides, and is counted.
    assert float(line.split("bag of words")[1].split()[0]) > 0.9
    assert list(saved(run)[1]["scores"]) == ["fine-tuned", "bag of words", "majority class"]


def test_other_runs_beside(tasks, tmp_path, tokenizer, capsys):
    run, data = tasks["classification"]
    other = make_run(str(tmp_path / "other"), tokenizer, task_data.TASKS["classification"], seed=6)
    evaluate_task(config(beside=f"{other}, {run}"), run, data)
    line, = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  accuracy"))
    _, found = predicted(other, data)
    assert f"{other} {np.mean(found.labels == found.predictions):.4f}" in line
    scores = saved(run)[1]["scores"]
    assert list(scores)[:3] == ["fine-tuned", other, run]
    assert scores[run] == scores["fine-tuned"] != scores[other]


def test_the_mean_score_has_no_correlation(tasks):
    scores = task_scores.baselines(tasks["scores"][1], "validation")
    assert scores["mean score"] == {"pearson": 0.0, "spearman": 0.0}
    assert scores["bag of words"]["pearson"] > 0.7


def test_a_metric_without_value_is_said(capsys):
    scores = task_scores.measure(task_data.TASKS["classification"], np.zeros(3, int),
                                     np.zeros(3, int))
    assert scores == {"accuracy": 1.0, "f1": 0.0}
    assert "Note: F1 is not defined" in capsys.readouterr().err


def test_a_task_may_have_a_long_name(tmp_path, capsys):
    """120 Chinese signs have 360 bytes, and a file's name at most 255."""
    for name in ("\u7968" * 120, "a/b " * 50, "."):
        task = dataclasses.replace(task_data.TASKS["classification"], name=name)
        manifest = Manifest(TASK, 16, 50, "f", {}, {}, task)
        task_scores.keep(str(tmp_path), manifest, "validation_mismatched", {"accuracy": 1.0})
        path = pathlib.Path(capsys.readouterr().out.removeprefix("Saved in ").removesuffix(".\n"))
        assert json.loads(path.read_text()) == {"accuracy": 1.0}
        assert path.parent == tmp_path / "evaluations"


def test_two_folders_of_one_name_are_kept_apart(tasks, tmp_path, tokenizer, capsys):
    task = task_data.TASKS["classification"]
    paths = set()
    for number, count in enumerate((20, 30)):
        data = task_data.write(str(tmp_path / str(number) / "data"), tokenizer, task,
                               {"validation": count})
        task_scores.keep(tasks["classification"][0], Manifest.load(data), "validation", {})
        paths.add(capsys.readouterr().out)
    assert len(paths) == 2


def test_what_does_not_fit(tasks, tmp_path, tokenizer):
    run, data = tasks["classification"]

    def error(match, run=run, data=data, **values):
        with pytest.raises(UserError, match=match):
            run_folder.check_data(run, data, Manifest.load(data))
            evaluate_task(config(**values), run, data)

    error(r"another task than .*alike with form similarity, where feeling has classification",
          data=tasks["scores"][1])
    other = Task("mood", "classification", 1, ("glad", "sad"), (), ("accuracy",))
    error(r"another task than .*mood with labels \('glad', 'sad'\)",
          data=task_data.write(str(tmp_path / "mood"), tokenizer, other))
    error("no records for split 'dev'; it has train, validation", split="dev")
    error("up to 24 tokens and the model of .*/short takes 16: .*--max_length=16",
          run=make_run(str(tmp_path / "short"), tokenizer, task_data.TASKS["classification"], 16))
    no_train = task_data.write(str(tmp_path / "some"), tokenizer,
                               task_data.TASKS["classification"], {"validation": 5})
    error("no labelled training split", data=no_train, bag_of_words=True)
    os.unlink(os.path.join(make_run(str(tmp_path / "gone"), tokenizer,
                                    task_data.TASKS["classification"]), "task.json"))
    error("not a fine-tuned run", run=str(tmp_path / "gone"))


def test_options_that_do_not_fit():
    with pytest.raises(ValueError, match="--predictions"):
        EvaluationConfig(probabilities=True)
    with pytest.raises(ValueError, match="--batch_size=0"):
        EvaluationConfig(batch_size=0)
