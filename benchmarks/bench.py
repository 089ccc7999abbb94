"""What bench's figures are worth: against others' loops, against itself, against a slowed model.

    python benchmarks/bench.py peers MODEL.onnx... [--threads 1] [--rounds 10] [-o F]
    python benchmarks/bench.py repeat MODEL.onnx... [--times 5] [-o F]
    python benchmarks/bench.py regress MODEL.onnx --way interleaved|reference [-o F]
    python benchmarks/bench.py overhead [--ms 5] [-o F]

`peers` times one file by detkit's loop and by a plain loop over `session.run` of onnxruntime, with
the same threads, and by OpenVINO's own benchmark_app, in alternation; its ratios are medians over
the rounds, of p50 and, beside the plain loop, of CPU time, which a busy machine spares. `repeat`
runs `detkit bench` several times, each in a process of its own. `regress` lets `--max-regress 3%`
judge a model that really takes 5 % longer (it goes on computing for 5 % of the CPU time of each
run) and the same model unchanged, against a baseline measured just before: "interleaved" under
another name, so that both are timed in turns, and "reference" under the same name, so that only
the reference work can tell. `overhead` gives the loop a run that waits for a fixed time.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
from rows import Row, add_out_argument, show_rows

from detkit.artifact.artifact import read_manifest, write_artifact
from detkit.bench import timed_model
from detkit.bench.baseline import Baseline, read_baseline
from detkit.bench.run import time_models
from detkit.core.serialization import to_json
from detkit.engines.opening import open_session
from detkit.report import BenchReport, ModelLatency
from detkit.runtime.session import Session, SessionOptions
from detkit.timing.measure import measure
from detkit.timing.plan import TimingPlan

SLOWER = 0.05
LIMIT = 0.03


# --- peers ---------------------------------------------------------------------------------------


def peers(args: argparse.Namespace) -> Iterator[Row]:
    for model in args.models:
        yield from onnxruntime_loop(model, args)
        yield from openvino_app(model, args)


def onnxruntime_loop(model: Path, args: argparse.Namespace) -> Iterator[Row]:
    """`session.run` as its documentation shows it, with detkit's options of the session."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    plain = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    height, width = read_manifest(model).preprocess.size
    feed = {"images": np.random.default_rng(0).random((1, 3, height, width), np.float32)}
    pairs, cpu_ratios = [], []
    for _ in range(args.rounds):
        ours = timed(model, args, "onnxruntime")
        for _ in range(10):
            plain.run(None, feed)
        wall, cpu = [], []
        end = time.perf_counter() + args.seconds
        while time.perf_counter() < end:
            cpu_began, began = time.thread_time(), time.perf_counter()
            plain.run(None, feed)
            wall.append((time.perf_counter() - began) * 1e3)
            cpu.append((time.thread_time() - cpu_began) * 1e3)
        pairs.append((ours.latency_ms.p50, median(wall)))
        cpu_ratios.append(np.percentile(ours.block_cpu_ms, 25) / np.percentile(cpu, 25))
    yield compared(model, "onnxruntime loop", pairs) | {"cpu_ratio": round(median(cpu_ratios), 4)}


def timed(model: Path, args: argparse.Namespace, engine: str) -> ModelLatency:
    plan = TimingPlan(min_seconds=args.seconds, min_runs=20, max_chain_runs=1)
    session_options = SessionOptions(threads=args.threads)
    return time_models([model], engine=engine, session_options=session_options, plan=plan).models[0]


def openvino_app(model: Path, args: argparse.Namespace) -> Iterator[Row]:
    app = Path(sys.executable).with_name("benchmark_app")
    if not app.is_file():
        print("benchmark_app is not installed here: left out", file=sys.stderr)
        return
    pairs = []
    for _ in range(args.rounds):
        ours = timed(model, args, "openvino").latency_ms.p50
        pairs.append((ours, median_of_app(app, model, args)))
    yield compared(model, "openvino benchmark_app", pairs)


def median_of_app(app: Path, model: Path, args: argparse.Namespace) -> float:
    """The median it prints, in a home of its own: it writes there, and would call out."""
    height, width = read_manifest(model).preprocess.size
    command = [app, "-m", model, "-d", "CPU", "-api", "sync", "-hint", "none", "-nstreams", "1"]
    command += ["-nthreads", str(args.threads), "-t", f"{max(1, round(args.seconds))}"]
    command += ["-shape", f"[1,3,{height},{width}]", "-infer_precision", "f32"]
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            list(map(str, command)),
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "HOME": home},
        )
    found = re.search(r"Median: +([\d.]+) ms", done.stdout)
    assert found, done.stdout
    return float(found[1])


def compared(model: Path, peer: str, pairs: list[tuple[float, float]]) -> Row:
    ratios = [ours / theirs for ours, theirs in pairs]
    return {
        "model": model.name,
        "peer": peer,
        "ours_p50_ms": round(median(ours for ours, _ in pairs), 3),
        "peer_p50_ms": round(median(theirs for _, theirs in pairs), 3),
        "ratio": round(median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "within_2_percent": abs(median(ratios) - 1) <= 0.02,
    }


# --- repeat --------------------------------------------------------------------------------------


def repeat(args: argparse.Namespace) -> Iterator[Row]:
    reports = [run_verb(args) for _ in range(args.times)]
    for number, model in enumerate(args.models):
        times = [report["models"][number]["latency_ms"]["p50"] for report in reports]
        valid = [report["valid"] for report in reports]
        trusted = [ms for ms, is_valid in zip(times, valid, strict=True) if is_valid]
        yield {
            "model": model.name,
            "p50_ms": [round(ms, 3) for ms in times],
            "valid": valid,
            "range_of_all": round(max(times) / min(times) - 1, 4),
            "range_of_valid": round(max(trusted) / min(trusted) - 1, 4) if trusted else None,
        }


def run_verb(args: argparse.Namespace) -> Row:
    command = [sys.executable, "-m", "detkit", "bench", *args.models, "--json"]
    command += ["--threads", args.threads, "--seconds", args.seconds, "-q"]
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    report: Row = json.loads(done.stdout)
    return report


# --- regress -------------------------------------------------------------------------------------


class SlowedSession:
    """A session that computes, of no use, for a share of the CPU time that each run took.

    A share of wall time would be more than that on a busy machine, where it is waiting mostly.
    """

    def __init__(self, session: Session, share: float) -> None:
        self.session, self.share = session, share
        self.manifest, self.engine = session.manifest, session.engine

    def run(self, images: Any) -> Any:
        began = time.thread_time()
        found = self.session.run(images)
        end = time.thread_time() + (time.thread_time() - began) * self.share
        while time.thread_time() < end:
            pass
        return found


def regress(args: argparse.Namespace) -> Iterator[Row]:
    """Every trial measures a new baseline first, as a user would whose machine drifts."""
    (model,) = args.models
    with tempfile.TemporaryDirectory() as name:
        old, new = Path(name) / "old.onnx", Path(name) / "new.onnx"
        shutil.copy(model, old)
        reseal(model, new, "the same graph, another file")
        for kind, times in (("slower", args.slower), ("same", args.same)):
            for number in range(times):
                baseline = measured_baseline(old, args)
                tried = old if args.way == "reference" else new
                with slowed(tried, SLOWER if kind == "slower" else 0.0):
                    report = bench_once(tried, args, baseline)
                yield judged(report, kind, number)


def reseal(source: Path, out: Path, command: str) -> None:
    """The same graph under another digest."""
    import onnx

    graph = onnx.load(source)
    manifest = dataclasses.replace(read_manifest(source), command=command)

    def save(partial: Path, text: str) -> None:
        onnx.helper.set_model_props(graph, {"detkit": text})
        onnx.save(graph, partial)

    write_artifact(out, manifest, save)


def slowed(path: Path, share: float) -> Any:
    """While it holds, sessions of this file are slowed."""

    def opened(file: Path, **settings: Any) -> Session:
        session = open_session(file, **settings)
        return SlowedSession(session, share) if share and file == path else session

    return mock.patch.object(timed_model, "open_session", opened)


def measured_baseline(model: Path, args: argparse.Namespace) -> Baseline:
    path = model.with_suffix(".json")
    path.write_text(to_json(bench_once(model, args, None)), encoding="utf-8")
    return read_baseline(path, LIMIT)


def bench_once(model: Path, args: argparse.Namespace, baseline: Baseline | None) -> BenchReport:
    return time_models(
        [model],
        engine=args.runtime,
        session_options=SessionOptions(threads=args.threads),
        plan=TimingPlan(min_seconds=args.seconds, min_runs=100, max_chain_runs=10),
        scenario=args.scenario,
        baseline=baseline,
    )


def judged(report: BenchReport, kind: str, number: int) -> Row:
    assert report.baseline is not None
    (change,) = report.baseline.changes
    moved = report.baseline.reference_change
    return {
        "model": kind,
        "trial": number,
        "verdict": change.verdict,
        "change": round(change.change, 4),
        "low": round(change.low, 4),
        "high": round(change.high, 4),
        "by": change.decided_by,
        "reference_change": round(moved, 4) if moved is not None else None,
        "why": change.why,
    }


# --- overhead ------------------------------------------------------------------------------------


def overhead(args: argparse.Namespace) -> Iterator[Row]:
    """The whole time of a block but for the runs, over that of the runs; and the clock's error."""
    seconds = args.ms / 1e3
    inside: list[float] = []

    def run(index: int) -> None:
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            pass
        inside.append(time.perf_counter() - began)

    plan = TimingPlan(min_seconds=args.seconds, min_runs=100, blocks=10, warmup_seconds=0)
    marks: list[float] = []
    timing = measure([run], plan, time.perf_counter, lambda: marks.append(time.perf_counter()))[0]
    per_block = len(timing.blocks_ms[0])
    outside = [
        (b - a) - sum(inside[-(len(marks) - 1 - i) * per_block :][:per_block])
        for i, (a, b) in enumerate(itertools.pairwise(marks))
    ]
    timed = np.array(timing.samples_ms) - np.array(inside[-len(timing.samples_ms) :]) * 1e3
    yield {
        "ms": args.ms,
        "runs": len(timing.samples_ms),
        "loop_share": round(median(outside) / per_block / seconds, 6),
        "timed_too_long_share": round(float(np.median(timed)) / args.ms, 6),
    }


# --- the command line ----------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parsers = parser.add_subparsers(dest="what", required=True)
    found: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {
        "peers": peers,
        "repeat": repeat,
        "regress": regress,
        "overhead": overhead,
    }
    commands = {name: parsers.add_parser(name) for name in found}
    for name in ("peers", "repeat", "regress"):
        commands[name].add_argument("models", type=Path, nargs=1 if name == "regress" else "+")
        commands[name].add_argument("--threads", type=int, default=1)
    commands["peers"].add_argument("--rounds", type=int, default=10)
    commands["repeat"].add_argument("--times", type=int, default=5)
    commands["regress"].add_argument("--runtime", default="")
    commands["regress"].add_argument("--scenario", default="latency")
    commands["regress"].add_argument("--way", choices=("interleaved", "reference"), required=True)
    commands["regress"].add_argument("--slower", type=int, default=10)
    commands["regress"].add_argument("--same", type=int, default=20)
    commands["overhead"].add_argument("--ms", type=float, default=5.0)
    for command in commands.values():
        command.add_argument("--seconds", type=float, default=3.0)
        add_out_argument(command)
    args = parser.parse_args()
    show_rows(found[args.what](args), args.what, args.out)


if __name__ == "__main__":
    main()
