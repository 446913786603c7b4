"""Perplexity of any text: which token is predicted from what, and the same by brute force."""

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from gpt_tf import evaluate
from gpt_tf.common.errors import UserError
from gpt_tf.common.progress import Progress
from gpt_tf.evaluate import EvaluationConfig, evaluate_text
from gpt_tf.evaluation import text_perplexity
from gpt_tf.evaluation.text_perplexity import TextEvaluator, read_blocks, windows
from tests import corpora, runs
from tests.commands import run_command
from tests.test_task_model import hidden_by_hand

tokenizer_fixture = corpora.tokenizer_fixture
tokenizer_dir_fixture = corpora.tokenizer_dir_fixture

LENGTH = 8
TEXT = "the end, and then it's warm in the \u00e9nd.\n\n\"in\" and <the> ant in the sand\n" * 2


# Windows.

def test_windows_by_hand():
    parts = [np.array([0, 1]), np.array([2, 3, 4, 5, 6])]
    assert [(ids.tolist(), start) for ids, start in windows(parts, length=4, stride=2)] == [
        ([0, 1, 2, 3], 1), ([2, 3, 4, 5], 2), ([4, 5, 6], 2)]


@given(st.integers(0, 40), st.integers(2, 9), st.data())
def test_every_token_is_predicted_once(count, length, data):
    stride = data.draw(st.integers(1, length - 1))
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    predicted = []
    for ids, start in windows(np.split(np.arange(count), cuts), length, stride):
        assert 2 <= len(ids) <= length and (np.diff(ids) == 1).all()
        # In the first window from 1 on; in others there is at least length - stride before it.
        assert start == (length - stride if predicted else 1)
        predicted += ids[start:].tolist()
    assert predicted == list(range(1, count))


# The numbers.

@pytest.fixture(name="path")
def path_fixture(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def by_brute_force(model, ids, stride):
    """Nats of all tokens but the first: one forward pass for each, of numpy in float64."""
    table = model.embedding.token.embeddings.numpy().astype(np.float64)
    table = table[:model.config.vocabulary_size]
    total = 0.0
    for place in range(1, len(ids)):
        # The first window that reaches the token.
        begin = stride * max(0, math.ceil((place + 1 - LENGTH) / stride))
        hidden = hidden_by_hand(model, ids[begin:place], lambda *_: 1.0)
        total -= runs.log_softmax(hidden[-1] @ table.T)[ids[place]]
    return total


@pytest.mark.parametrize("stride, special", [(0, 0), (1, 0), (3, 0), (7, 0), (3, 3)])
def test_equals_brute_force(path, tokenizer, stride, special):
    """A fine-tuned model's special tokens get no share of the probability."""
    model = runs.make_model(tokenizer.vocabulary_size, max_sequence_length=LENGTH,
                            num_special_tokens=special)
    found = TextEvaluator(model, tokenizer, stride, batch_size=5, jit_compile=False)([path])
    ids = tokenizer.encode(TEXT)
    nats = by_brute_force(model, ids, stride or 4)
    assert found["predicted_tokens"] == len(ids) - 1 > 5 * LENGTH
    assert found["loss"] == pytest.approx(nats / (len(ids) - 1), rel=1e-6)
    assert found["perplexity"] == pytest.approx(math.exp(nats / (len(ids) - 1)), rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(
        nats / math.log(2) / len(TEXT.encode()), rel=1e-6)


def test_more_context_is_used(path, tokenizer):
    """A token far back decides: where strides differ, so do the numbers."""
    model = runs.make_model(tokenizer.vocabulary_size, max_sequence_length=LENGTH)
    losses = {TextEvaluator(model, tokenizer, stride, jit_compile=False)([path])["loss"]
              for stride in (1, 3, 7)}
    assert len(losses) == 3


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_a_model_of_zeros_finds_all_tokens_alike(path, tokenizer, batch_size, jit_compile):
    size = tokenizer.vocabulary_size
    model = runs.silence(runs.make_model(size, max_sequence_length=LENGTH))
    found = TextEvaluator(model, tokenizer, 3, batch_size, jit_compile)([path])
    count = len(tokenizer.encode(TEXT)) - 1
    assert found["loss"] == pytest.approx(math.log(size), rel=1e-6)
    assert found["perplexity"] == pytest.approx(size, rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(
        math.log2(size) * count / len(TEXT.encode()), rel=1e-6)


def test_files_are_documents_of_their_own(tmp_path, tokenizer):
    """Their nats, tokens and bytes add up; one without text adds nothing."""
    model = runs.make_model(tokenizer.vocabulary_size, max_sequence_length=LENGTH)
    evaluator = TextEvaluator(model, tokenizer, batch_size=3, jit_compile=False)
    texts = ["the end and the ant", TEXT, "", "the"]
    paths = []
    for number, text in enumerate(texts):
        paths.append(tmp_path / f"{number}.txt")
        paths[-1].write_text(text, encoding="utf-8")
    both = evaluator(paths)
    single = [evaluator([path]) for path in paths[:2]]
    tokens = [each["predicted_tokens"] for each in single]
    assert both["predicted_tokens"] == sum(tokens)
    nats = sum(each["loss"] * count for each, count in zip(single, tokens))
    assert both["loss"] == pytest.approx(nats / sum(tokens), rel=1e-6)
    assert both["bits_per_byte"] == pytest.approx(
        nats / math.log(2) / sum(len(text.encode()) for text in texts), rel=1e-6)


# Reading.

def test_a_line_without_end_is_named(path, tokenizer, monkeypatch):
    model = runs.make_model(tokenizer.vocabulary_size, max_sequence_length=LENGTH)
    monkeypatch.setattr("gpt_tf.tokenizer.cleaning.LONGEST_HELD_LINE", 4)
    with pytest.raises(UserError, match="text.txt has a line of more than 4 characters"):
        TextEvaluator(model, tokenizer, jit_compile=False)([path])


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 16])
def test_tokens_are_those_of_the_text_however_it_is_read(tmp_path, tokenizer, monkeypatch,
                                                         block_bytes):
    monkeypatch.setattr(text_perplexity, "_BLOCK_BYTES", block_bytes)
    text = corpora.make_text(3, paragraphs=4, more_words=["\u00e9", "\u4e2d\U0001f600", "it's"])
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    with Progress(None, "B", "reading") as progress:
        assert "".join(read_blocks(str(path), progress)) == text.replace("\n", "\r\n")
        evaluator = TextEvaluator(runs.make_model(tokenizer.vocabulary_size), tokenizer)
        parts = list(evaluator._parts(str(path), progress))
    assert np.concatenate(parts).tolist() == tokenizer.encode(text)
    assert len(parts) > 1 or block_bytes > 7


@pytest.mark.parametrize("block_bytes", [1, 2, 5, 100])
@pytest.mark.parametrize("data, place", [
    (b"the \xff end", 4), ("the end \u4e2d".encode()[:-1], 8), (b"\xc3\xa9\xc3", 2),
    ("\u4e2d\u4e2d".encode() + b"\xe4\xb8x", 6)])
def test_bad_utf8_is_named_with_its_byte(tmp_path, monkeypatch, data, place, block_bytes):
    monkeypatch.setattr(text_perplexity, "_BLOCK_BYTES", block_bytes)
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    with Progress(None, "B", "reading") as progress:
        with pytest.raises(UserError, match=f"text.txt, byte {place}: not UTF-8"):
            list(read_blocks(str(path), progress))


# The command.

@pytest.fixture(name="run", scope="module")
def run_fixture(tmp_path_factory, tokenizer):
    model = runs.make_model(tokenizer.vocabulary_size, max_sequence_length=LENGTH)
    return runs.make_run(tmp_path_factory.mktemp("runs") / "run", tokenizer, {7: model})


@pytest.mark.parametrize("text", ["", "the", " \n \n", "\ufeff"])
def test_nothing_to_predict(tmp_path, run, text):
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="text.txt: there is nothing to predict"):
        evaluate_text(EvaluationConfig(text=str(path), jit_compile=False), run, [str(path)])


def test_strides_that_do_not_fit(path, run):
    with pytest.raises(UserError, match="--stride=8 must be below the 8 positions"):
        evaluate_text(EvaluationConfig(text=path, stride=8), run, [path])
    with pytest.raises(ValueError, match="--stride=-1"):
        EvaluationConfig(text=path, stride=-1)


def test_command(path, run, tokenizer):
    done = run_command("gpt_tf.evaluate", f"--model_dir={run}", f"--text={path}", "--stride=3")
    assert done.code == 0, done.stderr
    assert f"{run}, update 7, {path}, stride 3:" in done.stdout
    numbers = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()[1:]}
    model = runs.make_model(tokenizer.vocabulary_size, max_sequence_length=LENGTH)
    ids = tokenizer.encode(TEXT)
    assert numbers["predicted_tokens"] == len(ids) - 1
    assert numbers["loss"] == pytest.approx(
        by_brute_force(model, ids, 3) / (len(ids) - 1), abs=1e-4)
    assert "100%" in done.stderr
    unknown = ids.count(tokenizer.unknown_id)
    assert unknown and done.stderr.endswith(
        f"{unknown} of {len(ids)} tokens ({unknown / len(ids):.2%}) are <unk>: characters that the "
        "vocabulary lacks.\n")


@pytest.mark.parametrize("given_flags, message", [
    ([], "Give --data_dir or --text, and not both"),
    (["--text={path}", "--data_dir=data"], "Give --data_dir or --text, and not both"),
    (["--text={path}", "--trigram"], "--trigram is not for --text"),
    (["--text={path}", "--predictions=a.tsv"], "--predictions is not for --text"),
    (["--text={path}", "--split=test"], "--split is of a data folder"),
])
def test_flags_that_do_not_fit(path, given_flags, message, monkeypatch):
    """In this process: what is wrong with flags is found before a model is loaded."""
    from absl import flags

    from gpt_tf.common import cli
    values = flags.FlagValues()
    flags.DEFINE_string("model_dir", None, "", flag_values=values)
    flags.DEFINE_string("data_dir", None, "", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)
    for name, field in EvaluationConfig.__dataclass_fields__.items():
        define = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer,
                  str: flags.DEFINE_string}[type(field.default)]
        define(name, field.default, "", flag_values=values)
    values(["evaluate", "--model_dir=run", *(flag.format(path=path) for flag in given_flags)])
    monkeypatch.setattr(cli.flags, "FLAGS", values)
    with pytest.raises(UserError, match=message):
        evaluate.main()


def test_a_folder_without_texts_ends_with_one_sentence(tmp_path, run):
    done = run_command("gpt_tf.evaluate", f"--model_dir={run}", f"--text={tmp_path}")
    assert done.code == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        f"error: --text: the folder {tmp_path} holds no .txt; name files")
