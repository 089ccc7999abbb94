from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from detkit.cli import console
from detkit.core.serialization import to_json


@dataclass(frozen=True, kw_only=True)
class Record:
    names: tuple[str, ...]


@pytest.fixture(autouse=True)
def ordinary_volume() -> Iterator[None]:
    console.setup(quiet=False, verbose=False)
    yield
    console.setup(quiet=False, verbose=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("Gr\u00fc\u00dfe \u6587\u5b57", "Gr\u00fc\u00dfe \u6587\u5b57"),
        ("a\x1b[31mred\x1b[0m", "a\\x1b[31mred\\x1b[0m"),
        ("title\x1b]0;x\x07", "title\\x1b]0;x\\x07"),
        ("one\nerror: two\r", "one\\nerror: two\\r"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("line\u2028separator", "line\\u2028separator"),
        ("\ud800 is a byte of a file name", "\ud800 is a byte of a file name"),
    ],
)
def test_safe_shows_control_characters_and_keeps_text(text: str, shown: str) -> None:
    assert console.safe(text) == shown


def test_log_is_silent_when_quiet_and_warnings_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    console.setup(quiet=True, verbose=False)
    console.log("busy")
    console.warn("odd\x1b")
    assert capsys.readouterr() == ("", "warning: odd\\x1b\n")


def test_detail_needs_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    console.detail("hidden")
    console.setup(quiet=False, verbose=True)
    console.detail("shown")
    assert capsys.readouterr().err == "shown\n"


def test_log_keeps_its_own_lines_and_escapes_each(capsys: pytest.CaptureFixture[str]) -> None:
    console.log("one\ntwo\x1b[2J")
    assert capsys.readouterr() == ("", "one\ntwo\\x1b[2J\n")


def test_emit_json_is_exactly_the_report_file(capsys: pytest.CaptureFixture[str]) -> None:
    report = Record(names=("Zebra\u00e4", "\x1b[31m"))
    console.emit(report, json=True, lines=["not this"])
    out, err = capsys.readouterr()
    assert (out, err) == (to_json(report) + "\n", "")
    assert json.loads(out) == {"names": ["Zebra\u00e4", "\x1b[31m"]}
    assert "\x1b" not in out


def test_emit_lines_are_escaped_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit(Record(names=()), json=False, lines=["a\nb", "c"])
    assert capsys.readouterr().out == "a\\nb\nc\n"


def test_table_aligns_text_left_and_numbers_right() -> None:
    rows = [("cat", "0.5", "-"), ("\u732b\u732b", "10.25", "3 ms"), ("caf\u0065\u0301", "7", "")]
    assert console.table(("class", "ap", "time"), rows) == [
        "class     ap  time",
        "cat      0.5     -",
        "\u732b\u732b   10.25  3 ms",
        "caf\u0065\u0301       7",
    ]


def test_table_without_rows_is_its_headers() -> None:
    assert console.table(("a", "b"), []) == ["a  b"]


def test_table_cells_cannot_break_the_line() -> None:
    assert console.table(("name",), [("a\nb",)]) == ["name", "a\\nb"]


def test_progress_writes_nothing_into_a_pipe_even_when_colour_is_forced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with console.progress(3, "epoch 1") as bar:
        bar.advance()
        bar.advance(2, "loss 1.0")
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_draws_on_a_terminal_and_leaves_stdout_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with console.progress(2, "[b]epoch\x1b[2J[/b]") as bar:
        bar.advance(1, "loss [red]")
        print("data")
        bar.advance()
    drawn = terminal.getvalue()
    assert "[b]epoch\\x1b[2J[/b]" in drawn
    assert "loss [red]" in drawn
    assert "2/2" in drawn
    assert capsys.readouterr().out == "data\n"


def test_progress_is_silent_on_a_terminal_when_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console.setup(quiet=True, verbose=False)
    with console.progress(2, "epoch") as bar:
        bar.advance(2)
    assert terminal.getvalue() == ""
