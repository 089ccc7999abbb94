"""The trials of a study on disk: SQLite, one transaction a step, safe from a kill at any instant.

A trial is asked, then told, once. Unknown figures are NULL in the file, NaN here. Every row carries
the digest of what it says, and so do the settings: neither is noticed by SQLite when it changes.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.core.content_digest import DamagedError, check_seal, seal
from detkit.core.errors import ArtifactError, DetkitError, UsageError
from detkit.core.json_text import parse_json
from detkit.inspection.other_files import ODD_ROWS, check_trials, trial_digest
from detkit.search.strategies.discrete_space import Point

SCHEMA = """
CREATE TABLE IF NOT EXISTS study (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trials (
  id INTEGER PRIMARY KEY,
  point TEXT NOT NULL UNIQUE,
  told INTEGER UNIQUE,  -- position in the order of telling; NULL while the answer is awaited
  figures TEXT,
  digest TEXT NOT NULL
);
"""
SCHEMA_VERSION = "3"  # since 3: digests
JOURNAL = "journal.sqlite"


@dataclass(frozen=True)
class CompletedTrial:
    """A trial that was told, with its figures."""

    point: Point
    figures: dict[str, float]


class Journal:
    """An open journal file. `settings` are what a resumed study must not change.

    Raises:
        ArtifactError: not a journal, damaged, or in use by another process.
        UsageError: it was begun with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, str]) -> None:
        self.path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self.database = sqlite3.connect(path, timeout=1.0)
        try:
            self._begin({"schema_version": SCHEMA_VERSION, **settings})
        except DetkitError:
            self.database.close()
            raise

    def ask(self, points: Sequence[Point]) -> None:
        """Writes that these points are being evaluated; all of them or none."""
        with self._errors(), self.database:
            rows = [(text, trial_digest(text, None, None)) for text in map(_text, points)]
            self.database.executemany("INSERT INTO trials (point, digest) VALUES (?, ?)", rows)

    def tell(self, point: Point, figures: Mapping[str, float]) -> None:
        """Writes the figures of a point that was asked.

        Raises:
            UsageError: it was not asked, or is told already.
        """
        with self._errors(), self.database:
            (told,) = self.database.execute("SELECT count(told) FROM trials").fetchone()
            text, known = _text(point), _known(figures)
            done = self.database.execute(
                "UPDATE trials SET figures = ?, told = ?, digest = ?"
                " WHERE point = ? AND told IS NULL",
                (known, told, trial_digest(text, told, known), text),
            )
            if done.rowcount != 1:
                raise UsageError(f"{self.path}: told twice, or never asked: {point}")

    def correct(self, trial: CompletedTrial) -> None:
        """Replaces the figures of a trial that was told; the order stays."""
        text, known = _text(trial.point), _known(trial.figures)
        with self._errors(), self.database:
            found = self.database.execute(
                "SELECT told FROM trials WHERE point = ? AND told IS NOT NULL", (text,)
            )
            for (told,) in found.fetchall():
                self.database.execute(
                    "UPDATE trials SET figures = ?, digest = ? WHERE point = ?",
                    (known, trial_digest(text, told, known), text),
                )

    def completed(self) -> list[CompletedTrial]:
        """The trials that were told, in the order told."""
        query = "SELECT point, figures FROM trials WHERE told IS NOT NULL ORDER BY told"
        with self._errors():
            check_trials(self.database)
            return [CompletedTrial(_point(p), _figures(f)) for p, f in self.database.execute(query)]

    def pending(self) -> list[Point]:
        """The points that were asked and not told, in the order asked."""
        query = "SELECT point FROM trials WHERE told IS NULL ORDER BY id"
        with self._errors():
            check_trials(self.database)
            return [_point(text) for (text,) in self.database.execute(query)]

    def close(self) -> None:
        self.database.close()

    def _begin(self, settings: Mapping[str, str]) -> None:
        with self._errors():
            self.database.execute("PRAGMA locking_mode = EXCLUSIVE")  # one driver a study
            with self.database:
                self.database.executescript(SCHEMA)
                self._check_settings(settings)

    def _check_settings(self, settings: Mapping[str, str]) -> None:
        """Writes the settings of a new study; compares them with those of an old one."""
        before = dict(self.database.execute("SELECT key, value FROM study"))
        if before.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
            raise UsageError(f"{self.path} was made by another version of detkit")
        if before:
            check_seal(before, "its settings")
        changed = [key for key, value in settings.items() if before.get(key, value) != value]
        if changed:
            raise UsageError(
                f"a resumed search cannot change {', '.join(changed)}",
                hint="; ".join(f"{key} was {before[key]}" for key in changed),
            )
        sealed = seal({**before, **settings})
        self.database.executemany("INSERT OR REPLACE INTO study VALUES (?, ?)", sealed.items())

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, *ODD_ROWS, DamagedError) as error:
            reason = "another process is using it" if "locked" in str(error) else str(error)
            raise ArtifactError(f"cannot use the journal {self.path}: {reason}") from error


def has_trials(path: Path) -> bool:
    """Whether a journal that is there has a trial that was told, or cannot be read."""
    if not path.is_file():
        return False
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1.0)) as database:
            (told,) = database.execute("SELECT count(told) FROM trials").fetchone()
    except sqlite3.OperationalError as error:
        return "no such table" not in str(error)
    except sqlite3.Error:
        return True
    return bool(told)


def _text(point: Point) -> str:
    return json.dumps(point, sort_keys=True)


def _known(figures: Mapping[str, float]) -> str:
    return json.dumps({n: value if math.isfinite(value) else None for n, value in figures.items()})


def _point(text: str) -> Point:
    """Reads a point from JSON, whose lists are tuples here."""
    plain = parse_json(text)
    return {k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}


def _figures(text: str) -> dict[str, float]:
    return {k: math.nan if v is None else float(v) for k, v in parse_json(text).items()}
