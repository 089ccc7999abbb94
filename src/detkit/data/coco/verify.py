"""Every image opened and, if asked, decoded once; the verdicts are remembered between runs.

A verdict counts only for the same real path, size, modification time and Pillow version.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import PIL

from detkit.artifact.cache import FileCache, FileStamp
from detkit.core.errors import DataError
from detkit.core.reading import bytes_of
from detkit.data.image import ImageFacts, open_image

Progress = Callable[[int, int], None]  # images done, images in all

CACHE_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether an image can be used: `error` is empty if so.

    `sha256` is empty when only the header was read.
    """

    facts: ImageFacts | None
    error: str
    sha256: str


def verify_images(
    stamps: Sequence[FileStamp], *, key: str, pixels: bool, on_progress: Progress | None = None
) -> list[Verdict]:
    """A verdict for each file: of its header, or with `pixels` of the whole of it.

    `key` names this set of images in the cache.
    """
    cache = _cache_of(key)
    known = cache.read()
    verdicts = [_verdict_of(known.get(stamp.key)) for stamp in stamps]
    todo = [i for i, verdict in enumerate(verdicts) if verdict is None]
    judge = _judge_pixels if pixels else _judge_header
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done, (i, verdict) in enumerate(
            zip(todo, pool.map(judge, [stamps[i].path for i in todo]), strict=True), start=1
        ):
            verdicts[i] = verdict
            if on_progress:
                on_progress(len(stamps) - len(todo) + done, len(stamps))
    complete = [verdict for verdict in verdicts if verdict is not None]
    if pixels and todo:
        rows = {s.key: _row_of(v) for s, v in zip(stamps, complete, strict=True) if v.sha256}
        cache.write(rows)
    return complete


def _judge_pixels(path: Path) -> Verdict:
    try:
        data = bytes_of(path)
    except OSError as error:
        return Verdict(facts=None, error=error.strerror or str(error), sha256="")
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        with open_image(data) as (image, facts):
            image.load()
            return Verdict(facts=facts, error="", sha256=sha256)
    except DataError as error:
        return Verdict(facts=None, error=_without_name(error, "image"), sha256=sha256)


def _judge_header(path: Path) -> Verdict:
    try:
        with open_image(path) as (_, facts):
            return Verdict(facts=facts, error="", sha256="")
    except DataError as error:
        return Verdict(facts=None, error=_without_name(error, str(path)), sha256="")


def _without_name(error: DataError, name: str) -> str:
    return str(error).removeprefix(f"{name}: ")


# --- the memory ----------------------------------------------------------------------------------


def _cache_of(key: str) -> FileCache:
    head = {"schema": CACHE_SCHEMA, "pillow": PIL.__version__}
    return FileCache(kind="verdicts", key=key, head=head)


def _verdict_of(row: object) -> Verdict | None:
    """The verdict that a row of the cache stands for; None where it is damaged."""
    if not isinstance(row, list) or len(row) != 6:
        return None
    width, height, orientation, frames, error, sha256 = row
    numbers = (width, height, orientation, frames)
    if not all(isinstance(number, int) for number in numbers):
        return None
    facts = ImageFacts(width=width, height=height, orientation=orientation, frames=frames)
    return Verdict(facts=None if error else facts, error=str(error), sha256=str(sha256))


def _row_of(verdict: Verdict) -> list[object]:
    facts = verdict.facts or ImageFacts(width=0, height=0, orientation=1, frames=1)
    return [
        *(facts.width, facts.height, facts.orientation, facts.frames),
        *(verdict.error, verdict.sha256),
    ]
