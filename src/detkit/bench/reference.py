"""A fixed network that every run times beside the models: how fast the machine was this time.

Six 3x3 convolutions with ReLU, 88 million multiply-adds, run by the engine of the first model with
as many threads. So it feels what the models feel: clocks, other programs, a host that takes cores
away, waiting for a second thread. A matrix product of numpy does not: it has threads of its own.
On two cores with three other programs its ratio to a model varied by 1.5 % between three runs, that
of the product by 7 % and the times themselves by 3.5 % (one thread, lower quartiles). By CPU time,
with twenty-five other programs, twenty pairs of runs of one model differed by 1.0 %.

The graph is written here byte by byte (onnx.proto3), for onnx is not on every device.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from detkit.core.errors import DetkitError
from detkit.engines import ENGINES, default_engine
from detkit.runtime.graph_session import GraphRunner
from detkit.runtime.session import SessionOptions
from detkit.timing.measure import TimedCall, cycle_inputs

NAME = "six convolutions/1"  # another number if anything below changes
LAYERS, CHANNELS, SIDE = 6, 32, 40
FLOAT, INTS = 1, 7  # TensorProto.DataType, AttributeProto.AttributeType


@contextlib.contextmanager
def open_reference(
    engine: str, session_options: SessionOptions
) -> Iterator[Callable[[], TimedCall] | None]:
    """Opens the reference work; yields a function that makes calls of it, each on a new runner.

    None where it would not tell of the device: on a GPU, or without ONNX Runtime.
    """
    if session_options.device != "cpu":
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="detkit-bench-") as folder:
        path = Path(folder) / "reference.onnx"
        path.write_bytes(_network())
        try:
            _open(path, engine, session_options)
        except (ImportError, DetkitError):
            yield None
        else:
            yield lambda: _call_of(_open(path, engine, session_options))


def _open(path: Path, engine: str, session_options: SessionOptions) -> GraphRunner:
    named = ENGINES.get(engine)
    record = named if named is not None and named.open_graph else default_engine()
    opened: GraphRunner = record.load(record.open_graph)(path, session_options)
    return opened


def _call_of(runner: GraphRunner) -> TimedCall:
    rng = np.random.default_rng(0)
    images = rng.random((2, 1, CHANNELS, SIDE, SIDE), np.float32)
    return cycle_inputs(lambda image: runner.run(image, ("last",)), list(images))


# --- the graph -----------------------------------------------------------------------------------


def _network() -> bytes:
    rng = np.random.default_rng(0)
    scale = np.float32(np.sqrt(2 / (CHANNELS * 9)))
    graph, name = _text(2, "reference"), "first"
    for layer in range(LAYERS):
        weight = rng.standard_normal((CHANNELS, CHANNELS, 3, 3), np.float32) * scale
        graph += _bytes(5, _tensor(f"weight{layer}", weight))
        out = "last" if layer == LAYERS - 1 else f"layer{layer}"
        pads = _text(1, "pads") + b"".join(_int(8, 1) for _ in range(4)) + _int(20, INTS)
        graph += _bytes(1, _node("Conv", (name, f"weight{layer}"), f"sum{layer}", _bytes(5, pads)))
        graph += _bytes(1, _node("Relu", (f"sum{layer}",), out))
        name = out
    graph += _bytes(11, _value("first")) + _bytes(12, _value("last"))
    opset = _text(1, "") + _int(2, 17)
    return _int(1, 8) + _bytes(7, graph) + _bytes(8, opset)


def _node(kind: str, inputs: tuple[str, ...], output: str, attributes: bytes = b"") -> bytes:
    return (
        b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, kind) + attributes
    )


def _tensor(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    dims = b"".join(_int(1, size) for size in values.shape)
    return dims + _int(2, FLOAT) + _text(8, name) + _bytes(9, values.astype("<f4").tobytes())


def _value(name: str) -> bytes:
    dims = b"".join(_bytes(1, _int(1, size)) for size in (1, CHANNELS, SIDE, SIDE))
    return _text(1, name) + _bytes(2, _bytes(1, _int(1, FLOAT) + _bytes(2, dims)))


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, payload: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))
