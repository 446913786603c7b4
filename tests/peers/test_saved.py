"""Files of every kind that were made before are read, gone on with and answered as they were.

tests/saved/ holds them and make.py, which made them. No user should have to train again, or find
another answer, because the code was put in order.

Texts and labels are the same and numbers close: since then attention sums in another order, and
another processor has other vector instructions.
"""

import hashlib
import json
import pathlib
import re
import shutil
import tarfile

import keras
import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

import gpt_tf
from pipelines.building import frame
from tests import corpora
from tests.commands import run_command

SAVED = pathlib.Path(__file__).resolve().parents[1] / "saved"
COMMANDS = json.loads((SAVED / "commands.json").read_text(encoding="utf-8"))
# The flags that data folders have gained since.
NEW_FLAGS = {"document_separator", "encoding"}
# The files that conversions have gained since.
NEW_IN_CONVERSIONS = {"SHA256SUMS", "tokenizer.json", "tokenizer_config.json"}
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
# See tests/test_keras.py.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{message}") for message in (
    "Skipping variable loading for optimizer", "__array__ implementation",
    r"`compile\(\)` was not called as part of model loading")]


@pytest.fixture(name="saved", scope="module")
def saved_fixture(tmp_path_factory):
    """A copy of everything, unpacked, that tests may write into."""
    folder = tmp_path_factory.mktemp("saved") / "copy"
    shutil.copytree(SAVED, folder)
    with tarfile.open(folder / "models.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def run(folder, command):
    code, out, err = run_command(*command, cwd=folder)
    assert code == 0, err
    return out


def assert_same_array(found, expected, name):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, name
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=name)
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name,
                                   atol=2e-5 * np.abs(expected).max(initial=0))


def assert_same_text(found, expected):
    # The printed digits of a number may round the other way.
    assert NUMBER.sub("#", found) == NUMBER.sub("#", expected)
    pairs = zip(*(map(float, NUMBER.findall(text)) for text in (found, expected)))
    for one, other in pairs:
        assert one == pytest.approx(other, rel=1e-4, abs=2e-4)


def values_of(folder):
    """Everything that the newest checkpoint in a folder holds, by name."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(folder)))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if name != "_CHECKPOINTABLE_OBJECT_GRAPH"}


def assert_same_checkpoint(found, expected):
    """Weights, moments, scores; close means close beside the largest value of the same group.

    The gradient of a key's bias is 0 in mathematics: all that its moments hold is rounding.
    """
    found, expected = values_of(found), values_of(expected)
    assert found.keys() == expected.keys()
    groups = {}
    for name, value in expected.items():
        group = name.partition("/")[0]
        groups[group] = max(groups.get(group, 0.0), np.abs(value).max(initial=0))
    assert {"model", "mean", "square"} <= groups.keys() or "scores" in groups
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name,
                                   atol=1e-5 * groups[name.partition("/")[0]])


def metrics_of(run_folder):
    """The rows of metrics.jsonl, without what a clock measures."""
    rows = map(json.loads, (run_folder / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in row.items()
             if name not in ("train/tokens_per_second", "train/input_wait")} for row in rows]


def plain_files(folder):
    """Contents of a folder, without hidden files (.lock), by name."""
    return {name: content for name, content in corpora.contents(folder).items()
            if not pathlib.Path(name).name.startswith(".")}


@pytest.mark.parametrize("name, module", [("lm", "pretrain"), ("feeling", "finetune")])
def test_a_killed_run_goes_on(saved, name, module):
    killed, finished = saved / "killed" / name, saved / "runs" / name
    assert len(metrics_of(killed)) < len(metrics_of(finished))
    # The resolved flagfile is the command; another batch would be another run.
    command = [f"gpt_tf.{module}", f"--flagfile=killed/{name}/{module}.flags"]
    code, _, err = run_command(*command, "--batch_size=4", cwd=saved)
    assert code == 1 and "holds a run with --batch_size=8" in err
    out = run(saved, command)
    assert "going on at update 6 of 12" in out and f"killed/{name} is finished: 12 updates" in out
    for folder in ("checkpoints", *(["best"] if module == "finetune" else [])):
        assert_same_checkpoint(killed / folder, finished / folder)
    for found, expected in zip(metrics_of(killed), metrics_of(finished), strict=True):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5)
    for path in (f"{module}.flags", "model.json", *(["task.json"] if name == "feeling" else [])):
        assert (killed / path).read_text() == (finished / path).read_text().replace(
            f"--model_dir=runs/{name}", f"--model_dir=killed/{name}")


def test_a_finished_run_is_finished(saved):
    before = plain_files(saved / "runs" / "feeling")
    out = run(saved, ["gpt_tf.finetune", "--flagfile=runs/feeling/finetune.flags"])
    assert "is finished: 12 updates. Best at update 4" in out and "parameters" not in out
    assert plain_files(saved / "runs" / "feeling") == before


def test_sources_are_drawn_again(saved, tmp_path):
    for command in COMMANDS["sources"]:
        run(tmp_path, command)
    again = plain_files(tmp_path)
    assert len(again) == 9
    expected = plain_files(saved)
    for name, content in again.items():
        assert content == expected[name], name


@pytest.mark.parametrize("name", COMMANDS["folders"])
def test_data_is_built_again(saved, tmp_path, monkeypatch, name):
    monkeypatch.setattr(frame, "Encoders", corpora.InProcess)
    for needed in ("source", "bpe"):
        if needed != name:
            shutil.copytree(saved / needed, tmp_path / needed)
    run(tmp_path, COMMANDS["folders"][name])
    again, before = plain_files(tmp_path / name), plain_files(saved / name)
    again.pop("SHA256SUMS")
    if name != "bpe":
        now, then = (json.loads(files.pop("manifest.json")) for files in (again, before))
        assert set(now["flags"]) - set(then["flags"]) <= NEW_FLAGS
        now["flags"] = {flag: now["flags"][flag] for flag in then["flags"]}
        if now["task"]:
            gained = set(now["task"]) - set(then["task"])
            assert gained == {"data/sst2": {"label_names"}, "data/dpr": set()}.get(
                name, {"columns"})
            now["task"] = {key: now["task"][key] for key in then["task"]}
        for split in now["splits"].values():
            for shard in split["shards"]:
                content = again[shard["name"]]
                assert shard.pop("sha256") == hashlib.sha256(content).hexdigest()  # new, too
        assert now == then
    assert again == before


@pytest.mark.parametrize("name", COMMANDS["converted"])
def test_conversions(saved, tmp_path, name):
    command = COMMANDS["converted"][name]
    again = str(tmp_path / "again")
    run(saved, [*command, f"--output_dir={again}"])
    written, before = plain_files(again), plain_files(saved / name)
    assert written.keys() - NEW_IN_CONVERSIONS == before.keys()
    # Of a fine-tuned run, Hugging Face's layout holds the head, too, since.
    changed = {"config.json", "model.safetensors", "gpt_tf.safetensors"} if (
        name.endswith("huggingface-feeling")) else set()
    assert all(written[each] == before[each] for each in before.keys() - changed)
    layout, run_name = pathlib.Path(name).name.split("-")
    back = tmp_path / "back"
    run(saved, ["gpt_tf.convert", f"--from={layout}", f"--input={name}", f"--output_dir={back}"])
    original = saved / "runs" / run_name
    kept = "best" if run_name == "feeling" else "checkpoints"
    found, expected = values_of(back / kept), values_of(original / kept)
    compared = {key for key in expected if key.startswith(("model/", "step"))}
    assert len(compared) > 20 and compared <= found.keys()
    for key in compared:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)
    files = plain_files(back)
    shapes = {key: value for key, value in plain_files(original).items()
              if "/" not in key and not key.endswith((".flags", "metrics.jsonl"))}
    assert len(shapes) >= 4 and shapes.items() <= files.items()


@pytest.mark.parametrize("answer", COMMANDS["answers"],
                         ids=lambda answer: " ".join(answer["command"])[:60])
def test_answers(saved, answer):
    assert_same_text(run(saved, answer["command"]), answer["stdout"])
    for name, text in answer["files"].items():
        assert_same_text((saved / name).read_text(), text)


def test_keras_presets(saved):
    expected = np.load(saved / "keras.npz")
    inputs = {name: expected[name] for name in ("token_ids", "padding_mask")}
    for model in (gpt_tf.GPTCausalLM.from_preset(str(saved / "keras" / "lm")),
                  keras_nlp.models.CausalLM.from_preset(str(saved / "keras" / "lm")),
                  keras.models.load_model(saved / "keras" / "lm.keras"),
                  gpt_tf.GPTCausalLM.from_preset(str(saved / "runs" / "lm"))):
        assert type(model) is gpt_tf.GPTCausalLM
        assert_same_array(model(inputs), expected["lm"], "lm")
    for folder in ("keras", "runs"):
        classifier = gpt_tf.GPTTextClassifier.from_preset(str(saved / folder / "feeling"))
        logits = classifier.predict(expected["texts"].tolist(), verbose=0)
        assert_same_array(logits, expected["feeling"], "feeling")


def call_served(model, call, inputs):
    """The controls of "generate" were one number for all rows; now they are another's, of each."""
    signature = model.signatures.get(f"{call}_with_controls", model.signatures[call])
    rows = max(map(len, filter(np.ndim, inputs.values())))
    outputs = signature(**{
        key: tf.constant(inputs[key] if np.ndim(inputs[key]) == spec.shape.rank
                         else [inputs[key]] * rows, spec.dtype)
        for key, spec in signature.structured_input_signature[1].items()})
    return {key: np.char.decode(value.numpy().astype(bytes), "utf-8")
            if value.dtype == tf.string else value.numpy() for key, value in outputs.items()}


def answers_as_before(model, name, arrays):
    """Sees that every saved call is answered as it was; returns how many there are."""
    calls = sorted({key.split("/")[1] for key in arrays if key.startswith(f"{name}/")})
    for call in calls:
        inputs, expected = ({key.rpartition("/")[2]: arrays[key] for key in arrays
                             if key.startswith(f"{name}/{call}/{kind}/")}
                            for kind in ("in", "out"))
        found = call_served(model, call, inputs)
        assert found.keys() == expected.keys()
        for key, value in found.items():
            assert_same_array(value, expected[key], f"{call}: {key}")
    return len(calls)


@pytest.mark.parametrize("name, calls", [("lm", 3), ("feeling", 4)])
def test_saved_models(saved, name, calls):
    model = tf.saved_model.load(str(saved / "exported" / name / "1"))
    assert answers_as_before(model, name, np.load(saved / "served.npz")) == calls


def test_a_run_is_exported_again(saved):
    """Of the fine-tuned run, which has the signatures of the other, too."""
    run(saved, ["gpt_tf.export", "--model_dir=runs/feeling", "--output_dir=exported/feeling"])
    old, new = (tf.saved_model.load(str(saved / "exported" / "feeling" / version))
                for version in "12")
    added = {"generate_with_controls", "generate_text_with_controls"}
    assert old.signatures.keys() == new.signatures.keys() - added
    for name, before in old.signatures.items():
        after = new.signatures[name]
        both = [(before.structured_outputs, after.structured_outputs)]
        if f"{name}_with_controls" not in added:
            both += zip(before.structured_input_signature[1:], after.structured_input_signature[1:])
        for one, other in both:
            assert {key: spec.shape.as_list() for key, spec in one.items()} == {
                key: spec.shape.as_list() for key, spec in other.items()}
    answers_as_before(new, "feeling", np.load(saved / "served.npz"))
