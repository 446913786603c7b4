"""A data folder in the making: refused if it is not ours, owned, gone on with, and finished."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import re
import shutil
from typing import Any

from gpt_tf.common.errors import UserError
from gpt_tf.common.files import atomic_write, explain_disk_errors, lock_folder
from gpt_tf.common.names import in_utf8
from gpt_tf.common.small_files import SUMS
from gpt_tf.config import Options, option
from gpt_tf.data import records
from gpt_tf.data.manifest import MANIFEST_NAME, Manifest
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.tokenizer.files import is_tokenizer_file
from pipelines.building import notes

# Stands in a folder from the first byte written to the manifest; names what may be replaced.
_UNFINISHED = "UNFINISHED"
_SHARD_FILE = re.compile(r"[a-z_]+-\d{5,}\.(tfrecord|index\.npy)")

# What is left of a file that was being written.
_PART = re.compile(r"(.+)\.part-\d+")


@dataclasses.dataclass(frozen=True)
class FolderConfig(Options):
    """The flags that every command which makes a data folder has."""

    tokenizer: str = option("", "Folder with the tokenizer's files, Keras preset, hf:// handle, "
                                "gpt_tiny_en or gpt_small_en.", required=True, path=True)
    output_dir: str = option("", "Folder to make.", required=True, path=True)
    num_workers: int = option(0, "Tokenizing processes; 0: one for each core. With --runner it is "
                              "Beam's flag of that name.", resumable=True, at_least=0)
    overwrite: bool = option(False, "Replace the data folder that stands in --output_dir.",
                             resumable=True)
    runner: str = option("", "Make the shards with this runner of Apache Beam, such as "
                         "DirectRunner; flags that are not listed here are then Beam's. --input, "
                         "--tokenizer and --output_dir must be the same files on all machines. "
                         "Empty: on this machine, without Beam.", resumable=True)

    def decisive_flags(self) -> dict[str, Any]:
        """The flags that decide the data; the others change speed or place. A path that is not
        UTF-8, which JSON cannot hold, has its bytes as Python writes them."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
                  if not field.metadata["resumable"] and field.name != "output_dir"}
        return {name: in_utf8(value) if isinstance(value, str) else value
                for name, value in values.items()}


class DataFolder:
    """The folder that a command makes.

    Example:
      folder = DataFolder(config, "pipelines.build_corpus", tokenizer="data/tokenizer")
      with folder.own():
          unmade = folder.begin(units)
          ...  # the shards of these units
          made = notes.collect(config.output_dir, units)
          folder.finish(tokenizer, manifest)

    `frame.build_folder` does so.

    Attributes:
      config: the flags of the command.
      flags: those that decide the data, as the user gave them.

    Args:
      config: which folder, and whether a finished one may be replaced. The tokenizer may come
        from the folder itself.
      command: the module that makes it.
      tokenizer: what the user named, where `config` has the folder that it stands for.

    Raises:
      UserError: the folder is finished and may not be replaced, or is not ours.
    """

    def __init__(self, config: FolderConfig, command: str, tokenizer: str):
        self.config = config
        self.flags = dataclasses.replace(config, tokenizer=tokenizer).decisive_flags()
        self._path = config.output_dir
        self._command = command
        self._check()

    def _check(self) -> None:
        folder = self._path
        if os.path.islink(os.path.join(folder, notes.FOLDER)):
            raise UserError(f"--output_dir={folder} holds a link, {notes.FOLDER}, and what it "
                            "leads to is not ours to empty: remove it.")
        names = set(os.listdir(folder)) - {".lock"} if os.path.isdir(folder) else set()
        if _UNFINISHED in names or all(map(_is_part_of_ours, names)):
            return
        if MANIFEST_NAME not in names or not any(map(_SHARD_FILE.fullmatch, names)):
            raise UserError(f"--output_dir={folder} holds other files, such as {min(names)}; name "
                            "a new or empty folder.")
        if not self.config.overwrite:
            raise UserError(f"--output_dir={folder} holds a finished data folder; name another, "
                            "or replace this one with --overwrite.")

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """Makes the folder and keeps other processes away for the block.

        Raises:
          UserError: another process owns it, or has just finished it.
        """
        with lock_folder(self._path):
            if os.path.exists(os.path.join(self._path, MANIFEST_NAME)):
                self._tidy()  # a build was stopped after its last file, or before its first
            self._check()
            yield

    def begin(self, units: list[notes.Unit]) -> set[notes.Unit]:
        """Removes what an earlier build made, but not the finished units that are among `units`.

        The manifest goes first: no half counts as whole.

        Returns:
          The units that are still to be made.
        """
        with atomic_write(os.path.join(self._path, _UNFINISHED)) as stream:
            stream.write(b"This data folder is being built, or its building was stopped: run the "
                         b"same %s again.\n" % self._command.encode())
        with explain_disk_errors(self._path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._path, MANIFEST_NAME))
            made = {unit: notes.read(self._path, unit) for unit in units}
            notes.clear(self._path, [unit for unit in units if made[unit] is not None])
            kept = {name for each in made.values() for shard, _ in (each or {}).values() if shard
                    for name in (shard.name, records.index_name(shard.name))}
            # A folder may be built again with the tokenizer that it holds.
            keep_tokenizer = os.path.samefile(self.config.tokenizer, self._path)
            for name in os.listdir(self._path):
                if (_SHARD_FILE.fullmatch(name) and name not in kept or _is_part_of_ours(name)
                        or (is_tokenizer_file(name) or name == SUMS) and not keep_tokenizer):
                    os.unlink(os.path.join(self._path, name))
            os.makedirs(os.path.join(self._path, notes.FOLDER), exist_ok=True)
        return {unit for unit in units if made[unit] is None}

    def finish(self, tokenizer: Tokenizer, manifest: Manifest) -> None:
        """Adds the tokenizer, and the manifest that makes the folder count."""
        tokenizer.save(self._path)
        manifest.save(self._path)
        self._tidy()

    def _tidy(self) -> None:
        """Removes what only an unfinished folder holds; its mark goes last."""
        with explain_disk_errors(self._path):
            for name in os.listdir(self._path):
                if _is_part_of_ours(name):  # of a worker elsewhere that was given up
                    os.unlink(os.path.join(self._path, name))
            made = os.path.join(self._path, notes.FOLDER)
            if os.path.isdir(made) and not os.path.islink(made):
                shutil.rmtree(made)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._path, _UNFINISHED))


def _is_part_of_ours(name: str) -> bool:
    part = _PART.fullmatch(name)
    return bool(part) and (
        part[1] in (_UNFINISHED, MANIFEST_NAME, SUMS) or is_tokenizer_file(part[1])
        or bool(_SHARD_FILE.fullmatch(part[1])))
