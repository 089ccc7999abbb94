"""A disk that is full from the Nth write on, for every verb and every N.

Runs in a process of its own with `disk_full.c` preloaded. At each N a verb must end with one error
that says so, exit 1, without a traceback; what lies under a final name is whole; and once there is
room again the same command, with --force, does its work.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from attacks.kills import QUIET, TRAIN, fresh
from attacks.process import Tally, files_below, preload, run_verb

UNDO = "-journal"  # of SQLite, which takes back half a step by it when it opens the file again
WHOLE_FILES = (".jpg", ".png", ".html", ".onnx", ".xml", ".bin", ".safetensors")
SOURCE = Path(__file__).with_name("disk_full.c")


def fill_all(prepared: Path, work: Path, *, most: int, only: str = "") -> list[Tally]:
    """Fills the disk at up to `most` writes of each verb.

    Args:
        prepared: the folder of `prepare`.
        only: the one verb to try.

    Raises:
        FileNotFoundError: no C compiler is here.
    """
    work.mkdir(parents=True, exist_ok=True)
    shim = work / "disk_full.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", shim, SOURCE, "-ldl"], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "attacks.disk", prepared, work, str(most), only],
        cwd=SOURCE.parents[1],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return [Tally(**row) for row in json.loads(done.stdout)]


def verbs(prepared: Path) -> dict[str, list[str]]:
    """Every verb that writes, on small inputs, its output in the current folder."""
    data, voc = str(prepared / "data"), str(prepared / "voc")
    checkpoint, onnx = str(prepared / "m.safetensors"), str(prepared / "m.onnx")
    images = f"{data}/images/val"
    published = str(prepared / "published.pth")
    train = ["train", data, *TRAIN, *QUIET, "--set", "workers=0", "--epochs", "1", "-o", "out"]
    space = ["--space", "tiny", "--imgsz", "64", "-q"]
    quick = ["--seconds", "0", "--runs", "10", "-q"]
    return {
        "train": train,
        "eval": ["eval", onnx, data, "-o", "r.json", *QUIET],
        "reparam": [
            "reparam",
            str(prepared / "run" / "best.safetensors"),
            "-o",
            "r.safetensors",
            "-q",
        ],
        "quantize": [
            "quantize",
            "--int8",
            checkpoint,
            "--data",
            data,
            "-o",
            "q.safetensors",
            *QUIET,
        ],
        "export": ["export", "--to", "onnx", checkpoint, "-o", "m.onnx", "-q"],
        "export openvino": ["export", "--to", "openvino", checkpoint, "-o", "m.xml", "-q"],
        "bench": ["bench", onnx, "-o", "b.json", *quick],
        "compare": ["compare", "yolo-nas-p", "--imgsz", "64", "-o", "c.json", *quick],
        "profile": ["profile", *space, "--classes", "3", "--samples", "8", "-o", "p.json"],
        "search": ["search", *space, "--set", "classes=3", "--set", "cost=macs", "--trials", "6"]
        + ["-o", "out"],
        "predict": ["predict", onnx, images, "-o", "out", *QUIET],
        "import": ["import", published, "-o", "i.safetensors", "-q"],
        "data convert": ["data", "convert", voc, "--from", "voc", "-o", "out", "-q"],
        "data label": ["data", "label", images, "--model", onnx, "-o", "out", *QUIET],
        "data synth": ["data", "synth", "-o", "out", "--train", "6", "--val", "2", "-q"],
        "report": ["report", str(prepared / "run"), "-o", "r.html"],
    }


def fill(name: str, args: list[str], work: Path, most: int) -> Tally:
    """Fills the disk at up to `most` writes of a verb, evenly over all of them."""
    tally = Tally(f"full disk: {name}")
    shim = ctypes.CDLL(None)
    folder = fresh(work / "whole")

    def full_after(writes: int) -> None:
        shim.disk_full_after(str(folder).encode(), ctypes.c_long(writes))

    ended = run_verb(args, folder, before=lambda: full_after(-1))
    if ended.code not in (0, 5):
        tally.add(f"it does not run at all: {ended.stderr[-300:]}")
        return tally
    whole = {p.relative_to(folder).as_posix(): p.read_bytes() for p in files_below(folder)}
    numbers = itertools.accumulate(itertools.repeat(0), lambda last, _: last + 1 + last // 8)
    for number in itertools.islice(numbers, most):
        folder = fresh(work / "full")
        ended = run_verb(args, folder, before=functools.partial(full_after, number))
        if ended.code in (0, 5):
            break  # it writes less often than that
        failure = _failure(ended.is_clean_error and ended.code == 1, ended.stderr, folder, whole)
        if not failure:
            again = run_verb([*args, *([] if name == "report" else ["--force"])], folder)
            failure = (
                "" if again.code in (0, 5) else f"then exit {again.code}: {again.stderr[-200:]}"
            )
        tally.add(f"write {number}: {failure}" if failure else "")
    return tally


def _failure(is_clean: bool, stderr: str, folder: Path, whole: dict[str, bytes]) -> str:
    if not is_clean:
        return f"not one error, exit 1: {stderr[-300:]}"
    if "space" not in stderr and "full" not in stderr:
        return f"does not say why: {stderr[-200:]}"
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if name not in whole and not name.endswith(UNDO):
            return f"left behind: {name}"
        if (
            name in whole
            and path.suffix in WHOLE_FILES
            and path.stat().st_size < 0.9 * len(whole[name])
        ):
            return f"half a file: {name}"
    return ""


def _tallies(prepared: Path, work: Path, most: int, only: str) -> Iterator[Tally]:
    for name, args in verbs(prepared).items():
        if only in ("", name):
            yield fill(name, args, work / name.replace(" ", "-"), most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("most", type=int)
    parser.add_argument("only")
    args = parser.parse_args()
    preload()
    print(
        json.dumps(
            [asdict(row) for row in _tallies(args.prepared, args.work, args.most, args.only)]
        )
    )


if __name__ == "__main__":
    main()
