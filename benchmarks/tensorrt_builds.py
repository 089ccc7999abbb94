"""Every named model as FP32 and FP16 engine by TensorRT-RTX's builder, which needs no GPU.

    python benchmarks/tensorrt_builds.py [NAME...]

Prints a row for each: seconds of export, build, engine size, layers. The weights are random: that a
graph is read and built is the point, and how large the engine is. Nothing is run.
"""

from __future__ import annotations

import sys
import time

from onnx import ModelProto

from detkit.artifact import Manifest
from detkit.export.engine_plan import EnginePlan
from detkit.export.graph import build_graph
from detkit.export.half import to_half
from detkit.export.tensorrt import build_engine
from detkit.nn.checkpoint import input_output, new_detector
from detkit.nn.detector import fuse
from detkit.runtime.machine import RTX
from detkit.spec.arch import ArchSpec
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO


def main(names: list[str]) -> None:
    print("| model | precision | ONNX, MB | graph, s | build, s | engine, MB | layers |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in names or ZOO:
        start = time.perf_counter()
        source = float_graph(ZOO[name])
        exported = time.perf_counter() - start
        for precision, graph in (("fp32", source), ("fp16", to_half(source))):
            start = time.perf_counter()
            built = build_engine(graph, RTX, EnginePlan())
            seconds = time.perf_counter() - start
            print(
                f"| `{name}` | {precision} | {graph.ByteSize() / 1e6:.1f} | {exported:.1f}"
                f" | {seconds:.1f} | {len(built.engine) / 1e6:.1f} | {built.layers} |",
                flush=True,
            )


def float_graph(spec: ArchSpec) -> ModelProto:
    inputs, outputs = input_output(spec)
    manifest = Manifest(
        kind="onnx",
        arch=spec,
        class_names=tuple(map(str, range(spec.num_classes))),
        preprocess=Preprocess(size=spec.image_size, fit=spec.image_size),
        inputs=inputs,
        outputs=outputs,
    )
    return build_graph(fuse(new_detector(spec, 0).eval()), manifest)


if __name__ == "__main__":
    main(sys.argv[1:])
