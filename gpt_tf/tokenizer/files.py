"""A tokenizer's files: public layouts, and a description that says how text was split."""

from collections.abc import Iterable, Mapping, Sequence
import fnmatch
import importlib.metadata
import itertools
import json
import os
import pathlib
from typing import Any
import warnings

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import make_folder
from gpt_tf.common.names import check_folder
from gpt_tf.common.small_files import json_bytes, read_json, read_text, write_recorded

INFO_FILE = "tokenizer_info.json"
FORMAT_VERSION = 1
FIRST_KIND = "gpt1"  # of a description that names none
_HEADER = "#version: 0.2"

# Vocabulary and merges, as GPT-1's were published, where names end in the number of merges, as
# Hugging Face names those of GPT-1 and of GPT-2, and as GPT-2's were published.
GPT1, HUGGING_FACE, GPT2 = LAYOUTS = (
    ("encoder_bpe_*.json", "vocab_*.bpe"), ("vocab.json", "merges.txt"),
    ("encoder.json", "vocab.bpe"))


def is_tokenizer_file(name: str) -> bool:
    """Whether a file of this name is one of those that `Tokenizer.save` writes."""
    patterns = [INFO_FILE, *itertools.chain(*LAYOUTS)]
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def find(folder: str | os.PathLike) -> tuple[pathlib.Path, pathlib.Path]:
    """Vocabulary and merges of the one tokenizer in `folder`.

    Raises:
      UserError: there is none, half of one, or several.
    """
    folder = pathlib.Path(folder)
    pairs = [[sorted(folder.glob(pattern)) for pattern in patterns] for patterns in LAYOUTS]
    pairs = [pair for pair in pairs if any(pair)]
    needed = ", or ".join(" and ".join(pair).replace("*", "40000") for pair in LAYOUTS)
    if not pairs:
        check_folder(folder)
        raise UserError(f"No tokenizer in {folder}: it needs {needed}.")
    names = ", ".join(path.name for paths in itertools.chain(*pairs) for path in paths)
    if not any(map(all, pairs)):
        raise UserError(f"Half a tokenizer in {folder} ({names}): it needs {needed}.")
    if len(pairs) > 1 or any(len(paths) > 1 for paths in pairs[0]):
        raise UserError(f"More than one tokenizer in {folder} ({names}): keep one.")
    (vocabulary,), (merges,) = pairs[0]
    return vocabulary, merges


def read_vocabulary(path: str | os.PathLike) -> dict[str, int]:
    """Token -> id.

    Raises:
      UserError: the file is missing or is no such table.
    """
    vocabulary = read_json(path, "the tokenizer's vocabulary")
    if not isinstance(vocabulary, dict) or not all(
            type(index) is int for index in vocabulary.values()):
        raise UserError(f"{path} is not a vocabulary: a JSON object of tokens and their ids is "
                        "expected.")
    return vocabulary


def read_merges(path: str | os.PathLike) -> list[tuple[str, str]]:
    """Pairs of tokens, first merged first.

    Raises:
      UserError: the file is missing or is no list of merges; the line is named.
    """
    lines = read_text(path, "the tokenizer's merges").replace("\r\n", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    first = 1 if lines and lines[0].startswith("#version") else 0
    merges = [tuple(line.split(" ")) for line in lines[first:]]
    for number, merge in enumerate(merges, first + 1):
        if len(merge) != 2 or not all(merge):
            raise UserError(f"{path}, line {number}: {lines[number - 1]!r} is not two tokens with "
                            "a space between; take the merges from their source again.")
    return merges


def read_info(folder: str | os.PathLike) -> dict[str, Any] | None:
    """The description that `write` left; None in a folder that others made.

    Raises:
      UserError: it is damaged, or of another format.
    """
    path = pathlib.Path(folder) / INFO_FILE
    if not path.exists():
        return None
    info = read_json(path, "the tokenizer's description")
    if isinstance(info, dict) and "language" in info:
        info.setdefault("kind", FIRST_KIND)
    if not isinstance(info, dict) or not {"format_version", "kind", "fingerprint"} <= set(info):
        raise UserError(f"{path} does not describe a tokenizer; make the tokenizer again.")
    if info["format_version"] != FORMAT_VERSION:
        raise UserError(f"{path} is of format {info['format_version']}, this program reads format "
                        f"{FORMAT_VERSION}; use the release that wrote it.")
    return info


def warn_of_other_libraries(info: Mapping[str, Any], libraries: Iterable[str],
                            folder: str | os.PathLike) -> None:
    """Warns if the words may split otherwise here than where the tokenizer was made."""
    for name, here in library_versions(libraries).items():
        made_with = info.get(name)
        if made_with != here:
            made_with = f"{made_with!s:.40}"
            warnings.warn(
                f"The tokenizer in {folder} was made with {name} {made_with}, here is {here}: some "
                f"words may split differently. Install {name}=={made_with} to be exact.",
                stacklevel=3)


def write(folder: str | os.PathLike, names: tuple[str, str], tokens: Sequence[str],
          merges: Sequence[tuple[str, str]], info: Mapping[str, Any]) -> None:
    """Writes a tokenizer, the description last.

    Args:
      folder: made if need be.
      names: one of `LAYOUTS`.
      tokens: by id.
      merges: pairs of tokens.
      info: of the description.

    Raises:
      UserError: files of another tokenizer stand there, or the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    contents = dict(zip(
        (name.replace("*", str(len(merges))) for name in names),
        (json.dumps(vocabulary).encode(),
         "\n".join([_HEADER, *map(" ".join, merges), ""]).encode())))
    make_folder(folder)
    for path in filter(lambda path: is_tokenizer_file(path.name), folder.iterdir()):
        # The files of a save that was stopped are the same, and fine.
        if path.name not in contents or path.read_bytes() != contents[path.name]:
            raise UserError(f"{folder} already holds another tokenizer ({path.name}); name "
                            "another folder.")
    for name, content in contents.items():
        write_recorded(folder / name, content)
    write_recorded(folder / INFO_FILE, json_bytes({"format_version": FORMAT_VERSION, **info}))


def library_versions(libraries: Iterable[str]) -> dict[str, str]:
    """The releases of libraries that are here."""
    return {name: importlib.metadata.version(name) for name in libraries}
