"""What is made already: a note beside the shards for each finished unit of work.

A unit's shards are a pure function of what its fingerprint is made of. Its note is written after
them and says which they are and what they hold, so that a build that was stopped goes on with the
units that have none, and work done on another machine comes back. The folder of the notes is gone
once the data folder is finished.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from typing import Any

import google_crc32c

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_write
from gpt_tf.common.small_files import write_json
from gpt_tf.data import records
from gpt_tf.data.manifest import FORMAT_VERSION, Shard
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.tokenizer.files import library_versions

FOLDER = ".made"
_FAILED = "FAILED"

# Split -> its shard, None where nothing was written, and counts as JSON holds them.
Made = dict[str, tuple[Shard | None, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Unit:
    """Work that one process does alone: some shards, whole or not at all."""

    name: str
    fingerprint: str

    @classmethod
    def of(cls, name: str, tokenizer: Tokenizer, **decisive) -> "Unit":
        """A unit whose bytes depend on the tokenizer, on releases, and on the values given, which
        JSON can hold."""
        decisive |= {"name": name, "format_version": FORMAT_VERSION,
                     "tokenizer": tokenizer.fingerprint, **library_versions(tokenizer.libraries)}
        content = json.dumps(decisive, sort_keys=True)
        return cls(name, hashlib.sha256(content.encode()).hexdigest())


def write(folder: str, unit: Unit, made: Made) -> None:
    """Says that a unit is finished; its shards must have their names already."""
    write_json(_path(folder, unit), {
        "fingerprint": unit.fingerprint,
        "splits": {split: {"shard": shard and dataclasses.asdict(shard), "counts": counts}
                   for split, (shard, counts) in made.items()}})


def read(folder: str, unit: Unit) -> Made | None:
    """What a unit made; None if it is not finished, or was made of something else."""
    try:
        with open(_path(folder, unit), encoding="utf-8") as stream:
            note = json.load(stream)
        if note["fingerprint"] != unit.fingerprint:
            return None
        made = {split: (value["shard"] and Shard(**value["shard"]), value["counts"])
                for split, value in note["splits"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # what cannot be read is made again
    whole = all(_is_whole(folder, shard) for shard, _ in made.values() if shard)
    return made if whole else None


def _is_whole(folder: str, shard: Shard) -> bool:
    path = os.path.join(folder, shard.name)
    try:
        with open(records.index_name(path), "rb") as stream:
            index = stream.read()
        return (os.path.getsize(path) == shard.bytes
                and google_crc32c.value(index) == shard.index_crc32c)
    except OSError:
        return False


def require_same(planned: Unit, here: Unit) -> None:
    """Checks that this process would make what was planned.

    Raises:
      UserError: it would not.
    """
    if here != planned:
        raise UserError(f"{planned.name} would not be the same here as on the machine that planned "
                        "it: the tokenizer's files, or the releases of ftfy or spaCy, differ; make "
                        "them the same, then run the same command again.")


def collect(folder: str, units: list[Unit]) -> list[Made]:
    """What all units made, in order.

    Raises:
      UserError: one is missing.
    """
    made = [read(folder, unit) for unit in units]
    missing = [unit.name for unit, each in zip(units, made) if each is None]
    if missing:
        raise UserError(f"{folder} lacks {len(missing)} of {len(units)} parts, such as "
                        f"{missing[0]}: is there room, and is it one folder on all machines? Run "
                        "the same command again to go on.")
    return made


def clear(folder: str, keep: list[Unit]) -> None:
    """Leaves the notes of `keep` and no others."""
    names = {os.path.basename(_path(folder, unit)) for unit in keep}
    place = os.path.join(folder, FOLDER)
    for name in os.listdir(place) if os.path.isdir(place) else []:
        if name not in names:
            os.unlink(os.path.join(place, name))


def fail(folder: str, sentence: str) -> None:
    """Leaves word of a user's error, if there is room for it."""
    path = os.path.join(folder, FOLDER, _FAILED)
    with contextlib.suppress(UserError), atomic_write(path) as stream:
        stream.write(sentence.encode("utf-8"))


def failure(folder: str) -> str:
    """The sentence that `fail` left last; empty if there is none."""
    try:
        with open(os.path.join(folder, FOLDER, _FAILED), encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def count(folder: str) -> int:
    """How many units are finished."""
    return sum(name.endswith(".json") for name in os.listdir(os.path.join(folder, FOLDER)))


def _path(folder: str, unit: Unit) -> str:
    return os.path.join(folder, FOLDER, f"{unit.name}.json")
