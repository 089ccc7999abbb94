"""Whether a file on disk is one that detkit wrote, by what it says itself. Nothing is verified."""

from __future__ import annotations

import re
from pathlib import Path

from detkit.artifact.artifact import METADATA_KEY
from detkit.artifact.embedded import embedded_text, sidecar_of
from detkit.core.errors import ArtifactError
from detkit.core.reading import open_file
from detkit.report import Report, kind_of_class, report_classes

GENERATOR = b'<meta name="generator" content="detkit'
HEAD_BYTES = 4096  # within which a report or a page says what it is
KIND = re.compile(rb'"kind"\s*:\s*"([^"]*)"')
MANIFEST = re.compile(rb'\{\s*"manifest"\s*:')  # of a sidecar


def is_ours(path: Path) -> bool:
    """Whether an existing file is an artifact, a report or a page of ours, or empty."""
    try:
        with open_file(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    if path.suffix == ".bin" and head:  # the weights of an OpenVINO file have no room to say it
        network = path.with_suffix(".xml")
        return network.is_file() and is_ours(network)
    if path.suffix == ".engine":
        return sidecar_of(path).is_file() and is_ours(sidecar_of(path))
    return not head or _says_so(head) or _holds_manifest(path)


def _says_so(head: bytes) -> bool:
    if not head.lstrip().startswith(b"{"):
        return GENERATOR in head
    found = KIND.search(head)
    kinds = {kind_of_class(cls).encode() for cls in report_classes(Report)}
    return bool(found and found[1] in kinds) or bool(MANIFEST.match(head.lstrip()))


def _holds_manifest(path: Path) -> bool:
    try:
        return bool(embedded_text(path, METADATA_KEY))
    except (ArtifactError, OSError):
        return False
