"""Which images a user means by naming files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.image import is_image_name


def find_images(sources: Iterable[Path]) -> list[Path]:
    """The files named, and all images below the folders named, sorted; each path once.

    A file counts whatever its suffix; in a folder the suffix decides, formats that are not read
    among them, and hidden files are left out.

    Raises:
        DataError: a name that is not there, or a folder without images.
    """
    found: dict[Path, None] = {}
    for source in sources:
        if source.is_dir():
            below = sorted(path for path in source.rglob("*") if _is_image(path))
            if not below:
                raise DataError(f"{source}: no images in this folder")
            found.update(dict.fromkeys(below))
        elif source.exists():
            found[source] = None
        else:
            raise DataError(f"no such image or folder: {source}")
    return list(found)


def _is_image(path: Path) -> bool:
    return is_image_name(path.name) and path.is_file()


def names_below_common_folder(sources: Iterable[Path], images: Iterable[Path]) -> list[Path]:
    """The images' paths relative to the folder that all `sources` share: distinct names.

    Of a single folder that folder itself, of a single file the one it lies in.
    """
    homes = [os.path.abspath(s if s.is_dir() else s.parent) for s in sources]  # noqa: PTH100
    common = os.path.commonpath(homes)
    return [Path(os.path.relpath(path, common)) for path in images]
