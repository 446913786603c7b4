"""Exported models, loaded without anything of ours, beside the models in this process."""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from gpt_tf import predict as predict_command
from gpt_tf.common.errors import UserError
from gpt_tf.config import GenerationConfig, SamplingConfig
from gpt_tf.generation.generator import Generator
from gpt_tf.predict import PredictionConfig
from gpt_tf.runs import weights
from gpt_tf.serving import saved_model
from gpt_tf.tokenizer import Tokenizer
from tests import corpora, served
from tests.test_commands import run, run_process
from tests.test_evaluate_task import make_run as make_task_run
from tests.test_finetuning import make_run
from tests.test_predict import MAX_LENGTH, TASKS, make_texts, write_input

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
POSITIONS = 32
TEXTS = ["The end, and then it's the lighthouse.", "in", "", "the and " * 30, " A hat\n\n\u2026"]
GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0}
SAMPLED = {"temperature": 0.8, "top_k": 20, "top_p": 0.9}


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory, tokenizer):
    """pretrained/ and a run of each form, and out/ with the exports of the latter."""
    folder = tmp_path_factory.mktemp("export")
    make_run(folder / "pretrained", tokenizer, initializer_range=0.5)
    for form, task in TASKS.items():
        make_task_run(str(folder / form), tokenizer, task, MAX_LENGTH)
        save(saved_model.build(str(folder / form)), folder / "out" / form)
    return folder


@pytest.fixture(name="built", scope="module")
def built_fixture(folder):
    """What is written of the pre-trained run; it stands in out/pretrained, too."""
    built = saved_model.build(str(folder / "pretrained"))
    save(built, folder / "out" / "pretrained")
    return built


def save(built, output_dir, version=1, overwrite=False):
    return saved_model.save(built, str(output_dir), version, overwrite)


@pytest.fixture(name="ask", scope="module")
def ask_fixture(folder):
    """Answers of one exported model to [(signature, inputs)], all by one process."""
    with served.Client(folder) as client:
        yield lambda name, *calls: client.ask(
            [(str(folder / "out" / name / "1"), *call) for call in calls])


@pytest.fixture(name="model", scope="module")
def model_fixture(folder, built):
    del built  # exported, for the tests that compare
    return weights.load_model(str(folder / "pretrained"))[0]


def padded(rows):
    """Token ids and lengths as inputs of a signature."""
    width = max(map(len, rows))
    return {"token_ids": [[*row, *[0] * (width - len(row))] for row in rows],
            "lengths": [len(row) for row in rows]}


def prompts(tokenizer, *lengths):
    rng = np.random.default_rng(3)
    return [rng.integers(1, tokenizer.vocabulary_size, length).tolist() for length in lengths]


def log_likelihoods(model, row):
    """Of each token but the first, float64."""
    logits = model.logits(model(tf.constant([row])))[0].numpy().astype(np.float64)
    shares = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return shares[np.arange(len(row) - 1), row[1:]]


def test_logits(ask, model, tokenizer):
    inputs = [[prompts(tokenizer, length)[0]] * batch for batch, length in
              ((1, 1), (2, 7), (1, POSITIONS))]
    found = ask("pretrained", *(
        (name, {"token_ids": each}) for each in inputs for name in ("logits", "serving_default")))
    for number, answer in enumerate(found):
        expected = model.logits(model(tf.constant(inputs[number // 2]))).numpy()
        np.testing.assert_allclose(answer["logits"], expected, rtol=0,
                                   atol=1e-6 * np.abs(expected).max())


def test_score(ask, model, tokenizer):
    rows = prompts(tokenizer, 9, 2, POSITIONS, 1)
    ids = [tokenizer.encode(text) for text in TEXTS]
    by_ids, by_text = ask("pretrained", ("score", padded(rows)),
                           ("score_text", {"text": TEXTS}))
    expected = [log_likelihoods(model, row).sum() for row in rows]
    np.testing.assert_allclose(by_ids["log_probability"], expected, rtol=1e-6)
    assert by_ids["predicted_tokens"].tolist() == [8, 1, POSITIONS - 1, 0]
    assert by_text["tokens"].tolist() == [len(row) for row in ids]
    kept = [row[:POSITIONS] for row in ids]
    assert len(ids[3]) > POSITIONS and by_text["predicted_tokens"][3] == POSITIONS - 1
    np.testing.assert_allclose(by_text["log_probability"], [
        log_likelihoods(model, row).sum() if row else 0.0 for row in kept], rtol=1e-6)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_generate(ask, model, tokenizer, sampling):
    """As in process; of many new tokens the longest prompts are full before the shortest."""
    rows = prompts(tokenizer, 5, 1, POSITIONS - 4, 12)
    counts = {10: rows, 50: rows, 3: rows[1:2]}
    calls = [("generate", padded(some) | sampling | {
        "max_new_tokens": count, "seed": [7] * len(some)}) for count, some in counts.items()]
    answers = ask("pretrained", *calls)
    # Compiled once: fewer tokens are the first of more, and each prompt gets what it gets alone.
    longest = Generator(model, SamplingConfig(**sampling), GenerationConfig(50, seed=7))(rows)
    wanted = dict(zip(map(tuple, rows), longest, strict=True))
    for (max_new_tokens, some), answer in zip(counts.items(), answers):
        for number, prompt in enumerate(some):
            new = wanted[tuple(prompt)][:max_new_tokens]
            count = answer["lengths"][number]
            assert count == len(new) == min(max_new_tokens, POSITIONS - len(prompt))
            assert answer["token_ids"][number, :count].tolist() == new
            np.testing.assert_allclose(answer["log_probabilities"][number, :count],
                                       log_likelihoods(model, prompt + new)[len(prompt) - 1:],
                                       rtol=0, atol=5e-6)
            assert not answer["token_ids"][number, count:].any()
            assert not answer["log_probabilities"][number, count:].any()


def test_generate_text(ask, model, tokenizer):
    """Each prompt as with its seed alone."""
    texts = ["The end, and", "in", "in"]
    controls = SAMPLED | {"max_new_tokens": 8, "seed": [5, 5, 6]}
    answer, = ask("pretrained", ("generate_text", {"prompt": texts} | controls))
    prompts_ids = tokenizer.encode_batch(texts)
    five, six = (Generator(model, SamplingConfig(**SAMPLED), GenerationConfig(8, seed=seed))(
        prompts_ids) for seed in (5, 6))
    new = [*five[:2], six[2]]
    assert answer["token_ids"].tolist() == new and new[1] != new[2]
    assert answer["text"].tolist() == [tokenizer.decode(prompt + some)
                                       for prompt, some in zip(prompts_ids, new)]


@pytest.mark.parametrize("form", TASKS)
def test_classify(folder, ask, tokenizer, form):
    task, rng = TASKS[form], np.random.default_rng(1)
    model, *_ = weights.load_task_model(str(folder / form))
    token_ids = rng.integers(1, tokenizer.vocabulary_size, [3, task.num_sequences, 9])
    lengths = rng.integers(1, 10, token_ids.shape[:2])
    inputs = {"token_ids": token_ids.tolist(), "lengths": lengths.tolist()}
    answers = ask(form, ("classify", inputs), ("serving_default", inputs))
    expected = tf.nn.softmax(model(tf.constant(token_ids), tf.constant(lengths))).numpy()
    for answer in answers:
        np.testing.assert_allclose(answer["probabilities"], expected, rtol=1e-6, atol=1e-6)
        if task.is_score:
            np.testing.assert_allclose(answer["scores"], expected @ np.arange(6.0), rtol=1e-6)
            names = list("012345")
        else:
            names = ["sad", "glad"] if form == "classification" else list(task.labels)
            assert answer["label_ids"].tolist() == expected.argmax(axis=1).tolist()
            assert answer["labels"].tolist() == [names[each] for each in answer["label_ids"]]
        assert answer["class_names"].tolist() == [names] * 3


@pytest.mark.parametrize("form", TASKS)
def test_classify_text_is_predict(folder, ask, tmp_path, form):
    task, rows = TASKS[form], make_texts(form, 11)
    source = write_input(tmp_path, form, rows, "jsonl")
    predict_command.predict(PredictionConfig(
        str(folder / form), input=source, output=f"{tmp_path}/out.tsv", probabilities=True))
    expected = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]
    names = {"classification": ["text"], "entailment": ["premise", "hypothesis"],
             "similarity": ["first", "second"], "multiple_choice": ["context", "question"]}[form]
    inputs = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    if form == "multiple_choice":
        inputs["answers"] = [row[2:] for row in rows]
    answer, = ask(form, ("classify_text", inputs))
    np.testing.assert_allclose(answer["probabilities"], np.array(
        [row[1:] for row in expected], float), atol=1e-6)
    if task.is_score:
        np.testing.assert_allclose(answer["scores"], [float(row[0]) for row in expected],
                                   rtol=1e-5)
    else:
        assert answer["labels"].tolist() == [row[0] for row in expected]


def test_a_fine_tuned_run_is_a_language_model_too(folder, ask, tokenizer):
    rows = prompts(tokenizer, 6)
    model, _ = weights.load_model(str(folder / "entailment"))
    scored, new = ask("entailment", ("score", padded(rows)), ("generate", padded(
        rows) | GREEDY | {"max_new_tokens": 4, "seed": [0]}))
    np.testing.assert_allclose(scored["log_probability"],
                               [log_likelihoods(model, rows[0]).sum()], rtol=1e-6)
    generator = Generator(model, SamplingConfig(temperature=0.0), GenerationConfig(4))
    assert new["token_ids"].tolist() == generator(rows)


@pytest.mark.usefixtures("built")
def test_what_is_refused_says_why(ask, tokenizer):
    long, = prompts(tokenizer, POSITIONS + 1)
    controls = GREEDY | {"max_new_tokens": 2, "seed": [0]}
    calls = {
        "longer than the 32 positions of the model": ("logits", {"token_ids": [long]}),
        "more tokens than token_ids has": ("score", {"token_ids": [[1, 2]], "lengths": [3]}),
        "A prompt is empty": ("generate_text", controls | {"prompt": [" "]}),
        "A prompt fills the 32 positions of the model": (
            "generate", padded([long[:POSITIONS]]) | controls),
        "max_new_tokens must be positive": (
            "generate", padded([long[:3]]) | controls | {"max_new_tokens": 0})}
    for message, answer in zip(calls, ask("pretrained", *calls.values())):
        assert message in answer["error"]


def test_saved_model_cli_prints_the_names(folder):
    shown = subprocess.run(
        [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "show", "--all",
         "--dir", f"{folder}/out/multiple_choice/1"],
        text=True, capture_output=True, check=True).stdout.split("signature_def[")
    found = {part.split("'")[1]: part for part in shown[1:]}
    found.pop("__saved_model_init_op")
    assert set(found) == {"serving_default", "logits", "score", "generate", "classify",
                          "score_text", "generate_text", "classify_text"}
    for name in ("context", "question", "answers"):
        assert f"inputs['{name}']" in found["classify_text"]
    for name in ("probabilities", "class_names", "label_ids", "labels"):
        assert f"outputs['{name}']" in found["classify_text"]
    for name in ("token_ids", "lengths", "max_new_tokens", "temperature", "top_k", "top_p", "seed"):
        assert f"inputs['{name}']" in found["generate"]
    assert found["classify"].count("shape: (-1, 3, -1)") == 1


def test_weights_are_there_once_and_nothing_of_keras(folder):
    target = folder / "out" / "entailment" / "1"
    model, *_ = weights.load_task_model(str(folder / "entailment"))
    reader = tf.train.load_checkpoint(str(target / "variables" / "variables"))
    saved = {key.split("/")[1]: reader.get_tensor(key) for key in
             reader.get_variable_to_shape_map() if key.startswith("weights/")}
    assert sorted(each.size for each in saved.values()) == sorted(
        variable.numpy().size for variable in model.trainable_variables)
    assert len(reader.get_variable_to_shape_map()) == len(saved) + 1  # and the object graph
    parsed = saved_model_pb2.SavedModel.FromString((target / "saved_model.pb").read_bytes())
    meta_graph, = parsed.meta_graphs
    assert not [node for node in meta_graph.object_graph_def.nodes
                if "keras" in node.user_object.identifier]
    nodes = [*meta_graph.graph_def.node, *(
        node for function in meta_graph.graph_def.library.function for node in function.node_def)]
    constants = [tf.make_ndarray(node.attr["value"].tensor) for node in nodes if node.op == "Const"]
    assert not [each for each in constants if each.dtype == np.float32 and each.size > 100]
    assert not [node.op for node in nodes if "PyFunc" in node.op]


def test_versions(built, tmp_path):
    out = tmp_path / "out"
    assert saved_model.next_version(str(out)) == 1
    for version in (1, 7):
        save(built, out, version)
    assert saved_model.next_version(str(out)) == 8
    with pytest.raises(UserError, match="out/7 holds an exported model: .*--overwrite"):
        save(built, out, 7)
    (out / "7" / "mark").touch()
    save(built, out, 7, overwrite=True)
    assert not (out / "7" / "mark").exists() and (out / "7" / "saved_model.pb").exists()
    assert sorted(os.listdir(out)) == [".lock", "1", "7"]


@pytest.mark.parametrize("error", [
    OSError("no"), tf.errors.ResourceExhaustedError(None, None, "no"), KeyboardInterrupt(),
], ids=lambda error: type(error).__name__)
def test_whole_or_absent(built, tmp_path, monkeypatch, error):
    out = tmp_path / "out"
    save(built, out)
    before = (out / "1" / "saved_model.pb").read_bytes()

    def half_a_model(root, path, signatures):
        del root, signatures
        pathlib.Path(path, "saved_model.pb").write_bytes(b"half")
        raise error

    monkeypatch.setattr(tf.saved_model, "save", half_a_model)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else UserError
    with pytest.raises(expected) as raised:
        save(built, out, overwrite=True)
    assert expected is not UserError or str(raised.value).startswith(
        f"Cannot write {out}/1: no; make room")
    assert (out / "1" / "saved_model.pb").read_bytes() == before
    assert sorted(os.listdir(out)) == [".lock", "1"]


def test_what_a_kill_left_is_tidied(built, tmp_path):
    """Killed while it was written; with 3 in its place and not yet removed; 2 not yet in it."""
    out = tmp_path / "out"
    for name in ("4.part-1234567890", "3", "3.old-1234567890", "2.old-1234567890",
                 "2.part-1234567890", "hf.part-1234567890"):
        (out / name).mkdir(parents=True)
        (out / name / "mark").write_text(name)
    (out / "5.part-1234567890").touch()
    assert saved_model.next_version(str(out)) == 4
    save(built, out)
    assert sorted(os.listdir(out)) == [".lock", "1", "2", "3", "5.part-1234567890",
                                       "hf.part-1234567890"]  # not ours
    assert [(out / name / "mark").read_text() for name in ("2", "3")] == ["2.old-1234567890", "3"]


def test_other_languages_have_no_strings(folder, tmp_path, tokenizer):
    shutil.copytree(folder / "classification", tmp_path / "run")
    for path in tmp_path.glob("run/*"):
        if path.suffix == ".bpe" or "encoder" in path.name or "tokenizer" in path.name:
            path.unlink()
    german = Tokenizer({token: index for index, token in enumerate(tokenizer.tokens)},
                       tokenizer.merges, "de")
    german.save(tmp_path / "run")
    built = saved_model.build(str(tmp_path / "run"))
    assert sorted(built.signatures) == ["classify", "generate", "logits", "score",
                                        "serving_default"]


def test_the_command(folder, tmp_path):
    """As users type it, and their mistakes."""
    flags = [f"--model_dir={folder}/classification", f"--output_dir={tmp_path}/out"]
    out, _ = run_process("gpt_tf.export", *flags)
    assert f"{tmp_path}/out/1: {folder}/classification, update 9 (best validation)" in out
    assert "classify_text" in out and (tmp_path / "out" / "1" / "saved_model.pb").exists()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    unsaved = tmp_path / "unsaved"
    shutil.copytree(folder / "pretrained", unsaved)
    shutil.rmtree(unsaved / "checkpoints")
    for changed, message in (
            (["--version=1"], "out/1 holds an exported model: give another --version"),
            ([f"--model_dir={tmp_path}/empty"], f"No model.json in {tmp_path}/empty"),
            ([f"--model_dir={unsaved}"], f"No checkpoint in {unsaved}/checkpoints"),
            ([f"--output_dir={tmp_path}/file"], f"{tmp_path}/file is a file and not a folder")):
        _, err = run("gpt_tf.export", *flags, *changed, code=1)
        assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert sorted(os.listdir(tmp_path / "out")) == [".lock", "1"]
