"""Graphs opened with each engine that runs ONNX files, and ways to spoil them."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from detkit.artifact import read_manifest, write_artifact
from detkit.runtime import RUNTIMES_OF, Session, open_session


@pytest.fixture(params=RUNTIMES_OF["onnx"])
def open_graph(request: pytest.FixtureRequest) -> Callable[..., Session]:
    """`open_session` by one engine."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed here")
    return functools.partial(open_session, runtime=request.param)


@pytest.fixture
def rewrite() -> Callable[..., Path]:
    """`rewrite(path, change)`: an ONNX artifact with its graph changed, sealed again."""
    import onnx

    def change_graph(path: Path, change: Callable[[onnx.GraphProto], None]) -> Path:
        model, manifest = onnx.load(path), read_manifest(path)
        change(model.graph)

        def save(partial: Path, text: str) -> None:
            onnx.helper.set_model_props(model, {"detkit": text})
            onnx.save(model, partial)

        write_artifact(path, manifest, save)
        return path

    return change_graph
