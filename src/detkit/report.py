"""What verbs report, as typed records <-> JSON; times carry their unit in the field name.

The same record is printed with `--json` and written to disk. None means "not applicable"
(the -1 of pycocotools), never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# --- data ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing wrong with a folder. `action` is kept, fixed, dropped or rejected."""

    file: str
    reason: str
    action: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """Counts of one split: images + boxes used, and what happened to the rest."""

    split: str
    images: int
    images_without_boxes: int
    boxes: int
    crowd_boxes: int
    boxes_per_class: dict[str, int]
    dropped_images: int
    dropped_boxes: int
    fixed_boxes: int


@dataclass(frozen=True, kw_only=True)
class DataReport:
    schema_version: int = 1
    root: str
    layout: str
    class_names: tuple[str, ...]
    splits: tuple[SplitReport, ...]
    counts: dict[str, int]  # reason -> how many
    faults: tuple[Fault, ...]
    clean: bool
    digest: str


# --- training ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    schema_version: int = 1
    checkpoint: str
    model: str
    arch_digest: str
    data: str
    data_digest: str
    epochs: int
    best_epoch: int
    ap: float
    ap50: float
    seconds: float
    images_per_s: float
    data_wait_share: float
    images: int
    boxes: int
    dropped_images: int
    dropped_boxes: int
    stopped_by: str  # epochs, time-limit, patience, signal


# --- accuracy ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class; precision, recall and F1 at its own best confidence (see `matching.best_f1`)."""

    ap: float | None
    ap50: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    confidence: float | None
    boxes: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The 12 COCO figures, 0..1, then those at the confidence of the best mean F1, IoU 0.5."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    confidence: float | None
    per_class: dict[str, ClassScore]
    images: int
    boxes: int
    detections: int
    engine: str
    engine_version: str


@dataclass(frozen=True, kw_only=True)
class EvalReport(Figures):
    """The figures and what they were measured on; the same model and data give the same report.

    The three limits of the suppression are None where the model's own graph holds it.
    """

    schema_version: int = 1
    model: str
    model_sha256: str
    runtime: str
    precision_mode: str
    data: str
    split: str
    score_threshold: float | None
    nms_iou: float | None
    max_detections: int | None


# --- differences between one form of a model and the next ----------------------------------------


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Largest absolute difference over `images` pictures from `source` (a folder, or drawn)."""

    score: float
    box_px: float
    images: int
    source: str


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """A reparam, an import or an export: the file made, its parent, and how far it strayed."""

    schema_version: int = 1
    file: str
    parent: str
    parameters: int
    macs: int
    bytes: int
    difference: Difference | None
    notes: dict[str, str] = field(default_factory=dict)


# --- speed ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LatencyStats:
    """Milliseconds over `count` runs; `spread` is the interquartile range over the median."""

    p50: float
    p90: float
    p99: float
    mean: float
    min: float
    spread: float
    count: int


@dataclass(frozen=True, kw_only=True)
class EndToEnd:
    """Milliseconds a batch from picture files to boxes: decode + letterbox, engine, NMS.

    Medians, but for the other percentiles of the total.
    """

    preprocess: float
    engine: float
    nms: float
    total: float
    total_p90: float
    total_p99: float


@dataclass(frozen=True, kw_only=True)
class ModelLatency:
    """One model; `latency_ms` is its engine alone, a batch."""

    file: str
    sha256: str
    bytes: int
    runtime: str
    precision: str
    form: str
    device: str
    image_size: tuple[int, int]
    batch: int
    threads: int
    latency_ms: LatencyStats
    end_to_end_ms: EndToEnd
    images_per_s: float
    ratio_to_first: float  # median of the paired ratios, this model over the first one
    block_spread: float  # largest minus smallest block median, over the median
    warmup_runs: int
    samples_ms: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    schema_version: int = 1
    models: tuple[ModelLatency, ...]
    pictures: str  # the folder they came from, or that they were drawn
    fingerprint: dict[str, str]
    valid: bool
    reasons: tuple[str, ...]  # why it is not valid


# --- quantization --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EngineFigures:
    """One engine's INT8 graph beside its own float graph, timed in turns.

    `coverage` is the share of convolutions that ran in INT8; the predictors never do.
    """

    runtime: str
    ap_float: float
    ap_int8: float
    float_latency_ms: float
    latency_ms: float
    latency_ratio: float  # median of the paired ratios, INT8 over float
    convolutions: int
    int8_convolutions: int
    coverage: float
    float_bytes: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class GroupSensitivity:
    """One group of convolutions. `noise_db` is its own rounding noise at the outputs, in decibels
    below the signal: the lower, the worse.

    The other two are None where they were not measured: the points of AP that come back when the
    group alone returns to float, and the milliseconds that costs.
    """

    group: str
    convolutions: int
    noise_db: float
    recovered: float | None = None
    cost_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class QuantPoint:
    """A choice of groups kept in float, with what was measured of it; `drop` is in points of AP."""

    float_groups: tuple[str, ...]
    ap: float
    drop: float
    latency_ms: float
    megabytes: float


@dataclass(frozen=True, kw_only=True)
class QuantReport:
    """What INT8 cost. AP is 0..1 on `split`; `drop` is in points: 100 * (ap_float - ap_int8).

    `ap_int8` and `coverage` are those of the exported graph on the first of `engines`. A point that
    is picked later is not measured again: then `engines` is empty and `ap_fake_quant` None.
    """

    schema_version: int = 1
    file: str
    parent: str
    method: str  # ptq or qat
    data: str
    split: str
    images: int
    target: str
    ap_float: float
    ap_fake_quant: float | None
    ap_int8: float
    drop: float
    coverage: float
    convolutions: int
    kept_float: tuple[str, ...]
    engines: tuple[EngineFigures, ...]
    size_ratio: float  # of the exported graphs
    weight_bits: int
    calibrator: str
    ranges_by_method: dict[str, int]
    calibration_images: int
    calibration_digest: str
    threads: int
    sensitivity: tuple[GroupSensitivity, ...] = ()
    pareto: tuple[QuantPoint, ...] = ()
    picked: int = 0  # index in `pareto`


# --- search --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """One architecture on the front. `score` is the AP, or a proxy's figure where `ap` is None.

    `measured` is True where `latency_ms` was timed on this machine, not predicted.
    """

    name: str
    arch: dict[str, Any]  # an ArchSpec as JSON
    digest: str
    ap: float | None
    score: float
    latency_ms: float
    measured: bool
    parameters: int
    macs: int
    checkpoint: str  # empty where nothing was trained


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """`pareto` by ascending cost. `hypervolume` is of scaled score and cost, see `search.study`."""

    schema_version: int = 1
    pareto: tuple[ParetoPoint, ...]
    space: str
    space_digest: str
    space_size: int
    searcher: str
    evaluator: str
    objective: str
    cost: str
    data: str
    trials: int
    over_limit: int
    failed: int
    hypervolume: float
    runtime: str
    precision: str
    threads: int
    reference_ms: tuple[float, ...]  # of one and the same network, beside every candidate
    seconds: float
    fingerprint: dict[str, str]


# --- detections ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PredictReport:
    schema_version: int = 1
    detections_file: str
    images: int
    detections: int
    pictures: tuple[str, ...]  # drawn, one for each image
    skipped: tuple[str, ...]  # images that could not be read, and why
