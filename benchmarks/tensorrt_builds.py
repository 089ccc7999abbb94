"""Every named model in every form of export, as an engine by TensorRT-RTX's builder: no GPU needed.

    OMP_NUM_THREADS=1 python benchmarks/tensorrt_builds.py [NAME...] [-o results/NAME.json]

The weights are random: that a graph is read and built is the point, and how large the engine is.
Nothing is run. A form that the builder refuses has the reason in its row.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onnx import ModelProto

from detkit.artifact.artifact import versions
from detkit.core.boxes import PREDICT_NMS
from detkit.core.errors import ArtifactError
from detkit.engines import engine_packages
from detkit.engines.tensorrt import ENGINE_RTX
from detkit.engines.tensorrt.api import run_builder
from detkit.engines.tensorrt.build_machine import RTX, import_library
from detkit.engines.tensorrt.plan import EnginePlan
from detkit.engines.tensorrt.rules import lint
from detkit.export.graph import build_graph
from detkit.export.half import to_half
from detkit.export.nms import append_nms
from detkit.machine.fingerprint import fingerprint
from detkit.nn.checkpoint import new_detector
from detkit.nn.detector import fuse
from detkit.spec.arch import ArchSpec
from detkit.spec.zoo import ZOO
from detkit.untrained import untrained_graph

COLUMNS = ("model", "form", "onnx_mb", "build_s", "engine_mb", "layers", "refused")
Graphs = Iterator[tuple[str, Callable[[], ModelProto]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(ZOO))
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    rows = []
    for name in args.names:
        for form, make in graphs(ZOO[name]):
            rows.append({"model": name, "form": form, **attempt(make())})
            print("| " + " | ".join(str(rows[-1].get(c, "")) for c in COLUMNS) + " |", flush=True)
    if args.out:
        report = {
            "builds": rows,
            "versions": versions("torch", "onnx", ENGINE_RTX.package),
            "batches": EnginePlan().batches,
            "fingerprint": fingerprint(engine_packages()),
            "date": time.strftime("%Y-%m-%d"),
        }
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def attempt(graph: ModelProto) -> dict[str, Any]:
    """What the builder makes of a graph, or why it makes nothing.

    `faults` is what detkit's own rules say, which keep such a graph from the builder otherwise.
    """
    row: dict[str, Any] = {"onnx_mb": round(graph.ByteSize() / 1e6, 1), "faults": lint(graph)}
    plan, start = EnginePlan(), time.perf_counter()
    try:
        built = run_builder(
            import_library(RTX),
            graph.SerializeToString(),
            profile=plan.profile(graph),
            flags=plan.flags,
            level=plan.level,
            timing_cache=None,
        )
    except ArtifactError as error:
        return {**row, "refused": str(error)}
    return {
        **row,
        "build_s": round(time.perf_counter() - start, 1),
        "engine_mb": round(len(built.engine) / 1e6, 1),
        "layers": built.layers,
    }


def graphs(spec: ArchSpec) -> Graphs:
    """The forms of export by name."""
    float32, int8 = untrained_model(spec, "fp32"), untrained_model(spec, "int8")
    yield "fp32", lambda: float32
    yield "fp16", lambda: to_half(float32)
    yield "int8", lambda: int8
    yield "int8, the rest fp16", lambda: to_half(int8)
    yield "fp32, uint8 input", lambda: uint8_graph(spec)
    yield "fp32, NMS", lambda: append_nms(float32, PREDICT_NMS)


def untrained_model(spec: ArchSpec, precision: str) -> ModelProto:
    return untrained_graph(spec, target="tensorrt", precision=precision)[0]


def uint8_graph(spec: ArchSpec) -> ModelProto:
    manifest = untrained_graph(spec, target="tensorrt", precision="fp32")[1]
    return build_graph(fuse(new_detector(spec, 0).eval()), manifest, uint8=True)


if __name__ == "__main__":
    main()
