"""The networks that a search found, timed on a device: its pareto.json in, a MeasuredFront out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from detkit.core.content_digest import reading
from detkit.core.errors import ArtifactError, UsageError
from detkit.core.json_text import parse_json
from detkit.core.reading import text_of
from detkit.core.serialization import coerce, from_plain
from detkit.engines import engine_packages
from detkit.machine.fingerprint import fingerprint
from detkit.profile.run import MEASUREMENTS, engine_version, measure_in_turns, measurement_warnings
from detkit.report import MeasuredFront, MeasuredPoint, Measurement, ParetoPoint
from detkit.spec.arch import ArchSpec
from detkit.timing.cpu_time import clock_name
from detkit.untrained import EngineSetup


def read_front(path: Path) -> tuple[ParetoPoint, ...]:
    """Reads the points of a pareto.json.

    Raises:
        ArtifactError: not one, damaged, or empty.
    """
    try:
        plain = parse_json(text_of(path))
        with reading(path):
            points: tuple[ParetoPoint, ...] = coerce(tuple[ParetoPoint, ...], plain, path.name)
    except (ValueError, UsageError) as error:
        raise ArtifactError(f"{path} is not the front of a search: {error}") from error
    if not points:
        raise ArtifactError(f"{path}: the front is empty")
    return points


def measure_front(path: Path, setup: EngineSetup, log: Callable[[str], None]) -> MeasuredFront:
    """Times every network of a front, untrained, in turns.

    Raises:
        ArtifactError: see `read_front`.
        BackendError: the engine or the device is not here.
    """
    points = read_front(path)
    specs = [from_plain(ArchSpec, point.arch, where=path.name) for point in points]
    measurements: list[list[Measurement]] = [[] for _ in specs]
    reference: list[float] = []
    for found in measure_in_turns(specs, [0] * len(specs), setup):
        if found.sample is None:
            reference.append(round(found.measurement.least_ms, 4))
            continue
        measurements[found.sample].append(found.measurement)
        if len(measurements[found.sample]) == MEASUREMENTS:
            name, least = points[found.sample].name, _least(measurements[found.sample])
            done = sum(len(seen) == MEASUREMENTS for seen in measurements)
            log(f"{done}/{len(points)}  {name}  {least} ms")
    return MeasuredFront(
        networks=tuple(
            MeasuredPoint(
                name=point.name,
                digest=spec.digest,
                searched_ms=point.latency_ms,
                latency_ms=_least(seen),
            )
            for point, spec, seen in zip(points, specs, measurements, strict=True)
        ),
        runtime=setup.engine,
        runtime_version=engine_version(setup.engine),
        precision=setup.precision,
        device=setup.session_options.device,
        threads=setup.session_options.threads,
        clock=clock_name(setup.session_options),
        reference_ms=tuple(reference),
        warnings=tuple(
            measurement_warnings(
                reference, [measurement for seen in measurements for measurement in seen]
            )
        ),
        fingerprint=fingerprint(engine_packages()),
    )


def _least(measurements: list[Measurement]) -> float:
    return round(min(measurement.least_ms for measurement in measurements), 4)
