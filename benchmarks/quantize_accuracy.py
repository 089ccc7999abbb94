"""What INT8 costs in AP: `detkit quantize` on several sets, beside what the engines bring.

Every quantization is repeated with other calibration images; those of other tools are given the
same ones. Run by `quantize.py accuracy`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from field_table import row_line
from in_turns import ONE_THREAD, caller, ratios, time_in_turns
from rows import Row

from detkit.artifact.artifact import Manifest
from detkit.core.boxes import EVAL_NMS
from detkit.data.coco.folder import open_folder
from detkit.engines import measuring_engines
from detkit.engines.coverage import coverage
from detkit.engines.opening import open_session
from detkit.engines.openvino.api import the_core
from detkit.evaluation.evaluate import coco_figures, detect
from detkit.export.graph import write_onnx
from detkit.quantize.calibrate import load_images, subsample_evenly
from detkit.runtime.session import Session

ENGINES = measuring_engines()
CALIBRATION_IMAGES = 128
SPLITS = ("val", "test")


def detkit(*args: str | Path) -> str:
    """Runs a verb, its log on our stderr; returns its stdout without the last newline."""
    command = [sys.executable, "-m", "detkit", *map(str, args)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.rstrip("\n")


class Subject:
    """A float checkpoint and its set: what every quantization of it is held against."""

    def __init__(self, checkpoint: Path, data: Path, folder: Path, rounds: int) -> None:
        self.checkpoint, self.data, self.rounds = checkpoint, data, rounds
        self.splits = open_folder(data).splits
        self.floats = folder / f"{data.name}.float.onnx"
        detkit("export", "--to", "onnx", checkpoint, "-o", self.floats)
        self.sessions = {
            engine: open_session(self.floats, engine=engine, session_options=ONE_THREAD)
            for engine in ENGINES
        }
        manifest = self.sessions[ENGINES[0]].manifest
        assert isinstance(manifest, Manifest)
        self.manifest = manifest

    def images(self, seed: int) -> list[Any]:
        """The images `detkit quantize --seed` calibrates on, one a batch."""
        records = self.splits["train"].records
        chosen = subsample_evenly(records, CALIBRATION_IMAGES, seed=seed)
        return list(load_images(chosen, self.manifest.preprocess, 1))

    def row(self, name: str, session: Session) -> Row:
        """AP on both splits, and latency in turns with the float graph on the same engine."""
        records = self.splits["val"].records[:1]
        image = np.ascontiguousarray(next(load_images(records, self.manifest.preprocess, 1)))
        calls = {
            "float": caller(self.sessions[session.engine], image),
            "int8": caller(session, image),
        }
        times = time_in_turns(calls, rounds=self.rounds)
        aps, timed = self.aps(session), ratios(times["float"], times["int8"])
        return {"name": name, "engine": session.engine, **aps, **timed}

    def aps(self, session: Session) -> Row:
        return {f"ap_{split}": round(self.ap(session, split), 4) for split in SPLITS}

    def ap(self, session: Session, split: str) -> float:
        chosen = self.splits[split]
        found = detect(session, chosen.records, nms=EVAL_NMS)
        return coco_figures(chosen.records, chosen.class_names, found).ap or 0.0


def accuracy(args: argparse.Namespace) -> Iterator[Row]:
    """The rows of every pair of checkpoint and data folder, seed by seed."""
    if len(args.pairs) % 2:
        sys.exit("a data folder for each checkpoint")
    if not importlib.util.find_spec("nncf"):
        print("NNCF is not installed here: left out", file=sys.stderr)
    for checkpoint, data in zip(args.pairs[::2], args.pairs[1::2], strict=True):
        with tempfile.TemporaryDirectory() as name:
            subject = Subject(checkpoint, data, Path(name), args.rounds)
            for row in rows_of(subject, args, Path(name)):
                yield {"set": data.name, **row}


def rows_of(subject: Subject, args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    for session in subject.sessions.values():
        yield {"seed": 0, **subject.row("float", session)}
    for seed in args.seeds:
        yield from ({"seed": seed, **row} for row in rows_of_seed(subject, args, seed, folder))


def rows_of_seed(
    subject: Subject, args: argparse.Namespace, seed: int, folder: Path
) -> Iterator[Row]:
    yield from ours("ptq", (), subject, seed, args.threads, folder)
    if args.epochs:
        flags = ("--qat", "--epochs", str(args.epochs))
        yield from ours("qat", flags, subject, seed, args.threads, folder)
    batches = subject.images(seed)
    yield from static_quantization(subject, batches, folder)
    if importlib.util.find_spec("nncf"):
        yield nncf_quantization(subject, batches)


def ours(
    method: str, flags: Sequence[str], subject: Subject, seed: int, threads: int, folder: Path
) -> Iterator[Row]:
    """The INT8 checkpoint as torch runs it, and its graph on each engine."""
    out = folder / f"{subject.data.name}.{method}.{seed}.safetensors"
    asked = ("--images", CALIBRATION_IMAGES, "--threads", threads, "--seed", seed)
    report = json.loads(
        detkit("quantize", "--int8", subject.checkpoint, "--data", subject.data, *flags,
               *map(str, asked), "-o", out, "--json")
    )  # fmt: skip
    yield {
        "name": f"detkit {method} in torch",
        "engine": "torch",
        **subject.aps(open_session(out)),
        "size_ratio": round(report["size_ratio"], 4),
    }
    for engine in ENGINES:
        graph = folder / f"{out.stem}.{engine}.onnx"
        detkit("export", "--to", "onnx", "--target", engine, "--allow-slower", out, "-o", graph)
        session = open_session(graph, engine=engine, session_options=ONE_THREAD)
        found = coverage(graph, engine)
        yield {
            **subject.row(f"detkit {method}", session),
            "int8_convolutions": found.int8,
            "convolutions": found.total,
        }


def static_quantization(subject: Subject, batches: list[Any], folder: Path) -> Iterator[Row]:
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
    quant_pre_process(str(subject.floats), str(prepared), skip_symbolic_shape=True)
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
        write_onnx(onnx.load(plain), subject.manifest, out)
        session = open_session(out, engine="onnxruntime", session_options=ONE_THREAD)
        found = coverage(out, "onnxruntime")
        yield {
            **subject.row(f"ONNX Runtime static, {label}", session),
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


def nncf_quantization(subject: Subject, batches: list[Any]) -> Row:
    import nncf

    quantized = nncf.quantize(
        the_core().read_model(subject.floats),
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset.MIXED,
        fast_bias_correction=True,
        subset_size=len(batches),
    )
    return subject.row("NNCF", OpenVinoSession(quantized, subject.manifest))


# --- the table -----------------------------------------------------------------------------------


def drop_table(rows: Sequence[Row]) -> list[str]:
    """Points of test AP lost by each way on each set: the mean over seeds, least to most."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    before = {(r["set"], r["engine"]): r["ap_test"] for r in rows if r["name"] == "float"}
    ways = dict.fromkeys((r["name"], r["engine"]) for r in rows if r["name"] != "float")
    lines = [row_line(["", "engine", *sets, "mean", "faster"]), row_line(["---"] * (len(sets) + 4))]
    for name, engine in ways:
        mine = [r for r in rows if (r["name"], r["engine"]) == (name, engine)]
        drops = {
            one: [
                100 * (before.get((one, engine), before[one, ENGINES[0]]) - row["ap_test"])
                for row in mine
                if row["set"] == one
            ]
            for one in sets
        }
        cells = [f"{mean(d):+.2f} ({min(d):+.2f} to {max(d):+.2f})" for d in drops.values()]
        overall = f"{mean(map(mean, drops.values())):+.2f}"
        speeds = [row["times_faster"] for row in mine if "times_faster" in row]
        faster = f"{mean(speeds):.2f}x" if speeds else ""
        lines.append(row_line([name, engine, *cells, overall, faster]))
    return lines
