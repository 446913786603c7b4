"""Exported models, loaded without anything of ours, beside the models in this process."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from gpt_tf import predict as predict_command
from gpt_tf.config import GenerationConfig
from gpt_tf.predict import PredictionConfig
from gpt_tf.runs import weights
from gpt_tf.serving import frame, saved_model
from gpt_tf.serving.language_model_signatures import LanguageModelServing
from gpt_tf.tasks import forms
from gpt_tf.tokenizer import WordTokenizer
from tests import corpora, generators, rest, served, test_graph_byte_level
from tests.test_evaluate_task import make_run as make_task_run
from tests.test_finetuning import make_run
from tests.test_predict import MAX_LENGTH, TASKS, make_texts, write_input

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
library_fixture = test_graph_byte_level.library_fixture
byte_level_fixture = test_graph_byte_level.byte_level_fixture
POSITIONS = 32
TEXTS = ["The end, and then it's the lighthouse.", "in", "", "the and " * 30, " A hat\n\n\u2026"]
GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0}
SAMPLED = {"temperature": 0.8, "top_k": 20, "top_p": 0.9}
CONTROLLED = "generate_with_controls"
SIGNATURES = ("logits", "score", "score_text", "generate", "generate_text", CONTROLLED,
              "generate_text_with_controls")


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory, tokenizer):
    """pretrained/, a run of each form, and out/ with their exports; but for one form these lack the
    signatures of a language model, which are those of the others again."""
    folder = tmp_path_factory.mktemp("export")
    make_run(folder / "pretrained", tokenizer, initializer_range=0.5)
    for form, task in TASKS.items():
        make_task_run(str(folder / form), tokenizer, task, MAX_LENGTH, num_layers=1)
    for name in ("pretrained", *TASKS):
        with pytest.MonkeyPatch.context() as patch:
            if name not in ("pretrained", "entailment"):
                patch.setattr(LanguageModelServing, "signatures", lambda self: {})
            export(folder / name, folder / "out" / name)
    return folder


def export(run, output_dir):
    saved_model.save(saved_model.build(str(run)), str(output_dir), 1, False)


@pytest.fixture(name="client", scope="module")
def client_fixture(folder):
    with served.Client(folder) as client:
        yield client


@pytest.fixture(name="ask", scope="module")
def ask_fixture(client, folder):
    """Answers of one exported model to [(signature, inputs)]."""
    return lambda name, *calls: client.ask(
        [(str(folder / "out" / name / "1"), *call) for call in calls])


@pytest.fixture(name="model", scope="module")
def model_fixture(folder):
    return weights.load_model(str(folder / "pretrained"))[0]


def padded(rows):
    """Token ids and lengths as inputs of a signature."""
    width = max(map(len, rows))
    return {"token_ids": [[*row, *[0] * (width - len(row))] for row in rows],
            "lengths": [len(row) for row in rows]}


def controls(rows, **values):
    """The same controls for each of some rows; a list has one for each."""
    return {name: value if isinstance(value, list) else [value] * rows
            for name, value in values.items()}


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
    calls = [(CONTROLLED, padded(some) | controls(
        len(some), max_new_tokens=count, seed=7, **sampling)) for count, some in counts.items()]
    answers = ask("pretrained", *calls)
    # Compiled once: fewer tokens are the first of more, and each prompt gets what it gets alone.
    longest = generators.make(model, 50, seed=7, **sampling)(rows)
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
    answer, = ask("pretrained", ("generate_text_with_controls", {"prompt": texts} | controls(
        3, max_new_tokens=8, seed=[5, 5, 6], **SAMPLED)))
    prompts_ids = tokenizer.encode_batch(texts)
    five, six = (generators.make(model, 8, seed=seed, **SAMPLED)(prompts_ids) for seed in (5, 6))
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
        model_dir=str(folder / form), input=source, output=f"{tmp_path}/out.tsv",
        probabilities=True))
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
    scored, new = ask("entailment", ("score", padded(rows)), (CONTROLLED, padded(
        rows) | controls(1, max_new_tokens=4, seed=0, **GREEDY)))
    np.testing.assert_allclose(scored["log_probability"],
                               [log_likelihoods(model, rows[0]).sum()], rtol=1e-6)
    assert new["token_ids"].tolist() == generators.make(model, 4, **GREEDY)(rows)


def test_what_is_refused_says_why(ask, tokenizer):
    long, = prompts(tokenizer, POSITIONS + 1)
    good = padded([long[:3], long[:2]]) | controls(2, max_new_tokens=2, seed=0, **GREEDY)
    last = tokenizer.vocabulary_size - 1
    calls = {
        "longer than the 32 positions of the model": ("logits", {"token_ids": [long]}),
        "more tokens than token_ids has": ("score", {"token_ids": [[1, 2]], "lengths": [3]}),
        "lengths has negative numbers": ("score", {"token_ids": [[1, 2]], "lengths": [-1]}),
        "are not of the same sequences": ("score", {"token_ids": [[1, 2]], "lengths": [1, 2]}),
        f"token_ids has ids outside 0..{last}:": ("logits", {"token_ids": [[1, last + 1]]}),
        f"token_ids has ids outside 0..{last}: ": ("score", padded([[1, -1]])),
        f"ids outside 0..{last}": (CONTROLLED, good | {"token_ids": [[2**32 + 1, 1, 1]] * 2}),
        "A prompt is empty": ("generate_text", {"prompt": ["a", " "]}),
        "A prompt fills the 32 positions of the model": ("generate", padded([long[:POSITIONS]])),
        "seed has not as many numbers as there are prompts": (CONTROLLED, good | {"seed": [1]}),
        **{f"{name} must be below 2**31 and {words}:{' ' * number}": (
            CONTROLLED, good | {name: [good[name][0], value]})
           for name, words, values in (
               ("max_new_tokens", "at least 1", (0, -1, 2**40)),
               ("temperature", "at least 0", (-0.5, float("nan"), float("inf"))),
               ("top_k", "at least 0", (-1, 2**31)), ("seed", "at least 0", (-1, 2**31)),
               ("top_p", "above 0 and at most 1", (0.0, 1.5, float("nan"))))
           for number, value in enumerate(values)}}
    for message, answer in zip(calls, ask("pretrained", *calls.values())):
        assert message.rstrip() in answer["error"]


def test_rows_have_controls_of_their_own(ask, tokenizer):
    """A batch of rows of every kind: each as alone; more new tokens than fit are cut."""
    rows = prompts(tokenizer, 5, 5, 9, POSITIONS - 3, 1)
    each = {"max_new_tokens": [4, 9, 2**31 - 1, 8, 1], "temperature": [0.0, 0.8, 1.0, 1.3, 2.0],
            "top_k": [0, 20, 0, 5, 0], "top_p": [1.0, 0.9, 1.0, 1.0, 0.4], "seed": [0, 1, 2, 3, 4]}
    together, *alone = ask("pretrained", (CONTROLLED, padded(rows) | each), *(
        (CONTROLLED, padded([row]) | {name: [values[number]] for name, values in each.items()})
        for number, row in enumerate(rows)))
    assert together["lengths"].tolist() == [4, 9, POSITIONS - 9, 3, 1]
    for number, answer in enumerate(alone):
        count = answer["lengths"][0]
        for name in ("token_ids", "log_probabilities"):
            np.testing.assert_allclose(together[name][number, :count], answer[name][0, :count],
                                       rtol=0, atol=5e-6)
        assert not together["token_ids"][number, count:].any()


def test_without_controls_it_is_the_command(ask, model, tokenizer):
    texts = ["The end, and", "in"]
    by_text, by_ids = ask("pretrained", ("generate_text", {"prompt": texts}),
                          ("generate", padded(tokenizer.encode_batch(texts))))
    new = generators.make(model, GenerationConfig().max_new_tokens)(tokenizer.encode_batch(texts))
    for answer in by_text, by_ids:
        assert [row[:count] for row, count in zip(answer["token_ids"].tolist(),
                                                  answer["lengths"])] == new


@pytest.mark.parametrize("form", ["pretrained", *TASKS])
def test_a_batch_of_nothing(client, folder, form):
    server = rest.Server(client, folder / "out" / form / "1")
    names = {name: dict.fromkeys(inputs, []) for name, inputs in server.inputs.items()
             if name in SIGNATURES and form == "pretrained" or "classify" in name}
    assert len(names) == (len(SIGNATURES) if form == "pretrained" else 2)
    for answer in client.ask([(server.folder, *call) for call in names.items()]):
        assert answer and all(len(value) == 0 for key, value in answer.items()), answer


def test_threads_get_what_one_gets(client, folder):
    """Eight at once, of texts and controls of all kinds, and of two models."""
    dice = np.random.default_rng(0)
    calls = [("pretrained", "generate_text_with_controls", {"prompt": [text]} | controls(
        1, max_new_tokens=5, seed=int(dice.integers(9)), **sampling))
        for text in ("The end, and", "in") for sampling in (GREEDY, SAMPLED)]
    calls += [("pretrained", "score_text", {"text": TEXTS}),
              ("classification", "classify_text", {"text": TEXTS})]
    calls = [(str(folder / "out" / name / "1"), *call) for name, *call in calls] * 6
    one, eight = client.ask(calls), client.ask(calls, threads=8)
    for before, after in zip(one, eight, strict=True):
        assert before.keys() == after.keys()
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value)


def test_as_rest_asks(client, folder, tokenizer, ask):
    """Rows and columns of JSON; and what the server itself refuses, so that nobody tries it."""
    server = rest.Server(client, folder / "out" / "pretrained" / "1")
    texts = ["The end, and", "in"]
    plain, = ask("pretrained", ("generate_text", {"prompt": texts}))
    for request in ({"instances": texts}, {"instances": [{"prompt": text} for text in texts]},
                    {"instances": [{"b64": "VGhlIGVuZCwgYW5k"}, "in"]},
                    {"inputs": texts}, {"inputs": {"prompt": texts}}):
        answer = server.predict(signature_name="generate_text", **request)
        found = (answer["outputs"]["text"] if "inputs" in request
                 else [row["text"] for row in answer["predictions"]])
        assert found == plain["text"].tolist()
    rows = [{"prompt": text, "max_new_tokens": 3 + number, "temperature": 1, "top_k": 20,
             "top_p": 0.9, "seed": number} for number, text in enumerate(texts)]
    name = "generate_text_with_controls"
    by_row = server.predict(signature_name=name, instances=rows)["predictions"]
    by_column = server.predict(signature_name=name, inputs={
        key: [row[key] for row in rows] for key in rows[0]})["outputs"]
    assert [row["text"] for row in by_row] == by_column["text"]
    assert [row["lengths"] for row in by_row] == [3, 4]
    ids = [{"token_ids": row + [0] * (4 - len(row)), "lengths": len(row)} for row in
           prompts(tokenizer, 4, 2)]
    assert len(server.predict(signature_name="generate", instances=ids)["predictions"]) == 2
    assert "temperature must be" in server.predict(
        signature_name=name, instances=[rows[0] | {"temperature": float("nan")}])["error"]
    for request in ({"instances": []}, {"instances": [{"prompt": "in"}]}, {"instances": ["in"]},
                    {"instances": [rows[0] | {"seed": 0.5}]}, {"inputs": {"prompt": ["in"]}}):
        with pytest.raises(rest.Refused):
            server.predict(signature_name=name, **request)
    classifier = rest.Server(client, folder / "out" / "entailment" / "1")
    answer, = classifier.predict(signature_name="classify_text", instances=[
        {"premise": "The sea.", "hypothesis": "in"}])["predictions"]
    assert answer["labels"] in TASKS["entailment"].labels


def test_saved_model_cli(folder):
    """It prints names and types, and answers as the README and the command say."""
    target = f"{folder}/out/multiple_choice/1"
    calls = [["show", "--dir", target, "--all"],
             ["run", "--dir", target, "--tag_set", "serve", "--signature_def", "classify_text",
              "--input_exprs", 'context=["The sea", "in"];question=["the", "and"];'
              'answers=[["a", "the sea", "in"], ["the", "end", "of"]]']]
    both = ("from absl import flags; from tensorflow.python.tools import saved_model_cli as tool\n"
            f"for call in {calls!r}:\n"
            "    flags.FLAGS(call); tool.create_parser().parse_args(call).func()")
    out = subprocess.run([sys.executable, "-c", both], text=True, capture_output=True,
                         check=True).stdout
    shown, _, answered = out.partition("Result for output key class_names:")
    found = {part.split("'")[1]: part for part in shown.split("signature_def[")[1:]}
    found.pop("__saved_model_init_op")
    assert set(found) == {"serving_default", "classify", "classify_text"}
    for name in ("context", "question", "answers"):
        assert f"inputs['{name}']" in found["classify_text"]
    for name in ("probabilities", "class_names", "label_ids", "labels"):
        assert f"outputs['{name}']" in found["classify_text"]
        assert name == "class_names" or f"Result for output key {name}:" in answered
    assert found["classify"].count("shape: (-1, 3, -1)") == 1


def test_what_is_written(folder):
    """Every signature, the weights once, and nothing of Keras."""
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
    found = dict(meta_graph.signature_def)
    found.pop("__saved_model_init_op")
    assert set(found) == {"serving_default", *SIGNATURES, "classify", "classify_text"}
    assert set(found[CONTROLLED].inputs) == {
        "token_ids", "lengths", "max_new_tokens", "temperature", "top_k", "top_p", "seed"}
    assert not [node for node in meta_graph.object_graph_def.nodes
                if "keras" in node.user_object.identifier]
    nodes = [*meta_graph.graph_def.node, *(
        node for function in meta_graph.graph_def.library.function for node in function.node_def)]
    constants = [tf.make_ndarray(node.attr["value"].tensor) for node in nodes if node.op == "Const"]
    assert not [each for each in constants if each.dtype == np.float32 and each.size > 100]
    assert not [node.op for node in nodes if "PyFunc" in node.op]


def test_byte_level(client, tmp_path, byte_level):
    """Strings that the paper's tokenizer would change, and generated bytes that are no text."""
    task = TASKS["classification"]
    export(make_task_run(str(tmp_path / "run"), byte_level, task, MAX_LENGTH, num_layers=1),
           tmp_path / "out")
    texts = ["Gr\u00fc\u00dfe,  \u4f60\u597d 42!\n", "It's\t<b>&amp;", "", "\0\U0001f600 " * 20]
    rows = byte_level.encode_batch(texts)
    kept = [row[:MAX_LENGTH] for row in rows]
    inputs = [forms.build(task.form, [row], forms.SpecialTokens.after(byte_level.vocabulary_size),
                          MAX_LENGTH).token_ids
              for row in byte_level.encode_batch(map(str.strip, texts))]  # as data is read
    sequences = padded([row for row, in inputs])
    by_text, by_ids, sorted_text, sorted_ids, new = client.ask([
        (str(tmp_path / "out" / "1"), *call) for call in (
            ("score_text", {"text": texts}), ("score", padded(kept)),
            ("classify_text", {"text": texts}),
            ("classify", {"token_ids": [[row] for row in sequences["token_ids"]],
                          "lengths": [[length] for length in sequences["lengths"]]}),
            ("generate_text_with_controls", {"prompt": texts[:2]} | controls(
                2, max_new_tokens=6, seed=1, temperature=2.0, top_k=0, top_p=1.0)))])
    assert by_text["tokens"].tolist() == list(map(len, rows)) and len(rows[3]) > MAX_LENGTH
    np.testing.assert_allclose(by_text["log_probability"], by_ids["log_probability"], rtol=1e-6)
    np.testing.assert_allclose(sorted_text["probabilities"], sorted_ids["probabilities"],
                               rtol=1e-6)
    assert new["text"].tolist() == [
        byte_level.decode(row + ids[:count]) for row, ids, count in zip(
            rows, new["token_ids"].tolist(), new["lengths"])]
    assert all(each.startswith(text) for each, text in zip(new["text"], texts))
    assert "\ufffd" in "".join(new["text"])


def test_languages_whose_rules_fit_no_graph_have_no_strings(folder, tmp_path, tokenizer,
                                                            monkeypatch):
    monkeypatch.setattr(frame, "trace", lambda signature: signature)  # which takes seconds
    shutil.copytree(folder / "classification", tmp_path / "run")
    for path in tmp_path.glob("run/*"):
        if path.suffix == ".bpe" or "encoder" in path.name or "tokenizer" in path.name:
            path.unlink()
    french = WordTokenizer({token: index for index, token in enumerate(tokenizer.tokens)},
                           tokenizer.merges, "fr")
    french.save(tmp_path / "run")
    built = saved_model.build(str(tmp_path / "run"))
    assert set(built.signatures) == {"serving_default", "classify", *(
        name for name in SIGNATURES if "text" not in name)}
    assert built.no_text.startswith("The rules of the tokenizer's language 'fr' do not fit a graph")
