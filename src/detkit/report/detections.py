"""What was found in images."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class PredictReport(Report):
    kind: str = "predict report"
    schema_version: int = 2
    detections_file: str
    images: int
    detections: int
    drawn: tuple[str, ...]  # files with boxes drawn, one for each image
    skipped: tuple[str, ...]  # images that could not be read, and why
    remarks: tuple[str, ...] = ()  # images that were read, and what is odd about them
    without_id: int = 0  # detections not in the file: the annotations do not have their class
