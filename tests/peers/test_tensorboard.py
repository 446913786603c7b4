"""What a person sees in TensorBoard of two small runs, in a headless browser.

Needs requirements-peers.txt and Debian's chromium and chromium-driver (`.ci/run` installs them).
"""

import json
import shutil

import pytest
from tensorboard.util.tensor_util import make_ndarray

pytest.importorskip("selenium", reason="needs requirements-peers.txt")
from tests.peers import tensorboard_page
from tests.test_tensorboard import Board
from tests.trained import finetune, pretrain

pytestmark = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="needs a browser: apt-get install chromium chromium-driver")

# How many points the curves of a chart have, each number once. (Each is drawn twice: smoothed, and
# faintly as it is.)
POINTS = """(chart => [...new Set(all('path.line', chart.shadowRoot).map(
  path => (path.getAttribute('d') || '').split(/[ML]/).length - 1))].sort())"""
LOGGED, VALIDATED = 4, 3  # of six updates of `pretrain`: 2, 3, 4, 6 and 2, 4, 6


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    pretrain(folder / "stories", profile_step=0, histograms_every=3)
    finetune(folder / "feeling", "classification", 0.5)
    return folder


@pytest.fixture(name="page", scope="module")
def page_fixture(folder):
    with tensorboard_page.opened(str(folder)) as page:
        # No curve is cut; kept for all panels.
        page.shows("scalars", "localStorage.setItem('_ignoreYOutliers', 'false')", None)
        yield page


def test_runs_have_the_names_of_their_folders(page):
    page.shows("scalars", "all('.name-row').map(row => row.textContent.trim()).sort()",
               ["feeling", "stories"])


def test_scalars_are_curves(page):
    of_training = {f"train/{name}": [LOGGED] for name in (
        "gradient_norm", "input_wait", "learning_rate", "lm_loss", "loss", "perplexity",
        "task_loss", "tokens_per_second")}
    page.shows("scalars", f"Object.fromEntries(all('tf-scalar-card').map("
                          f"card => [card.tag, {POINTS}(card)]))",
               of_training | {
                   "validation/accuracy": [1], "validation/f1": [1], "validation/loss": [1, 3],
                   "validation/perplexity": [VALIDATED], "validation/bits_per_byte": [VALIDATED]})


def test_custom_scalars_have_train_and_validation_on_one_chart(page):
    both = [VALIDATED, LOGGED]
    page.shows("custom_scalars",
               f"Object.fromEntries(all('tf-custom-scalar-multi-line-chart-card').map("
               f"card => [card.title, {POINTS}(card)]))",
               {"loss": [1, *both], "perplexity": both, "task loss": [1, *both],
                "LM loss": [LOGGED], "joint loss": [LOGGED], "accuracy": [1], "f1": [1]})


def test_images_have_the_confusion_matrix(page):
    page.shows("images", "all('tf-image-loader').map(card => [card.run, card.tag, "
                         "...all('img', card.shadowRoot).map(image => image.naturalWidth)])",
               [["feeling", "validation/confusion_matrix", 640]])


def test_texts_are_samples_the_newest_on_top_and_flags(page):
    page.shows("text", "all('tf-text-loader').map(card => [card.run, card.tag, "
                       "all('.step-container', card.shadowRoot).map(step => step.innerText), "
                       "all('strong', card.shadowRoot).length, "
                       "all('code', card.shadowRoot).map(code => code.innerText.trim())])",
               [["stories", "samples", ["step 6", "step 4", "step 2"], 9, []],
                ["feeling", "settings/flags", ["step 1"], 0, ["--seed=0"]],
                ["stories", "settings/flags", ["step 1"], 0, ["--seed=0"]]])


def test_hparams_have_a_row_for_each_run_with_its_settings_and_measures(page, folder):
    columns = ["Trial ID", "learning_rate", "train/loss"]
    rows, events = [], Board(folder).events
    for name, rate in (("feeling", 2.5e-4), ("stories", 0.01)):
        lines = (folder / name / "metrics.jsonl").read_text().splitlines()
        losses = [row["train/loss"] for row in map(json.loads, lines) if "train/loss" in row]
        loss = float(make_ndarray(events.Tensors(name, "train/loss")[-1].tensor_proto))
        assert losses[-1] == pytest.approx(loss, rel=1e-6)  # seven digits, of which five are shown
        rows.append([str(folder / name), f"{rate:#.5g}", f"{loss:#.5g}"])
    page.shows("hparams", f"""all('vaadin-grid').map(grid => {{
        const rows = all('tr', grid.shadowRoot).map(row => all('slot', row).map(
            slot => slot.assignedNodes().map(node => node.textContent.trim()).join('')));
        const places = {json.dumps(columns)}.map(name => rows[0].indexOf(name));
        return rows.filter(row => row[0]).map(row => places.map(place => row[place]));
      }})""", [[columns, *sorted(rows)]])


def test_histograms_are_of_weights_and_gradients(page):
    names = [f"block_0/{part}/kernel" for part in (
        "attention/key", "attention/output", "attention/query", "attention/value",
        "feed_forward/intermediate", "feed_forward/output")]
    names += [f"embedding/{part}/embeddings" for part in ("position", "token")]
    page.shows("histograms", "Object.fromEntries(all('tf-histogram-loader').map("
                             "card => [card.tag, all('path.outline', card.shadowRoot).length]))",
               {f"{kind}/gpt/{name}": 2 for kind in ("weights", "gradients") for name in names})
