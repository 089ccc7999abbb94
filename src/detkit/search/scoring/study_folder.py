"""The folder of a study: which files in it the search has made, and may remove to start over."""

from __future__ import annotations

from pathlib import Path

from detkit.artifact.outputs import begin_folder, claim

VERB = "search"  # that the folder is made by
STUDY_FILES = (  # beside what is claimed one by one
    "search.toml",
    "journal.sqlite",
    "journal.sqlite-journal",
    "report.json",
    "pareto.json",
    "pareto.html",
)
CLAIMED = ("front/*.json", "runs/*.json", "runs/*.safetensors", "searcher/*.json", "*/costs.json")
RUN_FOLDERS = ("runs/*", "supernet")  # with marks of their own


def begin_study(out: Path, *, resume: bool) -> None:
    """Starts over in `out`, or continues there, also in a copy that came without its marks.

    Raises:
        UsageError: something that is not ours is in the way.
    """
    files = [path for pattern in CLAIMED for path in out.glob(pattern)] if resume else []
    runs = [path for pattern in RUN_FOLDERS for path in out.glob(pattern)] if resume else []
    names = [path.relative_to(out).as_posix() for path in files]
    names += [f"{path.relative_to(out).as_posix()}/" for path in runs if path.is_dir()]
    begin_folder(out, VERB, (*STUDY_FILES, *names), resume=resume)


def claim_in_study(out: Path, *names: str) -> None:
    """Marks more names as made by the search, before they are written; see `outputs.claim`."""
    claim(out, VERB, *names)
