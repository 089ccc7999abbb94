"""What INT8 costs and gains: speed of the family, accuracy of a checkpoint, peers beside both.

    python benchmarks/quantize.py speed [--models yolo-nas-n,yolo-nas-s] [--sizes 320,640] [-o F]
    python benchmarks/quantize.py accuracy CKPT DATA [--epochs 3] [-o F]
    python benchmarks/quantize.py rivals CKPT.int8 FILE... --imgsz 640 [-o F]

`speed` times networks with fresh weights on one thread, INT8 in turns with float, on ONNX Runtime
and OpenVINO: the ratio of the fastest tenths of the runs, which a busy machine disturbs least,
beside that of the medians. `accuracy` quantizes a checkpoint by `detkit quantize`, with and without
training, scores every graph on the test and the validation split, and does the same with ONNX
Runtime's own static quantization and with NNCF (where that is installed) from the same float ONNX.
`rivals` times an INT8 checkpoint of ours on both engines in turns with other INT8 files (.xml or
.onnx of any tool, one input of the same size).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rows import Row, add_out_argument, show_rows

from detkit.artifact.artifact import Manifest
from detkit.core.boxes import EVAL_NMS
from detkit.data.coco.folder import CocoFolder, open_folder, synthetic_images
from detkit.engines import measuring_engines
from detkit.engines.coverage import coverage
from detkit.engines.int8_graph import for_engine
from detkit.engines.opening import open_session
from detkit.engines.openvino.api import the_core
from detkit.evaluation.evaluate import coco_figures, detect
from detkit.export.graph import build_graph, write_onnx
from detkit.nn.checkpoint import load_checkpoint, new_detector
from detkit.nn.detector import fuse
from detkit.nn.quantization.quantized import QuantizedDetector, float_twin
from detkit.quantize.calibrate import collect_stats, load_images, set_ranges, subsample_evenly
from detkit.runtime.session import Session, SessionOptions
from detkit.spec.preprocess import Preprocess
from detkit.spec.quant import QuantSpec
from detkit.spec.zoo import ZOO, with_task
from detkit.untrained import untrained_manifest

ENGINES = measuring_engines()
CALIBRATION_IMAGES = 128
ONE_THREAD = SessionOptions(threads=1)
Call = Callable[[], object]


# --- timing --------------------------------------------------------------------------------------


def time_in_turns(calls: dict[str, Call], *, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call, all of them once a round, after three untimed rounds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 3):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number >= 3:
                times[name].append((time.perf_counter() - began) * 1e3)
    return times


def ratios(slow: Sequence[float], fast: Sequence[float]) -> Row:
    """How many times faster: of the fastest tenths, and the median over rounds."""
    return {
        "slow_ms": round(float(np.median(slow)), 3),
        "fast_ms": round(float(np.median(fast)), 3),
        "times_faster": round(float(np.percentile(slow, 10) / np.percentile(fast, 10)), 3),
        "times_faster_median": round(float(np.median(np.array(slow) / np.array(fast))), 3),
    }


# --- speed ---------------------------------------------------------------------------------------


def speed(args: argparse.Namespace) -> Iterator[Row]:
    for name in args.models.split(","):
        for size in map(int, args.sizes.split(",")):
            yield from speed_of(name, size, rounds=args.rounds)


def speed_of(name: str, size: int, *, rounds: int) -> Iterator[Row]:
    spec = with_task(ZOO[name], 80, (size, size))
    preprocess = Preprocess.filling((size, size))
    images = synthetic_images(preprocess, 4)
    model = QuantizedDetector(fuse(new_detector(spec, 0).eval()), QuantSpec()).eval()
    set_ranges(model, collect_stats(model, [images]), "max")
    manifest = manifest_of(spec, preprocess)
    with tempfile.TemporaryDirectory() as folder:
        yield from engines_of(model, manifest, images, Path(folder), name=name, rounds=rounds)


def manifest_of(spec: Any, preprocess: Preprocess) -> Manifest:
    return dataclasses.replace(untrained_manifest(spec), preprocess=preprocess)


def engines_of(
    model: QuantizedDetector,
    manifest: Manifest,
    images: Any,
    folder: Path,
    *,
    name: str,
    rounds: int,
) -> Iterator[Row]:
    """Float in turns with INT8, engine by engine."""
    raw, twin = build_graph(model, manifest), folder / "float.onnx"
    write_onnx(build_graph(float_twin(model), manifest), manifest, twin)
    for engine in ENGINES:
        path = folder / f"{engine}.onnx"
        write_onnx(for_engine(raw, engine), manifest, path)
        sessions = [
            open_session(p, engine=engine, session_options=ONE_THREAD) for p in (twin, path)
        ]
        calls = {
            label: caller(session, images[:1])
            for label, session in zip(("float", "int8"), sessions, strict=True)
        }
        times = time_in_turns(calls, rounds=rounds)
        found = coverage(path, engine)
        yield {
            "model": name,
            "size": manifest.preprocess.size[0],
            "engine": engine,
            **ratios(times["float"], times["int8"]),
            "int8_convolutions": found.int8,
            "convolutions": found.total,
            "size_ratio": round(path.stat().st_size / twin.stat().st_size, 4),
        }


def caller(session: Session, images: Any) -> Call:
    return lambda: session.run(images)


# --- accuracy ------------------------------------------------------------------------------------


def detkit(*args: str | Path) -> str:
    """Runs a verb, its log on our stderr; returns its stdout without the last newline."""
    command = [sys.executable, "-m", "detkit", *map(str, args)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.rstrip("\n")


class Scorer:
    """AP of sessions on the splits of one folder, and latency beside a first session."""

    def __init__(self, folder: CocoFolder, rounds: int) -> None:
        self.folder, self.rounds = folder, rounds

    def row(self, name: str, session: Session, parent: Session) -> Row:
        image = np.ascontiguousarray(self.image(session.manifest.preprocess))
        calls = {"float": caller(parent, image), "int8": caller(session, image)}
        times = time_in_turns(calls, rounds=self.rounds)
        return {
            "name": name,
            "engine": session.engine,
            **self.aps(session),
            **ratios(times["float"], times["int8"]),
        }

    def aps(self, session: Session) -> Row:
        return {f"ap_{split}": round(self.ap(session, split), 4) for split in ("val", "test")}

    def ap(self, session: Session, split: str) -> float:
        chosen = self.folder.splits[split]
        found = detect(session, chosen.records, nms=EVAL_NMS)
        return coco_figures(chosen.records, chosen.class_names, found).ap or 0.0

    def image(self, preprocess: Preprocess) -> Any:
        return next(iter(load_images(self.folder.splits["val"].records[:1], preprocess, 1)))


def accuracy(args: argparse.Namespace) -> Iterator[Row]:
    scorer = Scorer(open_folder(args.data), args.rounds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parent = Path(
            detkit("export", "--to", "onnx", args.checkpoint, "-o", folder / "float.onnx")
        )
        floats = {e: open_session(parent, engine=e, session_options=ONE_THREAD) for e in ENGINES}
        for engine in ENGINES:
            yield scorer.row("float", floats[engine], floats[engine])
        for method, flags in (("ptq", ()), ("qat", ("--qat", "--epochs", str(args.epochs)))):
            yield from ours(method, flags, args, folder, floats, scorer)
        batches = calibration(scorer.folder, floats["onnxruntime"].manifest.preprocess)
        yield from static_quantization(parent, batches, folder, floats["onnxruntime"], scorer)
        if importlib.util.find_spec("nncf"):
            yield nncf_quantization(parent, batches, floats["openvino"], scorer)
        else:
            print("NNCF is not installed here: left out", file=sys.stderr)


def ours(
    method: str,
    flags: Sequence[str],
    args: argparse.Namespace,
    folder: Path,
    floats: dict[str, Session],
    scorer: Scorer,
) -> Iterator[Row]:
    out = folder / f"{method}.safetensors"
    images = ["--images", CALIBRATION_IMAGES, "--threads", args.threads]
    report = json.loads(
        detkit("quantize", "--int8", args.checkpoint, "--data", args.data, *flags,
               *map(str, images), "-o", out, "--json")
    )  # fmt: skip
    yield {
        "name": f"detkit {method} in torch",
        "engine": "torch",
        **{
            f"ap_{split}": round(scorer.ap(open_session(out), split), 4)
            for split in ("val", "test")
        },
        "size_ratio": round(report["size_ratio"], 4),
    }
    for engine in ENGINES:
        graph = detkit("export", "--to", "onnx", "--target", engine, "--allow-slower", out,
                       "-o", folder / f"{method}.{engine}.onnx")  # fmt: skip
        session = open_session(Path(graph), engine=engine, session_options=ONE_THREAD)
        found = coverage(Path(graph), engine)
        yield {
            **scorer.row(f"detkit {method}", session, floats[engine]),
            "int8_convolutions": found.int8,
            "convolutions": found.total,
        }


def calibration(folder: CocoFolder, preprocess: Preprocess) -> list[Any]:
    """The images `detkit quantize` calibrates on, one a batch."""
    records = subsample_evenly(folder.splits["train"].records, CALIBRATION_IMAGES)
    return list(load_images(records, preprocess, 1))


def static_quantization(
    parent: Path, batches: list[Any], folder: Path, before: Session, scorer: Scorer
) -> Iterator[Row]:
    """ONNX Runtime's own: as it comes, and of convolutions only, which spares the decoding."""
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            images = next(self.rest, None)
            return None if images is None else {"images": images}

    prepared = folder / "prepared.onnx"
    quant_pre_process(str(parent), str(prepared), skip_symbolic_shape=True)
    variants = {
        "as it comes": {},
        "convolutions": {"op_types_to_quantize": ["Conv", "Add", "Concat"]},
    }
    for label, more in variants.items():
        plain, out = folder / "static.onnx", folder / "static-ours.onnx"
        quantize_static(
            str(prepared),
            str(plain),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            **more,
        )
        assert isinstance(before.manifest, Manifest)
        write_onnx(onnx.load(plain), before.manifest, out)
        session = open_session(out, engine="onnxruntime", session_options=ONE_THREAD)
        found = coverage(out, "onnxruntime")
        yield {
            **scorer.row(f"ONNX Runtime static, {label}", session, before),
            "int8_convolutions": found.int8,
            "convolutions": found.total,
        }


class OpenVinoSession:
    """A model held in memory, for NNCF's result."""

    engine = "openvino"

    def __init__(self, model: Any, manifest: Manifest) -> None:
        self.manifest = manifest
        self.request = compiled(model).create_infer_request()

    def run(self, images_bchw: Any) -> tuple[Any, Any]:
        rows = [self._run_one(images_bchw[i : i + 1]) for i in range(len(images_bchw))]
        boxes, scores = zip(*rows, strict=True)
        return np.concatenate(boxes), np.concatenate(scores)

    def _run_one(self, image: Any) -> tuple[Any, Any]:
        found = self.request.infer([image])
        return found["boxes"].copy(), found["scores"].copy()


def compiled(model: Any) -> Any:
    """For one image on one thread: a free batch size would cost time in every run."""
    if model.input(0).partial_shape.is_dynamic:
        model.reshape([1, *model.input(0).partial_shape[1:]])
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return the_core().compile_model(model, "CPU", settings)


def nncf_quantization(parent: Path, batches: list[Any], before: Session, scorer: Scorer) -> Row:
    import nncf

    quantized = nncf.quantize(
        the_core().read_model(parent),
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=True,
        subset_size=len(batches),
    )
    assert isinstance(before.manifest, Manifest)
    return scorer.row("NNCF", OpenVinoSession(quantized, before.manifest), before)


# --- rivals --------------------------------------------------------------------------------------


def rivals(args: argparse.Namespace) -> Iterator[Row]:
    """Ours on each engine, and each other file on OpenVINO (.xml) or both (.onnx)."""
    size = (args.imgsz, args.imgsz)
    model, manifest = load_checkpoint(args.checkpoint)
    preprocess = manifest.preprocess.resized(size)
    spec = with_task(manifest.arch, manifest.arch.num_classes, size)
    manifest = dataclasses.replace(manifest_of(spec, preprocess), class_names=manifest.class_names)
    images = synthetic_images(preprocess, 1)
    calls: dict[str, Call] = {}
    with tempfile.TemporaryDirectory() as folder:
        raw = build_graph(model.eval(), manifest)
        for engine in ENGINES:
            path = Path(folder) / f"{engine}.onnx"
            write_onnx(for_engine(raw, engine), manifest, path)
            session = open_session(path, engine=engine, session_options=ONE_THREAD)
            calls[f"{args.checkpoint.name} {engine}"] = caller(session, images)
        for file in args.files:
            request = compiled(the_core().read_model(file)).create_infer_request()
            calls[f"{file.name} openvino"] = functools.partial(request.infer, [images])
            if file.suffix == ".onnx":
                calls[f"{file.name} onnxruntime"] = plain_onnx(file, images)
        times = time_in_turns(calls, rounds=args.rounds)
    best = min(np.percentile(times[f"{args.checkpoint.name} {e}"], 10) for e in ENGINES)
    for name, taken in times.items():
        yield {
            "name": name,
            "size": args.imgsz,
            "p10_ms": round(float(np.percentile(taken, 10)), 3),
            "p50_ms": round(float(np.median(taken)), 3),
            "ours_over_it": round(float(best / np.percentile(taken, 10)), 3),
        }


def plain_onnx(file: Path, images: Any) -> Call:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images}
    return lambda: session.run(None, feed)


# --- the command line ----------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parsers = parser.add_subparsers(dest="what", required=True)
    found = {"speed": speed, "accuracy": accuracy, "rivals": rivals}
    commands = {name: parsers.add_parser(name) for name in found}
    commands["speed"].add_argument("--models", default="yolo-nas-n,yolo-nas-s")
    commands["speed"].add_argument("--sizes", default="320,640")
    commands["accuracy"].add_argument("checkpoint", type=Path)
    commands["accuracy"].add_argument("data", type=Path)
    commands["accuracy"].add_argument("--epochs", type=int, default=3)
    commands["accuracy"].add_argument("--threads", type=int, default=0)
    commands["rivals"].add_argument("checkpoint", type=Path)
    commands["rivals"].add_argument("files", type=Path, nargs="+")
    commands["rivals"].add_argument("--imgsz", type=int, default=640)
    for command in commands.values():
        command.add_argument("--rounds", type=int, default=40)
        add_out_argument(command)
    args = parser.parse_args()
    show_rows(found[args.what](args), args.what, args.out, threads=1)


if __name__ == "__main__":
    main()
