"""`detkit bench --profile`, and `detkit bench pareto.json`: networks of a search, untrained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detkit.cli import console
from detkit.cli.report_file import check_report_file, emit_report
from detkit.errors import GateError, UsageError

if TYPE_CHECKING:
    from detkit.prototype import Setup
    from detkit.report import HardwareProfile, MeasuredFront


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The flags that say what networks are timed as."""

    runtime: str
    precision: str
    device: str
    threads: int

    def setup(self) -> Setup:
        """With the defaults of `detkit search`, so that the two fit together."""
        from detkit.prototype import Setup
        from detkit.runtime import Placement

        return Setup(
            runtime=self.runtime or "onnxruntime",
            precision=self.precision or "fp32",
            placement=Placement(device=self.device, threads=self.threads or 1),
        )


def profile(
    engine: Engine,
    *,
    space: str,
    imgsz: str,
    classes: int,
    samples: int,
    seed: int,
    out: Path | None,
    resume: bool,
    force: bool,
    json: bool,
) -> None:
    """Measures a space and writes the profile; its path, or with `json` the profile, on stdout."""
    from detkit.profile.run import measure_profile
    from detkit.spec.arch import parse_image_size
    from detkit.spec.space import find_space

    if out is None:
        raise UsageError("a profile is a file", hint="-o jetson.json")
    if resume and not out.is_file():
        raise UsageError(f"{out}: there is no profile to resume")
    check_report_file(out, force=force or resume)
    size = parse_image_size(imgsz) if imgsz else None
    report = measure_profile(
        find_space(space).for_task(classes, size),
        engine.setup(),
        out,
        samples=samples,
        seed=seed,
        resume=resume,
        tell=console.log,
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


def is_front(models: list[Path]) -> bool:
    """Whether bench was given the pareto.json of a search; a JSON list is nothing else of ours."""
    path = models[0]
    if len(models) > 1 or path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] == b"["


def front(
    path: Path, engine: Engine, *, max_ms: float | None, out: Path | None, force: bool, json: bool
) -> None:
    """Times the networks of a search's pareto.json."""
    from detkit.profile.front import measure_front

    check_report_file(out, force=force)
    report = measure_front(path, engine.setup(), console.log)
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
