"""Which files of a task are at hand: the splits that --input names. See `rows`."""

from collections.abc import Iterable
import dataclasses
import os
import re

from gpt_tf.common.errors import UserError
from gpt_tf.common.names import check_folder
from gpt_tf.tasks.tables import CSV, ENDINGS, TSV, kind_of
from pipelines.tasks import description
from pipelines.tasks.description import ANY, Layout, Source, TaskDescription
from pipelines.tasks.raw_rows import first_row, holds

# What data hubs add to the name of a split: train-00000-of-00003.parquet.
_PART = r"(-\d+-of-\d+)?"
_ENDINGS = "|".join(map(re.escape, ENDINGS))


def may_lack_labels(split: str) -> bool:
    """Whether the rows of a split of that name need no labels."""
    return split.startswith("test")


def find_layout(task: TaskDescription, given: str, encoding: str) -> Layout:
    """The splits of a task that --input names.

    Args:
      task: see `table.find_task`.
      given: a folder, a file or a list of files.
      encoding: of text.

    Raises:
      UserError: no file of the task is there, or which one is meant, or what it holds, is not
        clear.
    """
    path = os.path.expanduser(given)
    if os.path.isfile(path):
        files = {"train": (path,)}
    elif os.path.isdir(path):
        published = _published(task, path)
        return published or _exported(task, path, encoding) or _refuse_folder(task, given, path)
    else:
        files = _listed_files(task, given)
    return {split: _source_of(task, split, files[split], None, encoding)
            for split in task.exported if split in files}


def _published(task: TaskDescription, folder: str) -> Layout:
    """What is at hand of the published layout of which most is; maybe nothing."""
    found = [{split: _inside(folder, source) for split, source in layout.items()
              if all(os.path.exists(os.path.join(folder, path)) for path in _files_of(source))}
             for layout in task.layouts]
    return max(found, key=len, default={})


def _files_of(source: Source) -> tuple[str, ...]:
    is_listed = isinstance(source.part, description.ListedPart)
    return (*source.paths, source.part.file) if is_listed else source.paths


def _inside(folder: str, source: Source) -> Source:
    part = source.part
    if isinstance(part, description.ListedPart):
        part = dataclasses.replace(part, file=os.path.join(folder, part.file))
    return dataclasses.replace(
        source, part=part, paths=tuple(os.path.join(folder, path) for path in source.paths))


def _exported(task: TaskDescription, folder: str, encoding: str) -> Layout:
    """Files that are called by their splits: train.csv, or train-00000-of-00002.parquet and the
    other; maybe none."""
    names = sorted(os.listdir(folder))
    layout = {}
    for split, source in task.exported.items():
        stem = source.paths[0]
        stems = {stem, stem.replace("validation", "dev"), re.sub("^dev", "validation", stem)}
        pattern = re.compile(f"({'|'.join(stems)}){_PART}({_ENDINGS})", re.IGNORECASE)
        parts: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            if found := pattern.fullmatch(name):
                # Of one split the files are alike but for their numbers.
                alike = (found[1], found[3]) if found[2] else (name,)
                parts.setdefault(alike, []).append(os.path.join(folder, name))
        if len(parts) > 1:
            first = [os.path.basename(paths[0]) for paths in parts.values()]
            raise UserError(f"--input={folder} has {' and '.join(first)}: which is {split}? Name "
                            f"the files, as --input={split}={os.path.join(folder, first[0])},...")
        for paths in parts.values():
            layout[split] = _source_of(task, split, tuple(paths), source.part, encoding)
    return layout


def _refuse_folder(task: TaskDescription, given: str, folder: str) -> Layout:
    """Raises the UserError that a folder holds nothing of the task."""
    sought = [", ".join(dict.fromkeys(path for source in layout.values()
                                      for path in _files_of(source))) for layout in task.layouts]
    stems = dict.fromkeys(source.paths[0] for source in task.exported.values())
    sought.append(f"files called {', '.join(stems)} that end in {', '.join(ENDINGS)}")
    held = sorted(os.listdir(folder))
    raise UserError(
        f"--input={given} has no file of {task.name}: looked for {'; or for '.join(sought)}. "
        f"It holds {', '.join(held[:9]) + ', ...' * (len(held) > 9) or 'nothing'}; files of other "
        "names are given as --input=train=FILE,...")


def listed_paths(given: str) -> dict[str, str]:
    """Split -> path, of train=FILE,validation=FILE,...; `~` is the home.

    Raises:
      UserError: a split is named twice.
    """
    pairs = [pair.strip().partition("=") for pair in given.split(",")]
    named = [split for split, is_pair, _ in pairs if is_pair]
    if twice := {split for split in named if named.count(split) > 1}:
        raise UserError(f"--input={given} names {min(twice)} twice: put its rows into one file.")
    return {split: os.path.expanduser(name) for split, _, name in pairs}


def _listed_files(task: TaskDescription, given: str) -> dict[str, tuple[str, ...]]:
    files = {split: (path,) for split, path in listed_paths(given).items()}
    if not set(files) <= set(task.exported) or not all(os.path.isfile(path)
                                                       for path, in files.values()):
        if "=" not in given and not task.is_own:
            check_folder(os.path.expanduser(given))
        raise UserError(f"--input={given} is no file or folder, nor a list of files such as "
                        f"train=a.tsv,validation=b.tsv; the splits of {task.name} are "
                        f"{', '.join(task.exported)}.")
    return files


def _source_of(task: TaskDescription, split: str, paths: tuple[str, ...],
               part: description.DrawnPart | description.ListedPart | None,
               encoding: str) -> Source:
    """Where a split of these files keeps what, by what the first of them holds.

    Raises:
      UserError: it has the columns of no layout of the task.
    """
    kind = kind_of(paths[0])
    sources = [dataclasses.replace(source, paths=paths, part=part)
               for source in _known(task) if source.kind != description.RACE]
    if task.is_own:
        source, = sources
        if kind is None:
            raise UserError(f"--input: {paths[0]} ends in none of {', '.join(ENDINGS)}.")
        if kind not in (TSV, CSV) and not source.has_header:
            raise UserError(f"--input: {paths[0]} has fields by name, and the task's description "
                            "numbers them; name them there.")
        return dataclasses.replace(source, kind=kind)
    for source in sources:
        if source.kind == description.WINOGRAD and kind is None:
            return source
        for each in dict.fromkeys((source.kind, kind)):
            found = _fitting(source, each, may_lack_labels(split), encoding)
            if found:
                return found
    has = ", ".join(first_row(paths[0], kind, encoding)[:12]) if kind else "an unknown ending"
    raise UserError(f"--input: {paths[0]} is no file of {task.name}: it has {has or 'no row'}, and "
                    f"{'; or '.join(dict.fromkeys(map(_describe, sources)))} are looked for.")


def _known(task: TaskDescription) -> Iterable[Source]:
    """The task's sources that differ in more than their files, those of hubs first."""
    layouts = (task.exported, *task.layouts)
    return dict.fromkeys(dataclasses.replace(source, paths=(), part=None)
                         for layout in layouts for source in layout.values())


def _fitting(source: Source, kind: str | None, may_lack_label: bool,
             encoding: str) -> Source | None:
    """The source as a file of that kind, if it has its columns."""
    if kind is None or kind in (ANY, description.WINOGRAD):
        return None
    try:
        first = first_row(source.paths[0], kind, encoding,
                          lambda cells: holds(cells, source, may_lack_label))
    except UserError:  # as of that kind; what is wrong with it as of its own is said in the end
        return None
    if kind not in (TSV, CSV) and not source.has_header or not holds(first, source, may_lack_label):
        return None
    has_index = source.index is not None and source.index in first
    return dataclasses.replace(source, kind=kind, index=source.index if has_index else None)


def _describe(source: Source) -> str:
    if source.has_header:
        return ", ".join(map(str, dict.fromkeys((*source.columns, source.label))))
    return f"{' or '.join(map(str, source.widths))} columns without names"
