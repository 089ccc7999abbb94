"""Files that verbs leave beside reports and artifacts: fronts, journals, search folders, lists.

They are recognised by their shape; what is here only counts and names what they hold.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detkit.core.content_digest import DamagedError, check_seal, content_digest
from detkit.core.errors import ArtifactError
from detkit.core.reading import bytes_of, text_of
from detkit.report import LabelReport

SQLITE = b"SQLite format 3\x00"
KIND_WITHIN = 200  # characters of a report
FIRST_ROWS = 5
SEARCH_FRONT = "search front"
ODD_ROWS = (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError)
SEARCH_FILES = ("search.toml", "journal.sqlite")  # either makes a folder a search's


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A file or folder as facts, a name and one line each."""

    facts: dict[str, str]
    files: tuple[str, ...] = field(default=())


def is_search_folder(path: Path) -> bool:
    """Whether `detkit search -o` made the folder."""
    return any((path / name).is_file() for name in SEARCH_FILES)


def read_search_folder(path: Path) -> Listing:
    """How many trials the journal of a search holds, and which files lie beside it."""
    journal = path / "journal.sqlite"
    facts = read_journal(journal).facts if journal.is_file() else {}
    page = path / "pareto.html"
    ended = {"state": "ended" if page.is_file() else "not ended: detkit search --resume"}
    names = tuple(sorted(child.name for child in path.iterdir()))
    return Listing(facts=ended | facts, files=names)


def is_labelled_folder(path: Path) -> bool:
    """Whether `detkit data label -o` made the folder, or began to."""
    report = path / "report.json"
    kind = f'"kind": "{LabelReport.kind}"'
    return report.is_file() and kind in bytes_of(report)[:KIND_WITHIN].decode("utf-8", "replace")


def read_doubtful_list(path: Path) -> Listing:
    """How many images a `doubtful.csv` holds, and the first of them.

    Raises:
        ArtifactError: a list of something else.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
        first = tuple(f"{row['image']} ({row['doubt']})" for row in rows[:FIRST_ROWS])
    except (csv.Error, KeyError) as error:
        raise ArtifactError(f"{path} is not a list of doubtful images") from error
    return Listing(facts={"images": str(len(rows))}, files=first)


def read_journal(path: Path) -> Listing:
    """The settings of a study and its number of trials, read without locking it.

    Raises:
        ArtifactError: damaged, or the database of something else.
    """
    address = f"file:{path.resolve().as_posix().replace('?', '%3f').replace('#', '%23')}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
            asked, finished = database.execute(
                "SELECT count(*), count(told) FROM trials"
            ).fetchone()
            check_trials(database)
            settings = dict(database.execute("SELECT key, value FROM study ORDER BY key"))
            check_seal(settings, f"the settings in {path}")
    except (sqlite3.Error, *ODD_ROWS) as error:
        raise ArtifactError(f"{path} is not the journal of a search: {error}") from error
    counted = {"trials": f"{finished} of {asked} finished"}
    return Listing(facts=counted | {str(key): str(value) for key, value in settings.items()})


def trial_digest(point: str, told: int | None, figures: str | None) -> str:
    """The digest of a row of a journal: its point, its place in the order of telling, its figures.

    The first and the last are JSON texts.
    """
    return content_digest({"point": point, "told": told, "figures": figures})


def check_trials(database: sqlite3.Connection) -> None:
    """Raises DamagedError where rows of a journal have changed, or some are gone."""
    rows = database.execute("SELECT id, point, told, figures, digest FROM trials ORDER BY id")
    places = []
    for count, (number, point, told, figures, digest) in enumerate(rows, start=1):
        if number != count or digest != trial_digest(point, told, figures):
            raise DamagedError(f"trial {count} is damaged: its content does not match its digest")
        places += [] if told is None else [told]
    if sorted(places) != list(range(len(places))):
        raise DamagedError("trials are missing: their order has gaps")


def shape_of(path: Path, plain: Any) -> tuple[str, Listing] | None:
    """The kind and content of a JSON value that is no report; None where it is nothing of ours."""
    if isinstance(plain, list):
        return _list(plain)
    if not isinstance(plain, Mapping):
        return None
    if {"name", "base", "knobs"} <= set(plain) and isinstance(plain["knobs"], Mapping):
        knobs = {str(key): json.dumps(values) for key, values in plain["knobs"].items()}
        return "search space", Listing(facts={"name": str(plain["name"])} | knobs)
    if set(plain) == {"tracking_uri", "run_id"}:
        return "run in MLflow", Listing(facts={key: str(value) for key, value in plain.items()})
    if {"images", "categories", "annotations"} <= set(plain) and not plain["annotations"]:
        counts = {key: str(len(plain[key])) for key in ("images", "categories")}
        return "image list", Listing(facts=counts)
    return None


def _list(items: list[Any]) -> tuple[str, Listing] | None:
    keys = set(items[0]) if items and isinstance(items[0], Mapping) else set()
    if {"arch", "digest", "latency_ms"} <= keys:
        points = {
            str(item.get("name")): f"score {item.get('score')}, {item.get('latency_ms')} ms"
            for item in items
        }
        return SEARCH_FRONT, Listing(facts={"points": str(len(items))} | points)
    if {"image_id", "category_id", "bbox", "score"} <= keys:
        images = {item.get("image_id") for item in items}
        facts = {"detections": str(len(items)), "images with any": str(len(images))}
        return "detections", Listing(facts=facts)
    return None


def read_text(path: Path) -> str:
    """The whole file.

    Raises:
        ArtifactError: not UTF-8 text.
    """
    try:
        return text_of(path)
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: not UTF-8 text") from error


def read_settings(path: Path) -> Listing:
    """The settings of a run, as its TOML file has them."""
    rows = (line.partition("=") for line in read_text(path).splitlines() if "=" in line)
    return Listing(facts={key.strip(): value.strip() for key, _, value in rows})
