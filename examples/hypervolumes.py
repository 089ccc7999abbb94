"""The fronts of searches of one space, compared: hypervolumes from one reference point.

    python examples/hypervolumes.py FOLDER FOLDER...

A search's own hypervolume counts from the worst that it has seen, so those of two searches do not
compare. Here all count from the worst that any of them has seen; the last column is the ratio to
the last folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

from detkit.config import SearchConfig, resolve
from detkit.core.serialization import from_json
from detkit.report import SearchReport
from detkit.search.study.front import front_of, volume_of
from detkit.search.study.journal import CompletedTrial, Journal

SAME = ("space_digest", "evaluator", "cost", "data", "runtime", "precision", "threads")


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]]
    reports = [from_json(SearchReport, (f / "report.json").read_text()) for f in folders]
    for name in SAME:
        if len({getattr(report, name) for report in reports}) != 1:
            sys.exit(f"error: searches of different {name} do not compare")
    config = resolve(SearchConfig, file=folders[0] / "search.toml")
    trials = [read_trials(folder) for folder in folders]
    everything = [trial for some in trials for trial in some]
    fronts = [front_of(config, some) for some in trials]
    volumes = [volume_of(config, everything, front) for front in fronts]
    print("search      trials  front  hypervolume  ratio")
    for report, some, front, volume in zip(reports, trials, fronts, volumes, strict=True):
        ratio = volume / volumes[-1]
        print(f"{report.searcher:<10}{len(some):8}{len(front):7}{volume:13.4f}{ratio:7.2f}")


def read_trials(folder: Path) -> list[CompletedTrial]:
    journal = Journal(folder / "journal.sqlite", {})
    try:
        return journal.completed()
    finally:
        journal.close()


if __name__ == "__main__":
    main()
