"""INT8 files of detkit on every version of the engines: fused, faster, and equally accurate?

    python benchmarks/engine_versions.py CKPT.int8 DATA WORK [--engines onnxruntime] [-o F]

Makes an environment below WORK for each version of `VERSIONS`, with numpy and the engine alone.
There each file of `MODELS` and `SIZES` (fresh weights) is timed in turns with its float twin on one
thread: the ratio of the fastest tenths. CKPT.int8 runs through the test split of DATA (`val` where
there is none): AP of float and INT8, and the largest difference from the newest version, on boxes
that score .25. A version that cannot be installed or fails is a row that says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from engine_probe import ENGINES
from in_turns import ratios
from int8_files import Files, fresh_files, write_files
from rows import Row, add_out_argument, show_rows

from detkit.artifact.artifact import Manifest
from detkit.core.boxes import EVAL_NMS, Array
from detkit.core.errors import BackendError
from detkit.data.coco.folder import CocoSplit, open_folder
from detkit.engines.onnxruntime.session import convolutions_in
from detkit.evaluation.evaluate import coco_figures, detect
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.quantize.calibrate import load_images

MODELS = ("yolo-nas-n", "yolo-nas-s")
SIZES = (320, 640)
# The newest first: the others are held against it.
VERSIONS = {
    "onnxruntime": (
        *("1.32.0", "1.30.0", "1.28.0", "1.26.0", "1.25.1", "1.24.4"),
        *("1.23.2", "1.22.1", "1.21.1", "1.20.1", "1.19.2", "1.18.1"),
    ),
    "openvino": (
        *("2026.4.1", "2026.3.1", "2026.2.1", "2026.1.0", "2026.0.0"),
        *("2025.4.1", "2025.3.0", "2025.2.0", "2025.1.0", "2025.0.0", "2024.6.0"),
    ),
}
OLD_NUMPY = {"1.18.1": "numpy<2", "2024.6.0": "numpy<2.2"}  # what a version was built against
LEAST_SCORE = 0.25  # of boxes that are compared
PROBE = Path(__file__).parent / "engine_probe.py"
INT8 = ("u8", "i8")


@dataclass(frozen=True)
class Trained:
    """A trained checkpoint as files, and what it is scored on."""

    files: Files
    manifest: Manifest
    split: CocoSplit
    images: Path  # (N, 3, H, W), of the split's records


class Recorded:
    """A session of outputs that were computed elsewhere, in the order of the images."""

    engine = "recorded"

    def __init__(self, manifest: Manifest, outputs: Path) -> None:
        self.manifest = manifest
        found = np.load(outputs)
        self.boxes, self.scores, self.next = found["boxes"], found["scores"], 0

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        rows = slice(self.next, self.next + len(images_bchw))
        self.next = rows.stop
        return self.boxes[rows], self.scores[rows]


def ap(trained: Trained, outputs: Path) -> float:
    split = trained.split
    found = detect(Recorded(trained.manifest, outputs), split.records, nms=EVAL_NMS)
    return coco_figures(split.records, split.class_names, found).ap or 0.0


def prepared(checkpoint: Path, data: Path, work: Path) -> Trained:
    """The checkpoint's graphs and the images of the split, in files."""
    model, manifest = load_checkpoint(checkpoint)
    if not isinstance(model, QuantizedDetector):
        sys.exit(f"{checkpoint} is not quantized")
    splits = open_folder(data).splits
    split = splits.get("test") or splits["val"]
    images = work / "images.npy"
    np.save(images, np.concatenate(list(load_images(split.records, manifest.preprocess, 8))))
    files = write_files(model.eval(), manifest, work / "trained")
    return Trained(files, manifest, split, images)


def environment(engine: str, version: str, work: Path) -> Path:
    """The Python of an environment that has this version of the engine.

    Raises:
        BackendError: it cannot be installed here.
    """
    folder = work / f"{engine}-{version}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        wanted = [f"{engine}=={version}", OLD_NUMPY.get(version, "numpy")]
        pip = [str(python), "-m", "pip", "install", "-qq", *wanted]
        if subprocess.run(pip, stdout=sys.stderr).returncode:
            raise BackendError(f"{engine} {version} cannot be installed for this Python")
        ready.touch()
    return python


def job(engine: str, pairs: dict[str, Files], trained: Trained, work: Path, rounds: int) -> Row:
    """What a probe is asked to do."""
    return {
        "rounds": rounds,
        "pairs": [
            {
                "name": name,
                "float": str(files.floats),
                "int8": str(files.int8[engine]),
                "image": str(files.floats.parent / "image.npy"),
            }
            for name, files in pairs.items()
        ],
        "scored": {
            form: {"file": str(file), "images": str(trained.images), "out": str(work / out)}
            for form, file, out in (
                ("float", trained.files.floats, "float.npz"),
                ("int8", trained.files.int8[engine], "int8.npz"),
            )
        },
    }


def probe(python: Path, engine: str, asked: Row, folder: Path) -> Row:
    """What the engine in this environment answers.

    Raises:
        BackendError: it failed.
    """
    path = folder / "job.json"
    path.write_text(json.dumps(asked), encoding="utf-8")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), str(PROBE), engine, str(path)], env=environ, capture_output=True, text=True
    )
    if done.returncode:
        raise BackendError(done.stderr.strip().splitlines()[-1])
    answer: Row = json.loads(done.stdout.splitlines()[-1])
    return answer


def fused(convolutions: dict[str, Any]) -> Row:
    """How many convolutions run in INT8, of how many."""
    if "optimised" in convolutions:
        convolutions = convolutions_in(Path(convolutions["optimised"]).read_bytes())
    counts = {"int8": 0, "float": 0}
    for precision, count in convolutions.items():
        counts["int8" if precision in INT8 else "float"] += count
    return {"int8_convolutions": counts["int8"], "convolutions": sum(counts.values())}


def difference(outputs: Path, reference: Path) -> Row:
    """The largest difference of boxes and scores, where either scores `LEAST_SCORE`."""
    ours, others = np.load(outputs), np.load(reference)
    best = np.maximum(ours["scores"], others["scores"]).max(axis=-1) >= LEAST_SCORE
    return {
        "box_px": round(float(np.abs(ours["boxes"] - others["boxes"])[best].max(initial=0)), 3),
        "score": round(float(np.abs(ours["scores"] - others["scores"])[best].max(initial=0)), 4),
    }


def rows_of(
    engine: str, version: str, pairs: dict[str, Files], trained: Trained, args: argparse.Namespace
) -> Iterator[Row]:
    """The rows of one version: each pair's speed, then the trained network's accuracy."""
    python = environment(engine, version, args.work)
    here, newest = (args.work / f"{engine}-{v}" for v in (version, VERSIONS[engine][0]))
    answer = probe(python, engine, job(engine, pairs, trained, here, args.rounds), here)
    version = answer["version"]
    for name, found in answer["pairs"].items():
        times = found["times"]
        yield {
            "engine": engine,
            "version": version,
            "model": name,
            **ratios(times["float"], times["int8"]),
            **fused(found["convolutions"]),
        }
    yield {
        "engine": engine,
        "version": version,
        "model": "trained",
        **{f"ap_{form}": round(ap(trained, here / f"{form}.npz"), 4) for form in ("float", "int8")},
        **difference(here / "int8.npz", newest / "int8.npz"),
    }


def measured(args: argparse.Namespace) -> Iterator[Row]:
    args.work.mkdir(parents=True, exist_ok=True)
    trained = prepared(args.checkpoint, args.data, args.work)
    pairs = {
        f"{model} {size}": fresh_files(model, size, args.work / f"{model}-{size}")
        for model in args.models
        for size in SIZES
    }
    for name, files in pairs.items():
        size = int(name.split()[1])
        image = np.random.default_rng(0).random((1, 3, size, size), np.float32)
        np.save(files.floats.parent / "image.npy", image)
    for engine in args.engines:
        for version in VERSIONS[engine]:
            try:
                yield from rows_of(engine, version, pairs, trained, args)
            except BackendError as error:
                yield {"engine": engine, "version": version, "failed": str(error)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=20)
    add_out_argument(parser)
    args = parser.parse_args()
    args.work = args.work.resolve()
    show_rows(measured(args), "engine versions", args.out, threads=1)


if __name__ == "__main__":
    main()
