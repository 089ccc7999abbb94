"""`detkit search` as a script meets it."""

from __future__ import annotations

import json
from pathlib import Path

from fixtures.command_line import Detkit

SMALL = ("--space", "tiny", "--imgsz", "64", "--set", "classes=3")


def test_search_prints_one_path_resumes_and_gives_json(detkit: Detkit, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = detkit("search", *SMALL, "--trials", "1", "-o", str(out))
    assert (done.returncode, done.stdout) == (0, f"{out}/pareto.json\n")
    assert "trial 1/1" in done.stderr
    front = json.loads((out / "pareto.json").read_text())
    assert {"arch", "digest", "ap", "latency_ms", "measured"} <= set(front[0])
    again = detkit("search", "-o", str(out), "--resume", "--trials", "2", "--json")
    assert again.returncode == 0
    assert again.stdout == (out / "report.json").read_text()
    assert json.loads(again.stdout)["trials"] == 2
    refused = detkit("search", *SMALL, "-o", str(out))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "already exists" in refused.stderr
