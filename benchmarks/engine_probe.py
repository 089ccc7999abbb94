"""One version of an inference engine at work, in an environment that has nothing else but numpy.

    python engine_probe.py ENGINE JOB.json

Run by `engine_versions.py` with the Python of that environment; imports nothing of detkit. JOB.json
has `pairs` (a float file and its INT8 twin, to be timed in turns on one thread), `rounds`, and
`scored` (a file and the images to run through it). Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[Any], list[Any]]
UNTIMED = 3  # first rounds


class OnnxRuntime:
    """The CPU provider; the graph as optimised is kept beside the file, for the caller to count."""

    def __init__(self) -> None:
        import onnxruntime

        self.engine = onnxruntime
        self.version: str = onnxruntime.__version__

    def open(self, path: Path) -> Run:
        options = self.engine.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.optimized_model_filepath = str(self.optimised(path))
        session = self.engine.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        return lambda image: session.run(["boxes", "scores"], {name: image})

    def optimised(self, path: Path) -> Path:
        return path.with_suffix(f".{self.version}.optimised")

    def convolutions(self, path: Path) -> dict[str, object]:
        return {"optimised": str(self.optimised(path))}


class OpenVino:
    """The CPU plugin, for one image, tuned for latency; float32 where nothing is quantized."""

    def __init__(self) -> None:
        import openvino

        self.core = openvino.Core()
        self.version: str = openvino.__version__.split("-")[0]
        self.counts: dict[Path, dict[str, int]] = {}

    def open(self, path: Path) -> Run:
        network = self.core.read_model(str(path))
        network.reshape([1, *network.inputs[0].partial_shape[1:]])
        settings = {
            "INFERENCE_NUM_THREADS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        compiled = self.core.compile_model(network, "CPU", settings)
        layers = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops()]
        self.counts[path] = Counter(
            info["runtimePrecision"].astype(str)
            for info in layers
            if info["layerType"].astype(str) == "Convolution"
        )
        request = compiled.create_infer_request()

        def run(image: Any) -> list[Any]:
            found = request.infer([image])
            return [found["boxes"], found["scores"]]

        return run

    def convolutions(self, path: Path) -> dict[str, object]:
        return dict(self.counts[path])


ENGINES: dict[str, Callable[[], Any]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}


def milliseconds(run: Run, image: Any) -> float:
    began = time.perf_counter()
    run(image)
    return (time.perf_counter() - began) * 1e3


def time_pair(engine: Any, pair: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Times of float and INT8 by turns; how the INT8 file's convolutions run."""
    image = np.load(pair["image"])
    runs = {form: engine.open(Path(pair[form])) for form in ("float", "int8")}
    times: dict[str, list[float]] = {form: [] for form in runs}
    for number in range(rounds + UNTIMED):
        for form, run in runs.items():
            taken = milliseconds(run, image)
            if number >= UNTIMED:
                times[form].append(taken)
    return {"times": times, "convolutions": engine.convolutions(Path(pair["int8"]))}


def run_all(engine: Any, scored: dict[str, str]) -> dict[str, str]:
    """Runs every image through a file; the outputs go into an .npz file."""
    run, images = engine.open(Path(scored["file"])), np.load(scored["images"], mmap_mode="r")
    found = [[out.copy() for out in run(np.ascontiguousarray(image[None]))] for image in images]
    boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    np.savez(scored["out"], boxes=boxes, scores=scores)
    return {"out": scored["out"]}


def main(name: str, job: Path) -> None:
    engine, asked = ENGINES[name](), json.loads(job.read_text())
    pairs = {pair["name"]: time_pair(engine, pair, asked["rounds"]) for pair in asked["pairs"]}
    scored = {key: run_all(engine, one) for key, one in asked["scored"].items()}
    print(json.dumps({"version": engine.version, "pairs": pairs, "scored": scored}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
