"""Checkpoints of other tools are known by the names in their pickles."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from detkit.artifact.other_tools import export_hint


def checkpoint(path: Path, pickled: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return path


@pytest.mark.parametrize(
    ("pickled", "begins"),
    [
        (b"\x80\x02cultralytics.nn.tasks\nDetectionModel\n", "yolo export model="),
        (b"\x80\x02cmodels.yolo\nModel\n", "python export.py --weights "),
    ],
)
def test_a_pickled_network_is_exported_by_its_own_tool(
    tmp_path: Path, pickled: bytes, begins: str
) -> None:
    path = checkpoint(tmp_path / "a.pt", pickled)
    hint = export_hint(path)
    assert f": {begins}{path}" in hint
    assert hint.endswith(f"detkit info {tmp_path / 'a.onnx'}")


def test_plain_tensors_and_what_is_no_archive_are_of_no_known_tool(tmp_path: Path) -> None:
    assert export_hint(checkpoint(tmp_path / "a.pth", b"\x80\x02ctorch\n")) == ""
    (tmp_path / "b.pth").write_bytes(b"PK\x03\x04 no archive")
    assert export_hint(tmp_path / "b.pth") == ""
    assert export_hint(tmp_path / "missing.pth") == ""
