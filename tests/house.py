"""The house in figures: its rooms, the arrows between them, and the floors these make.

  python -m tests.house [ROOT]

A room is a wing (a package) or a file that stands on top of `gpt_tf` or `pipelines`. An arrow is
an import of one room by another, at the top of a file or inside a function. A room stands one
floor above the highest of those that it imports.
"""

import ast
import collections
import pathlib
import sys

PACKAGES = ("gpt_tf", "pipelines")
ROOT = pathlib.Path(__file__).resolve().parent.parent


def modules(root: pathlib.Path, package: str) -> dict[str, pathlib.Path]:
    """Dotted name -> file of every module; a package's is its `__init__.py`."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: pathlib.Path) -> set[str]:
    """Dotted names that a file imports anywhere: modules, and names that may be modules.

    Raises:
      ValueError: an import is relative.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path}, line {node.lineno}: write imports out from the top")
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def file_arrows(root: pathlib.Path, package: str) -> set[tuple[str, str]]:
    """(module, module that it imports), both of `package`."""
    names = modules(root, package)
    return {(name, other) for name, path in names.items() for other in imports(path) & set(names)
            if other not in (name, package) and not name.startswith(f"{other}.")}


def room(module: str) -> str:
    """gpt_tf.model.gpt -> model; gpt_tf.pretrain -> pretrain"""
    return (module.split(".") + [""])[1]


def arrows(root: pathlib.Path, package: str) -> set[tuple[str, str]]:
    """(room, room that it imports)."""
    pairs = {(room(one), room(other)) for one, other in file_arrows(root, package)}
    return {(one, other) for one, other in pairs if one and one != other}


def floors(nodes: set[str], pairs: set[tuple[str, str]]) -> dict[str, int]:
    """Node -> its floor, from 1.

    Raises:
      ValueError: some nodes import each other in a circle.
    """
    below = collections.defaultdict(set)
    for one, other in pairs:
        below[one].add(other)
    found: dict[str, int] = {}
    while len(found) < len(nodes):
        ready = {node for node in nodes - set(found) if below[node] <= set(found)}
        if not ready:
            raise ValueError(f"a circle among {', '.join(sorted(nodes - set(found)))}")
        found |= {node: 1 + max((found[other] for other in below[node]), default=0)
                  for node in ready}
    return found


def main(root: pathlib.Path) -> None:
    """Prints the figures of both packages."""
    print(f"{'':12} {'files':>6} {'lines':>7} {'on top':>7} {'rooms':>6} {'arrows':>7} "
          f"{'floors':>7}")
    for package in PACKAGES:
        names = modules(root, package)
        rooms = {room(name) for name in names} - {""}
        pairs = arrows(root, package)
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in names.values())
        on_top = sum(path.parent == root / package for path in names.values())
        try:
            top = str(max(floors(rooms, pairs).values()))
        except ValueError as error:
            top = str(error)
        print(f"{package:12} {len(names):6} {lines:7,} {on_top:7} {len(rooms):6} {len(pairs):7} "
              f"{top:>7}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
