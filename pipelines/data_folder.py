"""A data folder in the making: refused if it is not ours, owned, emptied, and finished."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import re
from typing import Any

from gpt_tf import records
from gpt_tf.config import option
from gpt_tf.files import UserError, atomic_write, lock_folder
from gpt_tf.tokenizer import Tokenizer
from gpt_tf.tokenizer_files import is_tokenizer_file

# Stands in a folder from the first byte written to the manifest; names what may be replaced.
_UNFINISHED = "UNFINISHED"
# The last part is of a file that was being written.
_SHARD_FILE = re.compile(r"[a-z_]+-\d{5,}\.(tfrecord|index\.npy)(\.part-\d+)?")


@dataclasses.dataclass(frozen=True)
class FolderConfig:
    """The flags that every command which makes a data folder has."""

    tokenizer: str = option("", "Folder with the tokenizer's files.")
    output_dir: str = option("", "Folder to make.")
    num_workers: int = option(0, "Tokenizing processes; 0: one for each core.", resumable=True)
    overwrite: bool = option(False, "Replace the data folder that stands in --output_dir.",
                             resumable=True)

    def decisive_flags(self) -> dict[str, Any]:
        """The flags that decide the data; the others change speed or place."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
                if not field.metadata["resumable"] and field.name != "output_dir"}


class DataFolder:
    """The folder that a command makes.

    Example:
      folder = DataFolder(config, command="pipelines.build_corpus")
      with folder.own():
          folder.clear()
          ...  # shards
          folder.finish(tokenizer, manifest)

    Args:
      config: which folder, and whether a finished one may be replaced. The tokenizer may come
        from the folder itself.
      command: the module that makes it.

    Raises:
      UserError: the folder is finished and may not be replaced, or is not ours.
    """

    def __init__(self, config: FolderConfig, command: str):
        self._config = config
        self._path = config.output_dir
        self._command = command
        self._check()

    def _check(self) -> None:
        folder = self._path
        names = set(os.listdir(folder)) - {".lock"} if os.path.isdir(folder) else set()
        if not names or _UNFINISHED in names and records.MANIFEST_NAME not in names:
            return
        if records.MANIFEST_NAME not in names or not any(map(_SHARD_FILE.fullmatch, names)):
            raise UserError(f"--output_dir={folder} holds other files, such as {min(names)}; name "
                            "a new or empty folder.")
        if not self._config.overwrite:
            raise UserError(f"--output_dir={folder} holds a finished data folder; name another, "
                            "or replace this one with --overwrite.")

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """Makes the folder and keeps other processes away for the block.

        Raises:
          UserError: another process owns it, or has just finished it.
        """
        with lock_folder(self._path):
            self._check()
            yield

    def clear(self) -> None:
        """Removes what an earlier build made, the manifest first: no half counts as whole."""
        with atomic_write(os.path.join(self._path, _UNFINISHED)) as stream:
            stream.write(b"This data folder is being built, or its building was stopped: run the "
                         b"same %s again.\n" % self._command.encode())
        names = os.listdir(self._path)
        old = [name for name in names if _SHARD_FILE.fullmatch(name)]
        # A folder may be built again with the tokenizer that it holds.
        if not os.path.samefile(self._config.tokenizer, self._path):
            old += [name for name in names if is_tokenizer_file(name)]
        if records.MANIFEST_NAME in names:
            old.insert(0, records.MANIFEST_NAME)
        for name in old:
            os.unlink(os.path.join(self._path, name))

    def finish(self, tokenizer: Tokenizer, manifest: records.Manifest) -> None:
        """Adds the tokenizer, and the manifest that makes the folder count."""
        tokenizer.save(self._path)
        manifest.save(self._path)
        os.unlink(os.path.join(self._path, _UNFINISHED))
