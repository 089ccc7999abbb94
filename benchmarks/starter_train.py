"""Trains starter weights: long at low resolution, then shortly at the one they are used at.

    python benchmarks/starter_train.py MIXES WORK --teacher FILE [--models yolo-nas-n yolo-nas-p]
        [--init FILE] [--images 300000] [--final-images 40000] [--sets all all-everything]

MIXES holds the folders that `starter_prepare.py` makes, FILE is a checkpoint whose features are
learned from (an imported YOLOX). Each model trains on each of the sets. A stage that is done is not
done again, one that was stopped goes on. The same on a CPU (300,000 images are four hours of one
core) and with `--device cuda`. Prints each last checkpoint, which `starter_pack.py` packs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from field_jobs import detkit_command

SETS = ("all", "all-everything")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training: its size in pixels, and how it learns."""

    name: str
    side: int
    rate: float
    ema: float = 0.9995


LONG = Stage(name="long", side=224, rate=1.5e-3)
FINAL = Stage(name="final", side=320, rate=5e-4)


def epochs_for(folder: Path, images: int) -> int:
    """Whole epochs that see about `images` images."""
    annotations = json.loads((folder / "annotations" / "instances_train.json").read_text())
    return max(1, round(images / len(annotations["images"])))


def train(args: argparse.Namespace, stage: Stage, model: str, folder: Path, init: str) -> Path:
    """Runs a stage, or what is left of it; returns its last checkpoint."""
    out: Path = args.work / f"{model}-{folder.name}-{stage.name}"
    images = args.images if stage is LONG else args.final_images
    words: list[object] = ["-o", out, "--device", args.device]
    if (out / "report.json").is_file():
        return out / "last.safetensors"
    if (out / "state" / "state.safetensors").is_file():
        words += ["--resume"]
    else:
        words += [folder, "--model", model, "--init", init, "--force", "--seed", args.seed]
        words += ["--teacher", args.teacher, "--set", "distill.score=1"]
        words += ["--set", "distill.features=1"]
        words += ["--imgsz", stage.side, "--batch", args.batch]
        words += ["--epochs", epochs_for(folder, images)]
        words += ["--set", f"optim.lr={stage.rate}", "--set", f"optim.ema={stage.ema}"]
    if args.threads:
        words += ["--threads", args.threads]
    subprocess.run(detkit_command("train", *words), check=True, stdout=subprocess.DEVNULL)
    return out / "last.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mixes", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["yolo-nas-n"])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--init", default="none", help="first weights of the long stage")
    parser.add_argument("--images", type=int, default=300_000, help="seen by the long stage")
    parser.add_argument("--final-images", type=int, default=40_000, help="seen by the final one")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    args = parser.parse_args()
    for model in args.models:
        for name in args.sets:
            folder = args.mixes / name
            first = train(args, LONG, model, folder, args.init)
            print(train(args, FINAL, model, folder, str(first)), flush=True)


if __name__ == "__main__":
    main()
