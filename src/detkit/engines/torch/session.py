"""The torch Session: a detkit checkpoint, on the CPU or a GPU, as trained or fused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from detkit.artifact.artifact import Manifest
from detkit.core.boxes import Array
from detkit.core.device import check_device_name
from detkit.core.errors import BackendError
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.decode import Predictor
from detkit.nn.detector import Detector
from detkit.runtime.session import SessionOptions


class TorchSession:
    """Runs a detector in float32; see `runtime.session.Session`."""

    engine = "torch"

    def __init__(
        self, model: Detector, manifest: Manifest, session_options: SessionOptions
    ) -> None:
        self.manifest = manifest
        self.device = find_device(session_options.device)
        self.threads = session_options.threads
        predictor = Predictor(model, manifest.preprocess.size).eval().requires_grad_(False)
        layout = torch.channels_last
        self.predictor = predictor.to(self.device, memory_format=layout)  # type: ignore[call-overload]

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        images = torch.from_numpy(np.ascontiguousarray(images_bchw)).to(
            self.device, memory_format=torch.channels_last
        )
        with torch.inference_mode(), _threads(self.threads):
            boxes, scores = self.predictor(images)
        return boxes.cpu().numpy(), scores.cpu().numpy()


def open_session(path: Path, manifest: Manifest, session_options: SessionOptions) -> TorchSession:
    """Opens a checkpoint; see `engines.opening.open_session`."""
    model, _ = load_checkpoint(path, manifest)
    return TorchSession(model, manifest, session_options)


def find_device(name: str) -> torch.device:
    """The torch device of `auto` (the GPU if there is one), `cpu`, `cuda` or `cuda:N`.

    Raises:
        BackendError: no such device on this machine.
    """
    check_device_name(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BackendError(
            f"device '{name}' is not available: {reason}", hint="--device cpu"
        ) from error
    return device


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Runs with `count` CPU threads (0: as torch is set), then puts the old number back."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
