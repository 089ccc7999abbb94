"""A small part of the campaign against the tool's promises; what breaks them is noticed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.command_line import Detkit

Rows = list[dict[str, Any]]
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FIND_ATTACKS = "import sys; sys.path.insert(0, sys.argv[2])\n"
KILLS = """
import dataclasses, json, sys
from pathlib import Path
from attacks.kills import kill_all, victims

work = Path(sys.argv[1])
(synth,) = [v for v in victims(work, work, work) if v.name == "synth"]
fewer = [{"60": "12", "20": "4"}.get(word, word) for word in synth.begin]
synth = dataclasses.replace(synth, begin=fewer, again=[*fewer, "--force"])
print(json.dumps([dataclasses.asdict(row) for row in kill_all([synth], work, scale=0.1, seed=0)]))
"""
FOLDERS = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from attacks.folders import draw_folders

print(json.dumps([asdict(row) for row in draw_folders(Path(sys.argv[1]), times=40, first_seed=0)]))
"""

HOSTILE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from attacks.pickles import read_gadgets, read_mutated
from attacks.readers import feed_all
from detkit.search.study.journal import JOURNAL, Journal
from detkit.starter import FOLDER

work = Path(sys.argv[1])
(work / "found").mkdir()
journal = Journal(work / "found" / JOURNAL, {})
points = [{"width": n, "depths": (1, n)} for n in range(3)]
journal.ask(points)
journal.tell(points[0], {"ap": 0.5, "ms": float("nan")})
journal.close()
(work / "m.safetensors").write_bytes((FOLDER / "yolo-nas-n.safetensors").read_bytes())
found = [read_gadgets(work), read_mutated(work, times=500, seed=0)]
found += feed_all(work, work, times=200, seed=0)
print(json.dumps([asdict(row) for row in found]))
"""
UNSAFE = """
import json, pickle, sys, zipfile
from dataclasses import asdict
from pathlib import Path
import attacks.pickles

def unsafe(path):
    pickle.loads(zipfile.ZipFile(path).read("archive/data.pkl"), encoding="latin1")

attacks.pickles.CALLS = [call for call in attacks.pickles.CALLS if call[1] in ("eval", "exec")]
attacks.pickles.read_checkpoint = unsafe
print(json.dumps([asdict(attacks.pickles.read_gadgets(Path(sys.argv[1])))]))
"""
FLIPS = """
import json, random, sys
from dataclasses import asdict
from pathlib import Path
from attacks.damage import Kind, flip
from detkit.artifact.sealed_json import read_sealed, write_sealed

work = Path(sys.argv[1])
write_sealed(work / "a.json", {"ap": 0.5, "name": "a"})
draw = random.Random(0)
ways = {"sealed": read_sealed, "as bytes": Path.read_bytes}
kinds = [Kind(name, "a.json", read) for name, read in ways.items()]
found = [flip(kind, work, work / "damaged", 40, draw) for kind in kinds]
print(json.dumps([asdict(row) for row in found]))
"""


def read_rows(done: subprocess.CompletedProcess[str]) -> Rows:
    """The lines of the table that a process printed as JSON."""
    assert done.returncode == 0, done.stderr
    found: Rows = json.loads(done.stdout)
    return found


@pytest.fixture
def attack(fork: Detkit, tmp_path: Path) -> Callable[[str], Rows]:
    """`attack(SCRIPT)`: the lines of the table that the script prints, in a process of its own."""

    def run(script: str) -> Rows:
        return read_rows(fork(str(tmp_path), str(BENCHMARKS), script=FIND_ATTACKS + script))

    return run


def held(found: Rows) -> bool:
    return all(row["tried"] and row["held"] == row["tried"] for row in found)


def test_killed_verbs_end_as_undisturbed_ones(attack: Callable[[str], Rows]) -> None:
    found = attack(KILLS)
    assert len(found) == 1
    assert held(found), [row["failures"] for row in found if row["failures"]]


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler to make the full disk with")
def test_a_full_disk_is_one_error_and_leaves_nothing_half(tmp_path: Path) -> None:
    shim = tmp_path / "disk_full.so"
    source = BENCHMARKS / "attacks" / "disk_full.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    command = [sys.executable, "-m", "attacks.disk", str(tmp_path), str(tmp_path / "work")]
    command += ["4", "data synth"]
    search = os.pathsep.join([str(BENCHMARKS), *sys.path])
    env = {**os.environ, "PYTHONPATH": search, "LD_PRELOAD": str(shim)}
    (row,) = read_rows(subprocess.run(command, env=env, capture_output=True, text=True))
    assert row["tried"] == 4
    assert held([row]), row


def test_images_and_labels_of_dirty_folders_add_up(attack: Callable[[str], Rows]) -> None:
    found = attack(FOLDERS)
    assert len(found) == 3
    assert held(found), [row["failures"] for row in found if row["failures"]]
    assert all(min(row["notes"]["read"], row["notes"]["refused"]) > 0 for row in found)


def test_hostile_pickles_and_odd_texts_are_values_or_one_error(
    attack: Callable[[str], Rows],
) -> None:
    found = attack(HOSTILE)
    assert len(found) == 7
    assert held(found), [row["failures"] for row in found if row["failures"]]
    assert all(row["notes"]["read"] > 0 for row in found)


def test_a_call_that_gets_through_is_noticed(attack: Callable[[str], Rows]) -> None:
    """Python's own unpickler in the place of ours executes gadgets."""
    (row,) = attack(UNSAFE)
    assert row["held"] < row["tried"] / 2
    assert any(failure.startswith("executed: ") for failure in row["failures"])


def test_flipped_bits_are_noticed_and_what_ignores_them_is_too(
    attack: Callable[[str], Rows],
) -> None:
    found = attack(FLIPS)
    assert [row["held"] for row in found] == [40, 0]
