"""Raw corpora -> documents, streaming: no file need fit in memory.

`--input` is a list of globs separated by commas, or of `tfds:NAME`:
  books/*.txt         one document a file
  rows.jsonl          one document a row: the value of its field "text" (--text_field)
  *.txt.gz *.jsonl.gz the same, compressed
  tfds:wiki40b/en     the split "train" of a prepared data set of tensorflow-datasets
Files are read in the order of the globs, sorted within each; a file that several globs match is
read once.

Text must be UTF-8; a byte order mark at the start is dropped. Line ends stay as they are: the
tokenizer reads "\\r\\n" and "\\r" as "\\n". Documents without visible text are skipped and counted.
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
from gpt_tf.common.names import refuse_folder
from gpt_tf.config import Options, option
from pipelines.corpus import sources
from pipelines.corpus.sources import Document, Position

_KINDS = (".txt", ".jsonl", ".txt.gz", ".jsonl.gz")


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

    def documents(self, start: Position = sources.START) -> Iterator[Document]:
        """Each document from `start` on; take its blocks before asking for the next one.

        Raises:
          UserError: a file cannot be read, is not what its name says, or is not UTF-8.
        """
        self.skipped.clear()
        for number in range(start.part, len(self._parts)):
            first = start if number == start.part else sources.START
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


def open_corpus(patterns: str, text_field: str = "text", on_bad_utf8: str = "stop",
                tfds_dir: str = "") -> Corpus:
    """Finds the input; reads nothing yet and imports no TensorFlow.

    Args:
      patterns: globs and tfds:NAME, separated by commas.
      text_field: the field of a JSONL row, or of a data set's example, that is its text.
      on_bad_utf8: "stop", or "skip" the files and rows that are not UTF-8.
      tfds_dir: where prepared data sets stand; empty for tensorflow-datasets' own place.

    Raises:
      UserError: a glob matches nothing, or a file is of no known kind.
    """
    names = [name.strip() for name in patterns.split(",") if name.strip()]
    if not names:
        raise UserError("--input is empty: give globs of .txt or .jsonl files (or .gz of them), "
                        "or tfds:NAME, separated by commas.")
    inputs = dict.fromkeys(itertools.chain.from_iterable(
        [name] if name.startswith("tfds:") else _match(name) for name in names))
    parts: list[Any] = []
    sizes = [_uncompressed_size(name) for name in inputs]
    for kind, group in itertools.groupby(inputs, _kind):
        paths = list(group)
        if kind == "tfds":
            parts += [sources.DataSet(name.removeprefix("tfds:"), tfds_dir, text_field)
                      for name in paths]
        elif kind.startswith(".txt"):
            parts.append(sources.TextFiles(paths, on_bad_utf8))
        else:
            parts.append(sources.RowFiles(paths, on_bad_utf8, text_field))
    return Corpus(parts, None if None in sizes else sum(sizes))


@dataclasses.dataclass(frozen=True)
class InputConfig(Options):
    """The flags that every command which reads a corpus has."""

    input: str = option("", "Globs of .txt or .jsonl files (or .gz of them), or tfds:NAME, "
                        "separated by commas.", required=True, path=True)
    text_field: str = option("text", "Field of a .jsonl row, or of an example of a tfds data set, "
                             "that holds its text.")
    on_bad_utf8: str = option("stop", "What to do about a file or row that is not UTF-8.",
                              choices=("stop", "skip"))
    tfds_dir: str = option("", "Where tensorflow-datasets has prepared its data sets; empty: its "
                           "own place, ~/tensorflow_datasets.", path=True)

    def open_corpus(self) -> Corpus:
        """See `open_corpus`."""
        return open_corpus(self.input, self.text_field, self.on_bad_utf8, self.tfds_dir)

    @property
    def input_flags(self) -> dict[str, str]:
        """Those of these flags that are given, for another command that reads the same corpus."""
        names = {field.name for field in dataclasses.fields(InputConfig)}
        return {name: value for name, value in self.given.items() if name in names}

    @property
    def corpus_name(self) -> str:
        """What to call the corpus: "books" for books/*.txt, "letters" for mine/letters.jsonl.gz."""
        path = self.input.split(",")[0].strip().removeprefix("tfds:")
        parts = [part for part in pathlib.PurePath(path).parts if not glob.has_magic(part)]
        return (parts[-1].split(".")[0] if parts else "").strip(os.sep) or "text"


def _match(pattern: str) -> list[str]:
    found = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
    paths = [path for path in found if os.path.isfile(path)]
    if found and not paths:
        raise refuse_folder("input", found[0], _KINDS)
    if not paths:
        raise UserError(f"--input: no file matches {pattern!r}; check the path, and put quotes "
                        "around a glob so that the shell leaves it alone.")
    return paths


def _kind(name: str) -> str:
    """"tfds", or the ending of a file's name."""
    if name.startswith("tfds:"):
        return "tfds"
    for kind in _KINDS:
        if name.endswith(kind):
            return kind
    raise UserError(f"--input: {name} is none of {', '.join(_KINDS)}; narrow the glob or rename "
                    "the file.")


def _uncompressed_size(name: str) -> int | None:
    if name.startswith("tfds:"):
        return None
    try:
        with open(name, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if not name.endswith(".gz") or size < 18:
                return size
            stream.seek(-4, os.SEEK_END)
            # gzip keeps the size modulo 2**32 at its end; text only shrinks when compressed.
            kept, = struct.unpack("<I", stream.read(4))
            return kept + -(-max(0, size - kept) >> 32 << 32)
    except OSError as error:
        raise UserError(f"Cannot read {name}: {error.strerror}.") from error
