"""Makes the notebooks of docs/ from the scripts beside them, with what they print and draw.

  python -m tests.peers.notebooks

A script is the source. Its notebook is run, one after the other in a folder that was empty, and
keeps its outputs, for whoever reads it and does not run it.
"""

import os
import pathlib
import tempfile

import jupytext
from nbclient import NotebookClient
import nbformat

from tests.house import ROOT

NAMES = ("pretrain_and_generate", "finetune_export_serve")  # the second uses what the first leaves
_SECONDS = 600  # of a cell


def script(name: str) -> pathlib.Path:
    """The path of a script of docs/."""
    return ROOT / "docs" / f"{name}.py"


def from_script(name: str) -> nbformat.NotebookNode:
    """The notebook of a script, not run."""
    notebook = jupytext.read(script(name))
    notebook.metadata = {"kernelspec": {"name": "python3", "language": "python",
                                        "display_name": "Python 3"}}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # not another one each time
    return notebook


def run(notebook: nbformat.NotebookNode, folder: str | os.PathLike) -> None:
    """Runs a notebook in `folder`, with the package of this checkout; it keeps its outputs."""
    client = NotebookClient(notebook, timeout=_SECONDS, record_timing=False,
                            coalesce_streams=True, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment())


def environment() -> dict[str, str]:
    """What a process needs to find the package of this checkout."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            made = from_script(name)
            run(made, folder)
            nbformat.write(made, script(name).with_suffix(".ipynb"))
