"""Pickles of other tools: nothing runs, sizes are checked, plain values survive."""

from __future__ import annotations

import collections
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detkit.core.errors import ArtifactError
from detkit.importing.pickle_machine import InertObject
from detkit.importing.unpickle import read_checkpoint


class Bomb:
    """Runs a command when unpickled by anything that trusts it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


class Getter:
    """Asks for attributes through builtins, the usual way around a filter."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (dict, "fromkeys")


def test_a_hostile_pickle_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    torch.save({"net": {"w": torch.ones(2)}, "evil": Bomb(marker)}, tmp_path / "x.pth")
    found = read_checkpoint(tmp_path / "x.pth")
    assert not marker.exists()
    assert isinstance(found["evil"], InertObject)
    assert found["evil"].origin == f"{os.system.__module__}.system"
    assert torch.equal(found["net"]["w"], torch.ones(2))


def test_builtins_are_not_reachable(tmp_path: Path) -> None:
    torch.save({"evil": Getter()}, tmp_path / "x.pth")
    evil = read_checkpoint(tmp_path / "x.pth")["evil"]
    assert isinstance(evil, InertObject)
    assert evil.origin == "__builtin__.getattr"


def test_plain_values_and_tensors_survive(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    saved = {
        "ordered": collections.OrderedDict(a=1),
        "names": [np.str_("\u732b"), "dog"],
        "view": base.reshape(3, 4).t()[1:],
        "half": torch.ones(2, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 4),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "size": torch.Size([2, 3]),
        "blob": b"\x00\xff",
    }
    torch.save(saved, tmp_path / "x.pth")
    found = read_checkpoint(tmp_path / "x.pth")
    assert found["ordered"] == {"a": 1}
    assert found["names"] == ["\u732b", "dog"]
    assert torch.equal(found["view"], saved["view"])  # type: ignore[arg-type]
    assert found["half"].dtype == torch.bfloat16
    assert found["empty"].shape == (0, 4)
    assert found["parameter"].tolist() == [1, 1, 1]
    assert found["size"] == (2, 3)
    assert found["blob"] == b"\x00\xff"


def rewrite(path: Path, *, compress: bool = False, drop: str = "") -> None:
    """The same zip with one entry cut short, or deflated."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data[:-4] if drop and name.endswith(drop) else data)


def test_a_storage_of_another_size_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(8)}, tmp_path / "x.pth")
    rewrite(tmp_path / "x.pth", drop="data/0")
    with pytest.raises(ArtifactError, match="another size than stated"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_compressed_bomb_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "x.pth")
    rewrite(tmp_path / "x.pth", compress=True)
    with pytest.raises(ArtifactError, match="compressed"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1).expand(10**9)}, tmp_path / "x.pth")
    with pytest.raises(ArtifactError, match="larger than its storage"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ArtifactError, match="not a torch checkpoint"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_damaged_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(8)}, tmp_path / "x.pth")
    rewrite(tmp_path / "x.pth", drop="data.pkl")
    with pytest.raises(ArtifactError, match="not readable"):
        read_checkpoint(tmp_path / "x.pth")
