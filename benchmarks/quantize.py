"""What INT8 costs and gains: speed of the family, accuracy of a checkpoint, peers beside both.

    python benchmarks/quantize.py speed [--models yolo-nas-n,yolo-nas-s] [--sizes 320,640] [-o F]
    python benchmarks/quantize.py accuracy CKPT DATA [CKPT DATA ...] [--seeds 0 1 2] [-o F]
    python benchmarks/quantize.py rivals MODEL FILE... --imgsz 640 [-o F]

`speed` times networks with fresh weights on one thread, INT8 in turns with float, on ONNX Runtime
and OpenVINO: the ratio of the fastest tenths of the runs, which a busy machine disturbs least,
beside that of the medians. `accuracy` quantizes each checkpoint by `detkit quantize` with the
calibration images of each seed, with `--epochs` also by training, scores every graph on the test
and the validation split, and does the same with ONNX Runtime's own static quantization and with
NNCF (where that is installed) from the same float ONNX. `rivals` times a network of ours in INT8
(fresh weights, 80 classes) on both engines in turns with INT8 files (.xml or .onnx) of other tools.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from in_turns import ONE_THREAD, Call, caller, ratios, time_in_turns
from int8_files import fresh_files
from quantize_accuracy import accuracy, compiled, drop_table
from rows import Row, add_out_argument, show_rows

from detkit.data.coco.folder import synthetic_images
from detkit.engines import measuring_engines
from detkit.engines.coverage import coverage
from detkit.engines.opening import open_session
from detkit.engines.openvino.api import the_core
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO

ENGINES = measuring_engines()


# --- speed ---------------------------------------------------------------------------------------


def speed(args: argparse.Namespace) -> Iterator[Row]:
    for name in args.models.split(","):
        for size in map(int, args.sizes.split(",")):
            yield from speed_of(name, size, rounds=args.rounds)


def speed_of(name: str, size: int, *, rounds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        files = fresh_files(name, size, Path(folder))
        images = synthetic_images(Preprocess.filling((size, size)), 1)
        for engine in ENGINES:
            sessions = [
                open_session(path, engine=engine, session_options=ONE_THREAD)
                for path in (files.floats, files.int8[engine])
            ]
            calls = {
                label: caller(session, images)
                for label, session in zip(("float", "int8"), sessions, strict=True)
            }
            times = time_in_turns(calls, rounds=rounds)
            found = coverage(files.int8[engine], engine)
            yield {
                "model": name,
                "size": size,
                "engine": engine,
                **ratios(times["float"], times["int8"]),
                "int8_convolutions": found.int8,
                "convolutions": found.total,
                "size_ratio": round(
                    files.int8[engine].stat().st_size / files.floats.stat().st_size, 4
                ),
            }


# --- rivals --------------------------------------------------------------------------------------


def rivals(args: argparse.Namespace) -> Iterator[Row]:
    """Ours on each engine, and each other file on OpenVINO (.xml) or both (.onnx)."""
    images = synthetic_images(Preprocess.filling((args.imgsz, args.imgsz)), 1)
    calls: dict[str, Call] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = fresh_files(args.model, args.imgsz, Path(folder))
        for engine, path in files.int8.items():
            session = open_session(path, engine=engine, session_options=ONE_THREAD)
            calls[f"{args.model} {engine}"] = caller(session, images)
        for file in args.files:
            request = compiled(the_core().read_model(file)).create_infer_request()
            calls[f"{file.name} openvino"] = functools.partial(request.infer, [images])
            if file.suffix == ".onnx":
                calls[f"{file.name} onnxruntime"] = plain_onnx(file, images)
        times = time_in_turns(calls, rounds=args.rounds)
    best = min(np.percentile(times[f"{args.model} {e}"], 10) for e in ENGINES)
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
    commands["accuracy"].add_argument("pairs", type=Path, nargs="+", metavar="CKPT DATA")
    commands["accuracy"].add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    commands["accuracy"].add_argument("--epochs", type=int, default=0, help="of QAT; 0: without")
    commands["accuracy"].add_argument("--threads", type=int, default=0)
    commands["rivals"].add_argument("model", choices=ZOO)
    commands["rivals"].add_argument("files", type=Path, nargs="+")
    commands["rivals"].add_argument("--imgsz", type=int, default=640)
    for command in commands.values():
        command.add_argument("--rounds", type=int, default=40)
        add_out_argument(command)
    args = parser.parse_args()
    rows = show_rows(found[args.what](args), args.what, args.out, threads=1)
    if args.what == "accuracy":
        print("\n".join(drop_table(rows)))


if __name__ == "__main__":
    main()
