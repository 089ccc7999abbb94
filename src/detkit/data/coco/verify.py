"""Every image opened and, if asked, decoded once; the verdicts are remembered between runs.

The memory is one JSON file for each annotation file, under `$XDG_CACHE_HOME/detkit`: replaced as a
whole by a rename, so several processes may share it; it may be deleted at any time, and a cache
that cannot be read or written is simply not used. A verdict counts only for the same real path,
size, modification time and Pillow version.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import PIL

from detkit.artifact.artifact import write_text
from detkit.core.errors import DataError, DetkitError
from detkit.data.image import ImageFacts, open_image

Progress = Callable[[int, int], None]  # images done, images in all

CACHE_BYTES = 256 << 20
CACHE_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether an image can be used: `error` is empty if so.

    `sha256` is empty when only the header was read.
    """

    facts: ImageFacts | None
    error: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """A file as it is now; another stamp means it may have changed."""

    path: Path
    real: Path  # links followed
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        status = path.stat()
        real = path.resolve()
        return cls(path=path, real=real, size=status.st_size, mtime_ns=status.st_mtime_ns)


def verify_images(
    stamps: Sequence[FileStamp], *, key: str, pixels: bool, on_progress: Progress | None = None
) -> list[Verdict]:
    """A verdict for each file: of its header, or with `pixels` of the whole of it.

    `key` names this set of images in the cache.
    """
    cache = _cache_file(key)
    known = _read_cache(cache) if cache else {}
    verdicts = [known.get(_cache_key(stamp)) for stamp in stamps]
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
    if cache and pixels and todo:
        _write_cache(cache, stamps, complete)
    return complete


def _judge_pixels(path: Path) -> Verdict:
    try:
        data = path.read_bytes()
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


def cache_folder() -> Path | None:
    """`$XDG_CACHE_HOME/detkit` or `~/.cache/detkit`; None where neither is an absolute path."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named else Path("~/.cache").expanduser()
    return base / "detkit" if base.is_absolute() else None


def _cache_file(key: str) -> Path | None:
    folder = cache_folder()
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return folder / "verdicts" / f"{name}.json" if folder else None


def _cache_key(stamp: FileStamp) -> str:
    return f"{stamp.size}:{stamp.mtime_ns}:{os.fsencode(stamp.real).hex()}"


def _cache_head() -> dict[str, object]:
    return {"schema": CACHE_SCHEMA, "pillow": PIL.__version__}


def _read_cache(cache: Path) -> dict[str, Verdict]:
    """Verdicts by `_cache_key`; nothing where the file is missing, another program's or damaged."""
    try:
        plain = json.loads(cache.read_bytes())
        if plain["head"] != _cache_head():
            return {}
        return {key: _verdict_of(row) for key, row in plain["images"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _verdict_of(row: list[object]) -> Verdict:
    width, height, orientation, frames, error, sha256 = row
    numbers = (width, height, orientation, frames)
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError("damaged verdict")
    facts = ImageFacts(width=width, height=height, orientation=orientation, frames=frames)  # type: ignore[arg-type]
    return Verdict(facts=None if error else facts, error=str(error), sha256=str(sha256))


def _row_of(verdict: Verdict) -> list[object]:
    facts = verdict.facts or ImageFacts(width=0, height=0, orientation=1, frames=1)
    return [
        *(facts.width, facts.height, facts.orientation, facts.frames),
        *(verdict.error, verdict.sha256),
    ]


def _write_cache(cache: Path, stamps: Sequence[FileStamp], verdicts: Sequence[Verdict]) -> None:
    rows = {_cache_key(s): _row_of(v) for s, v in zip(stamps, verdicts, strict=True) if v.sha256}
    with contextlib.suppress(DetkitError, OSError):
        write_text(cache, json.dumps({"head": _cache_head(), "images": rows}))
        _prune(cache.parent)


def _prune(folder: Path) -> None:
    """Removes the oldest cache files beyond `CACHE_BYTES` in all."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > CACHE_BYTES:
            file.unlink(missing_ok=True)
