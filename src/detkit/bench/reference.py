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
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from detkit.artifact.writing import temporary_folder, write_bytes
from detkit.core.errors import DetkitError
from detkit.core.protobuf import bytes_field, int_field, text_field
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
    with temporary_folder() as folder:
        path = folder / "reference.onnx"
        write_bytes(path, _network(), durable=False)
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
    graph, name = text_field(2, "reference"), "first"
    for layer in range(LAYERS):
        weight = rng.standard_normal((CHANNELS, CHANNELS, 3, 3), np.float32) * scale
        graph += bytes_field(5, _tensor(f"weight{layer}", weight))
        out = "last" if layer == LAYERS - 1 else f"layer{layer}"
        pads = (
            text_field(1, "pads")
            + b"".join(int_field(8, 1) for _ in range(4))
            + int_field(20, INTS)
        )
        graph += bytes_field(
            1, _node("Conv", (name, f"weight{layer}"), f"sum{layer}", bytes_field(5, pads))
        )
        graph += bytes_field(1, _node("Relu", (f"sum{layer}",), out))
        name = out
    graph += bytes_field(11, _value("first")) + bytes_field(12, _value("last"))
    opset = text_field(1, "") + int_field(2, 17)
    return int_field(1, 8) + bytes_field(7, graph) + bytes_field(8, opset)


def _node(kind: str, inputs: tuple[str, ...], output: str, attributes: bytes = b"") -> bytes:
    return (
        b"".join(text_field(1, name) for name in inputs)
        + text_field(2, output)
        + text_field(4, kind)
        + attributes
    )


def _tensor(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> bytes:
    dims = b"".join(int_field(1, size) for size in values.shape)
    return (
        dims
        + int_field(2, FLOAT)
        + text_field(8, name)
        + bytes_field(9, values.astype("<f4").tobytes())
    )


def _value(name: str) -> bytes:
    dims = b"".join(bytes_field(1, int_field(1, size)) for size in (1, CHANNELS, SIDE, SIDE))
    return text_field(1, name) + bytes_field(
        2, bytes_field(1, int_field(1, FLOAT) + bytes_field(2, dims))
    )
