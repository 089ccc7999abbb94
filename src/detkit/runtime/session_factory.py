"""Which session a loaded graph gets, by what its manifest says of its outputs."""

from __future__ import annotations

from pathlib import Path

from detkit.artifact.artifact import Signature
from detkit.onnx_signature.signature import DescribedSignature
from detkit.runtime.described_session import DescribedSession, SuppressingDescribedSession
from detkit.runtime.graph_session import GraphRunner, GraphSession, SuppressingGraphSession


def make_session(runner: GraphRunner, path: Path, manifest: Signature) -> GraphSession:
    """Makes one of four kinds: detkit's or another tool's graph, with raw or final outputs."""
    is_final = manifest.form == "nms"
    if isinstance(manifest, DescribedSignature):
        described = SuppressingDescribedSession if is_final else DescribedSession
        return described(runner, path, manifest)
    return (SuppressingGraphSession if is_final else GraphSession)(runner, path, manifest)
