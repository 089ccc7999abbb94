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
    run: Annotated[
        Path, typer.Argument(help="Run folder, of a run ended or still going, or search folder.")
    ],
    out: Out = None,
) -> None:
    """Make one HTML page of a run folder: curves, classes, images, reports.

    The page holds everything: no scripts, nothing fetched. By default it is RUN/report.html. Of a
    search folder it is pareto.html, which the search has written.
    """
    from detkit.artifact.writing import write_text
    from detkit.cli.report_output import check_report_file
    from detkit.core.errors import ArtifactError
    from detkit.core.reading import text_of
    from detkit.inspection.inspect import inspect_file
    from detkit.inspection.other_files import is_search_folder
    from detkit.pages.run_page import render_run

    check_report_file(out, force=True)
    if is_search_folder(run):
        page = run / "pareto.html"
        if not page.is_file():
            raise ArtifactError(f"{run}: the search has not ended", hint="detkit search --resume")
        if out is not None:
            write_text(out, text_of(page))
        console.made(out or page)
        return
    if run.is_file():
        raise ArtifactError(
            f"{run} is one file ({inspect_file(run).kind}), and a page is made of a folder",
            hint=f"detkit info {run}; a report in a run folder is on that run's page",
        )
    path = out or run / "report.html"
    check_report_file(path, force=True)
    write_text(path, render_run(run))
    console.made(path)
