"""Training in turns with the installed peer: steps, batches, epochs, memory, the first step.

    python benchmarks/training.py DATA [--peers FOLDER] [--only step loader] [-o results/NAME.json]

DATA is a COCO folder with train and val; FOLDER holds the peer's environment (see `peers`), and
without it only our own figures are printed. Two processes that stay take turns, so that a drift of
the machine hits both alike; ratios are medians over the rounds. What is asked for:

    step     images a second of forward, loss, backward, update and averaging, on one batch
    loader   images a second of augmented batches, 320 and 640 px, by 0 and by 2 workers
    command  a whole `train` of each tool by its own command line and defaults: seconds to the
             first finished step, seconds an epoch with its validation, peak memory of all its
             processes
    metric   seconds of the COCO metric on 5,000 images of 80 classes, and of pycocotools

The multiply-adds beside the step's figures are those of the deployed networks at that size.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from answering import ANSWER
from peers import peer_environment, write_yolo_folder
from rows import Row, add_out_argument, show_rows

from detkit.core.boxes import Detections
from detkit.data.coco.split_reader import ImageRecord
from detkit.evaluation.evaluate import coco_figures
from detkit.nn.detector import cost_metrics
from detkit.spec.zoo import find_arch, with_task

HERE = Path(__file__).parent
STEP_PAIRS = (("yolo-nas-n", "yolov8-n"), ("yolo-nas-s", "yolov8-s"))  # as both are called here
CLASSES, BATCH = 3, 16
SIZES, WORKERS = (320, 640), (0, 2)
POLL_S = 0.05


@dataclass
class Bench:
    """What the measurements share: the arguments and, where there is one, the peer's half."""

    args: argparse.Namespace
    yolo_data: Path | None
    stack: ExitStack

    def ours(self) -> Half:
        command = [sys.executable, str(HERE / "training_ours.py"), str(self.args.data)]
        return self._started(command, {})

    def peer(self) -> Half | None:
        if self.yolo_data is None:
            return None
        python = self.args.peers / "ul" / "bin" / "python"
        command = [str(python), str(HERE / "training_peer.py"), str(self.yolo_data)]
        return self._started(command, peer_environment(self.args.peers, self.args.work))

    def _started(self, command: list[str], env: dict[str, str]) -> Half:
        threads = str(self.args.threads)
        process = subprocess.Popen(
            [*command, threads],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, **env},
        )
        return Half(self.stack.enter_context(process))


@dataclass
class Half:
    """One tool's process, which answers a line with `images/s N`."""

    process: subprocess.Popen[str]

    def ask(self, line: str) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(line, file=self.process.stdin, flush=True)
        for answer in self.process.stdout:
            if answer.startswith(ANSWER):  # the peer prints more than that
                return float(answer.removeprefix(ANSWER))
        raise SystemExit(f"nobody answers '{line}': {self.process.args!r} ended")


# --- in turns ------------------------------------------------------------------------------------


def in_turns(bench: Bench, ours: str, theirs: str) -> Row:
    """Medians of both, and of their ratios round by round."""
    halves = bench.ours(), bench.peer()
    rounds = []
    for number in range(bench.args.rounds + 1):
        pair = [half.ask(line) for half, line in zip(halves, (ours, theirs), strict=True) if half]
        if number:  # the first round warms up
            rounds.append(pair)
    for half in halves:
        if half and half.process.stdin:
            half.process.stdin.close()
    row: Row = {"ours": round(median(pair[0] for pair in rounds), 1)}
    if halves[1]:
        ratios = sorted(pair[0] / pair[1] for pair in rounds)
        row |= {"peer": round(median(pair[1] for pair in rounds), 1)}
        row |= {"ratio": round(median(ratios), 3)}
        row |= {"low": round(ratios[0], 3), "high": round(ratios[-1], 3)}
    return row


def steps(bench: Bench) -> Iterator[Row]:
    size = SIZES[0]
    for ours, theirs in STEP_PAIRS:
        line = f"step {theirs.replace('-', '')} {size} {BATCH}"
        row = in_turns(bench, f"step {ours} {size} {BATCH}", line)
        if "ratio" in row:
            macs = [macs_of(name, size) for name in (ours, theirs)]
            row["ratio_per_mac"] = round(row["ratio"] * macs[0] / macs[1], 3)
        yield {"what": f"step {ours} | {theirs}, {size} px, batch {BATCH}", **row}


def macs_of(name: str, size: int) -> float:
    return cost_metrics(with_task(find_arch(name), CLASSES, (size, size)))["macs"]


def loaders(bench: Bench) -> Iterator[Row]:
    for size in SIZES:
        for workers in WORKERS:
            line = f"loader {size} {BATCH} {workers}"
            yield {"what": f"{line} workers", **in_turns(bench, line, line)}


# --- whole commands ------------------------------------------------------------------------------


def commands(bench: Bench) -> Iterator[Row]:
    """Each tool's `train` of 1 and of 3 epochs; the difference is what two epochs cost."""
    images = bench.args.data / "annotations" / "instances_train.json"
    count = images.read_text(encoding="utf-8").count('"file_name"')
    tools: dict[str, tuple[Callable[[int], list[str]], str, dict[str, str]]] = {
        "ours": (lambda epochs: detkit_train(bench, epochs), rf"\b[1-9]\d*/{count // BATCH}\b", {})
    }
    if bench.yolo_data is not None:
        env = peer_environment(bench.args.peers, bench.args.work)
        first = rf"\b[1-9]\d*/{-(-count // BATCH)}\b"
        tools["peer"] = (lambda epochs: peer_train(bench, epochs), first, env)
    found: dict[str, list[Watched]] = {name: [] for name in tools}
    for _ in range(bench.args.rounds):
        for name, (command, first, env) in tools.items():
            short, long = (watch(command(epochs), first, env) for epochs in (1, 3))
            seconds = (long.seconds - short.seconds) / 2
            found[name].append(Watched(seconds, short.first_step_s, long.peak_bytes))
    for field, unit in (("seconds", "s an epoch"), ("first_step_s", "s to the first step")):
        yield {"what": unit, **compared(found, field, 1.0)}
    yield {"what": "MB at most", **compared(found, "peak_bytes", 1e6)}


def compared(found: dict[str, list[Watched]], field: str, unit: float) -> Row:
    medians = {n: median(getattr(w, field) for w in runs) / unit for n, runs in found.items()}
    row: Row = {name: round(value, 2) for name, value in medians.items()}
    if "peer" in medians:
        row["ours_by_peer"] = round(medians["ours"] / medians["peer"], 3)
    return row


def detkit_train(bench: Bench, epochs: int) -> list[str]:
    out = bench.args.work / "ours"
    words = ["train", bench.args.data, "--model", "yolo-nas-n", "--init", "none", "--imgsz", 320]
    words += ["--batch", BATCH, "--epochs", epochs, "-o", out, "--force"]
    return [sys.executable, "-m", "detkit", *map(str, words)]


def peer_train(bench: Bench, epochs: int) -> list[str]:
    asked = {"model": "yolov8n.yaml", "data": bench.yolo_data, "imgsz": 320, "batch": BATCH}
    asked |= {"epochs": epochs, "project": bench.args.work, "name": "peer", "exist_ok": True}
    asked |= {"plots": False, "device": "cpu", "pretrained": False, "amp": False, "workers": 1}
    yolo = bench.args.peers / "ul" / "bin" / "yolo"
    return [str(yolo), "detect", "train", *(f"{key}={value}" for key, value in asked.items())]


@dataclass(frozen=True)
class Watched:
    """A command from its start to its end."""

    seconds: float
    first_step_s: float
    peak_bytes: int


def watch(command: list[str], first_step: str, env: dict[str, str]) -> Watched:
    """Runs a command; looks for the words of its first step and at the memory of its processes."""
    began, first, peak, said = time.perf_counter(), 0.0, 0, ""
    outer, inner = pty.openpty()  # bars are drawn on terminals alone
    os.set_blocking(outer, False)
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", **env}
    with subprocess.Popen(command, stdout=inner, stderr=inner, env=environment) as process:
        os.close(inner)
        while process.poll() is None:
            time.sleep(POLL_S)
            peak = max(peak, sum(proportional_bytes(pid) for pid in family(process.pid)))
            with contextlib.suppress(OSError):  # nothing new, or the terminal's other end closed
                said += os.read(outer, 1 << 20).decode(errors="replace")
            if not first and re.search(first_step, said):
                first = time.perf_counter() - began
    os.close(outer)
    if process.returncode:
        raise SystemExit(said[-2000:])
    return Watched(time.perf_counter() - began, first, peak)


def family(pid: int) -> list[int]:
    """A process and those that came of it."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        text = " ".join((task / "children").read_text(encoding="ascii") for task in tasks)
    except OSError:
        return []
    return [pid, *(other for child in text.split() for other in family(int(child)))]


def proportional_bytes(pid: int) -> int:
    """Memory of a process; what it shares with others counts in part."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


# --- the metric ----------------------------------------------------------------------------------


def metric(bench: Bench) -> Iterator[Row]:
    """5,000 drawn images of 7 objects, 100 detections on each."""
    rng = np.random.default_rng(0)
    names = [f"class {number}" for number in range(80)]
    pairs = [drawn_pair(rng, number) for number in range(bench.args.metric_images)]
    records, detections = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    spent: dict[str, list[float]] = {"fast": [], "pycocotools": []}
    figures = {}
    for number in range(bench.args.rounds + 1):
        shown = len(records) if number else 50  # the first round imports
        for scorer, seconds in spent.items():
            began = time.perf_counter()
            figures[scorer] = coco_figures(
                records[:shown], names, detections[:shown], scorer=scorer
            )
            seconds += [time.perf_counter() - began] if number else []
    ratios = [slow / fast for fast, slow in zip(*spent.values(), strict=True)]
    apart = max(
        abs(getattr(figures["fast"], name) - getattr(figures["pycocotools"], name))
        for name in ("ap", "ap50", "ap75", "ar100")
    )
    yield {
        "what": "COCO metric",
        **{name: round(median(seconds), 1) for name, seconds in spent.items()},
        "ratio": round(median(ratios), 2),
        "low": round(min(ratios), 2),
        "high": round(max(ratios), 2),
        "largest_difference": apart,
    }


def drawn_pair(rng: np.random.Generator, number: int) -> tuple[ImageRecord, Detections]:
    """An image of drawn objects, and detections of which some are near them."""
    corners = rng.uniform(0, 400, (7, 2))
    truth = np.concatenate([corners, corners + rng.uniform(8, 240, (7, 2))], axis=1)
    near = truth[rng.integers(7, size=100)] + rng.normal(0, 8, (100, 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 2)
    classes = rng.integers(80, size=7)
    record = ImageRecord(
        image_id=number,
        path=Path(f"{number}.jpg"),
        file_name=f"{number}.jpg",
        width=640,
        height=640,
        boxes_xyxy=truth.astype(np.float32),
        classes=classes,
        crowd=np.zeros(7, np.bool_),
        area=(truth[:, 2:] - truth[:, :2]).prod(axis=1),
        scores=np.ones(7, np.float32),
    )
    scores = np.sort(rng.random(100).astype(np.float32))[::-1]
    return record, Detections(near.astype(np.float32), scores, rng.choice(classes, 100))


MEASUREMENTS = {"step": steps, "loader": loaders, "command": commands, "metric": metric}


def rows_of(bench: Bench) -> Iterator[Row]:
    for name in bench.args.only:
        yield from MEASUREMENTS[name](bench)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--peers", type=Path, default=os.environ.get("PEERS"))
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--metric-images", type=int, default=5000)
    add_out_argument(parser)
    args = parser.parse_args()
    args.data = args.data.resolve()
    args.peers = Path(args.peers) if args.peers else None
    with tempfile.TemporaryDirectory(prefix="detkit-training-") as work, ExitStack() as stack:
        args.work = Path(work)
        yolo = write_yolo_folder(args.data, args.work / "data") if args.peers else None
        show_rows(rows_of(Bench(args, yolo, stack)), "training", args.out, threads=args.threads)


if __name__ == "__main__":
    main()
