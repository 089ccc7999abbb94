"""What any ONNX file says of itself, read from its protobuf fields: no onnx, no numpy."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import TensorInfo
from detkit.artifact.embedded import check_readable
from detkit.core.errors import ArtifactError
from detkit.core.protobuf import read_bytes, read_fields
from detkit.core.reading import bytes_of

# TensorProto.DataType (onnx.proto3) as numpy calls them
DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    16: "bfloat16",
}
NO_PLAIN_VALUES = (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError)
UNKNOWN = 1 << 31  # from here on up a dimension is a negative number, which some tools write
QUANTIZING = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinear")  # beginnings of operators


@dataclass(frozen=True, kw_only=True)
class OnnxGraph:
    """Inputs that must be fed, outputs, and the text that other tools put into the metadata.

    A dimension without number or name is "?", a tensor of unknown shape has none. `precision` is
    int8 where anything is quantized, fp16 where most weights are. `operators` are the types of the
    nodes, none where they are not known.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    precision: str
    metadata: dict[str, str]
    operators: tuple[str, ...] = ()

    @property
    def image_size(self) -> tuple[int, int]:
        """The (height, width) in the metadata under `imgsz`, both or one number; else (0, 0)."""
        with contextlib.suppress(*NO_PLAIN_VALUES):
            sides = ast.literal_eval(self.metadata.get("imgsz", ""))
            height, width = (sides, sides) if isinstance(sides, int) else sides
            if all(isinstance(side, int) and side > 0 for side in (height, width)):
                return height, width
        return 0, 0

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names in the metadata under `names`, a list or dict; else none.

        A dict is Python's, by numbers, or JSON's, by their text.
        """
        with contextlib.suppress(*NO_PLAIN_VALUES):
            names = ast.literal_eval(self.metadata.get("names", ""))
            if isinstance(names, dict):
                by_index = {int(key): name for key, name in names.items()}
                names = [by_index[index] for index in range(len(names))]
            return tuple(map(str, names)) if isinstance(names, list) else ()
        return ()


def read_graph(path: Path) -> OnnxGraph:
    """Reads what an ONNX file says of itself.

    Raises:
        ArtifactError: missing, no ONNX file, or cut short.
    """
    check_readable(path)
    try:
        return _graph(memoryview(bytes_of(path)))
    except (IndexError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} is not an ONNX file, or is cut short") from error


def _graph(model: memoryview) -> OnnxGraph:
    (graph,) = read_bytes(model, 7)
    weights = [_text(tensor, 8) for tensor in read_bytes(graph, 5)]
    dtypes = [_number(tensor, 2) for tensor in read_bytes(graph, 5)]
    operators = tuple(sorted({_text(node, 4) for node in read_bytes(graph, 1)}))
    inputs = [_tensor(value) for value in read_bytes(graph, 11)]
    return OnnxGraph(
        inputs=tuple(tensor for tensor in inputs if tensor.name not in weights),
        outputs=tuple(_tensor(value) for value in read_bytes(graph, 12)),
        precision=_precision(operators, dtypes),
        metadata={_text(entry, 1): _text(entry, 2) for entry in read_bytes(model, 14)},
        operators=operators,
    )


def _precision(operators: Collection[str], dtypes: list[int]) -> str:
    if any(name.startswith(QUANTIZING) for name in operators):
        return "int8"
    return "fp16" if dtypes.count(10) > dtypes.count(1) else "fp32"


def _tensor(value: memoryview) -> TensorInfo:
    """The name, type and shape in a ValueInfoProto."""
    tensor = _message(_message(value, 2), 1)
    shape = _message(tensor, 2)
    dtype = _number(tensor, 1)
    return TensorInfo(
        name=_text(value, 1),
        dtype=DTYPES.get(dtype, f"type {dtype}"),
        shape=tuple(_dimension(dim) for dim in read_bytes(shape, 1)),
    )


def _dimension(dim: memoryview) -> int | str:
    size = _number(dim, 1)
    return size if 0 < size < UNKNOWN else _text(dim, 2) or "?"


def _message(data: memoryview, wanted: int) -> memoryview:
    return next(read_bytes(data, wanted), memoryview(b""))


def _text(data: memoryview, wanted: int) -> str:
    return bytes(_message(data, wanted)).decode()


def _number(data: memoryview, wanted: int) -> int:
    found = [v for number, v in read_fields(data) if number == wanted and isinstance(v, int)]
    return found[0] if found else 0
