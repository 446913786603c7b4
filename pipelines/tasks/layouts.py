"""Which files of a task are at hand: the splits that --input names. See `rows`."""

from collections.abc import Mapping
import dataclasses
import os

from gpt_tf.common.errors import UserError
from gpt_tf.common.names import check_folder
from pipelines.tasks import description
from pipelines.tasks.description import Layout, Source, TaskDescription

_OWN_SPLITS = {"train": ("train",), "validation": ("validation", "dev"), "test": ("test",)}
_OWN_KINDS = (description.TSV, description.CSV, description.JSONL)


def find_layout(task: TaskDescription, folder: str) -> Layout:
    """What is at hand of the published layout of which most is.

    Raises:
      UserError: nothing is.
    """
    place = os.path.expanduser(folder)
    found = [{split: source for split, source in layout.items()
              if all(os.path.exists(os.path.join(place, path)) for path in _files_of(source))}
             for layout in task.layouts]
    best = max(found, key=len)
    if not best:
        check_folder(place)
        sought = [", ".join(dict.fromkeys(path for source in layout.values()
                                          for path in _files_of(source)))
                  for layout in task.layouts]
        held = sorted(os.listdir(place)) if os.path.isdir(place) else []
        raise UserError(
            f"--input={folder} has no file of {task.name}: looked for {'; or for '.join(sought)}. "
            f"It holds {', '.join(held[:9]) + ', ...' * (len(held) > 9) or 'nothing'}.")
    return best


def _files_of(source: Source) -> tuple[str, ...]:
    is_listed = isinstance(source.part, description.ListedPart)
    return (*source.paths, source.part.file) if is_listed else source.paths


def file_layout(task: TaskDescription, path: str) -> Layout:
    """One file as the training split, in the one format that all files of the task have.

    Raises:
      UserError: they differ, or are folders or parts of files.
    """
    formats = {dataclasses.replace(source, paths=())
               for layout in task.layouts for source in layout.values()}
    source = formats.pop()
    if formats or source.part or source.kind == description.RACE:
        raise UserError(f"--input={path} is a file, and {task.name} needs the folder that its "
                        "publisher's files stand in.")
    return {"train": dataclasses.replace(source, paths=(path,))}


def own_layout(columns: Source, given: str) -> Layout:
    """The splits of a user's own files, each of the kind that its ending says.

    Raises:
      UserError: `given` names no such files, or more than one for a split.
    """
    path = os.path.expanduser(given)
    if os.path.isdir(path):
        paths = _own_files(path)
    elif os.path.isfile(path):
        paths = {"train": path}
    else:
        pairs = [pair.strip().partition("=") for pair in given.split(",")]
        paths = {split: os.path.expanduser(name) for split, _, name in pairs}
        if not all(map(os.path.isfile, paths.values())) or not set(paths) <= set(_OWN_SPLITS):
            raise UserError(f"--input={given} is no file or folder, nor a list of files such as "
                            "train=a.tsv,validation=b.tsv (and test=c.tsv).")
    layout = {}
    for split in sorted(paths, key=list(_OWN_SPLITS).index):
        kind = paths[split].rpartition(".")[2]
        if kind not in _OWN_KINDS:
            raise UserError(f"--input: {paths[split]} ends in none of .{', .'.join(_OWN_KINDS)}.")
        if kind == description.JSONL and not columns.has_header:
            raise UserError(f"--input: {paths[split]} has fields by name, and the task's "
                            "description numbers them; name them there.")
        layout[split] = dataclasses.replace(columns, kind=kind, paths=(paths[split],))
    return layout


def _own_files(folder: str) -> Mapping[str, str]:
    paths = {}
    for split, stems in _OWN_SPLITS.items():
        names = [f"{stem}.{kind}" for stem in stems for kind in _OWN_KINDS]
        found = [name for name in names if os.path.isfile(os.path.join(folder, name))]
        if len(found) > 1:
            raise UserError(f"--input={folder} has {' and '.join(found)}: which is {split}? Name "
                            f"the files, as --input={split}={os.path.join(folder, found[0])},...")
        if found:
            paths[split] = os.path.join(folder, found[0])
    if not paths:
        raise UserError(f"--input={folder} has no file named train, validation or test that ends "
                        f"in .{', .'.join(_OWN_KINDS)}.")
    return paths
