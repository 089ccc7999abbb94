"""A small part of the campaign against the tool's promises: kills, full disks, dirty folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KILLS = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from reliability_kills import kill_all, victims
from reliability_process import preload

work = Path(sys.argv[1])
preload()
chosen = [v for v in victims(work, work, work) if v.name == "synth"]
print(json.dumps([asdict(row) for row in kill_all(chosen, work, kills=3, seed=0)]))
"""
FOLDERS = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from reliability_folders import draw_folders

print(json.dumps([asdict(row) for row in draw_folders(Path(sys.argv[1]), times=40, first_seed=0)]))
"""


def rows(command: list[str], **environment: str) -> list[dict[str, Any]]:
    """The lines of the table that a process prints as JSON."""
    search = os.pathsep.join([str(BENCHMARKS), *sys.path])
    env = {**os.environ, "PYTHONPATH": search, **environment}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def held(found: list[dict[str, Any]]) -> bool:
    return all(row["tried"] and row["held"] == row["tried"] for row in found)


def test_killed_verbs_end_as_undisturbed_ones(tmp_path: Path) -> None:
    found = rows([sys.executable, "-c", KILLS, str(tmp_path)])
    assert len(found) == 1
    assert held(found), found


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler to make the full disk with")
def test_a_full_disk_is_one_error_and_leaves_nothing_half(tmp_path: Path) -> None:
    shim = tmp_path / "disk_full.so"
    source = BENCHMARKS / "disk_full.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    script = str(BENCHMARKS / "reliability_disk.py")
    command = [sys.executable, script, str(tmp_path), str(tmp_path / "work"), "4", "data synth"]
    (row,) = rows(command, LD_PRELOAD=str(shim))
    assert row["tried"] == 4
    assert held([row]), row


def test_images_and_labels_of_dirty_folders_add_up(tmp_path: Path) -> None:
    found = rows([sys.executable, "-c", FOLDERS, str(tmp_path)])
    assert len(found) == 3
    assert held(found), found
    assert all(min(row["notes"]["read"], row["notes"]["refused"]) > 0 for row in found)
