"""Zero-shot answers: from scores to answers, thresholds, chance, the command."""

import csv
import json
import os
import re
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest
import tensorflow as tf

from gpt_tf.common.errors import UserError
from gpt_tf.common.small_files import record
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import Manifest
from gpt_tf.evaluation import zero_shot_scores
from gpt_tf.evaluation.zero_shot_scores import best_threshold, chance_measures
from gpt_tf.runs import run_folder, weights
from gpt_tf.runs.checkpoint import Checkpoints
from gpt_tf.runs.pictures import zero_shot_figure
from gpt_tf.tasks import metrics
from gpt_tf.zero_shot import ZeroShotConfig, measure
from pipelines import build_task
from pipelines.build_task import TaskConfig
from pipelines.building import frame
from pipelines.tasks import table
from tests import corpora, runs, task_data
from tests.commands import run_command
from tests.conftest import REPOSITORY
from tests.task_files import lines, passage, write_files
from tests.test_scoring import by_logits

tokenizer_fixture = corpora.tokenizer_fixture
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture


# Scores to answers.

@given(arrays.arrays(int, st.integers(2, 30), elements=st.integers(0, 1)), st.data())
def test_the_threshold_is_the_best(labels, data):
    scores = np.array(data.draw(st.lists(st.integers(-9, 9), min_size=len(labels),
                                         max_size=len(labels)))) / 4
    threshold = best_threshold(labels, scores)
    distinct = np.unique(scores)
    if len(distinct) == 1:
        assert threshold == distinct[0]
        return

    def quality(value):
        return _matthews(labels, scores > value)

    between = (distinct[:-1] + distinct[1:]) / 2
    assert threshold in between
    assert quality(threshold) == pytest.approx(max(map(quality, between)), abs=1e-12)


def _matthews(labels, predictions):
    if labels.all() or not labels.any():
        return 0.0
    return metrics.matthews(labels, predictions.astype(int))


def test_chance_by_hand():
    labels = np.array([1, 0, 1, 1])
    assert chance_measures(table.TASKS["sst2"].zero_shot_task(), labels) == {
        "majority class": {"accuracy": 0.75}, "random guess": {"accuracy": 0.5}}
    assert chance_measures(table.TASKS["race_high"].zero_shot_task(), labels) == {
        "majority class": {"accuracy": 0.75}, "random guess": {"accuracy": 0.25}}
    assert chance_measures(table.TASKS["cola"].zero_shot_task(), labels) == {
        "majority class": {"matthews": 0.0}, "random guess": {"matthews": 0.0}}


def test_relative_performance():
    assert [zero_shot_scores.relative(value, 0.25) for value in (0.25, 1.0, 0.0)] == [
        0.0, 1.0, -1 / 3]


# A model to which what was said before is likely, and rows that it must get right.

ROWS = {
    # A sentence of one word again and again is likelier than one of many.
    "cola": {"in_domain_train.tsv": lines("x|1||the the the the", "x|0|*|and 4 x ; the in",
                                          "x|1||in in in in", "x|0|*|d in e and f the"),
             "dev_glue.tsv": lines("x|0|*|x in y and", "x|1||and and and and",
                                   "x|1||the the the")},
    "sst2": {"train.tsv": lines("sentence|label", "the|0"),
             "dev.tsv": lines("sentence|label", "positive positive positive|1",
                              "negative and negative|0", "positive sti|1")},
    # The mean counts: the right answer is the longest, whose sum is the lowest.
    "race_middle": {"dev/middle/1.txt": json.dumps(passage(
        "in in the the in the", ("the", ["and", "x", "in the in the in the in the", "y"], "C"),
        ("", ["the the", "z", "q", "w"], "A"))).encode()},
    "dpr": {"train.c.txt": b"the and in were 4 as it saw in in.\nit\nthe,in\nIn\n\n"
                           b"9 in and they and and.\nThey\nand,x\nand\n\n"
                           b"5 in it q q\nit\nx,q\nq\n"},
}


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory, tokenizer_dir):
    """Task -> its folder of zero-shot data."""
    folder = tmp_path_factory.mktemp("zero_shot")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "Encoders", corpora.InProcess)
        for task, files in ROWS.items():
            build_task.build(TaskConfig(
                task=task, input=write_files(folder / f"{task}_rows", files), max_length=64,
                tokenizer=str(tokenizer_dir), output_dir=str(folder / task), num_workers=1,
                zero_shot=True))
    return {task: str(folder / task) for task in ROWS}


@pytest.fixture(name="run", scope="module")
def run_fixture(tmp_path_factory, tokenizer):
    """A run that knows nothing at update 100, and copies at 200 and 300."""
    size = tokenizer.vocabulary_size
    copying = runs.make_copying_model(size)
    silent = runs.silence(runs.make_copying_model(size))
    return runs.make_run(tmp_path_factory.mktemp("runs") / "run", tokenizer,
                         {100: silent, 200: copying, 300: copying})


def config(**values):
    return ZeroShotConfig(**dict(jit_compile=False, batch_size=5) | values)


def saved(run, data_dir, split):
    manifest = Manifest.load(data_dir)
    path = os.path.join(run, "evaluations",
                        f"{manifest.task.name}-{split}-{manifest.fingerprint[:8]}.json")
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


SPLITS = {"cola": "validation", "sst2": "validation", "race_middle": "validation", "dpr": "train"}
COUNTS = {"cola": 3, "sst2": 3, "race_middle": 2, "dpr": 3}


@pytest.mark.parametrize("task", ROWS)
@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_a_copying_model_is_right(data, run, task, batch_size, capsys):
    """Each row once, whatever the batches; and the split that has labels is found."""
    measure(config(batch_size=batch_size), run, [data[task]])
    out = capsys.readouterr().out
    metric = "matthews" if task == "cola" else "accuracy"
    assert f"{run}, update 300, zero-shot:" in out
    assert f"  {task}, {SPLITS[task]} split, {COUNTS[task]} rows\n" in out
    assert re.search(rf"{metric} +1\.0000   majority class 0\.\d{{4}}   random guess 0\.", out)
    value = saved(run, data[task], SPLITS[task])
    assert (value["rows"], value["split"]) == (COUNTS[task], SPLITS[task])
    measured, = value["checkpoints"]
    assert measured.pop("update") == 300 and measured.pop(metric) == 1.0
    assert list(measured) == (["threshold"] if task == "cola" else [])


@pytest.mark.parametrize("task", ROWS)
def test_answers_file(data, run, tmp_path, tokenizer, task):
    """The scores are the means, or of SST-2 the sums, of what the model's logits say."""
    path = tmp_path / "new" / "answers.tsv"
    measure(config(predictions=str(path)), run, [data[task]])
    with open(path, encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream, delimiter="\t")
    manifest = Manifest.load(data[task])
    assert header == ["index", "prediction"] + (
        ["score"] if task == "cola" else [f"score_{name}" for name in manifest.task.labels])
    assert [int(row[0]) for row in rows] == list(range(COUNTS[task]))
    model, _ = weights.load_model(run)
    for batch in evaluation_batches(data[task], SPLITS[task], 1):
        batch = {name: value.numpy() for name, value in batch.items()}
        row = rows[batch["source_rows"][0]]
        assert row[1] == manifest.task.labels[batch["labels"][0]]
        wanted = by_logits(model, batch)[0]
        if task != "sst2":
            wanted /= (batch["lengths"] - batch["starts"])[0]
        np.testing.assert_allclose(np.array(row[2:], float), wanted, atol=2e-5)


def test_the_threshold_is_of_the_training_rows(data, run):
    """It parts them, and says what the other rows are."""
    measure(config(), run, [data["cola"]])
    threshold = saved(run, data["cola"], "validation")["checkpoints"][0]["threshold"]
    model, _ = weights.load_model(run)
    scores = {}
    for batch in evaluation_batches(data["cola"], "train", 1):
        batch = {name: value.numpy() for name, value in batch.items()}
        scores.setdefault(batch["labels"][0], []).append(
            (by_logits(model, batch) / (batch["lengths"] - batch["starts"]))[0, 0])
    lowest, highest = min(scores[1]), max(scores[0])
    assert highest < lowest and threshold == pytest.approx((lowest + highest) / 2, rel=1e-5)


def test_the_course_of_a_run(data, run, tmp_path, capsys):
    picture = tmp_path / "pictures" / "zero_shot.png"
    measure(config(checkpoints="all", plot=str(picture)), run, list(data.values()))
    out = capsys.readouterr().out
    assert [int(step) for step in re.findall(r", update (\d+), zero-shot", out)] == [100, 200, 300]
    assert picture.read_bytes().startswith(b"\x89PNG") and f"Drew {picture}." in out
    # To a silent model both candidates are alike, and the first is taken.
    first, *later = saved(run, data["dpr"], "train")["checkpoints"]
    assert first == {"update": 100, "accuracy": pytest.approx(1 / 3)}
    assert later == [{"update": step, "accuracy": 1.0} for step in (200, 300)]
    measure(config(checkpoints="300,100,100"), run, [data["sst2"]])
    assert [each["update"] for each in
            saved(run, data["sst2"], "validation")["checkpoints"]] == [100, 300]


def test_the_picture():
    figure = zero_shot_figure({"dpr": ([100, 1000], [-0.1, 0.5]), "sst2": ([100], [0.0])})
    axes, = figure.axes
    zero, *curves = axes.lines
    assert list(zero.get_ydata()) == [0.0, 0.0]
    assert [list(line.get_xdata()) for line in curves] == [[100, 1000], [100]]
    assert [list(line.get_ydata()) for line in curves] == [[-0.1, 0.5], [0.0]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["dpr", "sst2"]
    assert axes.get_xscale() == "log" and "random guess" in axes.get_ylabel()


def test_folders_of_one_task_are_told_apart(data, run, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("gpt_tf.runs.pictures.zero_shot_figure",
                        lambda curves: drawn.append(curves) or zero_shot_figure(curves))
    other = os.path.join(data["dpr"], "..", "dpr")
    measure(config(plot=str(tmp_path / "a.svg")), run, [data["dpr"], other, data["sst2"]])
    assert list(drawn[0]) == [data["dpr"], other, "sst2"]
    assert drawn[0]["sst2"] == ([300], [1.0])


def test_a_fine_tuned_run_may_be_measured(data, tmp_path, tokenizer):
    """With the weights of its best validation, and the rows of special tokens left aside."""
    task = task_data.TASKS["classification"]
    model = runs.make_model(tokenizer.vocabulary_size, num_special_tokens=3)
    run = runs.make_run(tmp_path / "run", tokenizer, {7: model})
    os.rename(run_folder.checkpoint_folder(run), run_folder.best_folder(run))
    with open(os.path.join(run, "task.json"), "w", encoding="utf-8") as stream:
        json.dump({"task": {"name": task.name}, "max_length": 24}, stream)
    measure(config(), run, [data["race_middle"]])
    assert saved(run, data["race_middle"], "validation")["checkpoints"][0]["update"] == 7


# Checkpoints.

def test_checkpoints_by_step(tmp_path):
    variable = tf.Variable(0.0)
    keeper = Checkpoints(str(tmp_path), {"model": {"x": variable}}, keep=3)
    assert not keeper.steps
    for step in (5, 10, 15, 20):
        variable.assign(step)
        keeper.save(step)
    reader = Checkpoints(str(tmp_path), {"model": {"x": variable}})
    assert reader.steps == [10, 15, 20]
    for step in (15, 10, 20):
        reader.restore(step)
        assert variable.numpy() == step
    os.truncate(tmp_path / "ckpt-15.data-00000-of-00001", 3)
    os.unlink(tmp_path / "ckpt-10.index")
    for step, reason in ((10, "cannot be read"), (15, "cannot be read"), (5, "is gone: the run")):
        with pytest.raises(UserError, match=f"Checkpoint .*ckpt-{step} {reason}"):
            reader.restore(step)


# What does not fit.

def test_data_and_runs_that_do_not_fit(data, run, tmp_path, tokenizer):
    def error(match, folder, run=run, **values):
        with pytest.raises(UserError, match=match):
            measure(config(**values), run, [folder])

    fine_tuning = task_data.write(str(tmp_path / "task"), tokenizer,
                                  task_data.TASKS["classification"])
    error("holds data of kind 'task': make it with python -m pipelines.build_task --zero_shot",
          fine_tuning)
    error("no records for split 'test'; it has train", data["dpr"], split="test")
    error("--checkpoints=200,250: of .* are kept 100, 200, 300; name some of those",
          data["dpr"], checkpoints="200,250")
    error("one data folder and one checkpoint", data["dpr"], checkpoints="all",
          predictions=str(tmp_path / "a.tsv"))
    error("No manifest.json", str(tmp_path))
    error("it is not a run folder", data["dpr"], run=str(tmp_path))
    short = runs.make_run(tmp_path / "short", tokenizer, {
        1: runs.make_model(tokenizer.vocabulary_size, max_sequence_length=16)})
    error("up to 64 tokens and the model of .* takes 16: build it with --max_length=16",
          data["dpr"], run=short)
    path = os.path.join(data["dpr"], "manifest.json")
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    try:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text.replace(tokenizer.fingerprint, "0" * 64))
        record(data["dpr"], ["manifest.json"])
        error("was made with another tokenizer than .*build it again with --tokenizer=",
              data["dpr"])
    finally:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        record(data["dpr"], ["manifest.json"])


def build(tmp_path, tokenizer_dir, task, files, monkeypatch):
    monkeypatch.setattr(frame, "Encoders", corpora.InProcess)
    build_task.build(TaskConfig(
        task=task, input=write_files(tmp_path / "rows", files), tokenizer=str(tokenizer_dir),
        output_dir=str(tmp_path / "data"), num_workers=1, zero_shot=True, max_length=64))
    return str(tmp_path / "data")


def test_no_rows_to_choose_the_threshold_on(run, tmp_path, tokenizer_dir, monkeypatch):
    folder = build(tmp_path, tokenizer_dir, "cola",
                   {"dev_glue.tsv": ROWS["cola"]["dev_glue.tsv"]}, monkeypatch)
    with pytest.raises(UserError, match="no labelled training rows to choose the threshold of "
                       "cola"):
        measure(config(), run, [folder])


def test_rows_without_labels(run, tmp_path, tokenizer_dir, monkeypatch, capsys):
    folder = build(tmp_path, tokenizer_dir, "sst2", {
        "test.tsv": lines("index|sentence", "0|positive", "1|negative")}, monkeypatch)
    with pytest.raises(UserError, match="no rows with labels: name a split"):
        measure(config(), run, [folder])
    with pytest.raises(UserError, match="test split of .* has no labels.*--predictions"):
        measure(config(split="test"), run, [folder])
    path = tmp_path / "answers.tsv"
    measure(config(split="test", predictions=str(path)), run, [folder])
    assert [line.split("\t")[1] for line in path.read_text().splitlines()[1:]] == ["1", "0"]
    assert "no labels, answers only" in capsys.readouterr().out


@pytest.mark.parametrize("values, message", [
    ({"batch_size": 0}, "--batch_size=0"), ({"plot": "a.gif"}, "--plot=a.gif must end in .png"),
    ({"plot": "png"}, "--plot=png must end"),
    ({"checkpoints": "last"}, "--checkpoints=last must be best, newest, all, or updates"),
    ({"checkpoints": "1,"}, "--checkpoints=1, must be"),
    ({"checkpoints": ""}, "--checkpoints= must be")])
def test_options_that_do_not_fit(values, message):
    with pytest.raises(ValueError, match=message):
        config(**values)


@pytest.mark.parametrize("module, flags, message", [
    ("gpt_tf.evaluate", ["--model_dir={run}"], "holds zero-shot data: measure it with python -m "
                                               "gpt_tf.zero_shot"),
    ("gpt_tf.pretrain", ["--model_dir={run}2"], "kind 'zero_shot'; pre-training needs"),
    ("gpt_tf.finetune", ["--model_dir={run}2", "--init_from={run}"],
     "kind 'zero_shot'; fine-tuning needs")])
def test_other_commands_refuse_the_data(data, run, module, flags, message):
    done = run_command(module, f"--data_dir={data['dpr']}",
                       *(flag.format(run=run) for flag in flags))
    assert done.code == 1 and "Traceback" not in done.stderr
    assert message in done.stderr


def test_command(data, run, tmp_path):
    """As typed: several folders, all checkpoints, a picture."""
    flags = ["gpt_tf.zero_shot", f"--model_dir={run}", "--checkpoints=all",
             f"--plot={tmp_path}/course.pdf"]
    done = subprocess.run(
        [sys.executable, "-m", *flags, f"--data_dir={data['dpr']}, {data['cola']}"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("accuracy           1.0000") == 2
    assert done.stdout.count("matthews           1.0000") == 2
    assert (tmp_path / "course.pdf").read_bytes().startswith(b"%PDF")
    done = run_command(*flags, "--data_dir=,")
    assert done.code == 1
    assert done.stderr == "error: --data_dir names no folder: give one, or several with commas " \
                          "between.\n"
