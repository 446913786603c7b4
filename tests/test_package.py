"""What is installed: flagfiles by name, the script `gpt-tf`, releases that are asked for, names.

That a wheel holds it all is tried by tests/installed.sh.
"""

import importlib.metadata
import re
import subprocess
import sys
import tomllib

from packaging.requirements import Requirement
import pytest

import gpt_tf
from gpt_tf.__main__ import COMMANDS
from gpt_tf.common import flagfiles
from gpt_tf.common.errors import UserError
from tests.commands import run_command
from tests.house import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SHOWING = """
from gpt_tf.common import cli
from gpt_tf.config import ModelConfig, OptimizerConfig, TrainingConfig

if __name__ == "__main__":
    for config_class in (ModelConfig, OptimizerConfig, TrainingConfig):
        cli.define_flags(config_class)
    cli.run(lambda: print(cli.flagfile_text(), end=""))
"""


@pytest.fixture(name="show")
def show_fixture(tmp_path, monkeypatch):
    """Runs a command in tmp_path that prints its resolved flagfile, as a run folder keeps it."""
    (tmp_path / "showing.py").write_text(SHOWING)
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda *arguments: run_command("showing", *arguments, cwd=tmp_path)


def test_a_flagfile_by_name_is_the_flags_in_it(show):
    path = ROOT / "gpt_tf" / "flagfiles" / "quickstart.flags"
    lines = [line for line in path.read_text().splitlines() if line.startswith("--")]
    spelled = show(*lines, "--seed=5")
    assert spelled.code == 0 and "--learning_rate=0.006\n" in spelled.stdout
    for given in (["--flagfile=quickstart.flags"], ["--flagfile", "quickstart.flags"],
                  [f"--flagfile={path}"]):
        assert show(*given, "--seed=5") == spelled


def test_a_path_comes_first(show, tmp_path):
    (tmp_path / "gpt1.flags").write_text("--num_layers=3\n")
    assert "--num_layers=3\n" in show("--flagfile=gpt1.flags").stdout


def test_a_flagfile_in_a_flagfile(show, tmp_path):
    (tmp_path / "mine.flags").write_text(
        "# Mine.\n// too\n\n--flagfile=books_tiny.flags\n  --num_steps=7\n--flagfile=more.flags")
    (tmp_path / "more.flags").write_text("--batch_size=3\n")
    out = show("--flagfile=mine.flags", "--hidden_dim=64").stdout
    for line in ("--num_steps=7", "--warmup_steps=200", "--batch_size=3", "--hidden_dim=64"):
        assert f"{line}\n" in out  # the last one wins
    assert "--hidden_dim=128\n" in show("--hidden_dim=64", "--flagfile=mine.flags").stdout


def test_arguments_after_two_dashes_are_no_flags():
    assert flagfiles.expand(["--flagfile=", "--a", "--", "--flagfile=none"]) == [
        "--a", "--", "--flagfile=none"]


def test_what_is_wrong_with_a_flagfile(show, tmp_path):
    done = show("--flagfile=gpt2.flags")
    assert done.code == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: --flagfile=gpt2.flags is neither a file nor")
    assert all(path.name in done.stderr for path in flagfiles.SHIPPED.glob("*.flags"))
    (tmp_path / "self.flags").write_text("--flagfile=./self.flags\n")
    (tmp_path / "no.flags").write_bytes(b"\xff")
    for arguments, sentence in ((["--flagfile=self.flags"], "takes its flags from itself"),
                                (["--flagfile=no.flags"], "is not a flag"),
                                ([f"--flagfile={tmp_path}"], "Is a directory"),
                                (["--seed=1", "--flagfile"], "given without a file")):
        done = show(*arguments)
        assert done.code == 2 and sentence in done.stderr and "Traceback" not in done.stderr
    with pytest.raises(UserError, match="runs/gpt1.flags is neither"):  # a name has no folder
        flagfiles.find("runs/gpt1.flags")


def script(*arguments, cwd, python=()):
    return subprocess.run([sys.executable, *python, "-m", "gpt_tf", *arguments], text=True, cwd=cwd,
                          env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False)


def test_script_lists_commands_quickly(tmp_path):
    done = script(cwd=tmp_path, python=["-X", "importtime"])
    assert not done.returncode
    assert re.findall(r"^  (\w+) +[A-Z].*\.$", done.stdout, re.MULTILINE) == list(COMMANDS)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "runpy" in imported and not imported & {"tensorflow", "absl", "numpy"}
    assert script("--help", cwd=tmp_path).stdout == done.stdout


def test_reader_of_the_list_may_leave(tmp_path):
    process = subprocess.Popen([sys.executable, "-m", "gpt_tf"], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=60)) == ("", 0)
    process.stderr.close()


def test_script_runs_a_command(tmp_path):
    done = script("stories", "--output=a.jsonl", "--megabytes=0.01", cwd=tmp_path)
    assert not done.returncode, done.stderr
    assert (tmp_path / "a.jsonl").stat().st_size > 10_000
    # The processes that a command starts import it by its own name.
    done = script("train_bpe", "--input=a.jsonl", "--output_dir=bpe", "--num_merges=20",
                  "--num_workers=2", cwd=tmp_path)
    assert not done.returncode, done.stderr
    assert "Learned 20 merges" in done.stdout
    done = script("stories", "--output=a.jsonl", cwd=tmp_path)
    assert done.returncode == 1 and "is there already" in done.stderr
    done = script("stories", "--help", cwd=tmp_path)
    assert "python -m pipelines.stories" in done.stdout and "--megabytes" in done.stdout


def test_script_does_not_know_a_command(tmp_path):
    done = script("pretrian", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "'pretrian' is no command" in done.stderr and ", pretrain," in done.stderr


def pins(name):
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def releases(requirement):
    """The release of an exact pin."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", requirement
    return specifier.version


def test_pins_lie_in_the_ranges_of_the_package():
    extras = {name: [Requirement(each) for each in group]
              for name, group in PROJECT["optional-dependencies"].items()}
    needed = [Requirement(each) for each in PROJECT["dependencies"]]
    for file, ranges in (("requirements.txt", [*needed, *extras["test"]]),
                         ("requirements-beam.txt", extras["beam"])):
        pinned = {each.name: releases(each) for each in pins(file)}
        assert pinned.keys() == {each.name for each in ranges}
        for each in ranges:
            assert each.specifier.contains(pinned[each.name]), each
            assert not any(one.operator == "==" for one in each.specifier), each
    peers = {each.name: releases(each) for each in pins("requirements-peers.txt")}
    for each in (*extras["litert"], *extras["onnx"]):
        assert each.specifier.contains(peers[each.name]), each
    assert not {"pytest", "hypothesis", "pytest-xdist", "ruff"} & {each.name for each in needed}


def test_gpus_get_the_libraries_of_the_pinned_tensorflow(tmp_path):
    (gpu,) = map(Requirement, PROJECT["optional-dependencies"]["gpu"])
    needed = {each.name: each for each in map(Requirement, PROJECT["dependencies"])}
    assert (gpu.name, gpu.extras) == ("tensorflow", {"and-cuda"})
    assert gpu.specifier == needed["tensorflow"].specifier
    assert "and-cuda" in importlib.metadata.metadata("tensorflow").get_all("Provides-Extra")

    def lines(*given):
        return subprocess.run(["make", "-n", "environment", f"VENV={tmp_path}", *given], cwd=ROOT,
                              check=True, capture_output=True, text=True).stdout

    # The pins and the extra in one call of pip, which takes one release for both.
    assert "-r requirements.txt --editable '.[gpu]'\n" in lines("GPU=1")
    assert "[gpu]" not in lines()
    (tmp_path / ".gpu").touch()
    assert "[gpu]" in lines()  # what was asked for once


def test_one_version():
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited[1] == gpt_tf.__version__
    assert "version" in PROJECT["dynamic"] and "version" not in PROJECT


def test_public_names():
    names = dir(gpt_tf)
    assert set(names) == set(gpt_tf.__all__) and {"GPTCausalLM", "__version__"} <= set(names)
    for name in names:
        assert getattr(gpt_tf, name)
    for package in ("gpt_tf", "pipelines"):
        assert (ROOT / package / "py.typed").exists()
