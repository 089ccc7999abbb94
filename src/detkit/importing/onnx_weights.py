"""The convolutions of an ONNX file as weights and biases, in the order they run.

Read from the protobuf fields alone, with every size checked.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from detkit.core.errors import ArtifactError
from detkit.core.protobuf import read_bytes, read_fields, read_varints
from detkit.core.reading import bytes_of, require_file

MAX_DIMS = 8
DTYPES = {1: torch.float32, 10: torch.float16}  # TensorProto.DataType


def read_convolutions(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Weight (O, I, H, W) and bias (O,) in float32 of each Conv node, in the order of the nodes.

    Raises:
        ArtifactError: missing, no ONNX file, cut short, or a convolution without bias or with
            weights that lie elsewhere.
    """
    require_file(path)
    try:
        (graph,) = read_bytes(bytes_of(path), 7)
        tensors = {_text(tensor, 8): tensor for tensor in read_bytes(graph, 5)}
        nodes = [node for node in read_bytes(graph, 1) if _text(node, 4) == "Conv"]
        inputs = [[bytes(name).decode() for name in read_bytes(node, 1)] for node in nodes]
        if not all(len(names) == 3 and names[1] in tensors for names in inputs):
            raise ArtifactError(
                f"{path}: convolutions without a bias or with computed weights",
                hint="import the .pth file, or export with batch-norms folded",
            )
        pairs = [(_tensor(tensors[weight]), _tensor(tensors[bias])) for _, weight, bias in inputs]
    except (ValueError, IndexError, KeyError) as error:
        raise ArtifactError(f"{path} is not an ONNX file, or is cut short") from error
    return pairs


def _tensor(message: memoryview) -> Tensor:
    """A TensorProto in float32.

    Raises:
        ValueError: of another type, or with another number of bytes than its shape says.
        KeyError: of a type that no weights have.
    """
    dtype = DTYPES[next(v for n, v in read_fields(message) if n == 2 and isinstance(v, int))]
    shape = tuple(itertools.islice(_dims(message), MAX_DIMS))
    raw = next((bytes(data) for number in (9, 4) for data in read_bytes(message, number)), b"")
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError("a tensor of another size than stated")
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape).float()


def _dims(message: memoryview) -> Iterator[int]:
    """Yields the dimensions, which are written one by one or packed."""
    for number, value in read_fields(message):
        if number == 1:
            yield from [value] if isinstance(value, int) else read_varints(value)


def _text(message: memoryview, wanted: int) -> str:
    return bytes(next(read_bytes(message, wanted), memoryview(b""))).decode()
