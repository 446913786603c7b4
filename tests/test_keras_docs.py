"""The docstrings of the Keras classes: every argument is told, and every example runs."""

import inspect
import re
import textwrap
import warnings

import pytest

from gpt_tf import keras_models
from tests import corpora, runs

tokenizer_dir_fixture = corpora.tokenizer_dir_fixture
tokenizer_fixture = corpora.tokenizer_fixture
CLASSES = [getattr(keras_models, name) for name in keras_models.__all__]


def public(cls):
    """Name -> the class, and what it defines itself that has a docstring."""
    found = {cls.__name__: cls}
    for name, value in vars(cls).items():
        value = value.fget if isinstance(value, property) else inspect.unwrap(
            getattr(value, "__func__", value))
        if inspect.isfunction(value) and not name.startswith("_") and value.__doc__:
            found[f"{cls.__name__}.{name}"] = value
    return found


PUBLIC = {name: value for cls in CLASSES for name, value in public(cls).items()}


def examples(docstring):
    """The code of each "Example:"."""
    parts = re.split(r"^Example:\n", inspect.cleandoc(docstring), flags=re.MULTILINE)[1:]
    return [textwrap.dedent(re.split(r"^(?=\S)", part, maxsplit=1, flags=re.MULTILINE)[0])
            for part in parts]


def test_examples_are_found():
    assert examples("A.\n\n    Example:\n      a = 1\n\n      b = 2\n\n    More.\n    ") == [
        "a = 1\n\nb = 2\n\n"]
    assert examples("Like another's example: none.") == []


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory, tokenizer):
    """Where examples run: runs/books, a language model of random weights."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "runs").mkdir()
    runs.make_run(folder / "runs" / "books", tokenizer, {1: runs.make_model(
        tokenizer.vocabulary_size, num_layers=1, hidden_dim=8)})
    return folder


@pytest.mark.parametrize("name", PUBLIC)
def test_examples_run(folder, name, monkeypatch):
    found = examples(PUBLIC[name].__doc__ or "")
    assert found or "." in name, f"{name} has no example"
    monkeypatch.chdir(folder)
    for code in found:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Keras says of its own, as users see it
            exec(compile(code, f"the example of {name}", "exec"), {"__name__": "example"})


@pytest.mark.parametrize("name", PUBLIC)
def test_docstrings_stand_alone(name):
    """No other library's pages are needed to know what an argument is."""
    value = PUBLIC[name]
    text = inspect.cleandoc(value.__doc__ or "")
    assert not re.search(r"\b([Ll]ike|[Ss]ee|[Aa]s of|[Tt]hose of) `?keras_(nlp|hub)", text), text
    if not inspect.isclass(value):
        return
    described = re.findall(r"^  ((?:\*{0,2}\w+(?:, )?)+):", text, flags=re.MULTILINE)
    told = {each.lstrip("*") for line in described for each in line.split(", ")}
    arguments = {each.name for each in inspect.signature(value.__init__).parameters.values()
                 if each.kind != each.VAR_KEYWORD} - {"self"}
    assert arguments <= told, f"{name} does not say what {sorted(arguments - told)} are"
