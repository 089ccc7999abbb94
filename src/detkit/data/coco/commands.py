"""The command lines that messages about a folder name: what they say can be typed as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from detkit.data.coco import faults
from detkit.report import Fault

Files = Mapping[str, tuple[Path, Path]]  # split -> annotation file, image folder


def check_command(root: Path, files: Files | None = None, split: str = "") -> str:
    """The line that lists every fault: of the folder, or of a split of the files that were named.

    >>> check_command(Path("coco"))
    'detkit data check coco'
    >>> check_command(Path("img"), {"train": (Path("a.json"), Path("img"))})
    'detkit data check a.json --images img'
    """
    return f"detkit data check {_subject(root, files, split)}"


def convert_command(root: Path, files: Files | None = None, *, from_: str = "coco") -> str:
    """The start of the line that reads a folder in another way; `-o NEW` is to follow.

    >>> convert_command(Path("my pets"))
    "detkit data convert 'my pets' --from coco"
    """
    return f"detkit data convert {_subject(root, files, '')} --from {from_}"


def remedy(rejected: Fault, root: Path) -> str:
    """What mends a fault that makes a folder unusable; empty where only its detail says."""
    if rejected.detail == faults.LINKED_OUT:
        return f"cp -rL {shlex.quote(str(root))} COPY makes a folder of the images themselves"
    if rejected.reason == faults.CATEGORY_MISMATCH:
        return "write the same names under 'categories' of every file"
    return ""


def _subject(root: Path, files: Files | None, split: str) -> str:
    if not files:
        return shlex.quote(str(root))
    annotations, images = files[split if split in files else next(iter(files))]
    return shlex.join([str(annotations), "--images", str(images)])
