"""What verbs say: data on stdout, everything else on stderr, and nothing from outside unescaped."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from detkit.cli import streams
from detkit.core.safe_text import safe as safe

NUMERIC = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?( ?[%a-zA-Z/]+)?|-|")


@dataclass
class _Volume:
    """How much the process says; set once by the verb from -q and -v."""

    quiet: bool = False
    verbose: bool = False
    silent: bool = False


_volume = _Volume()


def setup(quiet: bool, verbose: bool) -> None:
    """`-q` silences the log and the bars, not warnings; `-v` adds details and tracebacks."""
    _volume.quiet, _volume.verbose = quiet, verbose


def be_silent() -> None:
    """Says nothing at all from here on: another process of the same run speaks for this one."""
    _volume.silent = True


def speak() -> None:
    """Says again what there is to say."""
    _volume.silent = False


def is_verbose() -> bool:
    return _volume.verbose


# --- stderr --------------------------------------------------------------------------------------


def log(text: str) -> None:
    """Lines of progress on stderr; silent with -q."""
    if not _volume.quiet:
        _to_stderr(text)


def detail(text: str) -> None:
    """Lines on stderr that only -v shows."""
    if _volume.verbose:
        _to_stderr(text)


def warn(text: str) -> None:
    """`warning: ...` on stderr, also with -q."""
    _to_stderr(f"warning: {safe(text)}")


def error(text: str, *, hint: str = "") -> None:
    """`error: ...` and, where there is one, `hint: ...` on stderr."""
    _to_stderr(f"error: {safe(text)}")
    if hint:
        _to_stderr(f"hint: {safe(hint)}")


def traceback_lines(text: str) -> None:
    _to_stderr(text.rstrip("\n"))


def _to_stderr(text: str) -> None:
    if _volume.silent:
        return
    streams.tell("".join(f"{safe(line)}\n" for line in text.split("\n")))


# --- stdout --------------------------------------------------------------------------------------


def emit(report: Any, *, json: bool, lines: Sequence[str]) -> None:
    """The verb's result: with `json` the report as one JSON object, else `lines`, one a line.

    The JSON text is `to_json(report)` and a newline, as report files are written.
    """
    from detkit.core.serialization import to_json

    if _volume.silent:
        return
    text = to_json(report) + "\n" if json else "".join(f"{safe(line)}\n" for line in lines)
    streams.write(text)


def made(*paths: Path) -> None:
    """The paths of what was made, one a line, exact for scripts and safe on a terminal."""
    exact = not sys.stdout.isatty()
    streams.write("".join(f"{path if exact else safe(str(path))}\n" for path in paths))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned text; columns of numbers are set to the right."""
    cells = [[safe(cell) for cell in row] for row in (headers, *rows)]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(_width, column)) for column in columns]
    right = [bool(rows) and all(map(NUMERIC.fullmatch, column[1:])) for column in columns]
    return ["  ".join(map(_pad, row, widths, right)).rstrip() for row in cells]


def _pad(text: str, width: int, right: bool) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank


def _width(text: str) -> int:
    """Terminal cells: two for wide East Asian characters, none for combining marks."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


# --- progress ------------------------------------------------------------------------------------


class Progress(Protocol):
    def advance(self, n: int = 1, text: str = "") -> None:
        """`n` more are done; `text` replaces what stands at the end of the bar."""
        ...


class _Silent:
    def advance(self, n: int = 1, text: str = "") -> None:
        pass


def shows_bars() -> bool:
    """Whether a line on stderr can be drawn anew: on a terminal, without -q, and not in CI."""
    plain = os.environ.get("TERM") == "dumb" or bool(os.environ.get("CI"))
    silent = _volume.quiet or _volume.silent
    return not (silent or plain) and sys.stderr.isatty()


@contextmanager
def progress(total: int | None, label: str) -> Iterator[Progress]:
    """A bar on stderr while the block runs, where bars are shown."""
    if not shows_bars():
        yield _Silent()
        return
    with _bar(total, label) as bar:
        yield bar


@contextmanager
def _bar(total: int | None, label: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    # stdout is left alone: while a bar is up it must still carry data, byte for byte.
    rich = RichProgress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False
    )
    task = rich.add_task(escape(safe(label)), total=total, text="")

    class Bar:
        def advance(self, n: int = 1, text: str = "") -> None:
            if text:
                rich.update(task, text=escape(safe(text)))
            rich.advance(task, n)

    with rich:
        yield Bar()


class EpochBar:
    """One line at the bottom of the terminal, about the epoch in progress; as wide as that is.

    It is drawn when it is told something, by no thread of its own, so that processes can be forked
    beside it. Lines that are logged meanwhile stand above it.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        def text(template: str) -> TextColumn:
            return TextColumn(template, table_column=Column(no_wrap=True), markup=False)

        self._rich = Progress(
            text("{task.description}"),
            BarColumn(bar_width=None),
            text("{task.fields[text]}"),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
            expand=True,
            redirect_stdout=False,
        )
        self._task = self._rich.add_task("", total=None, text="", visible=False)

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self._rich.console.width

    def show(self, label: str, done: int, total: int, text: str) -> None:
        """Draws the line: `label`, a bar of `done` in `total`, and `text` behind it."""
        self._rich.start()
        self._rich.update(
            self._task,
            description=safe(label),
            completed=done,
            total=total,
            text=safe(text),
            visible=True,
            refresh=True,
        )

    def clear(self) -> None:
        """Takes the line away until it is shown again."""
        self._rich.update(self._task, visible=False, refresh=True)

    def close(self) -> None:
        """Leaves the terminal as it was."""
        self._rich.stop()
