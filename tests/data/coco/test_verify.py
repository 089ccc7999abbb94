from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detkit.artifact import cache
from detkit.artifact.cache import FileStamp, cache_folder
from detkit.data.coco import verify
from detkit.data.coco.verify import Verdict, verify_images
from detkit.data.image import open_image


def write(path: Path, seed: int = 0) -> Path:
    levels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(levels).save(path)
    return path


def judged(*paths: Path, pixels: bool = True) -> list[Verdict]:
    return verify_images([FileStamp.of(path) for path in paths], key="k", pixels=pixels)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The sources opened since, in any order."""
    opened: list[object] = []

    @contextmanager
    def spy(source: Any, **options: Any) -> Iterator[Any]:
        opened.append(source)
        with open_image(source, **options) as pair:
            yield pair

    monkeypatch.setattr(verify, "open_image", spy)
    return opened


def test_verdicts_are_remembered_good_and_bad(tmp_path: Path, decoded: list[object]) -> None:
    good, bad = write(tmp_path / "a.png"), tmp_path / "b.png"
    bad.write_bytes(good.read_bytes()[:-30])
    first = judged(good, bad)
    assert len(decoded) == 2
    assert judged(good, bad) == first
    assert len(decoded) == 2
    assert first[0].error == ""
    assert first[1].error
    assert first[1].facts is None


def test_a_changed_file_is_judged_again(tmp_path: Path, decoded: list[object]) -> None:
    path = write(tmp_path / "a.png")
    judged(path)
    os.utime(path, ns=(1, 1))
    judged(path)
    assert len(decoded) == 2


def test_headers_say_size_and_are_not_remembered(tmp_path: Path, decoded: list[object]) -> None:
    path = write(tmp_path / "a.png")
    for _ in range(2):
        (verdict,) = judged(path, pixels=False)
    assert verdict.facts is not None
    assert verdict.facts.upright_size == (16, 16)
    assert verdict.sha256 == ""
    assert len(decoded) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"head": {}}', b"\xff" * 99])
def test_a_damaged_cache_is_not_used(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "a.png")
    expected = judged(path)
    folder = cache_folder()
    assert folder is not None
    (file,) = folder.rglob("*.json")
    file.write_bytes(content)
    assert judged(path) == expected
    damaged = file.read_bytes().replace(b"[16, 16", b'["x", 16')
    file.write_bytes(damaged)
    assert judged(path) == expected


@pytest.mark.parametrize("place", ["relative", "/proc/nowhere"])
def test_without_a_usable_cache_nothing_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    monkeypatch.chdir(tmp_path)
    assert judged(write(tmp_path / "a.png"))[0].error == ""
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = [FileStamp.of(write(tmp_path / "a.png"))]
    verify_images(stamps, key="old", pixels=True)
    folder = cache_folder()
    assert folder is not None
    (old,) = folder.rglob("*.json")
    os.utime(old, (1, 1))
    monkeypatch.setattr(cache, "CACHE_BYTES", old.stat().st_size + 10)
    verify_images(stamps, key="new", pixels=True)
    assert not old.exists()
    assert len(list(folder.rglob("*.json"))) == 1


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    stamps = [FileStamp.of(write(tmp_path / f"{i}.png", seed=i)) for i in range(4)]
    told: list[tuple[int, int]] = []
    verify_images(stamps, key="k", pixels=True, on_progress=lambda *done: told.append(done))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
