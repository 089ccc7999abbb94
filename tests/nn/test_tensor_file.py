"""A file of tensors is the library's own, byte for byte."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch

from detkit.nn.tensor_file import DTYPES, write_tensors


def test_the_file_is_what_the_library_writes(tmp_path: Path) -> None:
    tensors = {
        f"layer.{number}.\u00e9\n": torch.arange(6).to(dtype).reshape(2, 3)
        for number, dtype in enumerate(DTYPES)
    }
    tensors |= {"b": torch.tensor(3.5), "a": torch.zeros(0, 4), "steps": torch.tensor(7)}
    write_tensors(tmp_path / "ours", tensors, {"key": 'a "text" \x01\n\u2603'})
    theirs = safetensors.torch.save(tensors, {"key": 'a "text" \x01\n\u2603'})
    assert (tmp_path / "ours").read_bytes() == theirs


def test_views_and_other_memory_formats_are_written_as_they_read(tmp_path: Path) -> None:
    images = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    write_tensors(tmp_path / "ours", {"x": images, "t": images[0, 0].t()}, {})
    found = safetensors.torch.load_file(tmp_path / "ours")
    assert torch.equal(found["x"], images)
    assert torch.equal(found["t"], images[0, 0].t())
