"""The documents say what is so: commands and flags that exist, links that lead somewhere.

Commands are read from every README, BUILD.md and RESULTS.md, from the docstring of every command,
from the comments of the flagfiles and from the examples; nothing here needs TensorFlow.
"""

import ast
from collections.abc import Iterator
import json
import pathlib
import re
import shlex
import subprocess
import sys
from typing import NamedTuple

import pytest

import benchmarks.paper.__main__
import gpt_tf.__main__
from pipelines.tasks import spec
from tests.house import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(
    path for folder in ("gpt_tf", "pipelines", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.md"))])
COMMANDS = sorted(path for folder in (
    "gpt_tf", "pipelines", "benchmarks", "benchmarks/gpu", "benchmarks/paper")
                  for path in (ROOT / folder).glob("*.py") if path.stem != "__init__")
FLAGFILES = sorted([*(ROOT / "gpt_tf" / "flagfiles").glob("*.flags"),
                    *(ROOT / "benchmarks").rglob("*.flags")])
EXAMPLES = sorted((ROOT / "docs").glob("*.py"))
SPECS = ROOT / "pipelines" / "tasks" / "README.md"
LONGEST = {"README.md": 230, "BUILD.md": 230}
MADE = {"pretrain.flags", "convert.flags", "gpt_tf.safetensors", "signatures.json"}  # by commands

# With flags as our commands have them.
_LIKE_OURS = ("benchmarks.gpu.", "benchmarks.make_preset", "benchmarks.paper.")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_OPERATORS = set("();<>|&")

# Parses the lines of our commands with the flags that each of them defines, all in one process,
# and prints what is wrong with each, or nothing.
_PARSE = """
import copy, json, runpy, sys
from absl import flags
from gpt_tf.common import cli, flagfiles
from gpt_tf.common.errors import UserError

def wrong(arguments, is_whole, passes_on):
    values = copy.deepcopy(flags.FLAGS)
    values.unparse_flags()
    if not is_whole:
        for name in values:
            values[name].validators = []  # what is required need not be there
    try:
        arguments = flagfiles.expand(arguments)
        if not passes_on:
            rest = values(["command", *arguments])[1:]
        else:
            values.set_gnu_getopt(True)
            rest = values(["command", *arguments], known_only=True)[1:]
            rest = [] if values[passes_on].value else rest
    except (flags.Error, ValueError, UserError) as error:
        return str(error)
    return f"{rest} are no flags" if rest else ""

def parse(module, lines):
    found = []
    cli.run = lambda main, passes_on="", **_: found.extend(
        wrong(*line, passes_on) for line in lines)
    before = set(flags.FLAGS)
    runpy.run_module(module, run_name="__main__")
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    return found

print(json.dumps({module: parse(module, lines) for module, lines in json.load(sys.stdin).items()}))
"""


class Line(NamedTuple):
    """A `python -m module arguments` that `where` shows.

    is_whole: whether it can be typed as it stands: it has arguments, and no "..." among them.
    """

    where: str
    module: str
    arguments: tuple[str, ...]
    is_whole: bool


def code_of(path: pathlib.Path) -> str:
    """The lines of code in a document, a command's docstring, or a flagfile's comments."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        spans = _SPAN.findall(_FENCE.sub("", text))
        blocks = [block for _, block in _FENCE.findall(text)]
    else:
        if path.suffix == ".py":
            text = ast.get_docstring(ast.parse(text)) or ""
        else:
            text = "".join(line[1:].removeprefix(" ") + "\n" for line in text.splitlines()
                           if line.startswith("#"))
        spans = _SPAN.findall(text)
        blocks = [line for line in text.replace("\\\n", " ").splitlines() if line[:1] == " "]
    return "\n".join([*blocks, *(" ".join(span.split()) for span in spans)])


def commands_of(code: str, where: str) -> Iterator[Line]:
    """Each `python -m` in lines of shell, with its arguments: up to a pipe, a bracket, an end.

    `gpt-tf pretrain` stands for `python -m gpt_tf.pretrain`, `python -m benchmarks.paper tables`
    for `python -m benchmarks.paper.tables`, and `python -m benchmarks.paper.lstm pretrain`, which
    runs it, for `python -m gpt_tf.pretrain`.
    """
    code = code.replace("python -m benchmarks.paper.lstm ", "python -m gpt_tf.")
    for name in benchmarks.paper.__main__.NAMES:
        code = re.sub(rf"python -m benchmarks\.paper {name}\b",
                      f"python -m benchmarks.paper.{name}", code)
    for name, module in gpt_tf.__main__.COMMANDS.items():
        code = re.sub(rf"\bgpt-tf {name}\b", f"python -m {module}", code)
    for line in code.replace("\\\n", " ").splitlines():
        if "python -m " not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = [word.strip("[]") for word in lexer]
        for i in range(len(words) - 2):
            if words[i:i + 2] == ["python", "-m"]:
                end = next((n for n in range(i, len(words)) if set(words[n]) <= _OPERATORS),
                           len(words))
                given = words[i + 3:end]
                yield Line(where, words[i + 2], tuple(word for word in given if word != "..."),
                           bool(given) and "..." not in given)


def calls_of(path: pathlib.Path) -> str:
    """The commands that an example runs by its `gpt_tf("COMMAND ...")`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return "\n".join(f"gpt-tf {node.args[0].value}" for node in ast.walk(tree)
                     if isinstance(node, ast.Call) and ast.unparse(node.func) == "gpt_tf")


def all_commands() -> list[Line]:
    """Of all documents, commands, flagfiles and examples."""
    codes = {path: code_of(path) for path in (*DOCUMENTS, *COMMANDS, *FLAGFILES)}
    codes |= {path: calls_of(path) for path in EXAMPLES}
    return [line for path, code in codes.items()
            for line in commands_of(code, str(path.relative_to(ROOT)))]


def parse(lines: list[Line]) -> list[str]:
    """What is wrong with lines of our commands, which parse as if they were typed in ROOT."""
    by_module: dict[str, list[Line]] = {}
    for line in lines:
        by_module.setdefault(line.module, []).append(line)
    request = json.dumps({module: [(each.arguments, each.is_whole) for each in group]
                          for module, group in by_module.items()})
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _PARSE], cwd=ROOT, input=request,
                          capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return [f"{line.where}: python -m {module}: {error}"
            for module, errors in json.loads(done.stdout).items()
            for line, error in zip(by_module[module], errors, strict=True) if error]


def defined_flags(module: str) -> set[str]:
    """Flags that a benchmark, or one that it imports, defines when it is imported."""
    place = ROOT / module.replace(".", "/")
    source = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    found = {"flagfile", "help"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "benchmarks":
            for alias in node.names:
                found |= defined_flags(f"benchmarks.{alias.name}")
        elif (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
              and node.func.attr.startswith("DEFINE_")):
            found.add(node.args[0].value)
    return found


def slugs(path: pathlib.Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def specs() -> list[str]:
    """The task descriptions that stand in the README of tasks."""
    blocks = _FENCE.findall(SPECS.read_text(encoding="utf-8")) if SPECS.exists() else []
    return [block for language, block in blocks if language == "json"]


def test_flags_of_our_commands():
    ours = [line for line in all_commands()
            if line.module.startswith(("gpt_tf.", "pipelines.", *_LIKE_OURS))]
    assert len({line.module for line in ours}) == 19 + len(benchmarks.paper.__main__.NAMES)
    assert parse(ours) == []


def test_both_readmes_name_the_same():
    """The commands, and the documents of the wings."""
    def named(name):
        path = ROOT / name
        links = re.findall(r"\]\(((?:gpt_tf|pipelines)/[\w/]*README\.md)", path.read_text("utf-8"))
        return {line.module for line in commands_of(code_of(path), name)}, set(links)
    assert named("README.zh.md") == named("README.md")


def test_examples_run_commands():
    found = [line.module for path in EXAMPLES for line in commands_of(calls_of(path), path.name)]
    assert {"gpt_tf.pretrain", "gpt_tf.finetune", "gpt_tf.export"} <= set(found)


def test_flags_of_benchmarks():
    checked = 0
    for line in all_commands():
        if line.module.startswith("benchmarks.") and not line.module.startswith(_LIKE_OURS):
            known = defined_flags(line.module)
            for argument in line.arguments:
                name = re.fullmatch(r"--(\w+)(=.*)?", argument)
                assert name and (name[1] in known or name[1].removeprefix("no") in known), (
                    f"{line.where}: python -m {line.module}: {argument}")
                checked += 1
    assert checked > 30


def test_other_modules():
    for line in all_commands():
        if line.module == "pytest":
            for name in line.arguments:
                assert name.startswith("-") or (ROOT / name).exists(), line
        elif line.module.startswith("tests."):
            assert (ROOT / f"{line.module.replace('.', '/')}.py").exists(), line
        else:
            assert line.module.split(".")[0] in ("gpt_tf", "pipelines", "benchmarks"), line


@pytest.mark.parametrize("text,sentence", [
    ("python -m gpt_tf.generate --model_dir=runs/books --promt='It was'", "promt"),
    ("python -m gpt_tf.pretrain --data_dir=data/books", "model_dir"),
    ("python -m gpt_tf.pretrain --flagfile=none.flags \\\n  --data_dir=a --model_dir=b", "none.fl"),
    ("python -m pipelines.build_corpus --input=a.txt --direct_num_workers=2", "direct_num"),
    ("gpt-tf pretrain --data_dir=data/books --model_dir=a --flagfile=gpt1.flag", "gpt1.flag is"),
    ("head prompts.txt | python -m gpt_tf.predict --model_dir=a runs/b > c.txt", "runs/b"),
])
def test_what_is_wrong_is_found(text, sentence):
    lines = list(commands_of(text, "here"))
    assert len(lines) == 1
    found = parse(lines)
    assert len(found) == 1 and found[0].startswith("here: ") and sentence in found[0]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links(path):
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        assert other.exists(), target
        assert not anchor or anchor in slugs(other), target


def exists(name: str) -> bool:
    """Whether a dotted name is a module of ours, or a name that stands in one."""
    parts = name.split(".")
    for count in (len(parts), len(parts) - 1):
        place = ROOT.joinpath(*parts[:count])
        source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if source.exists():
            return count == len(parts) or parts[-1] in source.read_text(encoding="utf-8")
    return False


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_modules_that_are_named(path):
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    if path.name == "CHANGELOG.md":  # the first column of its table is of names that were
        text = re.sub(r"^\|[^|]*\|", "", text, flags=re.MULTILINE)
    for span in _SPAN.findall(text):
        if span in MADE:
            continue
        if re.fullmatch(r"[\w/]+\.(py|flags)", span):
            assert any((folder / span).exists() for folder in (
                path.parent, ROOT, ROOT / "gpt_tf", ROOT / "pipelines",
                ROOT / "gpt_tf" / "flagfiles")), span
        elif re.fullmatch(r"(gpt_tf|pipelines)(\.\w+)+", span):
            assert exists(span), span
        elif re.fullmatch(r"\w+\.\w+", span) and (
                path.parent / f"{span.split('.')[0]}.py").exists():
            assert exists(".".join((*path.parent.relative_to(ROOT).parts, span))), span


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_in_documents_imports_what_there_is(path):
    for language, block in _FENCE.findall(path.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(block)) if language == "python" else ():
            if isinstance(node, ast.ImportFrom) and node.module.startswith("gpt_tf"):
                for alias in node.names:
                    assert exists(f"{node.module}.{alias.name}"), ast.unparse(node)


@pytest.mark.parametrize("name", LONGEST)
def test_length(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= LONGEST[name]


@pytest.mark.parametrize("number", range(len(specs())))
def test_specs_load(tmp_path, number):
    path = tmp_path / "spec.json"
    path.write_text(specs()[number], encoding="utf-8")
    assert spec.load(str(path)).form == json.loads(specs()[number])["form"]


def test_specs_of_every_form():
    assert {json.loads(each)["form"] for each in specs()} == {
        "classification", "entailment", "similarity", "multiple_choice"}
