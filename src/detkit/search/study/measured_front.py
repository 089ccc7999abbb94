"""Measured latencies of a front taken back into the study that had only predicted them.

detkit profile searched/pareto.json --precision int8 -o measured.json     (on the device)
detkit search -o searched --resume --measured measured.json
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from detkit.config import SearchConfig
from detkit.core.errors import UsageError
from detkit.engines import find_engine
from detkit.inspection.run_folder import read_json_file
from detkit.report import MeasuredFront
from detkit.search.scoring.objective import with_bound
from detkit.search.study.journal import Journal
from detkit.spec.space import SearchSpace


def read_measured(path: Path, config: SearchConfig) -> MeasuredFront:
    """Reads the report of `detkit profile pareto.json`.

    Raises:
        ArtifactError: no such file, or damaged.
        UsageError: something else, or measured as something else than the study is about.
    """
    kind, found = read_json_file(path)
    if not isinstance(found, MeasuredFront):
        raise UsageError(
            f"{path} is a {kind}, not a measured front",
            hint="detkit profile OUT/pareto.json -o FILE",
        )
    for flag, was, now in (
        ("runtime", found.runtime, find_engine(config.runtime).name),
        ("precision", found.precision, config.precision),
        ("threads", found.threads, config.threads),
    ):
        if was != now:
            raise UsageError(
                f"{path} was measured with {flag} {was}, the search is for {now}",
                hint=f"measure it again with --{flag} {now}",
            )
    return found


def apply_measured(journal: Journal, space: SearchSpace, measured: MeasuredFront) -> int:
    """Writes the latencies into the trials of the same networks; returns how many there are.

    Raises:
        UsageError: none of the networks is a trial of this study.
    """
    latencies = {network.digest: network.latency_ms for network in measured.networks}
    taken = 0
    for trial in journal.completed():
        digest = space.to_arch(trial.point).digest
        if digest in latencies:
            figures = {**trial.figures, **with_bound(latencies[digest], 0.0)}
            journal.correct(dataclasses.replace(trial, figures=figures))
            taken += 1
    if not taken:
        raise UsageError(
            "none of the networks measured is a trial of this search",
            hint="measure the pareto.json of this folder",
        )
    return taken
