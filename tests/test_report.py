"""The report: what its pictures and its page show, and what it refuses."""

import base64
import json
import re
import shutil
import subprocess
import sys

from matplotlib.image import imread
import numpy as np
import pytest

from gpt_tf.common import cli
from gpt_tf.common.small_files import write_recorded
from gpt_tf.data.batches import evaluation_batches
from gpt_tf.data.manifest import Manifest
from gpt_tf.evaluation import report_courses, report_data, report_model, report_page
from gpt_tf.evaluation.pictures import courses_figure
from gpt_tf.runs import metrics_log, weights
from gpt_tf.tokenizer import WordTokenizer
from gpt_tf.training import finetuning
from gpt_tf.training.predictor import Predictions
from tests import fuzz_seeds, runs, task_data
from tests.commands import run_command
from tests.conftest import REPOSITORY
from tests.test_evaluate_task import make_run

CLASSIFICATION, SCORES = task_data.TASKS["classification"], task_data.TASKS["scores"]
TRAIN = [(2, 5.0), (4, 3.5), (6, float("nan")), (8, 2.25)]
VALIDATION = [(4, 3.75), (8, 2.5)]


def write_metrics(folder, rows):
    """Rows of (step, scalars), as `Reporter` writes them."""
    lines = [json.dumps({"step": step} | {name: None if np.isnan(value) else value
                                          for name, value in values.items()})
             for step, values in rows]
    (folder / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory):
    """run/, other/, data/; tuned/, tuned-data/ with an unlabelled test split; scored/, its data."""
    folder = tmp_path_factory.mktemp("report")
    for name in ("run", "other"):
        (folder / name).mkdir()
        fuzz_seeds.run(folder / name)
        write_metrics(folder / name, [
            *((step, {"train/loss": value, "train/learning_rate": step / 100,
                      "train/gradient_norm": 1.0, "train/tokens_per_second": 50.0})
              for step, value in TRAIN),
            *((step, {"validation/loss": value}) for step, value in VALIDATION)])
    (folder / "data").mkdir()
    fuzz_seeds.corpus_data(folder / "data")
    for name, task in (("tuned", CLASSIFICATION), ("scored", SCORES)):
        task_data.write(str(folder / f"{name}-data"), fuzz_seeds.tokenizer(), task)
        make_run(str(folder / name), fuzz_seeds.tokenizer(), task)
        write_metrics(folder / name, [(3, {"train/task_loss": 0.7, "train/gradient_norm": 2.0}),
                                      (3, {"validation/loss": 0.8, "validation/accuracy": 0.5}),
                                      (6, {"train/task_loss": 0.5, "train/gradient_norm": 1.9}),
                                      (6, {"validation/loss": 0.6, "validation/accuracy": 0.75})])
    task_data.write(str(folder / "unlabelled"), fuzz_seeds.tokenizer(), CLASSIFICATION,
                    {"validation": 4}, labelled=False)
    return folder


def report(folder, *flags, code=0, output="report"):
    done = run_command("gpt_tf.report", f"--output_dir={output}", "--nojit_compile",
                       "--batch_size=5", *flags, cwd=folder)
    assert done.code == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr if code else done.stdout


def check_page(folder, names):
    """The page shows these pictures, which are the files beside it; returns its text."""
    page = (folder / report_page.PAGE).read_text(encoding="utf-8")
    shown = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]+)", page)]
    assert shown == [(folder / f"{name}.png").read_bytes() for name in names]
    assert {path.name for path in folder.iterdir()} == {
        report_page.PAGE, *(f"{name}.png" for name in names)}
    for name in names:
        pixels = imread(folder / f"{name}.png")
        assert min(pixels.shape[:2]) > 300 and np.ptp(pixels) > 0.5, name
    assert "http" not in page  # it needs no other file
    return page


def of_lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


# Courses.

def test_lines_are_the_rows_of_the_file(folder):
    rows = metrics_log.load_rows(str(folder / "run"))
    picture, = report_courses.language_model_pictures({"run": rows})
    axes, = picture.figure.axes
    lines = of_lines(axes)
    np.testing.assert_array_equal(lines.pop("train"), TRAIN)
    assert lines == {"validation": [list(point) for point in VALIDATION]}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("updates", "loss (nats per token)")
    right, = axes.child_axes
    assert right.get_ylabel() == "perplexity"
    picture.png()  # perplexity follows the loss when it is drawn
    np.testing.assert_allclose(right.get_ylim(), np.exp(axes.get_ylim()))


def test_several_runs_share_the_axes(folder):
    rows = metrics_log.load_rows(str(folder / "run"))
    picture, = report_courses.language_model_pictures({"a/run": rows, "b/run": rows[:1]})
    lines = picture.figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["a/run, train", "a/run, validation",
                                                    "b/run, train"]
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    progress, = report_courses.progress_pictures({"a/run": rows, "b/run": rows[:1]})
    assert [axes.get_ylabel() for axes in progress.figure.axes] == [
        "learning rate", "gradient norm", "tokens/s"]
    assert of_lines(progress.figure.axes[0]) == {
        "a/run": [[step, step / 100] for step, _ in TRAIN], "b/run": [[2.0, 0.02]]}


def test_a_task_has_a_panel_for_each_metric(folder):
    picture, = report_courses.task_pictures({"tuned": metrics_log.load_rows(str(folder / "tuned"))})
    loss, accuracy = picture.figure.axes
    assert of_lines(loss) == {"train": [[3, 0.7], [6, 0.5]], "validation": [[3, 0.8], [6, 0.6]]}
    assert of_lines(accuracy) == {"validation": [[3, 0.5], [6, 0.75]]}
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("task loss (nats)", "accuracy")
    assert loss.lines[1].get_color() == accuracy.lines[0].get_color()


# The command.

def test_of_runs_alone(folder):
    out = report(folder, "--model_dir=run, other,tuned/,run")
    assert out.startswith("Drew loss, finetuning, progress: open report/report.html.")
    page = check_page(folder / "report", ["loss", "finetuning", "progress"])
    assert "Pre-training of run, other</h2>" in page
    assert "<code>python -m gpt_tf.report --output_dir=report" in page


def test_of_a_language_model_and_its_data(folder):
    report(folder, "--model_dir=run", "--data_dir=data", "--evaluation_batches=1",
           "--prompt=The <b>cat", output="language")
    page = check_page(folder / "language", ["loss", "progress", "positions", "attention", "lengths",
                                            "words"])
    assert "update 6, over &#x27;The &lt;b&gt;cat&#x27;" in page
    # The validation split has windows of 5, 16 and 2 tokens.
    assert "20 tokens, of 1 batches from all over the split" in page


def test_of_a_task(folder):
    report(folder, "--model_dir=tuned", "--data_dir=tuned-data", output="task")
    page = check_page(folder / "task", ["finetuning", "progress", "confusion", "reliability",
                                        "lengths", "words", "labels"])
    model, *_ = weights.load_task_model(str(folder / "tuned"))
    found = task_data.predict(model, evaluation_batches(folder / "tuned-data", "validation", 24))
    accuracy = np.mean(found.labels == found.predictions)
    assert f"accuracy {accuracy:.4f}, f1" in page and "of 24 rows" in page


def test_classes_are_drawn_by_their_names(folder):
    """On both axes of a confusion matrix, here and in TensorBoard, and below the bars."""
    data = str(folder / "tuned-data")
    found = Predictions(np.arange(3), np.array([0, 1, 1]), np.full((3, 2), 0.5, np.float32),
                        np.array([0, 1, 0]), 0.0)
    figures = [finetuning.picture(CLASSIFICATION, found)[1],
               report_model._answers_picture(CLASSIFICATION, found, "", "", "").figure]
    for axis in [axis for figure in figures
                 for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis)]:
        assert [label.get_text() for label in axis.get_ticklabels()] == ["sad", "glad"]
    bars = report_data.pictures(data, Manifest.load(data))[-1].figure.axes[0]
    assert [label.get_text() for label in bars.get_xticklabels()] == ["sad", "glad"]


def test_of_two_runs_on_scores(folder):
    (folder / "two").mkdir()
    (folder / "two" / "scored").symlink_to(folder / "scored")
    report(folder, "--model_dir=scored,two/scored", "--data_dir=scored-data", output="scores")
    check_page(folder / "scores", ["finetuning", "progress", "scatter-1", "scatter-2", "lengths",
                                   "words", "labels"])


def test_of_data_alone_without_tensorflow(folder):
    code = ("import runpy, sys\nsys.argv = ['report', '--data_dir=tuned-data', '--output_dir=data"
            "-alone']\nrunpy.run_module('gpt_tf.report', run_name='__main__')\n"
            "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True,
                   env={"PYTHONPATH": str(REPOSITORY)})
    page = check_page(folder / "data-alone", ["lengths", "words", "labels"])
    assert "The limit cut the text of 0 of 88." in page


@pytest.mark.parametrize("flags,sentence", [
    ((), "Give --model_dir, --data_dir or both."),
    (("--data_dir=data", "--prompt=a"), "--prompt is drawn for a run"),
    (("--model_dir=runn",), "runn: no such folder; did you mean run?"),
    (("--model_dir=data",), "data has no flagfile of a run"),
    (("--model_dir=begun/run",), "begun/run has reported nothing yet in metrics.jsonl"),
    (("--model_dir=damaged",), "damaged/metrics.jsonl, line 2 is no row of metrics"),
    (("--model_dir=converted",), "converted weights, which have no course to draw"),
    (("--model_dir=run", "--data_dir=dat"), "dat: no such folder; did you mean data?"),
    (("--model_dir=run", "--data_dir=tuned-data"), "No task.json in run"),
    (("--model_dir=tuned", "--data_dir=scored-data"), "holds another task than tuned"),
    (("--model_dir=tuned", "--data_dir=unlabelled"),
     "The validation split of unlabelled has no labels to measure by: name another with --split."),
    (("--model_dir=tuned", "--data_dir=tuned-data", "--split=test"),
     "no records for split 'test'; it has train, validation."),
    (("--model_dir=foreign", "--data_dir=data"), "another tokenizer than foreign"),
    (("--model_dir=run", "--data_dir=long"), "up to 32 tokens and the model of run takes 16"),
    (("--data_dir=zero-shot",), "zero-shot holds zero-shot data: draw it with python -m gpt_tf.z"),
    (("--model_dir=run", "--prompt= "), "--prompt has no characters but blanks"),
    (("--model_dir=run", f"--prompt={'a ' * 17}"),
     "--prompt has 17 tokens and the model of run takes 16"),
    (("--model_dir=wide", f"--prompt={'a ' * 33}"), "33 tokens and a picture shows 32"),
])
def test_what_is_refused_before_tensorflow_is_imported(folder, odd, flags, sentence, monkeypatch):
    monkeypatch.setattr(cli, "import_tensorflow", lambda: pytest.fail("TensorFlow is imported"))
    assert sentence in report(folder, *flags, code=1, output="never")
    assert not (folder / "never").exists()


@pytest.fixture(name="odd", scope="module")
def odd_fixture(folder):
    """Runs and data that do not fit, beside those that do."""
    (folder / "begun").mkdir()
    fuzz_seeds.begun_run(folder / "begun")
    (folder / "zero-shot").mkdir()
    fuzz_seeds.zero_shot_folder(folder / "zero-shot")
    tokenizer = fuzz_seeds.tokenizer()
    other = WordTokenizer({token: i for i, token in enumerate(tokenizer.tokens)},
                          tokenizer.merges[:2])
    for name, its in (("foreign", other), ("wide", tokenizer)):
        runs.make_run(folder / name, its, {1: runs.make_model(tokenizer.vocabulary_size)})
        write_metrics(folder / name, [(1, {"train/loss": 1.0})])
    (folder / "damaged").mkdir()
    (folder / "damaged" / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "a": "b"}\n')
    (folder / "converted").mkdir()
    (folder / "converted" / "convert.flags").write_text("")
    shutil.copytree(folder / "data", folder / "long")
    manifest = json.loads((folder / "long" / "manifest.json").read_text())
    write_recorded(folder / "long" / "manifest.json",
                   json.dumps(manifest | {"sequence_length": 32}).encode())
    return folder


# The page and its folder.

def test_an_earlier_report_is_replaced_on_demand_alone(folder, tmp_path):
    flags = (f"--data_dir={folder}/data",)
    report(tmp_path, *flags)
    assert "earlier report" in report(tmp_path, *flags, code=1)
    (tmp_path / "report" / "attention.png").write_bytes(b"of another command")
    report(tmp_path, *flags, "--overwrite")
    check_page(tmp_path / "report", ["lengths", "words"])
    for other in ("notes.txt", "deep"):
        (tmp_path / other).mkdir()
    (tmp_path / "deep" / "report.html").write_text("")
    (tmp_path / "deep" / "notes.txt").write_text("")
    error = report(tmp_path, *flags, "--overwrite", code=1, output="deep")
    assert "--output_dir=deep holds other files, such as notes.txt" in error
    assert "no folder of its own" in report(tmp_path, *flags, code=1, output="deep/notes.txt")
    report(tmp_path, *flags, output="notes.txt")  # an empty folder will do


def test_a_report_is_whole_or_absent(tmp_path, monkeypatch):
    def picture(name):
        return report_page.Picture(name, "title", "text", courses_figure({"loss": []}))

    report_page.write(str(tmp_path / "report"), "before", [picture("a")])
    broken = picture("b")
    monkeypatch.setattr(broken.figure, "savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report_page.write(str(tmp_path / "report"), "after", [picture("a"), broken])
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert "before" in (tmp_path / "report" / "report.html").read_text()


def test_names_of_any_kind_are_written_out(folder):
    """Two $, HTML, and characters that no font has."""
    name = "$a$ <b> \u5b57\U000f0000"
    rows = metrics_log.load_rows(str(folder / "run"))
    picture, = report_courses.language_model_pictures({name: rows, "other": rows})
    assert picture.png()[1:4] == b"PNG"
    labels = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert labels[0] == f"{name}, train"
    assert not any(text.get_parse_math() for text in picture.figure.legends[0].get_texts())
