"""Lean imports: a library is imported without what it can do without, and that not for good."""

import gc
import importlib
import sys

import pytest

from gpt_tf.common import imports


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages that may be imported, and a library that takes them along where they are."""
    (tmp_path / "lean_one.py").touch()
    (tmp_path / "lean_two.py").touch()
    (tmp_path / "lean_library.py").write_text("found = []\n" + "".join(
        f"try:\n  import {name}\n  found.append({name!r})\nexcept ImportError:\n  pass\n"
        for name in ("lean_one", "lean_two")))
    monkeypatch.syspath_prepend(tmp_path)
    yield ("lean_one", "lean_two")
    for name in ("lean_one", "lean_two", "lean_library"):
        sys.modules.pop(name, None)


def test_a_library_finds_none_of_them_and_others_do(packages):
    with imports.lean(packages):
        library = importlib.import_module("lean_library")
    assert not library.found
    assert importlib.import_module("lean_one").__name__ == "lean_one"


def test_what_was_imported_before_stays(packages):
    before = importlib.import_module("lean_two")
    with imports.lean(packages):
        library = importlib.import_module("lean_library")
    assert library.found == ["lean_two"] and sys.modules["lean_two"] is before


def test_the_collector_rests_inside_and_all_is_put_back_after_an_error(packages):
    frozen = gc.get_freeze_count()
    with pytest.raises(RuntimeError), imports.lean(packages):
        assert not gc.isenabled()
        raise RuntimeError
    assert gc.isenabled() and gc.get_freeze_count() > frozen
    assert not set(packages) & set(sys.modules)
