"""The bytes of an ONNX artifact, whichever engine reads them next.

An artifact is one file, whose digest covers all of it, so a graph that points to other files is
refused, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detkit.artifact.embedded import check_readable
from detkit.core.errors import ArtifactError
from detkit.core.protobuf import read_fields
from detkit.core.reading import bytes_of

# Where tensors hide in an ONNX file: message -> field number -> message (onnx.proto3).
_MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_DATA_LOCATION, _EXTERNAL_DATA = 14, 13


def read_onnx(path: Path) -> bytes:
    """Reads the whole file, if it holds all of its tensors.

    Raises:
        ArtifactError: cut short, or with tensors in other files; old engines follow any path.
    """
    check_readable(path)
    data = bytes_of(path)
    try:
        points_elsewhere = any(_external_tensors(data, "model"))
    except (IndexError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not an ONNX file, or is cut short") from error
    if points_elsewhere:
        raise ArtifactError(
            f"{path} keeps tensors in other files; an artifact is one file",
            hint="onnx.save(onnx.load(PATH), OTHER) writes it as one",
        )
    return data


def _external_tensors(data: bytes | memoryview, message: str) -> Iterator[bool]:
    """Yields True for each sign of a tensor stored elsewhere."""
    for number, value in read_fields(data):
        if message == "tensor" and number in (_DATA_LOCATION, _EXTERNAL_DATA):
            yield value != 0
        elif number in _MESSAGES[message] and isinstance(value, memoryview):
            yield from _external_tensors(value, _MESSAGES[message][number])
