"""Readers fed with texts and values that are almost right: each gives a value or one error of ours.

Half of what they are fed is damaged as text, half as values, which parse and mean something else;
digests are right, as somebody who wants to do harm would make them. Each execution has so many
seconds, all of them together so much memory.
"""

from __future__ import annotations

import contextlib
import functools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attacks.mutation import mutated_bytes, mutated_value, overwrite
from attacks.process import Tally, TooSlowError, in_fork, time_limit
from detkit.artifact.artifact import METADATA_KEY, read_manifest
from detkit.artifact.embedded import embedded_text
from detkit.config import TrainConfig, to_toml
from detkit.config.resolve import resolve, settings_by_key
from detkit.core.errors import DetkitError
from detkit.core.serialization import to_json, to_plain
from detkit.inspection.other_files import trial_digest
from detkit.search.study.journal import JOURNAL, Journal
from detkit.spec.arch import ArchSpec
from detkit.spec.json_file import read_spec
from detkit.spec.space import SPACES, SearchSpace
from detkit.spec.zoo import ZOO

SECONDS = 5.0  # of one execution at most
MORE_BYTES = 2 * 2**30

Execute = Callable[[random.Random], None]


def feed_all(prepared: Path, work: Path, *, times: int, seed: int) -> Iterator[Tally]:
    """Executes each reader so often."""
    work.mkdir(parents=True, exist_ok=True)
    readers: dict[str, Callable[[Path, Path], contextlib.AbstractContextManager[Execute]]] = {
        "manifest": _manifests,
        "ArchSpec": functools.partial(_specs, ZOO["yolo-nas-p"]),
        "search space": functools.partial(_specs, SPACES["tiny"]),
        "settings (TOML, --set)": _settings,
        "rows of a journal": _rows,
    }
    for name, make in readers.items():
        feed = functools.partial(_feed, f"reader: {name}", make(prepared, work), times, seed)
        yield in_fork(feed, more_bytes=MORE_BYTES)


def _feed(
    what: str, reader: contextlib.AbstractContextManager[Execute], times: int, seed: int
) -> Tally:
    tally, draw = Tally(what), random.Random(seed)
    with reader as execute:
        for _ in range(times):
            failure, note = "", "read"
            try:
                with time_limit(SECONDS):
                    execute(draw)
            except DetkitError:
                note = "refused"
            except (Exception, TooSlowError) as error:  # what escapes is what is looked for
                failure = f"execution {tally.tried}: {type(error).__name__}: {error}"[:300]
            tally.add(failure, note="" if failure else note)
    return tally


@contextlib.contextmanager
def _manifests(prepared: Path, work: Path) -> Iterator[Execute]:
    plain = json.loads(embedded_text(prepared / "m.safetensors", METADATA_KEY))
    path = work / "drawn.safetensors"

    def execute(draw: random.Random) -> None:
        drawn = _drawn_json(plain, draw).decode("utf-8", "replace")
        header = json.dumps({"__metadata__": {METADATA_KEY: drawn}}).encode()
        overwrite(path, len(header).to_bytes(8, "little") + header)
        to_json(read_manifest(path, verify=False))

    yield execute


@contextlib.contextmanager
def _specs(whole: ArchSpec | SearchSpace, _: Path, work: Path) -> Iterator[Execute]:
    """JSON files of a user's own, made from a whole one."""
    plain, cls = to_plain(whole), type(whole)
    path = work / "spec.json"

    def execute(draw: random.Random) -> None:
        overwrite(path, _drawn_json(plain, draw))
        _ = read_spec(cls, path, "spec").digest

    yield execute


@contextlib.contextmanager
def _settings(_: Path, work: Path) -> Iterator[Execute]:
    toml = to_toml(TrainConfig(data="coco")).encode()
    sets = [f"{key}={json.dumps(value)}" for key, value in settings_by_key(TrainConfig()).items()]
    path = work / "config.toml"

    def execute(draw: random.Random) -> None:
        if draw.random() < 0.5:
            overwrite(path, mutated_bytes(toml, draw))
            to_toml(resolve(TrainConfig, file=path))
            return
        text = mutated_bytes(draw.choice(sets).encode(), draw).decode("utf-8", "replace")
        resolve(TrainConfig, sets=[text])

    yield execute


@contextlib.contextmanager
def _rows(prepared: Path, work: Path) -> Iterator[Execute]:
    path = work / JOURNAL
    path.write_bytes((prepared / "found" / JOURNAL).read_bytes())
    journal = Journal(path, {})
    rows = journal.database.execute("SELECT id, point, told, figures FROM trials").fetchall()

    def write(number: int, *values: Any) -> None:
        """Writes a row with the digest that it should have; nothing is committed."""
        journal.database.execute(
            "UPDATE OR IGNORE trials SET point = ?, told = ?, figures = ?, digest = ? WHERE id = ?",
            (*values, trial_digest(*values), number),
        )

    def execute(draw: random.Random) -> None:
        row = draw.choice(rows)
        number, point, told, figures = row
        point, figures = (
            _drawn_json(json.loads(text or "{}"), draw).decode("utf-8", "replace")
            for text in (point, figures)
        )
        told = draw.choice([told, told, told, None, "x", -1, 2**40, 0.5])
        write(number, point, told, figures)
        try:
            journal.completed()
            journal.pending()
        finally:
            write(*row)

    yield execute
    journal.close()


def _drawn_json(plain: Any, draw: random.Random) -> bytes:
    """JSON of the value made wrong as a value or as a text; NaN as Python writes it."""
    if draw.random() < 0.5:
        return json.dumps(mutated_value(plain, draw)).encode()
    return mutated_bytes(json.dumps(plain).encode(), draw)
