"""`detkit bench --profile`, and `detkit bench pareto.json`: networks of a search, untrained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detkit.cli import console
from detkit.cli.report_output import check_report_file, emit_report
from detkit.cli.verbs.bench.bench_flags import BenchFlags
from detkit.core.errors import GateError, UsageError
from detkit.engines import default_engine

if TYPE_CHECKING:
    from detkit.report import HardwareProfile, MeasuredFront
    from detkit.untrained import Setup


def setup_of(flags: BenchFlags) -> Setup:
    """What networks are timed as, with the defaults of `detkit search`, so that the two fit."""
    from detkit.runtime.session import Placement
    from detkit.untrained import Setup

    return Setup(
        runtime=flags.runtime or default_engine().name,
        precision=flags.precision or "fp32",
        placement=Placement(device=flags.device, threads=flags.threads or 1),
    )


def profile(flags: BenchFlags) -> None:
    """Measures a space and writes the profile; its path, or with --json the profile, on stdout."""
    from detkit.profile.run import measure_profile
    from detkit.spec.arch import parse_image_size
    from detkit.spec.space import find_space

    out = flags.out
    if out is None:
        raise UsageError("a profile is a file", hint="-o jetson.json")
    if flags.resume and not out.is_file():
        raise UsageError(f"{out}: there is no profile to resume")
    check_report_file(out, force=flags.force or flags.resume)
    size = parse_image_size(flags.imgsz) if flags.imgsz else None
    report = measure_profile(
        find_space(flags.space).for_task(flags.classes, size),
        setup_of(flags),
        out,
        samples=flags.samples,
        seed=flags.seed,
        resume=flags.resume,
        tell=console.log,
    )
    for line in _profile_lines(report):
        console.log(line)
    console.emit(report, json=flags.json, lines=[str(out)])
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


def front(flags: BenchFlags) -> None:
    """Times the networks of a search's pareto.json."""
    from detkit.profile.front import measure_front

    check_report_file(flags.out, force=flags.force)
    report = measure_front(flags.models[0], setup_of(flags), console.log)
    emit_report(report, flags.out, json=flags.json, lines=_front_lines(report))
    _warn(report.warnings)
    limit = flags.max_ms
    slow = [n for n in report.networks if limit is not None and n.latency_ms > limit]
    if slow:
        raise GateError(
            "; ".join(f"{n.name}: {n.latency_ms:.2f} ms is above {limit:g}" for n in slow)
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
