"""The walls of the house: who may import whom, and that every shipped flagfile parses."""

import ast
import pathlib
import re

import pytest

from gpt_tf.config import FineTuningConfig, ModelConfig, OptimizerConfig, TrainingConfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMANDS = {"pretrain", "finetune", "evaluate", "generate", "predict", "zero_shot", "convert",
            "export"}
WITHOUT_TENSORFLOW = {"config", "files", "cli", "text", "words", "tokenizer", "tokenizer_files",
                      "ngram", "schedules", "wire", "manifest", "npy", "records", "transforms",
                      "heuristics", "metrics", "pictures", "answers", "bag_of_words", "task_text",
                      "re2", "cluster_environment"}
# What each module of gpt_tf may import of gpt_tf; commands may import anything.
MAY_IMPORT = {
    "config": set(), "files": set(), "schedules": set(), "losses": set(), "ngram": set(),
    "text": {"files"}, "words": {"files", "text"}, "wire": set(),
    "tokenizer_files": {"files", "text", "words"},
    "tokenizer": {"files", "text", "words", "tokenizer_files"},
    "cli": {"files"},
    "transforms": set(), "heuristics": {"transforms"}, "npy": set(),
    "manifest": {"files", "heuristics", "metrics", "transforms"},
    "records": {"files", "manifest", "npy", "wire"}, "input": {"records", "files"},
    "layers": {"config"}, "model": {"config", "layers", "losses"},
    "optimizer": {"config", "schedules"},
    "distribution": {"checkpoint", "cluster_environment", "files", "input"},
    "cluster_environment": {"files"},
    "checkpoint": {"files"},
    "reporting": {"files"},
    "metrics": set(), "pictures": set(), "answers": {"records"},
    "bag_of_words": {"files", "records", "transforms"},
    "task_text": {"files", "records", "transforms"},
    "answering": {"distribution", "files", "input", "run_folder", "task_model", "tokenizer",
                  "transforms"},
    "task_evaluation": {"answers", "bag_of_words", "files", "input", "metrics", "records",
                        "run_folder", "task_model"},
    "training": {"config", "files", "distribution", "checkpoint", "metrics", "optimizer",
                 "reporting", "tracing"},
    "language_model": {"distribution", "layers", "losses", "metrics", "model", "records",
                       "training"},
    "task_model": {"config", "distribution", "layers", "losses", "model", "records", "tracing",
                   "training"},
    "generation": {"config", "layers", "model"},
    "writing": {"files", "generation", "tokenizer"},
    "keras_preset": {"config", "files"},
    "keras_backbone": {"config", "keras_preset", "model", "run_folder", "tokenizer"},
    "keras_optimizer": {"config", "optimizer"},
    "keras_text": {"input", "keras_preset", "keras_backbone", "tokenizer", "transforms"},
    "keras_tasks": {"keras_backbone", "keras_optimizer", "keras_preset", "keras_text", "layers",
                    "losses", "records", "run_folder", "task_model", "transforms"},
    "scoring": {"losses", "model", "tracing"}, "tracing": set(),
    "text_evaluation": {"files", "metrics", "model", "scoring", "text", "tokenizer"},
    "zero_shot_evaluation": {"files", "input", "metrics", "records", "scoring", "task_evaluation"},
    "pretraining": {"checkpoint", "config", "distribution", "files", "generation", "input",
                    "language_model", "model", "optimizer", "records", "reporting", "run_folder",
                    "tokenizer", "training"},
    "finetuning": {"checkpoint", "config", "distribution", "files", "input", "metrics",
                   "optimizer", "pictures", "records", "reporting", "run_folder", "task_model",
                   "tokenizer", "training"},
    "conversion": {"config", "files", "model", "run_folder", "task_model", "tokenizer",
                   "tokenizer_files"},
    "re2": set(), "graph_words": {"re2", "words"}, "graph_bpe": set(),
    "graph_tokenizer": {"files", "graph_bpe", "graph_words", "re2", "text", "tokenizer"},
    "graph_decoder": {"graph_bpe", "tokenizer", "words"}, "graph_transforms": {"transforms"},
    "serving": {"graph_decoder", "graph_tokenizer", "tokenizer"},
    "serving_language_model": {"generation", "model", "serving"},
    "serving_task": {"answers", "graph_transforms", "serving", "task_model", "transforms"},
    "exporting": {"files", "graph_tokenizer", "run_folder", "serving", "serving_language_model",
                  "serving_task", "task_model", "tokenizer", "transforms"},
    "run_folder": {"checkpoint", "config", "files", "model", "records", "task_model", "tokenizer"},
}
PIPELINES_MAY_IMPORT = {"config", "tokenizer", "tokenizer_files", "text", "words", "transforms",
                        "heuristics", "records", "files", "cli"}


def imports(path, at_top_only=False):
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_top_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def ours(path):
    """Names of the gpt_tf modules that `path` imports."""
    names = {path.stem for path in (ROOT / "gpt_tf").glob("*.py")}
    return {name.split(".")[1] for name in imports(path)
            if name.startswith("gpt_tf.") and name.split(".")[1] in names}


@pytest.mark.parametrize("path", sorted((ROOT / "gpt_tf").rglob("*.py")), ids=lambda p: p.stem)
def test_gpt_tf(path):
    assert not any(name.split(".")[0] == "pipelines" for name in imports(path))
    if path.stem in COMMANDS or path.stem == "__init__" or path.parent.name == "interop":
        return
    assert ours(path) <= MAY_IMPORT[path.stem]
    assert not re.search(r"\bFLAGS\b", path.read_text()) or path.stem == "cli"


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.py")), ids=lambda p: p.stem)
def test_pipelines(path):
    assert ours(path) <= PIPELINES_MAY_IMPORT
    # Beam is a choice of the user's: one module knows it, and only when it runs.
    beam = {name for name in imports(path) if name.startswith("apache_beam")}
    assert not beam or path.stem == "with_beam"
    assert not beam & imports(path, at_top_only=True)


@pytest.mark.parametrize("name", sorted(WITHOUT_TENSORFLOW | COMMANDS))
def test_no_tensorflow_at_the_top(name):
    top = {module.split(".")[0] for module in
           imports(ROOT / "gpt_tf" / f"{name}.py", at_top_only=True)}
    assert not top & {"tensorflow", "keras", "keras_nlp"}


@pytest.mark.parametrize("path", sorted((ROOT / "gpt_tf" / "flagfiles").glob("*.flags")),
                         ids=lambda p: p.stem)
def test_flagfiles(path):
    configs = (ModelConfig, FineTuningConfig, OptimizerConfig, TrainingConfig)
    known = {name: type(field.default) for config in configs
             for name, field in config.__dataclass_fields__.items() if "help" in field.metadata}
    lines = path.read_text().splitlines()
    assert lines[0].startswith("#")
    for line in lines:
        if not line.startswith("#"):
            name, value = re.fullmatch(r"--(\w+)=(\S+)", line).groups()
            known[name](value)


def test_gpt1_flagfile_is_the_papers_default():
    defaults = {name: field.default
                for config in (ModelConfig, OptimizerConfig, TrainingConfig)
                for name, field in config.__dataclass_fields__.items()}
    for line in (ROOT / "gpt_tf" / "flagfiles" / "gpt1.flags").read_text().splitlines():
        if line.startswith("--"):
            name, value = line[2:].split("=")
            assert type(defaults[name])(value) == defaults[name], name
