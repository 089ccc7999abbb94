"""What was asked of `detkit bench`, and in which of its modes: each takes some of the flags."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detkit.core.errors import UsageError

if TYPE_CHECKING:
    from detkit.runtime.session import Placement


@dataclass(frozen=True, kw_only=True)
class BenchFlags:
    """The flags with their defaults."""

    models: tuple[Path, ...] = ()
    data: Path | None = None
    batch: int = 1
    seconds: float = 3.0
    runs: int = 200
    max_ms: float | None = None
    scenario: str = "latency"
    baseline: Path | None = None
    max_regress: str | None = None
    strict: bool = False
    outputs: tuple[str, ...] = ()
    compare: bool = False
    advise: bool = False
    profile: bool = False
    imgsz: str = ""
    precision: str = ""
    max_drop: float = 0.5
    space: str = "yolo-nas"
    samples: int = 48
    classes: int = 80
    resume: bool = False
    seed: int = 0
    runtime: str = ""
    device: str = "cpu"
    threads: int = 0
    out: Path | None = None
    force: bool = False
    json: bool = False

    @property
    def placement(self) -> Placement:
        from detkit.runtime.session import Placement

        return Placement(device=self.device, threads=self.threads)


DEFAULTS = BenchFlags()
COMMON = ("models", "threads", "out", "force", "json")
ENGINE = ("runtime", "device")
TIMING = ("data", "batch", "seconds", "runs", "strict")
# mode -> the flags it takes beside COMMON; that of the name is what chooses it
TAKES = {
    "files": (*ENGINE, *TIMING, "max_ms", "scenario", "baseline", "max_regress", "outputs"),
    "compare": (*ENGINE, *TIMING, "compare", "imgsz", "precision"),
    "advise": ("advise", "data", "max_ms", "max_drop"),
    "profile": (*ENGINE, "profile", "imgsz", "precision", "space", "samples", "classes")
    + ("resume", "seed"),
    "front": (*ENGINE, "precision", "max_ms"),
}
CALLED = {"files": "timing files", "front": "timing a search's front"}


def mode_of(flags: BenchFlags) -> str:
    """A key of `TAKES`.

    Raises:
        UsageError: a flag that the mode does not take, or nothing to time.
    """
    asked = [mode for mode in ("compare", "advise", "profile") if getattr(flags, mode)]
    mode = asked[0] if asked else "front" if is_front(flags.models) else "files"
    called = CALLED.get(mode, f"--{mode}")
    for name, value in _given(flags).items():
        if name not in (*COMMON, *TAKES[mode]):
            raise UsageError(f"--{name.replace('_', '-')} is not for {called}", hint=_home(name))
        if name == "models" and mode == "profile":
            raise UsageError(f"--profile draws its networks itself, it takes no {value[0]}")
    if not flags.models and mode != "profile":
        raise UsageError("no MODEL to time", hint="detkit bench --help")
    return mode


def is_front(models: tuple[Path, ...]) -> bool:
    """Whether bench was given the pareto.json of a search; a JSON list is nothing else of ours."""
    if len(models) != 1 or models[0].suffix != ".json" or not models[0].is_file():
        return False
    with models[0].open("rb") as file:
        return file.read(64).lstrip()[:1] == b"["


def _given(flags: BenchFlags) -> dict[str, Any]:
    """Those that differ from their default."""
    values = {field.name: getattr(flags, field.name) for field in dataclasses.fields(flags)}
    return {name: value for name, value in values.items() if value != getattr(DEFAULTS, name)}


def _home(name: str) -> str:
    modes = [CALLED.get(mode, f"--{mode}") for mode, taken in TAKES.items() if name in taken]
    return f"it is for {' and '.join(modes)}"
