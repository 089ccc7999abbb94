"""The sweep behind a HardwareProfile: networks measured in turns, the file written as it grows.

Networks are opened in groups. Each round measures every network of a group once, a reference first:
memory holds one group, and a machine that drifts shows in the reference. After every measurement
the file is rewritten, so a kill loses one at most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import versions
from detkit.artifact.writing import write_text
from detkit.core.errors import UsageError
from detkit.core.serialization import from_plain, to_json, to_plain
from detkit.engines import ENGINES, engine_packages
from detkit.inspection.run_folder import read_json_file
from detkit.machine.fingerprint import fingerprint
from detkit.machine.state import read_state
from detkit.nn.detector import cost_of
from detkit.profile.features import features_of
from detkit.profile.fit import fit_latency
from detkit.profile.sampling import choose_networks
from detkit.report import HardwareProfile, Measurement, ProfileSample
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace
from detkit.timing.cpu_time import clock_name, measure_session
from detkit.timing.validity import state_warnings
from detkit.untrained import REFERENCE, EngineSetup

NetworkSampler = Callable[[SearchSpace, int, int], list[ArchSpec]]  # space, how many, seed

GROUP = 10
MEASUREMENTS = 3
MAX_DRIFT = 0.10  # of the reference network
MAX_WALL_OVER_CPU = 1.3
SAME = ("space_digest", "runtime", "runtime_version", "precision", "device", "threads", "batch",
        "seed", "measurements", "power_mode")  # fmt: skip


@dataclass(frozen=True)
class NetworkMeasurement:
    """One measurement of the sample of this number, or of the reference network (None)."""

    sample: int | None
    measurement: Measurement


def measure_in_turns(
    specs: Sequence[ArchSpec], done: Sequence[int], setup: EngineSetup
) -> Iterator[NetworkMeasurement]:
    """Measures every network `MEASUREMENTS` times; `done` says how many it had before."""
    reference = setup.open_reference()
    waiting = [number for number, count in enumerate(done) if count < MEASUREMENTS]
    for start in range(0, len(waiting), GROUP):
        group = {number: setup.open(specs[number]) for number in waiting[start : start + GROUP]}
        for round_ in range(MEASUREMENTS):
            yield NetworkMeasurement(
                None, measure_session(reference, session_options=setup.session_options)
            )
            for number, session in group.items():
                if done[number] <= round_:
                    yield NetworkMeasurement(
                        number, measure_session(session, session_options=setup.session_options)
                    )


def measure_profile(
    space: SearchSpace,
    setup: EngineSetup,
    out: Path,
    *,
    samples: int,
    seed: int,
    resume: bool,
    log: Callable[[str], None],
    choose: NetworkSampler = choose_networks,
) -> HardwareProfile:
    """Measures, or continues to measure, `samples` networks of the space, and fits the rest.

    Args:
        choose: which networks; by default from one end of the space to the other.

    Raises:
        UsageError: a precision that the engine does not compute in, a number of samples that makes
            no sense, or a profile to resume that was begun with other settings.
        BackendError: the engine or the device is not here.
    """
    profile = begin(space, setup, seed=seed)
    if resume:
        profile = _resumed(profile, out, samples)
    if not profile.samples:
        log(f"choosing {samples} of {space.size:.3g} networks of space {space.name}")
        chosen = choose(space, samples, seed)
        profile = dataclasses.replace(profile, samples=tuple(map(_sample, chosen)))
        _write(profile, out)
    profile = _measure_missing(profile, setup, out, log)
    _write(profile, out)
    return profile


def _measure_missing(
    profile: HardwareProfile, setup: EngineSetup, out: Path, log: Callable[[str], None]
) -> HardwareProfile:
    """Makes the measurements that are missing, each one written at once; then the fit."""
    specs = [from_plain(ArchSpec, sample.arch) for sample in profile.samples]
    done = [len(sample.measurements) for sample in profile.samples]
    states = [read_state()]
    for found in measure_in_turns(specs, done, setup):
        profile = _with(profile, found)
        _write(profile, out)
        if found.sample is None:
            states.append(read_state())
        elif len(profile.samples[found.sample].measurements) == MEASUREMENTS:
            log(_line(profile, found.sample))
    warnings = state_warnings([*states, read_state()], profile.fingerprint)
    return _finished(profile, specs, [warning.message for warning in warnings])


def begin(space: SearchSpace, setup: EngineSetup, *, seed: int) -> HardwareProfile:
    """Begins a profile, which has no samples yet."""
    machine = fingerprint(engine_packages())
    searched = "image_size" in space.knobs
    height, width = space.base.image_size
    return HardwareProfile(
        space=space.name,
        space_digest=space.digest,
        num_classes=space.base.num_classes,
        image_size="searched" if searched else f"{height}x{width}",
        runtime=setup.engine,
        runtime_version=engine_version(setup.engine),
        precision=setup.precision,
        device=setup.session_options.device,
        threads=setup.session_options.threads,
        batch=1,
        clock=clock_name(setup.session_options),
        power_mode=machine.get("power_mode", machine.get("governor", "")),
        seed=seed,
        measurements=MEASUREMENTS,
        samples=(),
        reference=f"{REFERENCE.name}, {REFERENCE.image_size[0]}x{REFERENCE.image_size[1]}",
        reference_ms=(),
        fit=None,
        warnings=(),
        fingerprint=machine,
    )


def engine_version(engine: str) -> str:
    """The version of the engine that is installed, by any of the names it is packaged under."""
    packages = ENGINES[engine].packages
    found = versions(*packages)
    return next((found[name] for name in packages if name in found), "")


def measurement_warnings(
    reference_ms: Sequence[float], measurements: Sequence[Measurement]
) -> Iterator[str]:
    """Yields what speaks against the measurements, by their own figures."""
    low, high = min(reference_ms), max(reference_ms)
    if high > (1 + MAX_DRIFT) * low:
        yield f"the machine was not steady: one network took {low:.2f} to {high:.2f} ms"
    over = [v.wall_over_cpu for v in measurements if v.wall_over_cpu > MAX_WALL_OVER_CPU]
    if over:
        yield (
            f"other programs took the CPU in {len(over)} of {len(measurements)} measurements: wall"
            f" time was up to {max(over):.1f} times CPU time"
        )


def _finished(
    profile: HardwareProfile, specs: Sequence[ArchSpec], warnings: Sequence[str]
) -> HardwareProfile:
    """Completes the profile by its fit and all warnings: `warnings`, and those of measurements."""
    latencies_ms = [sample.latency_ms for sample in profile.samples]
    measurements = [
        measurement for sample in profile.samples for measurement in sample.measurements
    ]
    return dataclasses.replace(
        profile,
        fit=fit_latency([features_of(spec) for spec in specs], latencies_ms),
        warnings=(*measurement_warnings(profile.reference_ms, measurements), *warnings),
    )


def _resumed(fresh: HardwareProfile, out: Path, samples: int) -> HardwareProfile:
    """Reads the profile in `out`, if it was begun with the settings of `fresh`."""
    kind, found = read_json_file(out)
    if not isinstance(found, HardwareProfile):
        raise UsageError(f"{out} is a {kind}, no profile to resume")
    pairs = [(name, getattr(found, name), getattr(fresh, name)) for name in SAME]
    pairs.append(("samples", len(found.samples), samples))
    pairs.append(("machine", found.fingerprint.get("id"), fresh.fingerprint.get("id")))
    if changed := [f"{name} was {was}, not {now}" for name, was, now in pairs if was != now]:
        raise UsageError(
            f"{out} cannot be resumed: {'; '.join(changed)}", hint="use --force to start over"
        )
    return found


def _sample(spec: ArchSpec) -> ProfileSample:
    return ProfileSample(arch=to_plain(spec), digest=spec.digest, macs=cost_of(spec).macs)


def _with(profile: HardwareProfile, found: NetworkMeasurement) -> HardwareProfile:
    if found.sample is None:
        times = (*profile.reference_ms, round(found.measurement.least_ms, 4))
        return dataclasses.replace(profile, reference_ms=times)
    samples = list(profile.samples)
    before = samples[found.sample]
    measurements = (*before.measurements, found.measurement)
    samples[found.sample] = dataclasses.replace(
        before, measurements=measurements, latency_ms=min(seen.least_ms for seen in measurements)
    )
    return dataclasses.replace(profile, samples=tuple(samples))


def _write(profile: HardwareProfile, out: Path) -> None:
    write_text(out, to_json(profile) + "\n")


def _line(profile: HardwareProfile, number: int) -> str:
    done = sum(len(sample.measurements) == MEASUREMENTS for sample in profile.samples)
    sample = profile.samples[number]
    return (
        f"{done}/{len(profile.samples)}  {sample.arch['name']}  {sample.macs / 1e9:.2f} GMACs"
        f"  {sample.latency_ms:.2f} ms"
    )
