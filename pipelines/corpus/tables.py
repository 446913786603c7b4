"""Documents from columns: Parquet, and data sets of TensorFlow Datasets."""

import collections
from collections.abc import Iterator
import dataclasses
import functools
import os
from typing import Any

from gpt_tf.common.errors import UserError, reason
from gpt_tf.common.files import open_to_read
from pipelines.corpus import documents
from pipelines.corpus.documents import START, Document, Position
from pipelines.corpus.sources import whole_paths
from pipelines.reading import catalogue, files

_ROWS_AT_ONCE = 64  # each may be a book


@dataclasses.dataclass(frozen=True)
class ParquetFiles:
    """Parquet files of one document a row.

    on_bad_utf8: "stop", or "skip" the rows that are not UTF-8.
    text_field: a column, or the way to it through structs, with dots between.
    """

    paths: list[str]
    on_bad_utf8: str
    text_field: str

    def between(self, first: int, last: int) -> "ParquetFiles":
        """Some of the files, which another machine finds."""
        return dataclasses.replace(self, paths=whole_paths(self.paths[first:last + 1]))

    def documents(self, skipped: collections.Counter, start: Position = START
                  ) -> Iterator[Document]:
        """See `Corpus.documents`."""
        for number in range(start.file, len(self.paths)):
            path, first = self.paths[number], start.row if number == start.file else 0
            for row, data in self._rows(path, first):
                name = f"{path}, row {row + 1}"
                text = documents.row_text(functools.partial(documents.decode_row, name, data),
                                          skipped, self.on_bad_utf8)
                if text is not None:
                    yield Document(name, [(text, len(data))], Position(file=number, row=row))

    def _rows(self, path: str, start: int) -> Iterator[tuple[int, bytes]]:
        """Each row from `start` on and its text, b"" where it is null."""
        import pyarrow
        from pyarrow import parquet
        with open_to_read(path) as stream:
            try:
                table = parquet.ParquetFile(stream, page_checksum_verification=True)
                steps = self._steps(path, table.schema_arrow)
                groups, row = [], 0  # those from `start` on, and the rows before them
                for group in range(table.num_row_groups):
                    rows = table.metadata.row_group(group).num_rows
                    if groups or row + rows > start:
                        groups.append(group)
                    else:
                        row += rows
                for batch in table.iter_batches(_ROWS_AT_ONCE, groups, [self.text_field]):
                    for text in _texts(batch, steps):
                        if row >= start:
                            yield row, text
                        row += 1
            except (pyarrow.ArrowException, OSError) as error:
                raise UserError(f"Cannot read {path}: it is no whole Parquet file "
                                f"({reason(error)}); copy it again.") from error

    def _steps(self, path: str, schema: Any) -> list[str]:
        """The way to the column of text.

        Raises:
          UserError: there is none, or it holds something else.
        """
        import pyarrow
        field, steps = self.text_field, [self.text_field]
        if field not in schema.names:
            steps = field.split(".")
        kind: Any = pyarrow.struct(list(schema))
        for step in steps:
            if not pyarrow.types.is_struct(kind) or kind.get_field_index(step) < 0:
                raise UserError(f"{path}: no column {field!r}, but {', '.join(schema.names)}; name "
                                "the one that holds the text with --text_field (doc.text is the "
                                "field text of the struct doc).")
            kind = kind.field(step).type
        if pyarrow.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)
                or pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)
                or pyarrow.types.is_null(kind)):
            raise UserError(f"{path}: the column {field!r} holds {kind}, and a row is one text; "
                            "name another with --text_field, or make it one of text.")
        return steps


def _texts(batch: Any, steps: list[str]) -> Iterator[bytes]:
    """The texts of a pyarrow.RecordBatch as they stand there, UTF-8 or not."""
    import pyarrow
    from pyarrow import compute
    column = batch.column(steps[0])
    for step in steps[1:]:
        column = compute.struct_field(column, step)
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    for text in column.cast(pyarrow.large_binary()):
        yield text.as_py() or b""


# The field of an example that is its text, where it is not "text".
_DATA_SET_FIELDS = {"pg19": "book_text"}


@dataclasses.dataclass(frozen=True)
class DataSet:
    """The split "train" of a data set that tensorflow-datasets has prepared."""

    name: str
    folder: str
    text_field: str

    def between(self, first: int, last: int) -> "DataSet":
        """The data set, which another machine finds: it has no files of its own."""
        del first, last
        folder = os.path.abspath(os.path.expanduser(self.folder)) if self.folder else ""
        return dataclasses.replace(self, folder=folder)

    def documents(self, skipped: collections.Counter, start: Position = START
                  ) -> Iterator[Document]:
        """See `Corpus.documents`."""
        family = self.name.split("/", maxsplit=1)[0].split(":", maxsplit=1)[0]
        field = _DATA_SET_FIELDS.get(family, self.text_field)
        builder = catalogue.open_builder(self.name, self.folder)
        if field not in builder.info.features:
            raise UserError(f"tfds:{self.name} has no field {field!r}, but "
                            f"{', '.join(builder.info.features)}; name one with --text_field.")
        dataset = catalogue.open_split(builder, self.name, self.folder, "train")
        dataset = dataset.skip(start.row).map(lambda example: example[field])
        decode = _decode_wiki40b if family == "wiki40b" else documents.decode_row
        read = files.iterate(dataset, f"tfds:{self.name}")
        for number, data in enumerate(read, start.row):
            name = f"tfds:{self.name}, example {number}"
            text = documents.row_text(functools.partial(decode, name, data), skipped)
            if text is not None:
                yield Document(name, [(text, len(data))], Position(row=number))


def _decode_wiki40b(name: str, data: bytes) -> str:
    return clean_wiki40b(documents.decode_row(name, data))


def clean_wiki40b(text: str) -> str:
    """Article text without the marks of wiki40b's structure.

    Example: the lines _START_ARTICLE_ / Rome / _START_PARAGRAPH_ / A city._NEWLINE_Old. become
      Rome / A city. / Old.
    """
    lines = text.replace("_NEWLINE_", "\n").split("\n")
    return "\n".join(line for line in lines if line and not line.startswith("_START_"))
