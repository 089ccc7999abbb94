"""`detkit profile`: untrained networks timed for a search that runs elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.options import (
    Device,
    Force,
    Json,
    MaxMs,
    Out,
    Quiet,
    Runtime,
    Seed,
    Threads,
    UntrainedSize,
    Verbose,
)
from detkit.config import SearchConfig
from detkit.config.fields import either
from detkit.spec.space import SPACES

if TYPE_CHECKING:
    from detkit.report import HardwareProfile, MeasuredFront
    from detkit.spec.space import SearchSpace
    from detkit.untrained import EngineSetup

EXAMPLES = {
    "profile": (
        "detkit profile --space yolo-nas --imgsz 320 --precision int8 -o device.json",
        "detkit profile searched/pareto.json --precision int8 -o measured.json",
    ),
}


FrontArgument = Annotated[
    Path | None,
    typer.Argument(metavar="PARETO.json", help="Front of a search: time its networks instead."),
]
SpaceFlag = Annotated[
    str,
    typer.Option(
        "--space",
        help=f"Search space: {either([*SPACES, 'a JSON file'])}.",
        autocompletion=lambda: list(SPACES),
    ),
]
ClassesFlag = Annotated[int, typer.Option("--classes", min=1, help="Classes of the networks.")]
SamplesFlag = Annotated[
    int, typer.Option("--samples", min=1, help="Networks of the space that are measured.")
]
PrecisionFlag = Annotated[
    str, typer.Option("--precision", help="What the networks compute in: fp32, fp16 or int8.")
]
ResumeFlag = Annotated[bool, typer.Option("--resume", help="Continue an interrupted profile.")]


def profile(
    front: FrontArgument = None,
    space: SpaceFlag = SearchConfig.space,
    imgsz: UntrainedSize = "",
    classes: ClassesFlag = 80,
    samples: SamplesFlag = 48,
    precision: PrecisionFlag = "fp32",
    max_ms: MaxMs = None,
    resume: ResumeFlag = False,
    seed: Seed = 0,
    engine: Runtime = "",
    device: Device = "cpu",
    threads: Threads = 1,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a search space on this device, for searches elsewhere.

    Times networks of the space, untrained, from the smallest to the largest, and fits what predicts
    the others: the file that search takes as --latency-profile. Given the pareto.json of that
    search, times its networks here, for search --resume --measured.
    """
    console.setup(quiet, verbose)
    from detkit.core.errors import UsageError
    from detkit.engines import default_engine
    from detkit.runtime.session import SessionOptions
    from detkit.spec.arch import parse_image_size
    from detkit.spec.space import find_space
    from detkit.untrained import EngineSetup

    setup = EngineSetup(
        engine=engine or default_engine().name,
        precision=precision,
        session_options=SessionOptions(device=device, threads=threads or 1),
    )
    if front is not None:
        _time_front(front, setup, max_ms, out, force=force, json=json)
        return
    if out is None:
        raise UsageError("a profile is a file", hint="-o jetson.json")
    size = parse_image_size(imgsz) if imgsz else None
    _measure_space(
        find_space(space).for_task(classes, size),
        setup,
        out,
        samples=samples,
        seed=seed,
        resume=resume,
        force=force,
        json=json,
    )


def _measure_space(
    space: SearchSpace,
    setup: EngineSetup,
    out: Path,
    *,
    samples: int,
    seed: int,
    resume: bool,
    force: bool,
    json: bool,
) -> None:
    """Writes the profile; its path, or with `json` the profile, on stdout."""
    from detkit.cli.report_output import check_report_file
    from detkit.core.errors import UsageError
    from detkit.profile.run import measure_profile

    if resume and not out.is_file():
        raise UsageError(f"{out}: there is no profile to resume")
    check_report_file(out, force=force or resume)
    report = measure_profile(
        space, setup, out, samples=samples, seed=seed, resume=resume, log=console.log
    )
    for line in _profile_lines(report):
        console.log(line)
    console.emit(report, json=json, lines=[str(out)])
    _warn(report.warnings)


def _profile_lines(report: HardwareProfile) -> list[str]:
    assert report.fit is not None
    times = [sample.latency_ms for sample in report.samples]
    return [
        f"{len(times)} networks of {report.space}, {min(times):.2f} to {max(times):.2f} ms in"
        f" {report.precision} on {report.runtime} {report.runtime_version}",
        f"a network left out is predicted to {report.fit.mape:.1%} on average, ranks agree to"
        f" {report.fit.spearman:.3f} (Spearman)",
    ]


def _time_front(
    front: Path,
    setup: EngineSetup,
    max_ms: float | None,
    out: Path | None,
    *,
    force: bool,
    json: bool,
) -> None:
    """Times the networks of a search's pareto.json.

    Raises:
        GateError: one takes longer than `max_ms`.
    """
    from detkit.cli.report_output import check_report_file, emit_report
    from detkit.core.errors import GateError
    from detkit.profile.front import measure_front

    check_report_file(out, force=force, read=(front,))
    report = measure_front(front, setup, console.log)
    emit_report(report, out, json=json, lines=_front_lines(report))
    _warn(report.warnings)
    slow = [n for n in report.networks if max_ms is not None and n.latency_ms > max_ms]
    if slow:
        raise GateError(
            "; ".join(f"{n.name}: {n.latency_ms:.2f} ms is above {max_ms:g}" for n in slow)
        )


def _front_lines(report: MeasuredFront) -> list[str]:
    rows = [
        (
            network.name,
            network.digest,
            f"{network.searched_ms:.2f}",
            f"{network.latency_ms:.2f}",
            f"{network.latency_ms / network.searched_ms - 1:+.1%}",
        )
        for network in report.networks
    ]
    return [
        *console.table(("network", "digest", "searched ms", "measured ms", "off by"), rows),
        "",
        f"{report.precision} on {report.runtime} {report.runtime_version},"
        f" {report.threads} threads, {report.clock} time; machine {report.fingerprint['id']}",
    ]


def _warn(warnings: tuple[str, ...]) -> None:
    for text in warnings:
        console.warn(text)
