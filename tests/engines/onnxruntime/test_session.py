from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from detkit.core.errors import BackendError
from detkit.engines.opening import open_session
from detkit.runtime.session import SessionOptions


def test_devices_that_are_not_here_are_told(cell_model: Callable[..., Path]) -> None:
    path = cell_model()
    for device in ("cuda", "cuda:0", "tpu", "cuda:x", "cpu:1"):
        with pytest.raises(BackendError, match=device):
            open_session(path, session_options=SessionOptions(device=device))
    assert open_session(path, session_options=SessionOptions(device="auto", threads=1)).engine
