"""Who may write where something already exists: files, folders, and runs that can be resumed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from detkit.core.errors import UsageError
from detkit.core.run_lock import LOCK


def check_output_file(path: Path, *, force: bool) -> None:
    """Raises UsageError where `path` is a folder, or a file that may not be overwritten."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint="-o the name of a file")
    if path.exists() and not force:
        raise UsageError(f"{path} already exists", hint="pass --force to overwrite")


def check_output_folder(folder: Path, *, force: bool) -> None:
    """Raises UsageError where `folder` is a file, or holds what may not be overwritten."""
    if _is_filled(folder) and not force:
        raise UsageError(f"{folder} already exists", hint="pass --force to overwrite")


def check_run_folder(folder: Path, *, resume: bool, force: bool) -> None:
    """Raises UsageError where `folder` is a file, or holds a run to resume or to start over."""
    if _is_filled(folder) and not (resume or force):
        raise UsageError(
            f"{folder} already exists", hint="use --resume to continue or --force to start over"
        )


def remove_earlier_run(folder: Path, names: Iterable[str]) -> None:
    """Removes the files and folders of an earlier run by their names, and nothing else."""
    for path in (folder / name for name in names):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _is_filled(folder: Path) -> bool:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder")
    return folder.is_dir() and any(path.name != LOCK for path in folder.iterdir())
