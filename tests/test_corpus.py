"""Raw corpora: which documents there are, to the character, and what is said of bad input."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import tempfile

import pyarrow
from pyarrow import parquet
import pytest
import tensorflow_datasets as tfds

from gpt_tf.common.errors import UserError
from gpt_tf.tokenizer.cleaning import check_lines
from pipelines.corpus import tables
from pipelines.reading import files
from tests.corpora import open_corpus


def read(patterns, **options):
    """[(name, text), ...] and the counts of what was skipped."""
    corpus = open_corpus(",".join(map(str, patterns)), **options)
    found = [(document.name, "".join(document.blocks())) for document in corpus.documents()]
    return found, {reason: count for reason, count in corpus.skipped.items() if count}


def write_rows(path, rows, pack=bytes):
    path.write_bytes(pack(b"".join(
        (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)))
    return path


def pack_zstandard(data):
    return pyarrow.compress(data, "zstd", asbytes=True)


PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
        ".zst": pack_zstandard}


def flip(place):
    def flipped(data):
        place_ = place % len(data)
        return data[:place_] + bytes([data[place_] ^ 1]) + data[place_ + 1:]
    return flipped


DAMAGE = [lambda data: data[:len(data) // 2], lambda data: data[:-1], flip(-6),
          lambda data: b"plain text, not packed at all"]


@pytest.mark.parametrize("block_bytes", [4, 5, 7, 1 << 20])
@pytest.mark.parametrize("ending", PACK)
def test_text_comes_back_to_the_character(tmp_path, monkeypatch, block_bytes, ending):
    """Blocks cut characters of 2, 3 and 4 bytes at every place; line ends stay as they are."""
    monkeypatch.setattr(files, "BLOCK_BYTES", block_bytes)
    texts = ["a", "Zoë saw €5 \U0001f600 and — left.\r\nA new line.\rAnother\n\n", "exactly8",
             "\U0001f600" * 9, "\ufeffonly the first mark goes: \ufeff."]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt{ending}").write_bytes(PACK[ending](text.encode()))
    found, skipped = read([tmp_path / f"*{ending}"])
    assert [text for _, text in found] == texts[:4] + [texts[4][1:]]
    assert [os.path.basename(name) for name, _ in found] == [
        f"{i}.txt{ending}" for i in range(5)]
    assert not skipped


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".json.gz", ".ndjson.xz", ".JSONL.ZST"])
def test_rows(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(files, "BLOCK_BYTES", 7)
    pack = PACK[files.packing(ending)]
    rows = [{"text": "one"}, b"", {"text": "Zo\u00eb\r\nand a line", "more": 1}, b"  ",
            {"text": " \n"}, {"text": None}, {"text": "last"}]
    first = write_rows(tmp_path / f"a{ending}", rows, pack)
    second = write_rows(tmp_path / f"b{ending}", [b'\xef\xbb\xbf{"text": "marked"}'], pack)
    found, skipped = read([tmp_path / f"*{ending}"])
    assert found == [(f"{first}, row 1", "one"), (f"{first}, row 3", "Zo\u00eb\r\nand a line"),
                     (f"{first}, row 7", "last"), (f"{second}, row 1", "marked")]
    assert skipped == {"empty": 2}


@pytest.mark.parametrize("field, found", [
    ("body", ["chosen"]), ("doc.text", ["nested"]), ("doc.more.text", ["deep"]),
    ("a.b", ["with a dot"]), ("none.text", []), ("doc.none", [])])
def test_fields_of_rows_and_of_parquet(tmp_path, field, found):
    row = {"body": "chosen", "doc": {"text": "nested", "more": {"text": "deep"}, "none": None},
           "a.b": "with a dot", "none": None}
    write_rows(tmp_path / "a.jsonl", [row])
    table = pyarrow.Table.from_pylist([row])
    if field == "none.text":  # there columns have a type
        table = table.set_column(3, "none", pyarrow.nulls(1, pyarrow.struct({"text": "string"})))
    parquet.write_table(table, tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        texts, skipped = read([tmp_path / name], text_field=field)
        assert texts == [(f"{tmp_path}/{name}, row 1", text) for text in found]
        assert skipped == ({} if found else {"empty": 1})


def test_parquet(tmp_path):
    texts = ["one", None, "Zo\u00eb\r\nand a line", " \n", "last"]
    for kind in (pyarrow.string(), pyarrow.large_string(), pyarrow.binary(),
                 pyarrow.dictionary(pyarrow.int32(), pyarrow.string())):
        column = pyarrow.array(texts, kind) if not pyarrow.types.is_dictionary(kind) else (
            pyarrow.array(texts).dictionary_encode())
        parquet.write_table(pyarrow.table({"id": range(5), "text": column}),
                            tmp_path / "a.parquet", row_group_size=2)
        found, skipped = read([tmp_path / "*.parquet"])
        assert found == [(f"{tmp_path}/a.parquet, row {row + 1}", texts[row]) for row in (0, 2, 4)]
        assert skipped == {"empty": 2}


@pytest.mark.parametrize("column, message", [
    ({"body": ["x"], "id": [1]}, "no column 'text', but body, id; name the one .* --text_field"),
    ({"text": [1]}, "the column 'text' holds int64, and a row is one text"),
    ({"text": [["a"]]}, "the column 'text' holds list<.*>, and a row is one text"),
    ({"text": [{"en": "a"}]}, "the column 'text' holds struct<.*>, and a row is one text")])
def test_parquet_without_text(tmp_path, column, message):
    parquet.write_table(pyarrow.table(column), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=f"a.parquet: {message}"):
        read([tmp_path / "a.parquet"])


@pytest.mark.parametrize("damage", [
    DAMAGE[0], DAMAGE[1], DAMAGE[3], flip(-1), flip(30), lambda data: b""])
def test_damaged_parquet_is_named(tmp_path, damage):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": [f"row {number}" for number in range(5000)]}),
                        path, write_page_checksum=True)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="Cannot read .*a.parquet: it is no whole Parquet file"):
        read([path])


def test_parquet_that_is_not_utf8(tmp_path):
    column = pyarrow.array([b"one", b"Zo\xeb", b"two"])
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="a.parquet, row 2, byte 2: not UTF-8"):
        read([tmp_path / "a.parquet"])
    found, skipped = read([tmp_path / "a.parquet"], on_bad_utf8="skip")
    assert [text for _, text in found] == ["one", "two"] and skipped == {"not UTF-8": 1}


@pytest.mark.parametrize("block_bytes", [1, 3, 20, 1 << 20])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_several_documents_in_a_text(tmp_path, monkeypatch, name, block_bytes):
    """The separator is cut by blocks; documents that are half read are passed over."""
    monkeypatch.setattr(files, "BLOCK_BYTES", block_bytes)
    documents = ["\ufeffZo\u00eb\n", "\n<|endoftext", "", "\n two |endoftext|>", " \n"]
    path = tmp_path / name
    path.write_bytes(PACK[files.packing(name)]("<|endoftext|>".join(documents).encode()))
    (tmp_path / "b.txt").write_text("one<|endoftext|>")
    given, flags = f"{path},{tmp_path}/b.txt", {"document_separator": "<|endoftext|>"}
    found, skipped = read([given], **flags)
    assert found == [(f"{path}, document 1", "Zo\u00eb\n"),
                     (f"{path}, document 2", documents[1]), (f"{path}, document 4", documents[3]),
                     (f"{tmp_path}/b.txt, document 1", "one")]
    assert not skipped
    corpus = open_corpus(given, **flags)
    begun = [(next(document.blocks()), document.position) for document in corpus.documents()]
    assert [name[0][:1] for name in begun] == ["Z", "\n", "\n", "o"]
    for number, (_, position) in enumerate(begun):
        rest = [(each.name, "".join(each.blocks())) for each in corpus.documents(position)]
        assert rest == found[number:]
    assert read([path])[0] == [(str(path), "<|endoftext|>".join(documents)[1:])]


def test_what_is_named_is_read_as_text(tmp_path):
    names = ["BOOK.TXT", "text8", "wiki.train.raw", "wiki.TEST.raw.XZ", os.fsdecode(b"caf\xe9.txt")]
    for name in names:
        pack = PACK[files.packing(name)]
        (tmp_path / name).write_bytes(pack(name.encode("utf-8", "replace")))
    write_rows(tmp_path / os.fsdecode(b"caf\xe9.jsonl"), [{"text": "row"}])
    found, _ = read([tmp_path / name for name in names])
    assert [text for _, text in found] == [name.encode("utf-8", "replace").decode()
                                           for name in names]
    assert [text for _, text in read([tmp_path])[0]] == ["BOOK.TXT", "row", "caf?.txt"]
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"\xe9")
    with pytest.raises(UserError, match=r"caf\\udce9.txt, byte 0: not UTF-8"):
        read([f"{tmp_path}/*.txt"])


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
    (b'["text"]', r"row 2: not an object with fields; jq -c '.\[\]' makes rows of a list"),
    (b'{"body": "x", "id": 1}', "row 2: no field 'text', but body, id; name the field that holds "
     "the text with --text_field"),
    (b'{"text": 5}', "row 2: 'text' holds a number, and no text"),
    (b'{"text": {"en": "x"}}', "row 2: 'text' holds an object, and no text"),
    (b'{"text": ["a", "b"]}', "row 2: 'text' holds a list of 2, and a row is one text; join them"),
    (b"[", r"row 2: not valid JSON .*jq -c '.\[\]' makes rows of a list"),
    (b"[" * 100_000, "row 2: not valid JSON"),
])
def test_bad_rows_are_named(tmp_path, row, message):
    with pytest.raises(UserError, match=f"a.jsonl, {message}"):
        read([write_rows(tmp_path / "a.jsonl", [{"text": "good"}, row])])


# Of a flipped bit only a checksum tells, and pyarrow packs without one.
@pytest.mark.parametrize("name, damage", [
    (f"a{kind}{packed}", damage) for packed in list(PACK)[1:] for kind in (".txt", ".jsonl")
    for damage in DAMAGE if (packed, damage) != (".zst", DAMAGE[2])])
def test_damaged_files_are_named(tmp_path, name, damage):
    """tf.data's own gzip reader would take half a file for a whole one."""
    rows = b"".join(b'{"text": "row %d"}\n' % number for number in range(5000))
    packed = PACK[files.packing(name)](rows)
    (tmp_path / name).write_bytes(damage(packed))
    with pytest.raises(UserError, match=rf"Cannot read .*{name}: it is damaged or cut off \(.*\)"):
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
    (" , ", "--input is empty"),
    ("nowhere/*.txt", r"no file matches 'nowhere/\*.txt'.*quotes"),
    ("{folder}", r"the folder .* holds no .txt, .jsonl, .ndjson, .json, .parquet;"),
    ("{folder}/a*", "a.CSV is none of .txt, .jsonl, .*narrow the glob"),
    ("{folder}/a.pdf", "a.pdf is not read: convert it to .txt"),
    ("{folder}/a.CSV", "a.CSV is not read: make .jsonl or .parquet of its column of text"),
    ("{folder}/a.tar.gz", "a.tar.gz is not read: unpack it"),
    ("{folder}/a.parquet.gz", "a.parquet.gz is not read: unpack it"),
])
def test_bad_patterns(tmp_path, pattern, message):
    for name in ("a.pdf", "a.CSV", "a.tar.gz", "a.parquet.gz"):
        (tmp_path / name).write_bytes(b"x")
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


def test_reading_imports_no_tensorflow(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    code = ("import sys; from pipelines.corpus.corpus import InputConfig; "
            f"corpus = InputConfig(input={str(tmp_path)!r} + '/*').open_corpus(); "
            "assert len([list(each.blocks()) for each in corpus.documents()]) == 1; "
            "assert 'tensorflow' not in sys.modules")
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
def test_data_set_that_is_not_prepared(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    command = r"tfds.builder\('lm1b', data_dir='.*'\).download_and_prepare\(\)"
    with pytest.raises(UserError, match=f"tfds:lm1b: no split 'train' in .*{command}"):
        read(["tfds:lm1b"], tfds_dir=str(tmp_path))
    assert tempfile.gettempdir() == str(temporary) and not list(temporary.iterdir())


@pytest.mark.parametrize("name", ["no_such_set", "wiki40b/zz", "lm1b:9.9.9"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_data_set_that_is_not_known(tmp_path, name):
    with pytest.raises(UserError, match=f"tensorflow-datasets cannot open '{name}'"):
        read([f"tfds:{name}"], tfds_dir=str(tmp_path))


def test_wiki40b_loses_its_marks():
    text = ("\n_START_ARTICLE_\nRome\n_START_SECTION_\nHistory\n_START_PARAGRAPH_\n"
            "A city._NEWLINE_Old.")
    assert tables.clean_wiki40b(text) == "Rome\nHistory\nA city.\nOld."


def test_reading_on_from_any_document(tmp_path, monkeypatch):
    """Every kind of file, in blocks that cut rows and characters, with empty ones between."""
    monkeypatch.setattr(files, "BLOCK_BYTES", 11)
    for number in range(8):
        packed = list(PACK)[number % 5]
        rows = [{"text": f"Zo\u00eb {number} {row}" * row} for row in range(4)]
        if number < 6:
            write_rows(tmp_path / f"{number:02}.jsonl{packed}", [*rows, b"  ", rows[1]],
                       PACK[packed])
        text = "" if number == 6 else f"\ufeffZo\u00eb {number}\n--" * 3 + "end"
        (tmp_path / f"{number:02}.txt{packed}").write_bytes(PACK[packed](text.encode()))
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{number:02}.parquet",
                            row_group_size=3)
    corpus = open_corpus(f"{tmp_path}/*.txt*,{tmp_path}/*.jsonl*,{tmp_path}",
                         document_separator="--")

    def taken(documents):
        return [(document.name, "".join(document.blocks()), document.digest)
                for document in documents]
    every = taken(corpus.documents())
    positions = [document.position for document in corpus.documents()]
    assert len(set(positions)) == len(every) == 7 * 4 + 6 * 4 + 8 * 3
    assert sorted(positions) == positions
    for number, position in list(enumerate(positions))[::5]:
        assert taken(corpus.documents(position)) == every[number:]
        last = min(number + 5, len(every) - 1)
        part, start = corpus.between(position, positions[last])
        found = taken(part.documents(start))
        assert found[:last + 1 - number] == every[number:last + 1]
        assert {name.partition(", ")[0] for name, _, _ in found} == {
            name.partition(", ")[0] for name, _, _ in every[number:last + 1]}
