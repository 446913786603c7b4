"""What kinds of files are read as a corpus, by their endings."""

import os

from gpt_tf.common.errors import UserError
from pipelines.reading import files

TEXT, ROWS, PARQUET = "text", "rows", "parquet"

_OF_ROWS = (".jsonl", ".ndjson", ".json")  # .json as hubs have it, a row a line
# The endings that are read without being named.
ENDINGS = (*(ending + packed for ending in (".txt", *_OF_ROWS) for packed in ("", *files.PACKED)),
           ".parquet")

# Endings of what is no plain text, and what helps.
_REMEDIES = {ending: remedy for remedy, endings in {
    "unpack it": (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".z", ".lz4", ".lzma"),
    "convert it to .txt": (".pdf", ".epub", ".mobi", ".doc", ".docx", ".odt", ".rtf"),
    "make .jsonl or .parquet of its column of text": (
        ".csv", ".tsv", ".xls", ".xlsx", ".arrow", ".feather", ".avro", ".orc", ".db", ".sqlite"),
}.items() for ending in endings}


def kind_of(path: str) -> str:
    """What a file is read as: `ROWS`, `PARQUET`, or `TEXT`, whatever its ending, if any.

    Raises:
      UserError: the ending says that it is no plain text.
    """
    packed = files.packing(path)
    ending = os.path.splitext(path[:len(path) - len(packed)])[1].lower()
    if ending in _OF_ROWS:
        return ROWS
    remedy = "unpack it" if packed and ending == ".parquet" else _REMEDIES.get(ending)
    if remedy:
        raise UserError(f"--input: {path} is not read: {remedy}.")
    return PARQUET if ending == ".parquet" else TEXT
