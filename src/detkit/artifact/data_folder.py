"""Telling by sight that a folder holds data: images and what people wrote of them.

What lives here: the layouts of COCO, Roboflow, YOLO and VOC as far as their names tell, so that no
verb writes into one. Which splits there are and how they are read is in `data`.
"""

from __future__ import annotations

from pathlib import Path

SPLITS = ("train", "val", "valid", "validation", "test")
PATTERNS = (  # below the folder; each needs all of its own
    ("annotations/instances_*.json",),
    ("images", "annotations/*.json"),
    ("images", "annotations/*.xml"),
    ("_annotations.coco.json",),
    *((f"{split}/_annotations.coco.json",) for split in SPLITS),
    ("images", "labels/*.txt"),
    ("images", "labels/*/*.txt"),
    *((f"{split}/images", f"{split}/labels/*.txt") for split in SPLITS),
    ("JPEGImages", "Annotations/*.xml"),
)


def data_folder_of(path: Path) -> Path | None:
    """The outermost folder of data that `path` lies in, or is; links are followed.

    Outermost, as a folder of splits may lie in a larger one.
    """
    real = path.resolve()
    return next((home for home in reversed((real, *real.parents)) if _holds_data(home)), None)


def _holds_data(folder: Path) -> bool:
    try:
        return folder.is_dir() and any(
            all(next(folder.glob(pattern), None) for pattern in patterns) for patterns in PATTERNS
        )
    except OSError:
        return False
