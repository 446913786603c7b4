"""The notebooks of docs/ are their scripts, and both run from end to end without a word too many.

Needs requirements-peers.txt.
"""

import re
import subprocess
import sys

import pytest

pytest.importorskip("nbclient", reason="needs requirements-peers.txt")
import nbformat

from tests.peers import notebooks

# What TensorFlow's C++ and Python's warnings write: of commands, stderr is led to stdout.
NOTICE = re.compile(r"^[IWEF]\d{4} |Warning: |^WARNING", re.MULTILINE)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client")


@pytest.mark.parametrize("name", notebooks.NAMES)
def test_a_notebook_is_its_script(name):
    kept = nbformat.read(notebooks.script(name).with_suffix(".ipynb"), as_version=4)
    made = notebooks.from_script(name)
    assert [(cell.cell_type, cell.source) for cell in kept.cells] == [
        (cell.cell_type, cell.source) for cell in made.cells], (
            "make them again: python -m tests.peers.notebooks")
    assert all(cell.outputs is not None and cell.execution_count for cell in kept.cells
               if cell.cell_type == "code")


def test_notebooks_and_scripts_run_and_are_quiet(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # where it is, a kernel keeps no process's output
    printed = {}
    for name in notebooks.NAMES:
        notebook = notebooks.from_script(name)
        notebooks.run(notebook, tmp_path)
        outputs = [output for cell in notebook.cells if cell.cell_type == "code"
                   for output in cell.outputs]
        assert not [output for output in outputs if output.get("name") == "stderr"]
        printed[name] = "".join(output.get("text", "") for output in outputs)
    for name in notebooks.NAMES:  # in the same folder, where the runs are finished
        done = subprocess.run([sys.executable, notebooks.script(name)], cwd=tmp_path, text=True,
                              env=notebooks.environment(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert not NOTICE.search(printed[name]) and not NOTICE.search(done.stdout)
    ours, words = re.search(r"accuracy +([\d.]+) +bag of words ([\d.]+)",
                            printed["finetune_export_serve"]).groups()
    assert float(ours) > float(words) + 0.1  # by more than chance: the standard error is 0.025
    ours, trigram = (float(re.search(rf"^  {name} +([\d.]+)", printed["pretrain_and_generate"],
                                     re.MULTILINE)[1]) for name in ("perplexity",
                                                                    "trigram perplexity"))
    assert ours < trigram
