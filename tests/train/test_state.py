from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from detkit.core.errors import ArtifactError
from detkit.train.state import TrainState, load_state, save_state


def parts() -> tuple[Any, Any, torch.optim.Optimizer]:
    """A network, its average and its optimiser, as small as may be."""
    model = nn.Linear(2, 1)
    ema = types.SimpleNamespace(model=nn.Linear(2, 1), updates=0)
    return model, ema, torch.optim.SGD(model.parameters(), lr=0.1)


def test_a_state_reads_back_and_no_flipped_bit_of_it_is_resumed(tmp_path: Path) -> None:
    path, saved = tmp_path / "state.safetensors", parts()
    save_state(path, TrainState(epoch=3, ema_updates=7), *saved, gradients=[])
    model, ema, optimizer = parts()
    assert load_state(path, model, ema, optimizer).epoch == 3
    assert torch.equal(model.weight, saved[0].weight)
    data = path.read_bytes()
    for at in range(8, 8 * len(data), 487):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        with pytest.raises(ArtifactError):
            load_state(path, model, ema, optimizer)
