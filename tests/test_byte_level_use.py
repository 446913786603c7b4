"""A tokenizer of bytes in the pipelines and the commands: what goes in is what comes out."""

import json

import numpy as np
import pytest

from gpt_tf.generation.generator import Part
from gpt_tf.generation.writer import Writer
from gpt_tf.tokenizer import Tokenizer
from pipelines.corpus import splitting
from tests import corpora, runs
from tests.commands import run_command
from tests.corpora import LENGTH, expected_windows, read_windows
from tests.languages import TEXTS

tokenizer_fixture = corpora.tokenizer_fixture
build_fixture = corpora.build_fixture
DOCUMENT = "\r\n\r\n \t".join(TEXTS.values()) + "\0\n\n"


@pytest.fixture(name="tokenizer_dir", scope="module")
def tokenizer_dir_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bytes") / "bpe"
    corpora.make_byte_level_tokenizer().save(folder)
    return folder


@pytest.fixture(name="run", scope="module")
def run_fixture(tmp_path_factory, tokenizer_dir):
    """All tokens are equally likely."""
    tokenizer = Tokenizer.load(tokenizer_dir)
    model = runs.silence(runs.make_model(tokenizer.vocabulary_size, num_layers=1, hidden_dim=8,
                                         max_sequence_length=LENGTH))
    return runs.make_run(tmp_path_factory.mktemp("bytes") / "run", tokenizer, {1: model})


def test_a_corpus_holds_its_text_whatever_it_is(build, tmp_path, tokenizer_dir, monkeypatch,
                                                capsys):
    tokenizer = Tokenizer.load(tokenizer_dir)
    monkeypatch.setattr(splitting, "_CHUNK_SIZE", 50)
    manifest = build({"a.txt": DOCUMENT}, validation_fraction=0)
    windows = read_windows(tmp_path / "data", "train")
    assert windows == expected_windows(tokenizer, [DOCUMENT])
    assert tokenizer.decode(sum(windows, [])) == DOCUMENT
    train = manifest.splits["train"]
    assert train.text_bytes == len(DOCUMENT.encode()) and train.tokens == sum(map(len, windows))
    assert capsys.readouterr().out.count("0.0000%") == 2  # no <unk>
    page = run_command("gpt_tf.report", "--data_dir=data", "--output_dir=report", cwd=tmp_path)
    assert page.code == 0, page.stderr
    assert "words, with the punctuation on them," in (
        tmp_path / "report" / "report.html").read_text(encoding="utf-8")


class Dictated:
    """Stands for a `Generator`, and writes what it is told to."""

    def __init__(self, token_ids):
        self._token_ids = token_ids

    def check(self, prompt):
        assert prompt

    def stream(self, prompts, samples, part_length):
        for start in range(0, len(self._token_ids), part_length):
            part = np.array([self._token_ids[start:start + part_length]])
            yield Part([0], part, np.zeros(part.shape))


@pytest.mark.parametrize("parts", [1, 4])
def test_no_half_characters_are_shown(tokenizer_dir, monkeypatch, parts):
    monkeypatch.setattr("gpt_tf.generation.writer._STREAM_TOKENS", parts)
    tokenizer = Tokenizer.load(tokenizer_dir)
    for new in (TEXTS["zh"] + "🙂🙂", TEXTS["th"], "a\ufffdb"):
        token_ids, shown = tokenizer.encode(new), []
        writer = Writer(Dictated(token_ids), tokenizer, len(token_ids))
        text = writer.stream(writer.encode("Zürich: ", "here"), shown.append)
        assert "".join(shown) == text.text == "Zürich: " + new and text.finish == "length"
        assert len(shown) > len(new) / 4 or parts > 1
        assert "".join(shown).count("\ufffd") == new.count("\ufffd")
        writer = Writer(Dictated(token_ids[:-1]), tokenizer, len(token_ids) - 1)
        assert writer.write([[]], 1)[0].text == tokenizer.decode(token_ids[:-1])
    stop = TEXTS["zh"][9:12]
    shown = []
    writer = Writer(Dictated(tokenizer.encode(TEXTS["zh"])), tokenizer, 999, [stop])
    text = writer.stream([], shown.append)
    assert "".join(shown) == text.text == TEXTS["zh"][:9] and text.finish == "stop"


def test_bits_of_all_bytes(run, tmp_path):
    """Equally likely tokens: log2 of their number for each but the first, over the bytes."""
    (tmp_path / "a.txt").write_bytes(DOCUMENT.encode())
    done = run_command("gpt_tf.evaluate", f"--model_dir={run}", f"--text={tmp_path}/a.txt",
                       "--nojit_compile", "--batch_size=4")
    assert done.code == 0, done.stderr
    tokenizer = Tokenizer.load(run)
    size, tokens = len(DOCUMENT.encode()), len(tokenizer.encode(DOCUMENT))
    bits = np.log2(tokenizer.vocabulary_size) * (tokens - 1) / size
    assert float(done.stdout.split("bits_per_byte")[1].split()[0]) == pytest.approx(bits, abs=1e-4)
    assert f"{tokens - 1:,}" in done.stdout


def test_prompts_come_back_as_they_are(run):
    prompts = f"{TEXTS['de'][:6]}\n  {TEXTS['ja'][:2]} \n"
    done = run_command("gpt_tf.generate", f"--model_dir={run}", "--max_new_tokens=2",
                       "--stop=\ufffd", stdin=prompts)
    assert done.code == 0, done.stderr
    texts = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    assert len(texts) == 2
    assert all(text.startswith(prompt) for text, prompt in zip(texts, prompts.split("\n")))
