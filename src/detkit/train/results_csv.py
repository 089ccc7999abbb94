"""`results.csv`: the epochs of `metrics.jsonl` as a table, for spreadsheets and plots.

It holds nothing of its own, so it is written anew from those lines after every epoch and on resume.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from detkit.artifact.writing import write_text
from detkit.inspection.run_folder import RESULTS_COLUMNS, Epoch, read_metrics

RESULTS = "results.csv"


def write_results(metrics: Path) -> None:
    """Writes `results.csv` beside a `metrics.jsonl`."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(RESULTS_COLUMNS)
    for _, epoch in read_metrics(metrics):
        rows.writerow(_cell(epoch, column) for column in RESULTS_COLUMNS)
    write_text(metrics.with_name(RESULTS), text.getvalue())


def _cell(epoch: Epoch, column: str) -> str:
    """A value of an epoch; empty where it is undefined."""
    if column == "epoch":
        return str(epoch.number)
    value = epoch.values.get(column)
    return "" if value is None else f"{value:.6g}"
