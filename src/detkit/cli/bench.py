"""`detkit bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.bench_compare import run_comparison
from detkit.cli.options import Device, Force, Json, Out, Quiet, Runtime, Threads, Verbose
from detkit.cli.report_file import check_report_file, emit_report
from detkit.errors import GateError, MeasurementError, UsageError

if TYPE_CHECKING:
    from detkit.report import BenchReport, ModelLatency

EXAMPLES = {
    "bench": (
        "detkit bench best.fused.safetensors det.onnx --threads 1",
        "detkit bench det.onnx --data coco/ --max-ms 20 --json > bench.json",
        "detkit bench --compare yolo-nas-s yolov8-m yolov7-x --imgsz 640",
    ),
}


def bench(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL", help="Checkpoints or exports.")],
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
    compare: Annotated[
        bool, typer.Option("--compare", help="The MODELs are architectures: time them untrained.")
    ] = False,
    imgsz: Annotated[
        str, typer.Option("--imgsz", help="Input size of --compare, N or HEIGHTxWIDTH.")
    ] = "",
    precision: Annotated[
        str, typer.Option("--precision", help="Of --compare: fp32, int8 or both, with a comma.")
    ] = "",
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

    --compare takes names of architectures or their JSON files, and prints parameters, multiply-adds
    and latency of each on this machine; weights are untrained.
    """
    console.setup(quiet, verbose)
    from detkit.bench.measure import Plan
    from detkit.runtime import Placement

    if compare:
        if max_ms is not None:
            raise UsageError("--max-ms is a gate for a model, not for --compare")
        run_comparison(
            models,
            imgsz=imgsz,
            precision=precision,
            runtime=runtime,
            placement=Placement(device=device, threads=threads),
            plan=Plan(min_seconds=seconds, min_runs=min(runs, 100), chain_runs=3),
            batch=batch,
            data=data,
            strict=strict,
            out=out,
            force=force,
            json=json,
        )
        return
    if imgsz or precision:
        raise UsageError("--imgsz and --precision are for --compare: a file has its own")
    from detkit.bench.run import bench as measure_models

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
