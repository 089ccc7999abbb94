"""The bytes of an ONNX artifact, whichever engine reads them next.

An artifact is one file, whose digest covers all of it, so a graph that points to other files is
refused, wherever they lie.
"""

from __future__ import annotations

import contextlib
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
_OPERATOR = 4  # of a node
LOOPS = (b"Loop", b"Scan")


def read_onnx(path: Path) -> bytes:
    """Reads the whole file, if it holds all of its tensors.

    Raises:
        ArtifactError: cut short, or with tensors in other files; old engines follow any path.
    """
    check_readable(path)
    data = bytes_of(path)
    with _whole(path):
        points_elsewhere = any(_external_tensors(data, "model"))
    if points_elsewhere:
        raise ArtifactError(
            f"{path} keeps tensors in other files; an artifact is one file",
            hint="onnx.save(onnx.load(PATH), OTHER) writes it as one",
        )
    return data


def has_loops(path: Path) -> bool:
    """Whether a node of the graph, of a graph within it or of a function runs others repeatedly.

    Raises:
        ArtifactError: not an ONNX file, or cut short.
    """
    check_readable(path)
    with _whole(path):
        return any(_loops(bytes_of(path), "model"))


def endless_loop(path: Path, seconds: float) -> ArtifactError:
    """The error of a model whose run did not end in time."""
    return ArtifactError(
        f"{path} does not end: it has a loop, and one run of it took more than {seconds:.0f} s",
        hint="export the model without a loop, such as one that is unrolled",
    )


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except (IndexError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not an ONNX file, or is cut short") from error


def _loops(data: bytes | memoryview, message: str) -> Iterator[bool]:
    """Yields True for each node that is a loop."""
    for number, value in read_fields(data):
        if isinstance(value, int):
            continue
        if message == "node" and number == _OPERATOR:
            yield bytes(value) in LOOPS
        elif number in _MESSAGES[message]:
            yield from _loops(value, _MESSAGES[message][number])


def _external_tensors(data: bytes | memoryview, message: str) -> Iterator[bool]:
    """Yields True for each sign of a tensor stored elsewhere."""
    for number, value in read_fields(data):
        if message == "tensor" and number in (_DATA_LOCATION, _EXTERNAL_DATA):
            yield value != 0
        elif number in _MESSAGES[message] and isinstance(value, memoryview):
            yield from _external_tensors(value, _MESSAGES[message][number])
