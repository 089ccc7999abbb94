"""`detkit bench`: the flags of all its modes, each of which has a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from detkit.cli import console
from detkit.cli.options import (
    Device,
    Force,
    Json,
    Out,
    OutputsOfEach,
    Quiet,
    Runtime,
    Seed,
    Threads,
    Verbose,
)
from detkit.cli.verbs.bench import bench_advise, bench_compare, bench_files, bench_profile
from detkit.cli.verbs.bench.bench_flags import DEFAULTS, BenchFlags, mode_of

EXAMPLES = {
    "bench": (
        "detkit bench best.fused.safetensors det.onnx --threads 1",
        "detkit bench det.onnx --baseline bench.json --max-regress 5%",
        "detkit bench --compare yolo-nas-s yolov8-m yolov7-x --imgsz 640",
        "detkit bench best.safetensors --advise --data coco/ --max-drop 0.5",
        "detkit bench --profile --space yolo-nas --imgsz 320 --precision int8 -o device.json",
        "detkit bench searched/pareto.json --precision int8 -o measured.json",
    ),
}
MODES = {
    "files": bench_files.bench_files,
    "compare": bench_compare.compare,
    "advise": bench_advise.advise,
    "profile": bench_profile.profile,
    "front": bench_profile.front,
}


def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="MODEL", help="Checkpoints or exports, or a search's pareto.json."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of images; else the training data, or drawn ones."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images a run.")] = DEFAULTS.batch,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="Seconds of timing a model, at least.")
    ] = DEFAULTS.seconds,
    runs: Annotated[
        int, typer.Option("--runs", min=10, help="Timed runs of a model, at least.")
    ] = DEFAULTS.runs,
    max_ms: Annotated[
        float | None, typer.Option("--max-ms", min=0, help="Exit 3 if an engine's p50 is above.")
    ] = None,
    scenario: Annotated[
        Literal["latency", "throughput"],
        typer.Option("--scenario", help="One batch at a time, or several in flight."),
    ] = "latency",
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", metavar="FILE", help="Earlier report to compare with."),
    ] = None,
    max_regress: Annotated[
        str | None,
        typer.Option(
            "--max-regress",
            metavar="PERCENT",
            help="Exit 3 if surely slower than the baseline by more; 5% if not given.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 5 if the times cannot be trusted.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="The MODELs are architectures: time them untrained.")
    ] = False,
    imgsz: Annotated[
        str, typer.Option("--imgsz", help="Of untrained networks, N or HEIGHTxWIDTH.")
    ] = "",
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            help="Of untrained networks: fp32, fp16, int8; --compare takes several, with commas.",
        ),
    ] = "",
    advise: Annotated[
        bool, typer.Option("--advise", help="Say in which precision to ship a checkpoint.")
    ] = False,
    max_drop: Annotated[
        float, typer.Option("--max-drop", min=0, help="Points of AP it may lose, with --advise.")
    ] = DEFAULTS.max_drop,
    profile: Annotated[
        bool, typer.Option("--profile", help="Measure a search space for --latency-profile.")
    ] = False,
    space: Annotated[
        str, typer.Option("--space", help="Of --profile: yolo-nas, full, tiny or a JSON file.")
    ] = DEFAULTS.space,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Networks that --profile measures.")
    ] = DEFAULTS.samples,
    classes: Annotated[
        int, typer.Option("--classes", min=1, help="Classes of the networks of --profile.")
    ] = DEFAULTS.classes,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted --profile.")
    ] = False,
    outputs: OutputsOfEach = None,
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
    """Time models here, interleaved; compare with a baseline.

    Several models take turns, and their ratios compare neighbouring blocks. End to end goes from a
    image file to detections: decode + letterbox, engine, NMS. With --threads 0 every engine gets
    all CPUs this process may use; with --scenario throughput each batch in flight gets one. The
    raw times are in the JSON report (--json, -o). A later run can take it as its --baseline: that
    exits with 3 if a model has become slower, and with 5 if it cannot be told. ONNX files of other
    tools are timed too, once --outputs says what they take and give.

    --compare takes names of architectures or their JSON files, and prints parameters, multiply-adds
    and latency of each on this machine; weights are untrained.

    --advise quantizes a checkpoint, scores and times every form of it that can run here, and says
    which one to ship.

    --profile measures networks of a search space, untrained, for detkit search on another machine;
    given its pareto.json back, bench times the networks of that. Both use one thread by default.
    """
    console.setup(quiet, verbose)
    flags = BenchFlags(
        models=tuple(models or ()),
        data=data,
        batch=batch,
        seconds=seconds,
        runs=runs,
        max_ms=max_ms,
        scenario=scenario,
        baseline=baseline,
        max_regress=max_regress,
        strict=strict,
        outputs=tuple(outputs or ()),
        compare=compare,
        advise=advise,
        profile=profile,
        imgsz=imgsz,
        precision=precision,
        max_drop=max_drop,
        space=space,
        samples=samples,
        classes=classes,
        resume=resume,
        seed=seed,
        runtime=runtime,
        device=device,
        threads=threads,
        out=out,
        force=force,
        json=json,
    )
    MODES[mode_of(flags)](flags)
