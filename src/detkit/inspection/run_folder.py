"""What verbs leave on disk, read back: reports, and the folder of a training run.

What lives here: telling the JSON reports apart and collecting a run's files. What does not:
artifacts (see `artifact`), and writing any of this (see `train`).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detkit.core.content_digest import check_seal, reading, unsealed
from detkit.core.errors import ArtifactError, UsageError
from detkit.core.json_text import parse_json
from detkit.core.reading import require_file
from detkit.core.serialization import from_plain, is_required
from detkit.inspection.other_files import SEARCH_FRONT, Listing, read_text, shape_of
from detkit.report import Report, TrainReport, kind_of_class, report_classes
from detkit.spec.arch import ArchSpec

JsonContent = ArchSpec | Report | Listing

ARCHITECTURE = "architecture"  # written by people too, so it carries no kind
REPORTS: dict[str, type[Report]] = {kind_of_class(cls): cls for cls in report_classes()}
MAX_JSON_BYTES = 64 << 20
RESULTS_COLUMNS = (  # of `results.csv`; they are there in every run, in this order
    *("epoch", "seconds", "loss", "loss_cls", "loss_iou", "loss_dfl"),
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "precision", "recall"),
    *("lr", "images_per_s", "data_wait_share"),
)
RUN_FILES = ("config.toml", "metrics.jsonl")  # either makes a folder a run folder


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One line of `metrics.jsonl`: its numbers by key, and the AP of every class.

    The AP of a class is None where validation has no box of it.
    """

    number: int
    values: dict[str, float]
    per_class: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A run folder. `reports` are by file name; `files` are all names in it, sorted.

    `unread` says of every JSON file that could not be read why; a page is made without it.
    """

    config: str
    epochs: tuple[Epoch, ...]
    reports: dict[str, JsonContent]
    unread: dict[str, str]
    files: tuple[str, ...]

    @property
    def train_report(self) -> TrainReport | None:
        """The report of the finished run; None while it has not ended."""
        found = [item for item in self.reports.values() if isinstance(item, TrainReport)]
        return found[0] if found else None


def is_run_folder(path: Path) -> bool:
    return any((path / name).is_file() for name in RUN_FILES)


def read_run_folder(folder: Path) -> TrainingRun:
    """Reads a run folder; JSON files in it that are no report of ours are left out.

    Raises:
        ArtifactError: not a run folder, or a damaged `metrics.jsonl` or `config.toml`.
    """
    if not is_run_folder(folder):
        what = "is not a run folder" if folder.is_dir() else "is no folder"
        raise ArtifactError(
            f"{folder} {what}", hint="a run folder is what `detkit train -o DIR` makes"
        )
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    config = folder / "config.toml"
    reports, unread = _read_reports([path for path in paths if path.suffix == ".json"])
    return TrainingRun(
        config=read_text(config) if config.is_file() else "",
        epochs=tuple(_read_epochs(folder / "metrics.jsonl")),
        reports=reports,
        unread=unread,
        files=tuple(path.name for path in paths),
    )


def read_json_file(path: Path) -> tuple[str, JsonContent]:
    """The kind and content of one JSON file of ours.

    Raises:
        ArtifactError: not JSON, not one of ours, of another schema, or damaged.
    """
    plain = _parse(path)
    kind = kind_of(plain)
    if kind:
        return kind, _to_content(path, kind, plain)
    found = shape_of(path, plain)
    if found is None:
        raise ArtifactError(f"{path} is not a detkit JSON file", hint=_hint(path, plain))
    if found[0] == SEARCH_FRONT:
        with reading(path):
            for number, item in enumerate(plain):
                check_seal(item, f"{path.name}: network {number}")
    return found


def kind_of(plain: Any) -> str:
    """The kind that a JSON value names, or has as an architecture; empty if neither."""
    if not isinstance(plain, Mapping):
        return ""
    kind = plain.get("kind")
    if isinstance(kind, str) and kind in REPORTS:
        return kind
    required = {item.name for item in dataclasses.fields(ArchSpec) if is_required(item)}
    return ARCHITECTURE if required <= set(plain) else ""


def _hint(path: Path, plain: Any) -> str:
    if isinstance(plain, Mapping) and {"images", "annotations"} <= set(plain):
        root = path.parent.parent if path.parent.name == "annotations" else path.parent
        return f"these are COCO annotations: detkit data check {root}"
    if isinstance(plain, Mapping) and "schema_version" in plain and "kind" not in plain:
        return "a report without its kind, of an older detkit: make it again with this one"
    return "known: " + ", ".join((ARCHITECTURE, *REPORTS))


def _parse(path: Path) -> Any:
    require_file(path)
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ArtifactError(f"{path} is too large for a detkit report")
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise ArtifactError(f"{path}: not valid JSON: {error}") from error


def _to_content(path: Path, kind: str, plain: Any) -> JsonContent:
    cls: type[ArchSpec | Report] = ArchSpec if kind == ARCHITECTURE else REPORTS[kind]
    ours = {item.name: item.default for item in dataclasses.fields(cls)}
    if plain.get("schema_version", 1) != ours.get("schema_version", 1):
        raise ArtifactError(f"{path} was made by another version of detkit")
    try:
        with reading(path):
            content = unsealed(plain, path.name) if kind == ARCHITECTURE else plain
            return from_plain(cls, content, where=path.name)
    except UsageError as error:
        raise ArtifactError(str(error), hint=error.hint) from error


def _read_reports(paths: list[Path]) -> tuple[dict[str, JsonContent], dict[str, str]]:
    """The reports among `paths` by file name, and of files that cannot be read why."""
    reports: dict[str, JsonContent] = {}
    unread: dict[str, str] = {}
    for path in paths:
        try:
            plain = _parse(path)
            if kind := kind_of(plain):
                reports[path.name] = _to_content(path, kind, plain)
        except ArtifactError as error:
            unread[path.name] = str(error)
    return reports, unread


def _read_epochs(path: Path) -> list[Epoch]:
    """The epochs of `metrics.jsonl`; one trained again after --resume counts once."""
    epochs = {epoch.number: epoch for _, epoch in read_metrics(path)}
    return [epochs[number] for number in sorted(epochs)]


def read_metrics(path: Path) -> list[tuple[str, Epoch]]:
    """The whole lines of a `metrics.jsonl`, and the epoch that each is of; none without the file.

    Half a line at the end, as a killed run may have left it, is passed over.

    Raises:
        ArtifactError: a line that is not the record of an epoch, or has changed since.
    """
    lines = read_text(path).split("\n") if path.is_file() else []
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            with reading(path):
                plain = parse_json(line)
                check_seal(plain, f"{path}, line {number}")
            found.append((line, _read_epoch(plain)))
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            if number == len(lines) and not _begins_whole(line):  # no line break behind it
                break
            raise ArtifactError(f"{path}, line {number}: not the record of an epoch") from error
    return found


def is_results_table(path: Path) -> bool:
    """Whether it is the `results.csv` of a run, by its columns."""
    return read_text(path).partition("\n")[0] == ",".join(RESULTS_COLUMNS)


def read_results_table(path: Path) -> Listing:
    """How many epochs a `results.csv` holds, and in which of them AP was best."""
    rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    scored = [row for row in rows if row["ap"]]
    best = max(scored, key=lambda row: float(row["ap"]), default=None)
    told = {"best": f"AP {best['ap']} in epoch {best['epoch']}"} if best else {}
    return Listing(facts={"epochs": str(len(rows)), **told})


def _begins_whole(line: str) -> bool:
    """Whether a line begins with a whole value: a kill leaves less of it, damage more."""
    try:
        json.JSONDecoder().raw_decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _read_epoch(plain: dict[str, Any]) -> Epoch:
    numbers = {key: _number(value) for key, value in plain.items() if key != "epoch"}
    return Epoch(
        number=int(plain["epoch"]),
        values={key: value for key, value in numbers.items() if value is not None},
        per_class={name: _number(ap) for name, ap in plain.get("per_class", {}).items()},
    )


def _number(value: Any) -> float | None:
    """The value as a finite float; None if it is not one."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known and math.isfinite(value) else None
