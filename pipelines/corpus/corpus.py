"""Raw corpora -> documents, streaming: no file need fit in memory.

`--input` is a list, separated by commas, of files, globs, folders and `tfds:NAME`:
  books/*.txt         one document a file; or several, with --document_separator between them
  rows.jsonl          one document a row: the value of its field "text" (--text_field)
  rows.parquet        one document a row: of its column "text"
  tfds:wiki40b/en     the split "train" of a prepared data set of tensorflow-datasets
Text and rows may be packed (.gz, .bz2, .xz, .zst). Files are read in the order of the list, sorted
within a glob and a folder; a file that is named twice is read once. What is named and is of no
other kind is text: `text8`, `wiki.train.raw`, `*.md`.

Text must be UTF-8; a byte order mark at the start is dropped. Line ends stay as they are: the
tokenizer reads "\\r\\n" and "\\r" as "\\n". Documents without visible text, null ones among them,
are skipped and counted.
"""

import collections
from collections.abc import Iterator
import dataclasses
import glob
import itertools
import os
import pathlib
import struct
import sys
from typing import Any

from gpt_tf.common.errors import UserError
from gpt_tf.common.names import match_files, split_names
from gpt_tf.config import Options, option
from pipelines.corpus import kinds
from pipelines.corpus.documents import START, Document, Position
from pipelines.corpus.sources import RowFiles, TextFiles
from pipelines.corpus.tables import DataSet, ParquetFiles
from pipelines.reading import files

_CATALOGUE = "tfds:"


class Corpus:
    """All documents of some files or data sets, in a fixed order; may be read several times.

    Attributes:
      total_bytes: size of the input, uncompressed: an estimate for progress; None if not known.
      skipped: counts of the last reading, by reason: "empty", "not UTF-8".
    """

    def __init__(self, parts: list[Any], total_bytes: int | None):
        self._parts = parts
        self.total_bytes = total_bytes
        self.skipped: collections.Counter[str] = collections.Counter()

    def documents(self, start: Position = START) -> Iterator[Document]:
        """Each document from `start` on; take its blocks before asking for the next one.

        Raises:
          UserError: a file cannot be read, is not what its name says, or is not UTF-8.
        """
        self.skipped.clear()
        for number in range(start.part, len(self._parts)):
            first = start if number == start.part else START
            for document in self._parts[number].documents(self.skipped, first):
                document.position = document.position._replace(part=number)
                yield document

    def between(self, first: Position, last: Position) -> tuple["Corpus", Position]:
        """The files of some documents, as any machine finds them, and where the first begins."""
        parts = []
        for number in range(first.part, last.part + 1):
            part = self._parts[number]
            begin = first.file if number == first.part else 0
            end = last.file if number == last.part else sys.maxsize - 1
            parts.append(part.between(begin, end))
        return Corpus(parts, None), first._replace(part=0, file=0)


@dataclasses.dataclass(frozen=True)
class InputConfig(Options):
    """The flags that every command which reads a corpus has."""

    input: str = option("", "Files, globs or folders, or tfds:NAME, separated by commas: text, "
                        ".jsonl, .parquet, also packed.", required=True, path=True)
    text_field: str = option("text", "Field of a .jsonl row, column of Parquet, or feature of a "
                             "tfds data set, that holds the text; doc.text is one in another.",
                             required=True)
    document_separator: str = option("", "What stands between the documents of a text file, such "
                                     "as <|endoftext|>; empty: a file is one.")
    on_bad_utf8: str = option("stop", "What to do about a file or row that is not UTF-8.",
                              choices=("stop", "skip"))
    tfds_dir: str = option("", "Where tensorflow-datasets has prepared its data sets; empty: its "
                           "own place, ~/tensorflow_datasets.", path=True)

    def open_corpus(self) -> Corpus:
        """Finds the input; reads nothing yet and imports no TensorFlow.

        Raises:
          UserError: a name matches nothing, or a file is of no kind that is read.
        """
        names = split_names(self.input)
        if not names:
            raise UserError("--input is empty: name files or folders of text, .jsonl or .parquet, "
                            "or tfds:NAME, separated by commas.")
        found = dict.fromkeys(itertools.chain.from_iterable(
            [name] if name.startswith(_CATALOGUE) else match_files("input", name, kinds.ENDINGS)
            for name in names))
        parts = [part for kind, group in itertools.groupby(found, _kind)
                 for part in self._parts(kind, list(group))]
        sizes = list(map(_unpacked_size, found))
        return Corpus(parts, None if None in sizes else sum(sizes))

    def _parts(self, kind: str, names: list[str]) -> list[Any]:
        """What reads inputs of one kind."""
        if kind == _CATALOGUE:
            return [DataSet(name.removeprefix(_CATALOGUE), self.tfds_dir, self.text_field)
                    for name in names]
        if kind == kinds.TEXT:
            return [TextFiles(names, self.on_bad_utf8, self.document_separator)]
        return [(RowFiles if kind == kinds.ROWS else ParquetFiles)(
            names, self.on_bad_utf8, self.text_field)]

    @property
    def input_flags(self) -> dict[str, str]:
        """Those of these flags that are given, for another command that reads the same corpus."""
        names = {field.name for field in dataclasses.fields(InputConfig)}
        return {name: value for name, value in self.given.items() if name in names}

    @property
    def corpus_name(self) -> str:
        """What to call the corpus: "books" for books/*.txt, "letters" for mine/letters.jsonl.gz."""
        name = split_names(self.input)[0].removeprefix(_CATALOGUE)
        parts = [part for part in pathlib.PurePath(name).parts
                 if os.path.exists(name) or not glob.has_magic(part)]
        return (parts[-1].split(".")[0] if parts else "").strip(os.sep) or "text"


def _kind(name: str) -> str:
    return _CATALOGUE if name.startswith(_CATALOGUE) else kinds.kind_of(name)


def _unpacked_size(name: str) -> int | None:
    """Bytes; None where they are not known before a file is read."""
    if _kind(name) in (_CATALOGUE, kinds.PARQUET):
        return None
    try:
        size, packed = os.path.getsize(name), files.packing(name)
        if not packed or size < 18:
            return size
        if packed != ".gz":
            return None
        with open(name, "rb") as stream:
            stream.seek(-4, os.SEEK_END)
            # gzip keeps the size modulo 2**32 at its end; text only shrinks when packed.
            kept, = struct.unpack("<I", stream.read(4))
            return kept + -(-max(0, size - kept) >> 32 << 32)
    except OSError as error:
        raise UserError(f"Cannot read {name}: {error.strerror}.") from error
