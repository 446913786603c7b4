"""The walls of the house: who may import whom, and that every shipped flagfile parses."""

import ast
import re
import subprocess
import sys

import pytest

import gpt_tf.__main__
from gpt_tf.config import (
    FineTuningConfig,
    ModelConfig,
    OptimizerConfig,
    ProbeConfig,
    TrainingConfig,
)
from tests import house
from tests.house import ROOT

COMMANDS = {"pretrain", "finetune", "evaluate", "predict", "generate", "zero_shot", "convert",
            "export", "report"}
PIPELINE_COMMANDS = {"train_bpe", "build_corpus", "build_task", "stories", "story_tasks"}
_LEARNT = {"common", "config", "tokenizer", "tasks", "data", "model"}
_TRAINED = _LEARNT | {"generation", "runs"}
# What a wing may import; commands may import anything of gpt_tf.
MAY_IMPORT = {
    "common": set(), "config": set(),
    "tokenizer": {"common"}, "tasks": {"common"},
    "data": {"common", "tasks"}, "model": {"config", "tasks"},
    "generation": {"common", "config", "tokenizer", "model"},
    "runs": _LEARNT,
    "training": _TRAINED, "evaluation": _TRAINED | {"training"},
    "serving": {"common", "config", "tokenizer", "tasks", "model", "generation", "runs"},
    "interop": _LEARNT - {"data"} | {"runs"},
    "hub": {"common", "tokenizer", "interop", "runs"},
    "keras_models": _LEARNT | {"runs", "interop", "hub"},
    "sources": {"common", "runs", "hub", "keras_models"},
}
# Of the wings of pipelines: wings of pipelines, and of gpt_tf.
PIPELINES_MAY_IMPORT = {
    "reading": (set(), {"common"}), "grammar": (set(), set()),
    "building": (set(), {"common", "config", "tokenizer", "data"}),
    "corpus": ({"building", "reading"}, {"common", "config", "tokenizer", "data"}),
    "tasks": ({"building", "reading"}, {"common", "tokenizer", "tasks", "data"}),
}
WITHOUT_TENSORFLOW = ("common", "config", "tokenizer", "tasks", "data", "hub", "sources",
                      *COMMANDS)
KNOWS_TENSORFLOW = {"gpt_tf.data.batches"}
# Of the wings that need TensorFlow: what commands check with before they import it.
CHECKS = {"gpt_tf.evaluation.report_page", "gpt_tf.interop.targets", "gpt_tf.interop.vocabularies",
          "gpt_tf.runs.beginning", "gpt_tf.runs.metrics_log", "gpt_tf.runs.run_folder",
          "gpt_tf.training.run_config"}
# What draws without it.
DRAW = {"gpt_tf.evaluation.report_courses", "gpt_tf.evaluation.report_data"}


def ours(path, package):
    """The rooms of `package` that a file imports."""
    names = set(house.modules(ROOT, package))
    return {house.room(name) for name in house.imports(path) & names} - {""}


@pytest.mark.parametrize("wing", MAY_IMPORT)
def test_a_wing_imports_what_it_may(wing):
    for name, path in house.modules(ROOT, "gpt_tf").items():
        if house.room(name) == wing:
            assert ours(path, "gpt_tf") <= MAY_IMPORT[wing] | {wing}, name
            assert not re.search(r"\bFLAGS\b", path.read_text()) or name == "gpt_tf.common.cli", (
                f"{name} reads a flag")


@pytest.mark.parametrize("wing", PIPELINES_MAY_IMPORT)
def test_a_wing_of_pipelines_imports_what_it_may(wing):
    mine, theirs = PIPELINES_MAY_IMPORT[wing]
    for name, path in house.modules(ROOT, "pipelines").items():
        if house.room(name) == wing:
            assert ours(path, "pipelines") <= mine | {wing}, name
            assert ours(path, "gpt_tf") <= theirs, name


def test_on_top_stand_commands_alone():
    for package, commands in (("gpt_tf", COMMANDS | {"config", "__main__"}),
                              ("pipelines", PIPELINE_COMMANDS)):
        found = {path.stem for path in (ROOT / package).glob("*.py")}
        assert found == commands | {"__init__"}
        for name in commands - {"config"}:
            assert "__main__" in (ROOT / package / f"{name}.py").read_text(), name
    wings = {path.parent.name for path in (ROOT / "gpt_tf").glob("*/__init__.py")}
    assert wings == MAY_IMPORT.keys() - {"config"}
    wings = {path.parent.name for path in (ROOT / "pipelines").glob("*/__init__.py")}
    assert wings == PIPELINES_MAY_IMPORT.keys()


def test_the_script_runs_every_command():
    assert set(gpt_tf.__main__.COMMANDS.values()) == (
        {f"gpt_tf.{name}" for name in COMMANDS} | {
            f"pipelines.{name}" for name in PIPELINE_COMMANDS})


def test_gpt_tf_does_not_know_pipelines():
    for name, path in house.modules(ROOT, "gpt_tf").items():
        assert not any(each.split(".")[0] == "pipelines" for each in house.imports(path)), name


@pytest.mark.parametrize("package", house.PACKAGES)
def test_no_file_imports_itself_by_others(package):
    # A wing's `__init__` may pass a name on; whoever imports that imports the wing's file.
    names = set(house.modules(ROOT, package))
    assert house.floors(names, house.file_arrows(ROOT, package))


def test_one_module_knows_beam_and_only_when_it_runs():
    # Beam is a choice of the user's.
    found = {name: path for name, path in house.modules(ROOT, "pipelines").items()
             if any(each.startswith("apache_beam") for each in house.imports(path))}
    assert list(found) == ["pipelines.building.with_beam"]
    for path in found.values():
        assert not re.search(r"^(import|from) apache_beam", path.read_text(), re.MULTILINE)


def test_no_python_is_rewritten_before_it_is_traced():
    # None of ours branches on tensors, and AutoGraph takes seconds where much is traced.
    for name, path in house.modules(ROOT, "gpt_tf").items():
        nodes = list(ast.walk(ast.parse(path.read_text())))
        uses = [node for node in nodes if isinstance(node, ast.Attribute)
                and ast.unparse(node) == "tf.function"]
        plain = [node for node in nodes if isinstance(node, ast.Call) and node.func in uses
                 and any(ast.unparse(each) == "autograph=False" for each in node.keywords)]
        assert len(plain) == len(uses), name


def loaded_by(*names):
    """The modules of a fresh process that has imported these."""
    code = f"import sys\n{''.join(f'import {name}{chr(10)}' for name in names)}print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=True,
                              capture_output=True, text=True).stdout.split())


def test_what_needs_no_tensorflow_imports_none():
    names = [name for name in house.modules(ROOT, "gpt_tf") if
             house.room(name) in WITHOUT_TENSORFLOW and name not in KNOWS_TENSORFLOW]
    assert {house.room(name) for name in names} == set(WITHOUT_TENSORFLOW)
    slow = {"tensorflow", "keras", "keras_nlp", "keras_hub", "scipy.stats", "sklearn"}
    assert not loaded_by(*names, *CHECKS, *DRAW) & slow


def test_who_reads_weights_and_predicts_loads_nothing_that_trains():
    found = loaded_by("gpt_tf.evaluation.answering", "gpt_tf.serving.saved_model",
                      "gpt_tf.keras_models.text_classifier", "gpt_tf.keras_models.causal_lm")
    assert "gpt_tf.training.predictor" in found
    assert not found & {
        *(f"gpt_tf.training.{name}" for name in (
            "trainer", "train_step", "distribution", "cluster_environment", "run", "pretraining",
            "finetuning")),
        "gpt_tf.runs.reporting", "gpt_tf.runs.pictures"}  # matplotlib comes with Keras


@pytest.mark.parametrize("path", sorted((ROOT / "gpt_tf" / "flagfiles").glob("*.flags")),
                         ids=lambda p: p.stem)
def test_flagfiles(path):
    configs = (ModelConfig, FineTuningConfig, OptimizerConfig, TrainingConfig, ProbeConfig)
    known = {name: type(field.default) for config in configs
             for name, field in config.__dataclass_fields__.items() if "help" in field.metadata}
    lines = path.read_text().splitlines()
    assert lines[0].startswith("#")
    flags = [line for line in lines if not line.startswith("#")]
    assert len(flags) > 3
    for line in flags:
        name, value = re.fullmatch(r"--(\w+)=(\S+)", line).groups()
        known[name](value)


def test_gpt1_flagfile_is_the_papers_default():
    defaults = {name: field.default
                for config in (ModelConfig, OptimizerConfig, TrainingConfig)
                for name, field in config.__dataclass_fields__.items()}
    checked = 0
    for line in (ROOT / "gpt_tf" / "flagfiles" / "gpt1.flags").read_text().splitlines():
        if line.startswith("--"):
            name, value = line[2:].split("=")
            assert type(defaults[name])(value) == defaults[name], name
            checked += 1
    assert checked > 10
