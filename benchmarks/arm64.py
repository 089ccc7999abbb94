"""What arm64.sh does around its ARM roots and inside them.

    arm64.py wheels PYTHON WHEEL [--into FOLDER]     # resolves, or installs, for 64-bit ARM
    arm64.py outputs MODEL FOLDER OUT.npz            # inside and here: raw boxes and scores
    arm64.py compare SUITE RUN WORK ...              # verbs inside, and outputs beside those here
    arm64.py record WHEEL SUITE.json...              # all of it, and Pythons that only resolve

A level: by how much the INT8 outputs here change where every input value changes by 1/255, one
level of its 8 bits. Kernels that round one value of one layer differently move less than that. AP
and the number of detections are held to `Limits`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Figures = dict[str, float]
MAX_FLOAT_PX = 1e-3
RESOLVED = {"3.10": "JetPack 6", "3.12": "JetPack 7"}  # Ubuntu 22.04 and 24.04
GLIBC = {"3.10": 35, "3.11": 36, "3.12": 39, "3.13": 41}  # 2.N of the system that has this Python
INVALID = 5  # what bench exits with where its times cannot be trusted


@dataclass(frozen=True)
class Limits:
    """How far a file's figures may be from those here: AP, and share of the detections.

    Of INT8, half a point: what a few dozen images resolve.
    """

    ap: float
    detections: float


LIMITS = {"float.onnx": Limits(1e-4, 0.0), "int8.onnx": Limits(5e-3, 0.05)}

# --- wheels --------------------------------------------------------------------------------------


def pip_options(python: str) -> list[str]:
    """Options by which pip takes the wheels that ARM's glibc of this Python's system can load."""
    tags = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in range(17, GLIBC[python] + 1))]
    platforms = [word for tag in tags for word in ("--platform", f"{tag}_aarch64")]
    return ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, *platforms]


def resolve(wheel: Path, python: str) -> dict[str, str]:
    """Name -> version of detkit's dependencies, `openvino` among them.

    pip judges markers by the Python that runs it, so what the other one needs besides is asked for
    until nothing is missing.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted: dict[str, str] = {}
    markers = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    markers |= {"platform_machine": "aarch64", "sys_platform": "linux"}
    while True:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.json")
            command = [sys.executable, "-m", "pip", "install", "-q", "--dry-run"]
            command += ["--ignore-installed", "--report", str(report), "--target", folder]
            command += [*pip_options(python), f"{wheel}[openvino]", *wanted.values()]
            subprocess.run(command, check=True, stdout=sys.stderr)
            packages = json.loads(report.read_text())["install"]
        found = {canonicalize_name(p["metadata"]["name"]): p["metadata"] for p in packages}
        lines = [line for p in found.values() for line in p.get("requires_dist", ())]
        needed = [r for r in map(Requirement, lines) if not r.marker or r.marker.evaluate(markers)]
        missing = {
            r.name: f"{r.name}{r.specifier}"
            for r in needed
            if canonicalize_name(r.name) not in found
        }
        if missing.keys() <= wanted.keys():
            return {name: str(found[name]["version"]) for name in sorted(found) if name != "detkit"}
        wanted |= missing


def wheels(args: argparse.Namespace) -> None:
    versions = resolve(args.wheel, args.python)
    if args.into:
        pinned = [f"{name}=={version}" for name, version in versions.items()]
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
        command += [str(args.into), *pip_options(args.python), *pinned, str(args.wheel)]
        subprocess.run(command, check=True, stdout=sys.stderr)
    print(json.dumps(versions))


# --- outputs -------------------------------------------------------------------------------------


def first_images(folder: Path, count: int) -> list[Path]:
    """The first images of the validation split of a COCO folder."""
    from detkit.data.coco.folder import open_folder

    records = open_folder(folder, splits=("val",)).split("val").records
    return [record.path for record in records[:count]]


def outputs(args: argparse.Namespace) -> None:
    """Boxes and scores of the first images of the split, one at a time and as one batch."""
    import numpy as np

    from detkit.data.image import letterbox, network_input, read_image
    from detkit.engines.opening import open_session
    from detkit.runtime.session import SessionOptions

    options = SessionOptions(threads=1)
    session = open_session(args.model, engine=args.runtime, session_options=options)
    files = first_images(args.folder, args.images)
    preprocess = session.manifest.preprocess
    images = network_input([letterbox(read_image(f), preprocess)[0] for f in files], preprocess)
    images = np.clip(images + np.float32(args.brighter / 255), 0, 1)
    single = [session.run(images[i : i + 1]) for i in range(len(files))]
    boxes, scores = (np.concatenate(parts) for parts in zip(*single, strict=True))
    batch_boxes, batch_scores = session.run(images)
    np.savez(
        args.out,
        images=images,
        boxes=boxes,
        scores=scores,
        batch_boxes=batch_boxes,
        batch_scores=batch_scores,
    )


def differences(ours: Path, theirs: Path) -> Figures:
    """Largest differences: of the prepared images, of boxes (px), of scores."""
    import numpy as np

    with np.load(ours) as a, np.load(theirs) as b:
        far = {name: float(np.abs(a[name] - b[name]).max()) for name in a}
    return {
        "images": far["images"],
        "boxes_px": max(far["boxes"], far["batch_boxes"]),
        "scores": max(far["scores"], far["batch_scores"]),
    }


# --- the comparison ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Python:
    """An interpreter that has detkit: the one of an ARM root, or this one.

    Attributes:
        command: what starts it.
        work: how it calls the folder of the models, the data and what is made of them.
        environment: variables that the command wants.
    """

    command: tuple[str, ...]
    work: str
    environment: dict[str, str]

    def run(self, *words: str, allowed: tuple[int, ...] = (0,)) -> tuple[int, str]:
        """Exit code and stdout; ends all where the code is not an allowed one."""
        command, environment = [*self.command, *words], os.environ | self.environment
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode not in allowed:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        return done.returncode, done.stdout

    def outputs(self, model: str, runtime: str, images: int, brighter: int = 0) -> str:
        """Name of the file in `work` that has the outputs of the model."""
        side = "here" if self.command[0] == sys.executable else "there"
        name = f"{runtime}-{model}-{brighter}-{side}.npz"
        words = [f"{self.work}/{part}" for part in ("arm64.py", model, "data", name)]
        words.insert(1, "outputs")
        options = ["--runtime", runtime, "--images", str(images), "--brighter", str(brighter)]
        self.run(*words, *options)
        return name


def compare(args: argparse.Namespace) -> None:
    here = Python((sys.executable,), str(args.work), {})
    rows: list[Row] = []
    for runtime in args.runtimes:
        shown = {"SHOW_SYS": "1" if runtime == "openvino" else ""}
        there = Python((str(args.run),), "/work", shown)
        rows += [row_of(here, there, f"{p}.onnx", runtime, args) for p in ("float", "int8")]
    says = "import platform; print(platform.python_version(), platform.machine())"
    version, machine = there.run("-c", says)[1].split()
    facts: Row = {"suite": args.suite, "python": version, "machine": machine}
    facts |= {"emulated_cpu": args.cpu, "wheels": json.loads(args.wheels.read_text())}
    passed = all(row["passed"] for row in rows)
    print(json.dumps({**facts, "rows": rows, "passed": passed}, indent=1))


def row_of(here: Python, there: Python, model: str, runtime: str, args: argparse.Namespace) -> Row:
    """What one file gives by one engine: outputs first, then each verb."""
    ours = args.work / here.outputs(model, runtime, args.images)
    found = differences(ours, args.work / there.outputs(model, runtime, args.images))
    limits = {"images": 0.0, "boxes_px": MAX_FLOAT_PX}
    if model.startswith("int8"):
        level = differences(ours, args.work / here.outputs(model, runtime, args.images, 1))
        limits = {**level, "images": 0.0}
    print(f"{args.suite} {runtime} {model}: {found}, limits {limits}", file=sys.stderr)
    images = first_images(args.work / "data", args.images)
    done = dict(verbs(here, there, model, runtime, [str(f.relative_to(args.work)) for f in images]))
    row: Row = {"runtime": runtime, "model": model, "largest_difference": found, "limits": limits}
    return judged({**row, "verbs": done})


def judged(row: Row) -> Row:
    """The row with `passed` in it and in each of its verbs."""
    limits, far = LIMITS[row["model"]], row["largest_difference"]
    info, scored, found, bench = (row["verbs"][n] for n in ("info", "eval", "predict", "bench"))
    off = abs(found["detections"] - found["detections_here"])
    most_off = limits.detections * found["detections_here"]
    passes = {
        "info": info["read"],
        "eval": abs(scored["ap"] - scored["ap_here"]) <= limits.ap,
        "predict": off <= most_off and found["detections"] > 0,
        "bench": bench["warns_of_emulation"] and not bench["valid"],
    }
    verbs = {name: {**verb, "passed": passes[name]} for name, verb in row["verbs"].items()}
    within = all(far[name] <= limit for name, limit in row["limits"].items())
    return {**row, "verbs": verbs, "passed": within and all(passes.values())}


def verbs(
    here: Python, there: Python, model: str, runtime: str, images: list[str]
) -> Iterator[tuple[str, Row]]:
    """The verbs as one types them: figures are compared with those here, times are not read."""

    def report(python: Python, verb: str, *words: str, invalid: bool = False) -> Row:
        options = [] if verb == "info" else ["--runtime", runtime]
        allowed = (0, INVALID) if invalid else (0,)
        words = ("-m", "detkit", verb, f"{python.work}/{model}", *words, *options, "--json")
        found: Row = json.loads(python.run(*words, allowed=allowed)[1])
        return found

    yield "info", {"read": bool(report(there, "info"))}
    ap, ap_here = (report(python, "eval", f"{python.work}/data")["ap"] for python in (there, here))
    yield "eval", {"ap": ap, "ap_here": ap_here}
    counts = []
    for python, side in ((there, "there"), (here, "here")):
        out = f"{runtime}-{model}-{side}"
        words = [*(f"{python.work}/{image}" for image in images), "--runtime", runtime, "-o"]
        python.run(
            "-m", "detkit", "predict", f"{python.work}/{model}", *words, f"{python.work}/{out}"
        )
        counts.append(len(json.loads(Path(here.work, out, "detections.json").read_text())))
    yield "predict", {"detections": counts[0], "detections_here": counts[1]}
    words = ["--seconds", "0", "--runs", "10", "--threads", "1"]
    bench = report(there, "bench", *words, invalid=True)
    warned = any("emulated" in warning for warning in bench["warnings"])
    yield "bench", {"valid": bench["valid"], "warns_of_emulation": warned}


def record(args: argparse.Namespace) -> None:
    """One JSON object; exit 1 if anything differs or does not resolve."""
    suites = [json.loads(path.read_text()) for path in args.suites]
    found: list[Row] = []
    for python, where in RESOLVED.items():
        row: Row = {"python": python, "where": where, "glibc": f"2.{GLIBC[python]}"}
        try:
            found.append({**row, "wheels": resolve(args.wheel, python)})
        except subprocess.CalledProcessError:
            found.append({**row, "wheels": None})
    done = {"what": "arm64", "date": time.strftime("%Y-%m-%d"), "emulated": True}
    print(json.dumps({**done, "suites": suites, "resolved": found}, indent=1))
    if not all(suite["passed"] for suite in suites) or not all(row["wheels"] for row in found):
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("wheels")
    command.add_argument("python", choices=GLIBC)
    command.add_argument("wheel", type=Path)
    command.add_argument("--into", type=Path)
    command.set_defaults(run_command=wheels)
    command = commands.add_parser("outputs")
    for name in ("model", "folder", "out"):
        command.add_argument(name, type=Path)
    command.add_argument("--runtime", default="onnxruntime")
    command.add_argument("--images", type=int, default=4)
    command.add_argument("--brighter", type=int, default=0, help="levels of 255 to add")
    command.set_defaults(run_command=outputs)
    command = commands.add_parser("compare")
    command.add_argument("suite")
    for name in ("run", "work"):
        command.add_argument(name, type=Path)
    command.add_argument("--cpu", required=True)
    command.add_argument("--wheels", type=Path, required=True)
    command.add_argument("--images", type=int, default=4)
    command.add_argument("--runtimes", nargs="+", default=["onnxruntime"])
    command.set_defaults(run_command=compare)
    command = commands.add_parser("record")
    command.add_argument("wheel", type=Path)
    command.add_argument("suites", type=Path, nargs="+")
    command.set_defaults(run_command=record)
    args = parser.parse_args()
    args.run_command(args)


if __name__ == "__main__":
    main()
