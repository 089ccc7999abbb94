"""Single bits flipped in every kind of file that a verb trusts: refused, or read as it was.

Each file is read by what its verb reads it with. A flip that an archive or a database leaves unread
(blanks between values, an empty page) may change nothing; all others must be one error of ours.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attacks.process import Tally
from detkit.artifact.artifact import read_manifest
from detkit.artifact.outputs import MARKER, made_files
from detkit.bench.baseline import read_baseline
from detkit.core.errors import ArtifactError, DetkitError
from detkit.inspection.run_folder import read_json_file, read_metrics
from detkit.profile.front import read_front
from detkit.search.study.journal import JOURNAL, Journal
from detkit.train.state import read_state


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file, where one is, and how a verb reads it; `flipped` is what is damaged of it."""

    name: str
    path: str
    read: Callable[[Path], Any]
    flipped: str = ""


def _trials(path: Path) -> Any:
    journal = Journal(path, {})
    try:
        return journal.completed(), journal.pending()
    finally:
        journal.close()


def _listed(path: Path) -> Any:
    """What a marker lists; a damaged one lists nothing, so that nothing is removed."""
    if not (found := made_files(path.parent)).made:
        raise ArtifactError("it lists nothing")
    return found


KINDS = (
    Kind("checkpoint", "m.safetensors", read_manifest),
    Kind("ONNX file", "m.onnx", read_manifest),
    Kind("OpenVINO graph", "m.xml", read_manifest),
    Kind("OpenVINO weights", "m.xml", read_manifest, flipped="m.bin"),
    Kind("state of a run", "run/state/state.safetensors", read_state),
    Kind("epochs of a run", "run/metrics.jsonl", read_metrics),
    Kind("report of a run", "run/report.json", read_json_file),
    Kind("marker of a folder", f"run/{MARKER}", _listed),
    Kind("baseline of bench", "b.json", lambda path: read_baseline(path, 5.0)),
    Kind("hardware profile", "p.json", read_json_file),
    Kind("front of a search", "found/pareto.json", read_front),
    Kind("journal of a search", f"found/{JOURNAL}", _trials),
)


def flip_all(prepared: Path, work: Path, *, flips: int, seed: int) -> Iterator[Tally]:
    """Flips one bit of each kind of file, `flips` times."""
    work.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        yield flip(kind, prepared, work, flips, random.Random(seed))


def flip(kind: Kind, prepared: Path, work: Path, flips: int, draw: random.Random) -> Tally:
    """Flips bits of a copy of one file and reads it each time."""
    tally = Tally(f"bit flips: {kind.name}")
    path = _copied(prepared / kind.path, work)
    damaged = path.with_name(kind.flipped) if kind.flipped else path
    whole = damaged.read_bytes()
    wanted = kind.read(path)
    for _ in range(flips):
        position, bit = draw.randrange(len(whole)), draw.randrange(8)
        content = bytearray(whole)
        content[position] ^= 1 << bit
        damaged.write_bytes(content)
        failure, note = "", "refused"
        try:
            note = "changed nothing"
            if not _same(kind.read(path), wanted):
                failure = f"byte {position}, bit {bit}: read as something else"
        except DetkitError:
            note = "refused"
        except Exception as error:  # whatever escapes is what is looked for
            failure = f"byte {position}, bit {bit}: {type(error).__name__}: {error}"
        tally.add(failure, note="" if failure else note)
    return tally


def _copied(path: Path, work: Path) -> Path:
    """A copy of the file and of those beside it, whose damage no other kind sees."""
    folder = work / path.parent.name
    folder.mkdir(parents=True, exist_ok=True)
    for beside in path.parent.iterdir():
        if beside.is_file():
            (folder / beside.name).write_bytes(beside.read_bytes())
    return folder / path.name


def _same(found: Any, wanted: Any) -> bool:
    """Whether two values say the same; NaN is itself."""
    return repr(found) == repr(wanted)
