"""`detkit bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.options import Device, Force, Json, Out, Quiet, Runtime, Seed, Threads, Verbose
from detkit.cli.report_file import check_report_file, emit_report
from detkit.errors import GateError, MeasurementError, UsageError

if TYPE_CHECKING:
    from detkit.report import BenchReport, ModelLatency

EXAMPLES = {
    "bench": (
        "detkit bench best.fused.safetensors det.onnx --threads 1",
        "detkit bench det.onnx --data coco/ --max-ms 20 --json > bench.json",
        "detkit bench best.safetensors --advise --data coco/ --max-drop 0.5",
        "detkit bench --profile --space yolo-nas --imgsz 320 --precision int8 -o device.json",
        "detkit bench searched/pareto.json --precision int8 -o measured.json",
    ),
}


def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="MODEL", help="Checkpoints or exports, or a search's pareto.json."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of pictures; else the training data, or drawn ones."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures a run.")] = 1,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="Seconds of timing a model, at least.")
    ] = 3.0,
    runs: Annotated[
        int, typer.Option("--runs", min=10, help="Timed runs of a model, at least.")
    ] = 200,
    max_ms: Annotated[
        float | None, typer.Option("--max-ms", min=0, help="Exit 3 if an engine's p50 is above.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 5 if the times cannot be trusted.")
    ] = False,
    advise: Annotated[
        bool, typer.Option("--advise", help="Say in which precision to ship a checkpoint.")
    ] = False,
    max_drop: Annotated[
        float, typer.Option("--max-drop", min=0, help="Points of AP it may lose, with --advise.")
    ] = 0.5,
    profile: Annotated[
        bool, typer.Option("--profile", help="Measure a search space for --latency-profile.")
    ] = False,
    space: Annotated[
        str, typer.Option("--space", help="Of --profile: yolo-nas, full, tiny or a JSON file.")
    ] = "yolo-nas",
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Networks that --profile measures.")
    ] = 48,
    precision: Annotated[
        str, typer.Option("--precision", help="Of untrained networks: fp32, fp16 or int8.")
    ] = "fp32",
    imgsz: Annotated[
        str, typer.Option("--imgsz", help="Input size of --profile; else the space's own.")
    ] = "",
    classes: Annotated[
        int, typer.Option("--classes", min=1, help="Classes of the networks of --profile.")
    ] = 80,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted --profile.")
    ] = False,
    seed: Seed = 0,
    runtime: Runtime = "",
    device: Device = "cpu",
    threads: Threads = 0,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Time models here, interleaved: p50, p90, p99 of the engine, and end to end.

    Several models take turns, and their ratios compare neighbouring blocks. End to end goes from a
    picture file to detections: decode + letterbox, engine, NMS. With --threads 0 every engine gets
    all CPUs this process may use. The raw times are in the JSON report (--json, -o).

    --profile measures networks of a search space, untrained, for detkit search on another machine;
    given its pareto.json back, bench times the networks of that. Both use one thread by default.
    """
    console.setup(quiet, verbose)
    from detkit.cli import bench_advise, bench_profile

    engine = bench_profile.Engine(
        runtime=runtime, precision=precision, device=device, threads=threads
    )
    if profile:
        bench_profile.profile(
            engine,
            space=space,
            imgsz=imgsz,
            classes=classes,
            samples=samples,
            seed=seed,
            out=out,
            resume=resume,
            force=force,
            json=json,
        )
        return
    if not models:
        raise UsageError("no MODEL to time", hint="detkit bench --help")
    if advise:
        bench_advise.advise(
            models,
            data=data,
            max_drop=max_drop,
            max_ms=max_ms,
            threads=threads,
            out=out,
            force=force,
            json=json,
        )
        return
    if bench_profile.is_front(models):
        bench_profile.front(models[0], engine, max_ms=max_ms, out=out, force=force, json=json)
        return
    from detkit.bench.measure import Plan
    from detkit.bench.run import bench as measure_models
    from detkit.runtime import Placement

    check_report_file(out, force=force)
    report = measure_models(
        models,
        runtime=runtime,
        placement=Placement(device=device, threads=threads),
        batch=batch,
        plan=Plan(min_seconds=seconds, min_runs=runs, chain_runs=min(runs, 50)),
        data=data,
        tell=console.log,
    )
    emit_report(report, out, json=json, lines=_lines(report))
    for reason in report.reasons:
        console.warn(f"not to be trusted: {reason}")
    _check_gates(report, max_ms, strict=strict)


def _check_gates(report: BenchReport, max_ms: float | None, *, strict: bool) -> None:
    """Raises GateError for a model that is too slow, MeasurementError for doubts when `strict`."""
    slow = [m for m in report.models if max_ms is not None and m.latency_ms.p50 > max_ms]
    if strict and not report.valid:
        raise MeasurementError(
            "the times cannot be trusted: " + "; ".join(report.reasons),
            hint="run it again with nothing else running",
        )
    if slow:
        raise GateError(
            "; ".join(f"{m.file}: p50 {m.latency_ms.p50:.2f} ms is above {max_ms:g}" for m in slow)
        )


def _lines(report: BenchReport) -> list[str]:
    machine = report.fingerprint
    return [
        *console.table(
            ("model", "runtime", "precision", "size", "batch", "threads", "p50 ms", "p90 ms",
             "p99 ms", "ratio", "images/s"),
            [_engine_row(model) for model in report.models],
        ),
        "",
        *console.table(
            ("end to end, ms", "decode+letterbox", "engine", "NMS", "total p50", "p90", "p99"),
            [_chain_row(model) for model in report.models],
        ),
        "",
        f"{machine['cpu']}, {machine['usable_cpus']} CPUs, on {report.pictures}; "
        f"machine {machine['id']}",
    ]  # fmt: skip


def _engine_row(model: ModelLatency) -> tuple[str, ...]:
    height, width = model.image_size
    times = model.latency_ms
    return (
        Path(model.file).name,
        model.runtime,
        model.precision,
        f"{height}x{width}",
        f"{model.batch}",
        f"{model.threads}",
        *(f"{value:.2f}" for value in (times.p50, times.p90, times.p99)),
        f"{model.ratio_to_first:.3f}",
        f"{model.images_per_s:.1f}",
    )


def _chain_row(model: ModelLatency) -> tuple[str, ...]:
    chain = model.end_to_end_ms
    stages = (chain.preprocess, chain.engine, chain.nms)
    totals = (chain.total, chain.total_p90, chain.total_p99)
    return (Path(model.file).name, *(f"{value:.2f}" for value in (*stages, *totals)))
