"""What an installation and its machine can do, for a bug report."""

from __future__ import annotations

from dataclasses import dataclass, field

from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class EngineCheck:
    """One inference engine: `state` is ready, not installed, or why it does not load."""

    name: str
    package: str
    version: str  # empty where it is not installed
    state: str
    precisions: tuple[str, ...]
    measured: tuple[str, str] | None  # oldest and newest version that INT8 files were measured on

    @property
    def is_ready(self) -> bool:
        return self.state == READY


READY, NOT_INSTALLED = "ready", "not installed"


@dataclass(frozen=True, kw_only=True)
class ChecksReport(Report):
    """This machine and this installation.

    `packages` maps names to versions, empty where one is missing. `disk_free_gb` maps folders to
    gigabytes. `machine` is the fingerprint of bench records.
    """

    kind: str = "checks report"
    schema_version: int = 1
    packages: dict[str, str]
    machine: dict[str, str]
    vector_instructions: tuple[str, ...]
    int8_instructions: tuple[str, ...]
    engines: tuple[EngineCheck, ...]
    disk_free_gb: dict[str, float]
    warnings: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
