"""`detkit report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli import console
from detkit.cli.options import Out

EXAMPLES = {
    "report": ("detkit report runs/a", "detkit report runs/a -o a.html"),
}


def report(
    run: Annotated[Path, typer.Argument(help="Run folder, of a run ended or still going.")],
    out: Out = None,
) -> None:
    """Make one HTML page of a run folder: curves, classes, images, reports.

    The page holds everything: no scripts, nothing fetched. By default it is RUN/report.html.
    """
    from detkit.artifact.artifact import write_text
    from detkit.pages.run_page import render_run

    path = out or run / "report.html"
    write_text(path, render_run(run))
    console.made(path)
