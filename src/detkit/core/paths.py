"""What counts as a path: a str is as good as a Path wherever a person calls detkit."""

from __future__ import annotations

import os

StrPath = str | os.PathLike[str]
PATH_TYPES = (str, os.PathLike)  # of StrPath, for isinstance
