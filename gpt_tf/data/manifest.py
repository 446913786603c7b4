"""What a data folder says of itself: `manifest.json`, written last. See `records` for the rest."""

import dataclasses
import hashlib
import json
import os
import re
from typing import Any

from gpt_tf.common import fields
from gpt_tf.common.errors import UserError
from gpt_tf.common.names import check_folder
from gpt_tf.common.small_files import json_bytes, notice_without_sums, read_json, write_recorded
from gpt_tf.tasks.task import Task, ZeroShotTask

FORMAT_VERSION = 2
MANIFEST_NAME = "manifest.json"
LANGUAGE_MODEL = "language_model"
TASK = "task"
ZERO_SHOT = "zero_shot"

# The command that makes a folder of each kind.
_COMMANDS = {LANGUAGE_MODEL: "python -m pipelines.build_corpus",
             TASK: "python -m pipelines.build_task",
             ZERO_SHOT: "python -m pipelines.build_task --zero_shot"}

# The split of a shard, and its number.
_SHARD_NAME = re.compile(r"([a-z_]+)-[0-9]{5,}\.tfrecord")
_FRAME_BYTES = 16  # of a TFRecord, beside its record


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file: its name in the folder, and what it must be to be whole.

    sha256: of its bytes, hex; "" in a folder that an older release made.
    """

    name: str
    records: int
    bytes: int
    index_crc32c: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Split:
    """The shards of a split, in order, and its totals.

    documents: of the source; those of a task are its rows.
    tokens: of all documents, those of windows not written included; of a task, of all sequences.
    predicted_tokens: what a language model predicts; a sequence's first token is not.
    text_bytes: raw UTF-8 bytes of the documents.
    """

    shards: tuple[Shard, ...]
    documents: int
    records: int
    tokens: int
    predicted_tokens: int
    text_bytes: int


@dataclasses.dataclass(frozen=True)
class TaskSplit(Split):
    """A split of a task.

    labelled: whether every record has a label.
    shortened: records whose text was cut to --max_length.
    left_out: reason -> rows of the source that are no records.
    """

    labelled: bool
    shortened: int
    left_out: dict[str, int]


# The class of a folder's `task`, by the folder's kind.
_TASKS = {LANGUAGE_MODEL: None, TASK: Task, ZERO_SHOT: ZeroShotTask}


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The folder's kind, sizes, tokenizer and splits; `task` is None in a language model's."""

    kind: str
    sequence_length: int
    vocabulary_size: int
    tokenizer_fingerprint: str
    splits: dict[str, Split]
    flags: dict[str, Any]
    task: Task | None = None
    format_version: int = FORMAT_VERSION

    @classmethod
    def load(cls, data_dir: str | os.PathLike) -> "Manifest":
        """Reads the manifest of a finished data folder.

        Raises:
          UserError: the folder is not finished, of another format, or its manifest was altered.
        """
        path = os.path.join(data_dir, MANIFEST_NAME)
        if not os.path.exists(path):
            check_folder(data_dir)
            raise UserError(f"No {MANIFEST_NAME} in {os.fspath(data_dir)}: it is not a finished "
                            f"data folder; build it with {' or '.join(_COMMANDS.values())} "
                            f"--output_dir={os.fspath(data_dir)} ...")
        notice_without_sums(data_dir)
        value = read_json(path, "the data folder's manifest")
        known = value if isinstance(value, dict) else {}
        version, remedy = known.get("format_version"), rebuild(known.get("kind"))
        if version != FORMAT_VERSION:
            raise UserError(f"{path}: format_version is {version!r} and this program reads "
                            f"{FORMAT_VERSION}: {remedy}.")
        manifest = fields.from_json(cls, value, path, remedy)
        task = _TASKS.get(manifest.kind)
        if manifest.kind not in _TASKS or (task is None) != (manifest.task is None):
            raise UserError(f"{path}: data of kind {manifest.kind!r} is not known, or not with "
                            f"that task: {remedy}.")
        splits = {name: _load_split(TaskSplit if task else Split, name, split, path, remedy)
                  for name, split in manifest.splits.items()}
        smallest = _FRAME_BYTES + (0 if task else manifest.sequence_length)  # one byte a token
        if manifest.sequence_length < 2 or any(
                shard.bytes < shard.records * smallest
                for split in splits.values() for shard in split.shards):
            raise UserError(f"{path}: sequence_length cannot be {manifest.sequence_length} in "
                            f"shards of that size: {remedy}.")
        return dataclasses.replace(
            manifest, splits=splits,
            task=task and task.from_json(manifest.task, f"{path}, task"))

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of what training sees: the records, whatever command made them."""
        task = self.task and self.task.published
        seen = dataclasses.replace(self, flags={}, task=task)._to_json()
        for split in seen["splits"].values():
            # Runs that began on a folder of an older release go on with it.
            split["shards"] = [{name: value for name, value in shard.items()
                                if (name, value) != ("sha256", "")} for shard in split["shards"]]
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()

    def check_split(self, data_dir: str | os.PathLike, name: str) -> None:
        """Sees that there are records of a split.

        Args:
          data_dir: the folder, for the error.
          name: of the split.

        Raises:
          UserError: there are none.
        """
        if not getattr(self.splits.get(name), "records", 0):
            full = [each for each, value in self.splits.items() if value.records]
            raise UserError(f"{os.fspath(data_dir)} has no records for split {name!r}; it has "
                            f"{', '.join(full) or 'none'}.")

    def save(self, data_dir: str | os.PathLike) -> None:
        """Writes the manifest, which declares the folder finished: call it last."""
        write_recorded(os.path.join(data_dir, MANIFEST_NAME), json_bytes(self._to_json()))

    def _to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"task": self.task and self.task.to_json()}


def rebuild(kind: str | None) -> str:
    """What to do about a damaged data folder: the end of a user's error."""
    command = _COMMANDS.get(str(kind), " or ".join(_COMMANDS.values()))
    return f"build the data folder again with {command} ... --overwrite"


def _load_split(cls: type, name: str, value: Any, path: str, remedy: str) -> Split:
    split = fields.from_json(cls, value, f"{path}, split {name}", remedy)
    shards = tuple(fields.from_json(Shard, {"sha256": ""} | shard, f"{path}, split {name}", remedy)
                   for shard in split.shards)
    for shard in shards:
        found = _SHARD_NAME.fullmatch(shard.name)
        if not found or found[1] != name:
            raise UserError(f"{path}: {shard.name!r:.60} is not a shard's name in {name!r:.40}: "
                            f"{remedy}.")
    if len({shard.name for shard in shards}) < len(shards):
        raise UserError(f"{path}: {name} has a shard twice: {remedy}.")
    if sum(shard.records for shard in shards) != split.records:
        raise UserError(f"{path}: the shards of {name} do not add up to {split.records} records: "
                        f"{remedy}.")
    if not all(shard.records for shard in shards) or cls is Split and not (
            split.records <= min(split.predicted_tokens, split.text_bytes)):
        raise UserError(f"{path}: the numbers of records and tokens of {name} cannot be: {remedy}.")
    return dataclasses.replace(split, shards=shards)
