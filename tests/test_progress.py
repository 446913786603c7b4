"""How far a long piece of work is: a bar on a terminal, lines in a log."""

import io
import types

import pytest

from gpt_tf.common import progress as progress_module
from gpt_tf.common.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(name="clock")
def clock_fixture(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(progress_module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_log_gets_a_line_every_15_seconds_and_one_at_the_end(clock, capsys):
    with Progress(1000, "B", "reading", initial=100) as progress:
        progress.update(100, loss="3.21")
        assert not capsys.readouterr().err
        clock[0] += 20
        progress.update(200)
        assert capsys.readouterr().err == (
            "reading:  40% 400/1.00k [00:20<00:40, 15.0B/s, loss=3.21]\n")
        clock[0] += 14
        progress.update(100, loss="3.00")
        progress.write("a line")
        assert capsys.readouterr().err == "a line\n"
    assert capsys.readouterr().err == "reading:  50% 500/1.00k [00:34<00:42, 11.8B/s, loss=3.00]\n"


def test_work_that_never_began_is_not_reported(capsys):
    with Progress(10, "B", "reading", initial=10):
        pass
    assert not capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress_module.sys, "stderr", terminal)
    with Progress(10, "B", "reading") as progress:
        progress.update(4, loss="3.21")
        progress.write("a line")
        progress.update(6)
    text = terminal.getvalue()
    assert "\ra line\n" in text
    assert text.endswith("\n") and text.count("\n") == 2
    last = text.rstrip("\n").rpartition("\r")[2]
    assert last.startswith("reading: 100%|") and "10/10" in last and "loss=3.21" in last


def test_whole_numbers_are_whole(clock, capsys):
    for total, unit, shown in ((30, "update", "30/30"), (392_702, " rows", "392702/392702"),
                               (30, "B", "30/30"), (2_000_000, "B", "2.00M/2.00M")):
        with Progress(total, unit, "working") as progress:
            progress.update(total)
            clock[0] += 1
        assert f" {shown} [" in capsys.readouterr().err


def test_a_log_has_one_line_at_100_percent(clock, capsys):
    with Progress(30, "update", "training") as progress:
        progress.update(10)
        clock[0] += 20
        progress.update(20)
        assert capsys.readouterr().err.startswith("training: 100% 30/30 [00:20<00:00, ")
    assert not capsys.readouterr().err


def test_compiling_is_said_and_is_not_in_the_time_left(clock, capsys):
    with Progress(31, "update", "training", initial=10) as progress:
        with progress.compiling():
            assert capsys.readouterr().err == "training: compiling ...\n"
            clock[0] += 600
        progress.update(1)
        assert not capsys.readouterr().err
        clock[0] += 20
        progress.update(10)
        assert capsys.readouterr().err == "training:  68% 21/31 [00:20<00:20,  2.00s/update]\n"
        progress.update(10)


def test_the_bar_leaves_compiling_out(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress_module.sys, "stderr", terminal)
    with Progress(10, "update", "training") as progress:
        bar = progress._bar
        start = bar.start_t
        with progress.compiling():
            clock[0] += 600
        assert bar.start_t == start + 600 and bar.initial == 1
    assert "training: compiling ..." in terminal.getvalue()
