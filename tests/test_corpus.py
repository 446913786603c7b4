"""Raw corpora: which documents there are, to the character, and what is said of bad input."""

import gzip
import json
import os
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer.cleaning import check_lines
from pipelines.corpus import sources
from pipelines.corpus.corpus import open_corpus
from pipelines.reading import files


def read(patterns, **options):
    """[(name, text), ...] and the counts of what was skipped."""
    corpus = open_corpus(",".join(map(str, patterns)), **options)
    found = [(document.name, "".join(document.blocks())) for document in corpus.documents()]
    return found, {reason: count for reason, count in corpus.skipped.items() if count}


def write_rows(path, rows, opener=open):
    with opener(path, "wb") as stream:
        for row in rows:
            line = row if isinstance(row, bytes) else json.dumps(row).encode()
            stream.write(line + b"\n")
    return path


@pytest.mark.parametrize("block_bytes", [4, 5, 7, 1 << 20])
@pytest.mark.parametrize("ending", [".txt", ".txt.gz"])
def test_text_comes_back_to_the_character(tmp_path, monkeypatch, block_bytes, ending):
    """Blocks cut characters of 2, 3 and 4 bytes at every place; line ends stay as they are."""
    monkeypatch.setattr(files, "BLOCK_BYTES", block_bytes)
    texts = ["a", "Zoë saw €5 \U0001f600 and — left.\r\nA new line.\rAnother\n\n", "exactly8",
             "\U0001f600" * 9, "\ufeffonly the first mark goes: \ufeff."]
    opener = gzip.open if ending == ".txt.gz" else open
    for number, text in enumerate(texts):
        with opener(tmp_path / f"{number}{ending}", "wb") as stream:
            stream.write(text.encode())
    found, skipped = read([tmp_path / f"*{ending}"])
    assert [text for _, text in found] == texts[:4] + [texts[4][1:]]
    assert [os.path.basename(name) for name, _ in found] == [f"{i}{ending}" for i in range(5)]
    assert not skipped


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_rows(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(files, "BLOCK_BYTES", 7)
    opener = gzip.open if ending == ".jsonl.gz" else open
    rows = [{"text": "one"}, b"", {"text": "Zo\u00eb\r\nand a line", "more": 1}, b"  ",
            {"text": " \n"}, {"text": "last"}]
    first = write_rows(tmp_path / f"a{ending}", rows, opener)
    second = write_rows(tmp_path / f"b{ending}", [b'\xef\xbb\xbf{"text": "marked"}'], opener)
    found, skipped = read([tmp_path / f"*{ending}"])
    assert found == [(f"{first}, row 1", "one"), (f"{first}, row 3", "Zo\u00eb\r\nand a line"),
                     (f"{first}, row 6", "last"), (f"{second}, row 1", "marked")]
    assert skipped == {"empty": 1}
    write_rows(first, [{"body": "chosen"}], opener)
    assert read([first], text_field="body")[0] == [(f"{first}, row 1", "chosen")]


def test_order_and_repeats(tmp_path):
    """Globs in their order, sorted within; files that two globs match come once; kinds may mix."""
    for name in ("c.txt", "a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    write_rows(tmp_path / "rows.jsonl", [{"text": "row"}])
    found, _ = read([tmp_path / "b.txt", tmp_path / "*.jsonl", f" {tmp_path}/*.txt"])
    assert [text for _, text in found] == ["b.txt", "row", "a.txt", "c.txt"]


def test_a_corpus_can_be_read_again_after_a_part(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 4)
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name * 30)
    corpus = open_corpus(f"{tmp_path}/*.txt")
    assert [next(document.blocks()) for document in corpus.documents()] == ["aaaa", "bbbb", "cccc"]
    documents = list(map(lambda document: "".join(document.blocks()), corpus.documents()))
    assert documents == ["a" * 30, "b" * 30, "c" * 30]


def test_empty_files_are_skipped_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 4)
    contents = {"a.txt": b"", "b.txt": b"\xef\xbb\xbf", "c.txt": b" \r\n" * 9,
                "d.txt": b" " * 21 + b"text", "e.txt": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    for pattern in ("*.txt", "*.txt.gz"):
        found, skipped = read([tmp_path / pattern])
        assert [text for _, text in found] == [" " * 21 + "text"]
        assert skipped == {"empty": 4}
    assert read([tmp_path / "a.txt"]) == ([], {"empty": 1})


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_text_that_is_not_utf8(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(files, "BLOCK_BYTES", 16)
    ending = ".txt" if pack is bytes else ".txt.gz"
    good = "Zoë is fine. " * 5
    (tmp_path / f"a{ending}").write_bytes(pack(good.encode()))
    (tmp_path / f"b{ending}").write_bytes(pack(b"\xef\xbb\xbfgood so far, then latin1: Zo\xeb."))
    (tmp_path / f"c{ending}").write_bytes(pack(good.encode()[:-60] + b"ends in half \xe2\x82"))
    (tmp_path / f"d{ending}").write_bytes(pack(good.encode()))
    with pytest.raises(UserError, match=f"b{ending}, byte 31: not UTF-8.*--on_bad_utf8=skip"):
        read([tmp_path / f"*{ending}"])
    with pytest.raises(UserError, match=f"c{ending}, byte 23: not UTF-8"):
        read([tmp_path / f"c{ending}"])
    found, skipped = read([tmp_path / f"*{ending}"], on_bad_utf8="skip")
    assert [text for _, text in found] == [good, good]
    assert skipped == {"not UTF-8": 2}


def test_rows_that_are_not_utf8(tmp_path):
    rows = [{"text": "one"}, b'{"text": "Zo\xeb"}', b'{"text": "half \\ud800 pair"}',
            {"text": "two"}]
    path = write_rows(tmp_path / "a.jsonl", rows)
    with pytest.raises(UserError, match="a.jsonl, row 2, byte 12: not UTF-8"):
        read([path])
    with pytest.raises(UserError, match="b.jsonl, row 1, character 5 of its text: not UTF-8"):
        read([write_rows(tmp_path / "b.jsonl", rows[2:])])
    found, skipped = read([path], on_bad_utf8="skip")
    assert [text for _, text in found] == ["one", "two"]
    assert skipped == {"not UTF-8": 2}


@pytest.mark.parametrize("row, message", [
    (b'{"text": "cut', "row 2: not valid JSON"),
    (b'["text"]', "row 2: no text in a field 'text'.*--text_field"),
    (b'{"body": "x"}', "row 2: no text in a field 'text'"),
    (b'{"text": 5}', "row 2: no text in a field 'text'"),
    (b"[" * 100_000, "row 2: not valid JSON"),
])
def test_bad_rows_are_named(tmp_path, row, message):
    with pytest.raises(UserError, match=f"a.jsonl, {message}"):
        read([write_rows(tmp_path / "a.jsonl", [{"text": "good"}, row])])


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("damage, message", [
    (lambda data: data[:len(data) // 2], "ended before"),
    (lambda data: data[:-6] + bytes([data[-6] ^ 1]) + data[-5:], "CRC check failed"),
    (lambda data: b"plain text, not gzip at all", "Not a gzipped file"),
])
def test_damaged_gzip_is_named(tmp_path, name, damage, message):
    """tf.data's own gzip reader would take half a file for a whole one."""
    rows = b"".join(b'{"text": "row %d"}\n' % number for number in range(5000))
    (tmp_path / name).write_bytes(damage(gzip.compress(rows)))
    with pytest.raises(UserError, match=f"Cannot read .*{name}: .*{message}"):
        read([tmp_path / name])


def test_a_compressed_line_without_end_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 20)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "short"}\n' + b" " * 21))
    with pytest.raises(UserError, match="a.jsonl.gz has a line of more than 20 bytes"):
        read([tmp_path / "a.jsonl.gz"])


@pytest.mark.parametrize("blocks, longest", [
    (["abc", "de\nf"], 5), (["a\nbcdef\n", "g"], 5), (["\n", "abcde", "\nab"], 5), (["abcde"], 5)])
def test_a_line_without_end_is_named(blocks, longest, monkeypatch):
    monkeypatch.setattr("gpt_tf.tokenizer.cleaning.LONGEST_HELD_LINE", longest)
    assert list(check_lines(blocks, "a.txt.gz")) == blocks
    monkeypatch.setattr("gpt_tf.tokenizer.cleaning.LONGEST_HELD_LINE", longest - 1)
    with pytest.raises(UserError, match="a.txt.gz has a line of more than 4 characters: break it"):
        list(check_lines(blocks, "a.txt.gz"))


def test_files_and_rows_with_a_line_without_end_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("gpt_tf.tokenizer.cleaning.LONGEST_HELD_LINE", 4)
    (tmp_path / "a.txt").write_text("the\nanthem")
    write_rows(tmp_path / "a.jsonl", [{"text": "the\nanthem"}])
    for name, where in (("a.txt", "a.txt"), ("a.jsonl", "a.jsonl, row 1")):
        with pytest.raises(UserError, match=f"{where} has a line of more than 4 characters"):
            read([tmp_path / name])


@pytest.mark.parametrize("pattern, message", [
    ("", "--input is empty"), (" , ", "--input is empty"),
    ("nowhere/*.txt", r"no file matches 'nowhere/\*.txt'.*quotes"),
    ("{folder}", r"is a folder; name files, as in .*\*.txt"),
    ("{folder}/a.pdf", "a.pdf is none of .txt, .jsonl"),
])
def test_bad_patterns(tmp_path, pattern, message):
    (tmp_path / "a.pdf").write_bytes(b"x")
    with pytest.raises(UserError, match=message):
        open_corpus(pattern.format(folder=tmp_path))


def test_file_that_goes_away(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    corpus = open_corpus(f"{tmp_path}/a.jsonl")
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(UserError, match="Cannot read .*a.jsonl"):
        list(corpus.documents())


def test_sizes_for_progress(tmp_path):
    data = b"0123456789" * 50
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(data))
    write_rows(tmp_path / "a.jsonl", [{"text": "one"}, {"text": "two"}])
    corpus = open_corpus(f"{tmp_path}/*")
    done = 0
    for document in corpus.documents():
        list(document.blocks())
        done += document.source_bytes
    assert done == corpus.total_bytes == 1000 + 2 * len('{"text": "one"}\n')
    assert open_corpus("tfds:lm1b").total_bytes is None


def test_opening_imports_no_tensorflow(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    code = ("import sys; from pipelines.corpus.corpus import open_corpus; "
            f"open_corpus({str(tmp_path)!r} + '/*'); assert 'tensorflow' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["lm1b", "wiki40b/en", "pg19"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library's own imports
def test_known_data_sets(name):
    with tfds.testing.mock_data(num_examples=4):
        found, skipped = read([f"tfds:{name}"])
        field = "book_text" if name == "pg19" else "text"
        examples = tfds.load(name, split="train")
        wanted = [example[field].numpy().decode() for example in examples]
    assert [text for _, text in found] == wanted
    assert found[2][0] == f"tfds:{name}, example 2"
    assert len(found) == 4 and not skipped


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_prepared_data_set_is_read_from_its_folder(tmp_path):
    texts = ["first text", "", "Zo\u00eb\nand more"]
    tfds.dataset_builders.AdhocBuilder(
        name="small_corpus", version="1.0.0", data_dir=tmp_path,
        features=tfds.features.FeaturesDict({"body": tfds.features.Text()}),
        split_datasets={"train": [(key, {"body": text}) for key, text in enumerate(texts)]},
    ).download_and_prepare()
    found, skipped = read(["tfds:small_corpus"], tfds_dir=str(tmp_path), text_field="body")
    assert sorted(text for _, text in found) == sorted([texts[0], texts[2]])
    assert skipped == {"empty": 1}
    with pytest.raises(UserError, match="has no field 'text', but body"):
        read(["tfds:small_corpus"], tfds_dir=str(tmp_path))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_data_set_that_is_not_prepared(tmp_path):
    command = r"tfds.builder\('lm1b', data_dir='.*'\).download_and_prepare\(\)"
    with pytest.raises(UserError, match=f"tfds:lm1b: no split 'train' in .*{command}"):
        read(["tfds:lm1b"], tfds_dir=str(tmp_path))


@pytest.mark.parametrize("name", ["no_such_set", "wiki40b/zz", "lm1b:9.9.9"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_data_set_that_is_not_known(tmp_path, name):
    with pytest.raises(UserError, match=f"tensorflow-datasets cannot open '{name}'"):
        read([f"tfds:{name}"], tfds_dir=str(tmp_path))


def test_wiki40b_loses_its_marks():
    text = ("\n_START_ARTICLE_\nRome\n_START_SECTION_\nHistory\n_START_PARAGRAPH_\n"
            "A city._NEWLINE_Old.")
    assert sources.clean_wiki40b(text) == "Rome\nHistory\nA city.\nOld."


def test_reading_on_from_any_document(tmp_path, monkeypatch):
    """Every kind of file, in blocks that cut rows and characters, with empty ones between."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 11)
    for number in range(8):
        opener, ending = (gzip.open, ".gz") if number % 4 == 1 else (open, "")
        rows = [{"text": f"Zo\u00eb {number} {row}" * row} for row in range(4)]
        if number < 6:
            write_rows(tmp_path / f"{number:02}.jsonl{ending}", [*rows, b"  ", rows[1]], opener)
        with opener(tmp_path / f"{number:02}.txt{ending}", "wb") as stream:
            stream.write(b"" if number == 6 else f"\ufeffZo\u00eb {number}\n".encode() * 3)
    corpus = open_corpus(f"{tmp_path}/*.txt*,{tmp_path}/*.jsonl*")

    def taken(documents):
        return [(document.name, "".join(document.blocks()), document.digest)
                for document in documents]
    every = taken(corpus.documents())
    positions = [document.position for document in corpus.documents()]
    assert len(set(positions)) == len(every) == 7 + 6 * 4
    assert sorted(positions) == positions
    for number, position in list(enumerate(positions))[::8]:
        assert taken(corpus.documents(position)) == every[number:]
        last = min(number + 5, len(every) - 1)
        part, start = corpus.between(position, positions[last])
        found = taken(part.documents(start))
        assert found[:last + 1 - number] == every[number:last + 1]
        assert {name.partition(", row")[0] for name, _, _ in found} == {
            name.partition(", row")[0] for name, _, _ in every[number:last + 1]}
