"""How far a converted model is from its parent."""

from __future__ import annotations

from dataclasses import dataclass, field

from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Largest absolute difference over `images` images from `source` (a folder, or drawn)."""

    score: float
    box_px: float
    images: int
    source: str


@dataclass(frozen=True, kw_only=True)
class ConversionReport(Report):
    """A reparam, an import or an export: the file made, its parent, and how far it strayed.

    `licence` and `weights_source` are of the weights, as in the manifest of the file.
    """

    kind: str = "conversion report"
    schema_version: int = 1
    file: str
    parent: str
    parameters: int
    macs: int
    bytes: int
    difference: Difference | None
    licence: str = ""
    weights_source: str = ""
    warnings: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
