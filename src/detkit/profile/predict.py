"""A HardwareProfile as a search uses it: refused for anything it was not measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detkit.core.errors import UsageError
from detkit.inspection.run_folder import read_json_file
from detkit.profile.features import features_of
from detkit.report import HardwareProfile, LatencyFit
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class ProfileQuery:
    """What a profile must be about to serve a search."""

    space: SearchSpace
    engine: str
    precision: str
    threads: int


def open_profile(path: Path, query: ProfileQuery) -> LatencyFit:
    """Reads the fit of the profile in a file, if it is about what the search needs.

    Raises:
        ArtifactError: no such file, damaged, or of another schema.
        UsageError: not a profile, not finished, or of another space, engine, precision or unit.
    """
    kind, profile = read_json_file(path)
    if not isinstance(profile, HardwareProfile):
        raise UsageError(f"{path} is a {kind}, not a hardware profile")
    if profile.unit != "ms":
        raise UsageError(f"{path}: its latencies are in '{profile.unit}', not ms")
    if profile.fit is None:
        raise UsageError(f"{path} is not finished", hint="use detkit profile --resume to continue")
    _check_space(path, profile, query.space)
    for flag, was, now in (
        ("runtime", profile.runtime, query.engine),
        ("precision", profile.precision, query.precision),
        ("threads", profile.threads, query.threads),
    ):
        if was != now:
            raise UsageError(
                f"{path} is of {flag} {was}, the search is for {now}", hint=f"--{flag} {was}"
            )
    return profile.fit


def _check_space(path: Path, profile: HardwareProfile, space: SearchSpace) -> None:
    if profile.space_digest == space.digest:
        return
    height, width = space.base.image_size
    size = "" if "image_size" in space.knobs else f" --imgsz {height}x{width}"
    raise UsageError(
        f"{path} is of space {profile.space} with {profile.num_classes} classes, image size"
        f" {profile.image_size} (digest {profile.space_digest}), not of this one ({space.digest})",
        hint=f"make one: detkit profile --space {space.name}{size}"
        f" --classes {space.base.num_classes}",
    )


def predict_ms(fit: LatencyFit, spec: ArchSpec) -> float:
    """Predicts latency; never below a tenth of a millisecond, where a fit has nothing to say."""
    found = features_of(spec)
    total = sum(w * found[name] for name, w in zip(fit.features, fit.weights_ms, strict=True))
    return max(total, 0.1)
