"""A network in float and in the INT8 form of every engine, as the files that are timed in turns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import Manifest
from detkit.data.coco.folder import synthetic_images
from detkit.engines import measuring_engines
from detkit.engines.int8_graph import for_engine
from detkit.export.graph import build_graph, write_onnx
from detkit.nn.checkpoint import new_detector
from detkit.nn.detector import fuse
from detkit.nn.quantization.quantized import QuantizedDetector, float_twin
from detkit.quantize.calibrate import collect_stats, set_ranges
from detkit.spec.arch import ArchSpec
from detkit.spec.preprocess import Preprocess
from detkit.spec.quant import QuantSpec
from detkit.spec.zoo import ZOO, with_task
from detkit.untrained import untrained_manifest

CALIBRATION_IMAGES = 4  # drawn, for networks whose accuracy nobody asks for
CLASSES = 80


@dataclass(frozen=True)
class Files:
    """`int8` maps each engine to the file in its form."""

    floats: Path
    int8: dict[str, Path]


def fresh_files(name: str, size: int, folder: Path) -> Files:
    """Writes a network with fresh weights, calibrated on drawn images of `size` pixels a side."""
    spec = with_task(ZOO[name], CLASSES, (size, size))
    preprocess = Preprocess.filling((size, size))
    images = synthetic_images(preprocess, CALIBRATION_IMAGES)
    model = QuantizedDetector(fuse(new_detector(spec, 0).eval()), QuantSpec()).eval()
    set_ranges(model, collect_stats(model, [images]), "max")
    return write_files(model, manifest_of(spec, preprocess), folder)


def write_files(model: QuantizedDetector, manifest: Manifest, folder: Path) -> Files:
    """Writes float.onnx, the same weights unrounded, and ENGINE.onnx for each engine."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = build_graph(model, manifest)
    files = Files(
        floats=folder / "float.onnx",
        int8={engine: folder / f"{engine}.onnx" for engine in measuring_engines()},
    )
    write_onnx(build_graph(float_twin(model), manifest), manifest, files.floats)
    for engine, path in files.int8.items():
        write_onnx(for_engine(raw, engine), manifest, path)
    return files


def manifest_of(spec: ArchSpec, preprocess: Preprocess) -> Manifest:
    return dataclasses.replace(untrained_manifest(spec), preprocess=preprocess)
