"""What each installation of detkit takes and can do, in environments of their own.

    python benchmarks/install.py [PYTHON...] -o results/install.json

For every Python named (the running one by default) and both kinds of install, from the wheel alone
with no repository around: megabytes, seconds, and the exit code of verbs on an exported model. All
are 0 but that of `train` in the base install, 4: it says what to install. Anything else is shown,
and this ends with 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXTRAS = {"base": "", "train": "[train]"}
EXPECTED = {("base", "train"): 4}  # (install, verb) -> exit code where it is not 0
ELSEWHERE = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}


def verbs(model: Path, data: Path, out: Path) -> dict[str, list[str]]:
    """Verb -> its arguments; `train` only resolves its settings."""
    return {
        "info": ["info", str(model)],
        "bench": ["bench", str(model), "--runs", "10", "--seconds", "0", "--data", str(data)],
        "eval": ["eval", str(model), str(data)],
        "predict": ["predict", str(model), str(data / "images"), "-o", str(out)],
        "data": ["data", "check", str(data)],
        "train": ["train", str(data), "--model", "yolo-nas-p", "--dry-run"],
    }


def megabytes(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


def install(python: str, wheel: Path, extra: str, folder: Path) -> dict[str, Any]:
    """Makes an environment and installs the wheel; its size and time."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True, env=ELSEWHERE)
    bare, began = megabytes(folder), time.monotonic()
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, *constraints, f"{wheel}{extra}"], check=True, env=ELSEWHERE)
    seconds = time.monotonic() - began
    return {"seconds": round(seconds, 1), "megabytes": round(megabytes(folder) - bare)}


def try_verbs(folder: Path, kind: str, calls: dict[str, list[str]]) -> dict[str, int]:
    """Verb -> exit code; what an unexpected one said goes to stderr."""
    codes = {}
    for verb, args in calls.items():
        command = [str(folder / "bin" / "detkit"), *args]
        done = subprocess.run(command, cwd=folder, env=ELSEWHERE, capture_output=True, text=True)
        codes[verb] = done.returncode
        if done.returncode != EXPECTED.get((kind, verb), 0):
            print(f"{kind} install, detkit {verb}: {done.stderr}", file=sys.stderr)
    return codes


def as_expected(row: dict[str, Any]) -> bool:
    codes = row["exit_codes"].items()
    return all(code == EXPECTED.get((row["install"], verb), 0) for verb, code in codes)


def prepared(work: Path) -> tuple[Path, Path, Path]:
    """The wheel, an exported model and a COCO folder, made by the detkit that runs this."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(work)]
    subprocess.run([*pip, str(ROOT)], check=True)
    detkit = [sys.executable, "-m", "detkit"]
    shapes = ["data", "synth", "-o", "shapes", "--train", "16", "--val", "8", "--size", "64"]
    training = ["train", "shapes", "--model", "yolo-nas-p", "--imgsz", "64", "--epochs", "1"]
    for args in (shapes, [*training, "-o", "run"], ["export", "run/best.safetensors"]):
        subprocess.run([*detkit, *args], cwd=work, check=True, capture_output=True)
    return next(work.glob("*.whl")), work / "run" / "best.onnx", work / "shapes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="*", default=[sys.executable])
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        wheel, model, data = prepared(work)
        for number, python in enumerate(args.pythons):
            for kind, extra in EXTRAS.items():
                folder = work / f"{kind}{number}"
                found = install(python, wheel, extra, folder)
                calls = verbs(model, data, folder / "out")
                version = subprocess.run([python, "-V"], capture_output=True, text=True).stdout
                row = {"python": version.strip(), "install": kind, **found}
                rows.append(row | {"exit_codes": try_verbs(folder, kind, calls)})
                print(json.dumps(rows[-1]), flush=True)
    if args.out:
        args.out.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "rows": rows}, indent=1))
    sys.exit(not all(map(as_expected, rows)))


if __name__ == "__main__":
    main()
