"""The jobs of `field.py` and `recipe.py`: one training of one tool on one set, and its figures.

Everything goes through command lines: detkit's own, and that of the peer, which is installed in
a virtual environment of its own (see `peers`). AP is that of COCO on a split that the
checkpoint was not chosen on: the best one on the validation split is scored on the test split;
where a set has no test split, the last checkpoint is scored on the validation split.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import peers
from training_queue import Job, Record, Workplace

from detkit.artifact.artifact import versions

SETS = {  # name: the split that is scored, and the checkpoint that is scored on it
    "bccd": ("test", "best"),
    "raccoon": ("val", "last"),
    "orchard": ("test", "best"),
    "vegetables": ("test", "best"),
}
SCRATCH = "none"
SOURCES = Path(__file__).parents[1] / "src"
NOISE_IMAGES = 4
PRECISION = 5  # digits of a figure in the results


@dataclass(frozen=True, kw_only=True)
class Init:
    """First weights by a name for the table, and their file; from scratch without one."""

    name: str = SCRATCH
    file: Path | None = None

    @property
    def digest(self) -> str:
        """The start of the file's SHA-256: another file makes other jobs."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()[:8] if self.file else ""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training and what its figures are of; the fields of a line of the results.

    Attributes:
        teacher: the run that is learned from beside the labels, as its job is called.
        settings: further settings of detkit, `key=value` as `--set` takes them.
        label: of the settings, where the table should tell them from the defaults.
    """

    data: Path  # the folder that holds the sets
    set: str
    epochs: int
    seed: int = 0
    tool: str = "detkit"
    model: str = "yolo-nas-n"
    init: Init = field(default_factory=Init)
    imgsz: int = 320
    batch: int = 8
    device: str = "cpu"
    teacher: str = ""
    settings: tuple[str, ...] = ()
    label: str = ""

    @property
    def key(self) -> str:
        words = [self.set, self.model, self.init.name]
        words += [self.init.digest] if self.init.digest else []
        words += [self.label] if self.label else []
        return "-".join([*words, f"e{self.epochs}", f"s{self.seed}"])

    def fields(self) -> Record:
        """What was asked for, as the line says it."""
        split, checkpoint = SETS[self.set]
        return {
            "kind": "training",
            "set": self.set,
            "tool": self.tool,
            "model": self.model,
            "init": self.init.name,
            "init_digest": self.init.digest,
            "epochs": self.epochs,
            "seed": self.seed,
            "imgsz": self.imgsz,
            "batch": self.batch,
            "device": self.device,
            "teacher": self.teacher,
            "settings": list(self.settings),
            "label": self.label,
            "split": split,
            "checkpoint": checkpoint,
        }


def detkit_command(*args: object) -> list[str]:
    return [sys.executable, "-m", "detkit", *map(str, args)]


def run_detkit(place: Workplace, *args: object) -> Any:
    """Runs a verb of the detkit beside this file; returns its JSON."""
    path = f"{SOURCES}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return json.loads(place.call(*detkit_command(*args, "--json"), env={"PYTHONPATH": path}))


def detkit_job(training: Training) -> Job:
    """A training by `detkit train`, scored by `detkit eval`."""

    def measure(place: Workplace) -> Record:
        run = place.folder / "run"
        threads = ("--threads", place.queue.threads)
        if (run / "state" / "state.safetensors").is_file():
            flags = ["-o", run, "--resume", *threads]
        else:
            flags = [*train_flags(training), *threads, "-o", run, "--force"]
            if training.teacher:
                flags += ["--teacher", place.folder_of(training.teacher) / "run/best.safetensors"]
        report = run_detkit(place, "train", *flags)
        split, checkpoint = SETS[training.set]
        scored = (run / f"{checkpoint}.safetensors", training.data / training.set)
        figures = run_detkit(place, "eval", *scored, "--split", split, *threads)
        return {
            **training.fields(),
            **scores(figures["ap"], figures["ap50"], class_aps(figures["per_class"])),
            **of_run(run, training.batch),
            "seconds": report["seconds"],
            "images": report["images"],
            "val_ap": round(report["ap"], PRECISION),
            "best_epoch": report["best_epoch"],
            "commit": commit(),
            "versions": versions("torch", "numpy"),
        }

    return Job(training.key, measure, needs=training.teacher)


def train_flags(training: Training) -> list[object]:
    """The flags of `detkit train` for a new run."""
    flags: list[object] = [training.data / training.set, "--imgsz", training.imgsz]
    flags += ["--epochs", training.epochs, "--batch", training.batch, "--seed", training.seed]
    flags += ["--device", training.device]
    if training.init.file is None:
        flags += ["--model", training.model, *scratch_flags()]
    else:
        flags += ["--model", training.model, "--init", training.init.file]
    for setting in training.settings:
        flags += ["--set", setting]
    return flags


def scratch_flags() -> list[str]:
    """What keeps `train` from starting from knowledge, where it would by itself."""
    return ["--init", "none"] if importlib.util.find_spec("detkit.starter") else []


def of_run(run: Path, batch: int) -> Record:
    """What the epochs of a run tell: images seen, and AP on the validation split by epoch."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    epochs = [json.loads(line) for line in lines]
    return {
        "images_seen": sum(epoch["batches"] for epoch in epochs) * batch,
        "curve": [round(epoch["ap"], 4) for epoch in epochs],
    }


def peer_job(training: Training, home: Path) -> Job:
    """A training by the peer, its detections scored by pycocotools."""

    def measure(place: Workplace) -> Record:
        split, checkpoint = SETS[training.set]
        peer = peers.Peer(home, place.call, place.folder, training.data / training.set)
        asked = {"epochs": training.epochs, "imgsz": training.imgsz, "batch": training.batch}
        run = peer.train(training.model, seed=training.seed, device=training.device, **asked)
        found = peer.detect(run.weights[checkpoint], split, imgsz=training.imgsz)
        figures = peers.coco_figures(peer.data, split, found)
        return {
            **training.fields(),
            **scores(figures.ap, figures.ap50, figures.per_class),
            "seconds": run.seconds,
            "images": run.num_images,
            "images_seen": run.num_images * training.epochs,
            "curve": run.curve,
            "versions": peer.versions(),
        }

    return Job(training.key, measure)


def int8_job(training: Training, train_job: Job) -> Job:
    """What INT8 makes of a trained network: AP on the same split, ms beside float."""

    def measure(place: Workplace) -> Record:
        split, checkpoint = SETS[training.set]
        data = training.data / training.set
        parent = place.folder_of(train_job.key) / "run" / f"{checkpoint}.safetensors"
        detkit = partial(run_detkit, place)
        made = {name: place.folder / f"{name}.safetensors" for name in ("float", "int8")}
        graphs = {name: path.with_suffix(".onnx") for name, path in made.items()}
        source = ("--data", data, "--force")
        detkit("reparam", parent, *source, "-o", made["float"])
        few = ("--set", f"noise_images={NOISE_IMAGES}")  # tells the noise apart, changes nothing
        detkit("quantize", "--int8", made["float"], *source, *few, "-o", made["int8"])
        for name, path in made.items():
            slow = () if name == "float" else ("--allow-slower", "--target", "onnxruntime")
            detkit("export", "--to", "onnx", path, *source, *slow, "-o", graphs[name])
        ap = {n: detkit("eval", graph, data, "--split", split) for n, graph in graphs.items()}
        timed = detkit("bench", *graphs.values(), "--data", data, "--threads", 1)
        latency = [round(model["latency_ms"]["p50"], 3) for model in timed["models"]]
        return {
            **training.fields(),
            "kind": "int8",
            "ap_float": round(ap["float"]["ap"], PRECISION),
            "ap": round(ap["int8"]["ap"], PRECISION),
            "ms_float": latency[0],
            "ms": latency[1],
            "valid": timed["valid"],
            "commit": commit(),
            "versions": versions("torch", "onnxruntime"),
        }

    return Job(f"{training.key}-int8", measure, needs=train_job.key)


def scores(ap: float | None, ap50: float | None, per_class: dict[str, float]) -> Record:
    """AP, AP50 and the AP of each class, rounded alike."""
    return {
        "ap": round(ap or 0.0, PRECISION),
        "ap50": round(ap50 or 0.0, PRECISION),
        "per_class": {name: round(value, PRECISION) for name, value in per_class.items()},
    }


def class_aps(per_class: dict[str, Any]) -> dict[str, float]:
    return {name: score["ap"] or 0.0 for name, score in per_class.items()}


def commit() -> str:
    """The commit of the sources that ran, marked where they were changed; empty elsewhere."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=10"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip()
