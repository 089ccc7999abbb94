"""A cache that is the test's own, and drawn folders to load from."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`$XDG_CACHE_HOME`, so that no test sees the verdicts of another."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn COCO folder: 11 training images and 5 others of 64 pixels."""
    from detkit.data.synthetic.synth import synthesize

    out = tmp_path_factory.mktemp("drawn") / "shapes"
    return synthesize(out, images={"train": 11, "val": 5}, size=64, seed=3)
