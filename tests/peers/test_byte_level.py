"""GPT-2's kind of tokenizer beside transformers' and `tokenizers`, and in all that follows it.

With the vocabulary that was published with GPT-2, a folder of encoder.json and vocab.bpe or of the
same under Hugging Face's names:
  pytest tests/peers/test_byte_level.py -k published --gpt2=FOLDER
"""

import json
import string

import pytest
import tensorflow as tf
import tokenizers
import transformers

from benchmarks.encoders import byte_level_encoder
from gpt_tf import GPTTokenizer
from gpt_tf.serving import graph_tokenizer
from gpt_tf.tokenizer import Tokenizer, files
from pipelines import train_bpe
from tests import corpora
from tests.commands import run_command
from tests.languages import TEXTS

BOOKS = 6


@pytest.fixture(name="books", scope="module")
def books_fixture(shared_data):
    return sorted((shared_data / "books").glob("*.txt"))[:BOOKS]


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory, books):
    """A vocabulary of 8,000 merges of three books, and of GPT-2's entry that no text becomes."""
    folder = tmp_path_factory.mktemp("bytes")
    train_bpe.train(train_bpe.TrainBpeConfig(
        input=",".join(map(str, books[:3])), output_dir=str(folder / "bpe"), kind="byte_level",
        num_merges="8000"))
    vocabulary = json.loads((folder / "bpe" / "vocab.json").read_text())
    (folder / "gpt2").mkdir()
    (folder / "gpt2" / "vocab.json").write_text(json.dumps(
        vocabulary | {"<|endoftext|>": len(vocabulary)}))
    (folder / "gpt2" / "merges.txt").write_bytes((folder / "bpe" / "merges.txt").read_bytes())
    return folder


def test_books_and_languages_beside_transformers(folder, books):
    """Identical ids of whole books and of twenty languages, and the text back."""
    ours = Tokenizer.load(folder / "gpt2")
    paths = [str(folder / "gpt2" / name) for name in ("vocab.json", "merges.txt")]
    others = [transformers.GPT2TokenizerFast(*paths), transformers.GPT2Tokenizer(*paths),
              transformers.AutoTokenizer.from_pretrained(folder / "gpt2", tokenizer_type="gpt2")]
    assert_same(ours, others, paths, books)


def assert_same(ours, others, paths, books):
    """Ids and texts are those of `tokenizers` with the files `paths`, and of transformers'."""
    direct = byte_level_encoder(*paths)
    for text in [*(path.read_bytes().decode() for path in books), *TEXTS.values(),
                 string.printable, "\r\n\0\xa0 \x1c\u200d🙂 \n"]:
        ids = ours.encode(text)
        assert ids == direct.encode(text).ids and ours.decode(ids) == text
        for other in others:
            assert ids == other.encode(text), type(other)
            assert other.decode(ids, clean_up_tokenization_spaces=False) == text


@pytest.fixture(name="published", scope="module")
def published_fixture(request):
    folder = request.config.getoption("--gpt2")
    if folder is None:
        pytest.skip("needs the vocabulary published with GPT-2: --gpt2=FOLDER")
    return folder


def test_published_books_and_languages(published, shared_data):
    """All novels; some minutes."""
    paths = list(map(str, files.find(published)))
    assert_same(Tokenizer.load(published), [transformers.GPT2TokenizerFast(*paths)], paths,
                sorted((shared_data / "books").glob("*.txt")))


def test_published_files(published, tmp_path):
    """What is known of them, and that they are taken under both names, in Keras and in a graph."""
    ours = Tokenizer.load(published)
    assert (ours.kind, ours.vocabulary_size, len(ours.merges)) == ("byte_level", 50_257, 50_000)
    assert ours.tokens.index("<|endoftext|>") == 50_256
    assert ours.encode("Hello world") == [15496, 995]
    for layout in ours.layouts:
        ours.save(tmp_path / layout, layout)
        assert Tokenizer.load(tmp_path / layout).fingerprint == ours.fingerprint
    texts = list(TEXTS.values())
    expected = ours.encode_batch(texts)
    assert GPTTokenizer.from_preset(published)(texts) == expected
    assert graph_tokenizer.build(ours).encode(tf.constant(texts)).to_list() == expected


def test_every_character_is_split_as_the_library_does(folder):
    """All of planes 0 and 1, and every 64th of those of ideographs and of none."""
    ours = Tokenizer.load(folder / "bpe")
    direct = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(
        *(str(folder / "bpe" / name) for name in ("vocab.json", "merges.txt"))))
    direct.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    for part in (range(0xd800), range(0xe000, 0x20000), range(0x20000, 0x110000, 64)):
        text = "".join(f"  {character}{character}a1.{character}'s" for character in map(chr, part))
        ids = ours.encode(text)
        assert ids == direct.encode(text).ids and ours.decode(ids) == text


def run(module, *flags, cwd):
    done = run_command(module, *flags, cwd=cwd)
    assert done.code == 0, done.stdout + done.stderr
    return done.stdout


def test_from_text_to_answers(tmp_path):
    """All commands in turn, on text that the paper's tokenizer would change."""
    lines = [f"{text} {number}" for number in range(60) for text in TEXTS.values()]
    (tmp_path / "text.jsonl").write_text("".join(
        json.dumps({"text": "\r\n".join(lines[start:start + 40])}) + "\n"
        for start in range(0, len(lines), 40)))
    rows = [f"{TEXTS[name]}\t{int(name in ('ja', 'zh', 'ko', 'th'))}"
            for name in TEXTS for _ in range(4)]
    (tmp_path / "SST-2").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "SST-2" / name).write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    run("pipelines.train_bpe", "--input=text.jsonl", "--kind=byte_level", "--num_merges=300",
        "--output_dir=bpe", cwd=tmp_path)
    run("pipelines.build_corpus", "--input=text.jsonl", "--tokenizer=bpe", "--output_dir=data",
        "--sequence_length=32", "--num_workers=2", cwd=tmp_path)
    model = ("--num_layers=1", "--num_heads=2", "--hidden_dim=16", "--intermediate_dim=32",
             "--max_sequence_length=128")
    run("gpt_tf.pretrain", "--data_dir=data", "--model_dir=run", *model, "--num_steps=20",
        "--batch_size=8", cwd=tmp_path)
    run("pipelines.build_task", "--task=sst2", "--input=SST-2", "--tokenizer=run",
        "--output_dir=task", "--max_length=128", "--num_workers=1", cwd=tmp_path)
    run("pipelines.build_task", "--task=sst2", "--input=SST-2", "--tokenizer=run", "--zero_shot",
        "--output_dir=words", "--max_length=128", "--num_workers=1", cwd=tmp_path)
    run("gpt_tf.finetune", "--data_dir=task", "--init_from=run", "--model_dir=tuned",
        "--num_epochs=4", "--batch_size=8", cwd=tmp_path)
    measured = run("gpt_tf.evaluate", "--model_dir=tuned", "--data_dir=task", cwd=tmp_path)
    (tmp_path / "rows.tsv").write_text("sentence\n" + "".join(
        row.partition("\t")[0] + "\n" for row in rows))
    answers = run("gpt_tf.predict", "--model_dir=tuned", "--input=rows.tsv", cwd=tmp_path)
    labels = [("negative", "positive")[int(row[-1])] for row in rows]
    right = sum(map(str.__eq__, answers.splitlines()[-len(rows):], labels))
    assert float(measured.split("accuracy")[1].split()[0]) == pytest.approx(
        right / len(rows), abs=1e-4)
    assert "accuracy" in run("gpt_tf.zero_shot", "--model_dir=run", "--data_dir=words",
                             cwd=tmp_path)
    for prompt in (TEXTS["zh"], TEXTS["de"]):
        assert run("gpt_tf.generate", "--model_dir=run", f"--prompt={prompt}",
                   "--max_new_tokens=5", cwd=tmp_path).startswith(prompt)
    run("gpt_tf.report", "--model_dir=run", "--data_dir=data", f"--prompt={TEXTS['ja'][:9]}",
        "--output_dir=report", cwd=tmp_path)
    # Data of the paper's kind of tokenizer is not this run's.
    corpora.make_tokenizer().save(tmp_path / "words-bpe")
    run("pipelines.build_corpus", "--input=text.jsonl", "--tokenizer=words-bpe",
        "--output_dir=other", "--sequence_length=32", "--num_workers=1", cwd=tmp_path)
    done = run_command("gpt_tf.evaluate", "--model_dir=run", "--data_dir=other", cwd=tmp_path)
    assert done.code == 1 and "other was made with another tokenizer than run: build" in done.stderr


def test_beam_makes_the_same_bytes(tmp_path):
    pytest.importorskip("apache_beam")
    corpora.make_byte_level_tokenizer().save(tmp_path / "bpe")
    for number, text in enumerate(TEXTS.values()):
        (tmp_path / f"{number}.txt").write_text(text * 50, encoding="utf-8")
    for folder, more in (("here", ["--num_workers=2"]), ("beam", ["--runner=DirectRunner"])):
        run("pipelines.build_corpus", "--input=*.txt", "--tokenizer=bpe", "--sequence_length=32",
            "--shard_megabytes=0.02", f"--output_dir={folder}", *more, cwd=tmp_path)
    here, there = (corpora.contents(tmp_path / name) for name in ("here", "beam"))
    assert here == there and len(here) > 8
