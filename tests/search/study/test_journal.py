from __future__ import annotations

import contextlib
import math
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from detkit.core.errors import ArtifactError, UsageError
from detkit.inspection.other_files import read_journal, trial_digest
from detkit.search.study.journal import Journal
from fixtures.processes import StartProcess

SETTINGS = {"space": "abc", "seed": "0"}
DRIVER = """
import sys, time
from pathlib import Path
from detkit.search.strategies import make_searcher
from detkit.search.study.journal import Journal

journal = Journal(Path(sys.argv[1]), {"seed": "0"})
knobs = {"a": tuple(range(40)), "b": ((1, 2), (3, 4))}
searcher = make_searcher("random", knobs=knobs, minimize=("x",))
for trial in journal.completed():
    searcher.tell(trial.point, trial.figures)
    print("again", trial.point["a"], trial.point["b"][0], flush=True)
waiting = journal.pending()
while waiting or (waiting := searcher.ask(4)):
    if set(map(str, waiting)) - set(map(str, journal.pending())):
        journal.ask(waiting)
    for point in waiting:
        time.sleep(0.005)
        figures = {"x": float(point["a"])}
        journal.tell(point, figures)
        searcher.tell(point, figures)
        print("told", point["a"], point["b"][0], flush=True)
    waiting = []
"""


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite", SETTINGS)
    yield journal
    journal.close()


def reopen(journal: Journal, settings: dict[str, str] = SETTINGS) -> Journal:
    journal.close()
    return Journal(journal.path, settings)


def test_trials_come_back_in_the_order_told(journal: Journal) -> None:
    points = [{"a": 1, "b": (1, 2)}, {"a": 2, "b": (3, 4)}, {"a": 3, "b": (1, 2)}]
    journal.ask(points)
    journal.tell(points[2], {"x": 0.1})
    journal.tell(points[0], {"x": math.nan})
    again = reopen(journal)
    assert [trial.point for trial in again.completed()] == [points[2], points[0]]
    assert again.completed()[0].figures == {"x": 0.1}
    assert math.isnan(again.completed()[1].figures["x"])
    assert again.pending() == [points[1]]
    again.close()


def test_nothing_is_told_twice_or_unasked(journal: Journal) -> None:
    journal.ask([{"a": 1}])
    journal.tell({"a": 1}, {"x": 1.0})
    for point in ({"a": 1}, {"a": 2}):
        with pytest.raises(UsageError, match="told twice, or never asked"):
            journal.tell(point, {"x": 2.0})
    assert [trial.figures for trial in journal.completed()] == [{"x": 1.0}]


def test_points_are_asked_together_or_not_at_all(journal: Journal) -> None:
    journal.ask([{"a": 1}])
    with pytest.raises(ArtifactError, match="UNIQUE"):
        journal.ask([{"a": 2}, {"a": 1}])
    assert journal.pending() == [{"a": 1}]


def test_other_settings_are_refused_by_name(journal: Journal) -> None:
    with pytest.raises(UsageError, match="cannot change seed") as caught:
        reopen(journal, {**SETTINGS, "seed": "1"})
    assert caught.value.hint == "seed was 0"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE trials SET figures = '{\"x\": 0.9}' WHERE told = 0",
        "UPDATE trials SET point = '{\"a\": 9}' WHERE told IS NULL",
        "UPDATE trials SET told = 7 WHERE told = 0",
        "UPDATE trials SET told = NULL WHERE told = 0",
        "UPDATE trials SET digest = x'00' WHERE told = 0",
        "UPDATE trials SET figures = x'ff' WHERE told = 0",
        "UPDATE trials SET id = 9 WHERE told = 0",
        "DELETE FROM trials WHERE told = 0",
        "UPDATE study SET value = 'abd' WHERE key = 'space'",
        "UPDATE study SET key = 'spice' WHERE key = 'space'",
    ],
)
def test_rows_that_have_changed_are_refused(journal: Journal, damage: str) -> None:
    journal.ask([{"a": 1}, {"a": 2}])
    journal.tell({"a": 1}, {"x": 0.1})
    journal.close()
    with contextlib.closing(sqlite3.connect(journal.path)) as database, database:
        database.execute(damage)
    with pytest.raises((ArtifactError, UsageError)):
        read_both(journal)
    with pytest.raises(ArtifactError):
        read_journal(journal.path)


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "1", '{"a": {"b": 1}', "null"])
def test_deep_or_odd_rows_are_refused_though_their_digest_is_right(
    journal: Journal, text: str
) -> None:
    journal.ask([{"a": 1}])
    journal.close()
    with contextlib.closing(sqlite3.connect(journal.path)) as database, database:
        digest = trial_digest(text, 0, text)
        database.execute(
            "UPDATE trials SET point = ?, told = 0, figures = ?, digest = ?", (text, text, digest)
        )
    with pytest.raises(ArtifactError, match="cannot use the journal"):
        read_both(journal)


def read_both(journal: Journal) -> None:
    again = Journal(journal.path, SETTINGS)
    try:
        again.completed()
        again.pending()
    finally:
        again.close()


def test_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j.sqlite").write_bytes(b"not a database, but long enough to look like one" * 9)
    with pytest.raises(ArtifactError, match="cannot use the journal"):
        Journal(tmp_path / "j.sqlite", {})


def test_driver_killed_at_any_instant_loses_no_told_trial_and_tells_none_twice(
    start_process: StartProcess, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "journal.sqlite")]
    told: list[str] = []
    for attempt in range(20):
        process = start_process(*command, stderr=None)
        assert process.stdout is not None
        before = set(told)
        lines = []
        for line in process.stdout:
            lines.append(line.split(maxsplit=1))
            new = sum(kind == "told" for kind, _ in lines)
            if attempt < 3 and new == 7 + attempt:
                time.sleep(0.003 * attempt)
                os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        process.stdout.close()
        assert before <= {point for kind, point in lines if kind == "again"}
        told += [point for kind, point in lines if kind == "told"]
        if process.returncode == 0:
            break
    journal = Journal(tmp_path / "journal.sqlite", {})
    assert (len(journal.completed()), journal.pending()) == (80, [])
    assert len(told) == len(set(told))
    journal.close()
