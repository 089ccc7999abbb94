"""Trains from scratch on a COCO folder, fuses, exports, benches and scores every form; one JSON.

    python benchmarks/bccd.py DATA [--model yolo-nas-n] [--imgsz 320] [--epochs 30] [-o FILE.json]

Everything goes through the command line, as a user's script would; detkit[openvino] is needed.
Compare figures of one machine and one run only; those of other tools beside it are in
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SPLITS = ("val", "test")
MAX_AP_DIFFERENCE = 1e-3


def detkit(*args: str | Path) -> str:
    """Runs a verb, its log on our stderr; returns its stdout."""
    command = [sys.executable, "-m", "detkit", *map(str, args)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def report(*args: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(detkit(*args, "--json"))
    return found


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    run = folder / "run"
    began = time.monotonic()
    flags = ["--model", args.model, "--init", "none"]
    flags += ["--imgsz", args.imgsz, "--epochs", args.epochs]
    train = report("train", args.data, *flags, "-o", run)
    wall_s = time.monotonic() - began
    best = Path(train["checkpoint"])
    fused = report("reparam", best)
    exports = {
        target: report("export", "--to", target, fused["file"]) for target in ("onnx", "openvino")
    }
    made = {"fused": fused, **exports}
    forms = {"checkpoint": best, **{name: Path(form["file"]) for name, form in made.items()}}
    scores = {
        split: {
            form: report("eval", path, args.data, "--split", split) for form, path in forms.items()
        }
        for split in SPLITS
    }
    bench = report("bench", *forms.values(), "--data", args.data, "--threads", "1")
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "model": args.model,
        "imgsz": args.imgsz,
        "date": time.strftime("%Y-%m-%d"),
        "wall_s": round(wall_s, 1),
        "train": train,
        "curve": [round(json.loads(line)["ap"], 4) for line in lines],
        "reparam": fused["difference"],
        "export": {target: export["difference"] for target, export in exports.items()},
        "eval": scores,
        "bench": bench,
    }


def without_folders(value: Any) -> Any:
    """Paths as file names, and no raw samples: a result is read on other machines."""
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items() if key != "samples_ms"}
    if isinstance(value, list):
        return [without_folders(item) for item in value]
    if isinstance(value, str) and Path(value.split(" (")[0]).is_absolute():
        return value.replace(f"{Path(value.split(' (')[0]).parent}/", "")
    return value


def summary(found: dict[str, Any]) -> list[str]:
    """The lines a person reads."""
    train = found["train"]
    lines = [
        f"{found['model']} {found['imgsz']} px, {train['epochs']} epochs: {found['wall_s']} s,"
        f" {train['images_per_s']:.1f} images/s in the step"
    ]
    for split, forms in found["eval"].items():
        for form, score in forms.items():
            classes = ", ".join(f"{k} {v['ap']:.4f}" for k, v in score["per_class"].items())
            lines.append(
                f"{split:<5}{form:<11}AP {score['ap']:.4f}  AP50 {score['ap50']:.4f}  {classes}"
            )
    for model in found["bench"]["models"]:
        lines.append(
            f"{Path(model['file']).name:<24}p50 {model['latency_ms']['p50']:.2f} ms, 1 thread"
        )
    return lines


def check(found: dict[str, Any]) -> None:
    """All forms must score alike."""
    for split, forms in found["eval"].items():
        values = [score["ap"] for score in forms.values()]
        if max(values) - min(values) > MAX_AP_DIFFERENCE:
            raise SystemExit(f"the forms disagree on {split}: {values}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="yolo-nas-n")
    parser.add_argument("--imgsz", default="320")
    parser.add_argument("--epochs", default="30")
    parser.add_argument("-o", "--out", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="detkit-bench-") as folder:
        found = measure(args, Path(folder))
    if args.out:
        args.out.write_text(json.dumps(without_folders(found), indent=1) + "\n", encoding="utf-8")
    print("\n".join(summary(found)))
    check(found)


if __name__ == "__main__":
    main()
