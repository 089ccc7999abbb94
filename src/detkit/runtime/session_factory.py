"""Which session a loaded graph gets, by what its manifest says of its outputs."""

from __future__ import annotations

from pathlib import Path

from detkit.artifact.artifact import Signature
from detkit.onnx_signature.signature import DescribedSignature
from detkit.runtime.described_session import DescribedSession, SuppressingDescribedSession
from detkit.runtime.graph_session import (
    FlatGraphSession,
    GraphRunner,
    GraphSession,
    SuppressingGraphSession,
)

FORMS = {"nms": SuppressingGraphSession, "nms-flat": FlatGraphSession}


def make_session(runner: GraphRunner, path: Path, manifest: Signature) -> GraphSession:
    """Makes one of five kinds: detkit's or another tool's graph, with raw or final outputs."""
    if isinstance(manifest, DescribedSignature):
        described = SuppressingDescribedSession if manifest.form == "nms" else DescribedSession
        return described(runner, path, manifest)
    return FORMS.get(manifest.form, GraphSession)(runner, path, manifest)
