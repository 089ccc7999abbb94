"""Settings of the verbs: defaults < file < `--set` < flags, each a frozen dataclass checked once.

What lives here: the typed settings with their help, and how the four sources are merged. What does
not: the command line itself (see `cli`).
"""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from detkit.core.errors import UsageError, did_you_mean
from detkit.core.serialization import field_types, from_plain, to_plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def setting(default: Any, help_text: str) -> Any:
    """A field with its help beside it."""
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Training-time augmentation. Probabilities are 0..1; ranges are symmetric around no change."""

    mosaic: float = setting(1.0, "probability that four images are tiled into one")
    mixup: float = setting(0.0, "probability that two training images are blended")
    close_epochs: int = setting(3, "last epochs without mosaic and mixup")
    scale: float = setting(0.5, "zoom by 1 - scale to 1 + scale")
    translate: float = setting(0.1, "shift by up to this share of the side")
    degrees: float = setting(0.0, "rotate by up to this many degrees")
    shear: float = setting(0.0, "shear by up to this many degrees")
    flip: float = setting(0.5, "probability of a left-right flip")
    flip_vertical: float = setting(0.0, "probability of an upside-down flip")
    hue: float = setting(0.015, "turn the hue by up to this share of the colour circle")
    saturation: float = setting(0.5, "scale the saturation by 1 - x to 1 + x")
    brightness: float = setting(0.25, "scale the brightness by 1 - x to 1 + x")

    def __post_init__(self) -> None:
        for name in ("mosaic", "mixup", "flip", "flip_vertical"):
            _check_range(f"augment.{name}", getattr(self, name), 0, 1)
        for name in ("scale", "translate", "saturation", "brightness"):
            _check_range(f"augment.{name}", getattr(self, name), 0, 0.95)
        _check_range("augment.hue", self.hue, 0, 0.5)
        _check_range("augment.degrees", self.degrees, 0, 180)
        _check_range("augment.shear", self.shear, 0, 45)
        _check_range("augment.close_epochs", self.close_epochs, 0, 100_000)


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW with linear warm-up, cosine decay and an exponential moving average of the weights."""

    lr: float = setting(1e-3, "peak learning rate")
    final_lr: float = setting(0.05, "learning rate at the end, as a share of the peak")
    weight_decay: float = setting(0.02, "decoupled decay; not on biases and batch-norms")
    warmup_epochs: float = setting(1.0, "epochs of linear warm-up")
    clip_norm: float = setting(10.0, "largest gradient norm")
    ema: float = setting(0.9997, "decay of the averaged weights")
    accumulate: int = setting(1, "batches whose gradients are summed for one step")

    def __post_init__(self) -> None:
        _check_range("optim.lr", self.lr, 1e-12, 10)
        _check_range("optim.final_lr", self.final_lr, 0, 1)
        _check_range("optim.weight_decay", self.weight_decay, 0, 1)
        _check_range("optim.warmup_epochs", self.warmup_epochs, 0, 1e6)
        _check_range("optim.clip_norm", self.clip_norm, 1e-6, 1e9)
        _check_range("optim.ema", self.ema, 0, 1)
        _check_range("optim.accumulate", self.accumulate, 1, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """PPYoloE loss with task-aligned assignment (see `train.loss`)."""

    cls: float = setting(1.0, "weight of the varifocal class loss")
    iou: float = setting(2.5, "weight of the GIoU loss")
    dfl: float = setting(0.5, "weight of the distribution focal loss")
    topk: int = setting(13, "anchor points assigned to a ground truth at most")
    alpha: float = setting(1.0, "power of the score in the alignment metric")
    beta: float = setting(6.0, "power of the IoU in the alignment metric")

    def __post_init__(self) -> None:
        for name in ("cls", "iou", "dfl", "alpha", "beta"):
            _check_range(f"loss.{name}", getattr(self, name), 0, 1000)
        _check_range("loss.topk", self.topk, 1, 1000)


PATHS_OF_SPLITS = ("train_json", "train_images", "val_json", "val_images")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything a run depends on; `config.toml` of a run folder is exactly this."""

    data: str = setting("", "COCO folder")
    train_json: str = setting("", "annotation file, where the folder has no known layout")
    train_images: str = setting("", "its image folder")
    val_json: str = setting("", "the same for validation")
    val_images: str = setting("", "the same for validation")
    max_dropped: float = setting(0.01, "share of a split that may be unusable")
    model: str = setting("", "architecture name or ArchSpec JSON; else that of init, yolo-nas-s")
    init: str = setting("", "checkpoint to start from")
    freeze: str = setting("", "parts kept as they are: backbone, or backbone+neck")
    imgsz: str = setting("", "input size, N or HEIGHTxWIDTH; else the architecture's own")
    epochs: int = setting(100, "epochs at most")
    batch: int = setting(8, "images a batch")
    time_limit: float = setting(0.0, "minutes at most; 0 is no limit")
    patience: int = setting(0, "epochs without a better AP before stopping; 0 never stops")
    seed: int = setting(0, "seed of weights, order and augmentation")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    workers: int = setting(1, "processes that prepare images; 0 is in-process")
    threads: int = setting(0, "CPU threads; 0 is all cores")
    amp: str = setting("auto", "mixed precision: auto (where it pays), on or off")
    cache: str = setting("auto", "decoded images in memory: auto (when they fit), on or off")
    checkpoint_minutes: float = setting(5.0, "minutes between states saved within an epoch")
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        _check_range("max_dropped", self.max_dropped, 0, 1)
        _check_range("epochs", self.epochs, 1, 1_000_000)
        _check_range("batch", self.batch, 1, 65_536)
        _check_range("time_limit", self.time_limit, 0, 1e9)
        _check_range("patience", self.patience, 0, 1_000_000)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        _check_range("workers", self.workers, 0, 1024)
        _check_range("threads", self.threads, 0, 4096)
        _check_range("checkpoint_minutes", self.checkpoint_minutes, 0, 1e6)
        named = [bool(getattr(self, name)) for name in PATHS_OF_SPLITS]
        if any(named) and not all(named):
            raise UsageError(f"{', '.join(PATHS_OF_SPLITS)}: all four of them, or none")
        for name in ("amp", "cache"):
            if getattr(self, name) not in ("auto", "on", "off"):
                raise UsageError(f"{name}: expected auto, on or off, got '{getattr(self, name)}'")
        if self.freeze not in ("", "backbone", "backbone+neck"):
            raise UsageError(f"freeze: expected backbone or backbone+neck, got '{self.freeze}'")


@dataclass(frozen=True, kw_only=True)
class QatConfig:
    """Quantization-aware training: a short run at a low rate from the calibrated ranges.

    Defaults after super-gradients' recipe (a tenth of the epochs, a hundredth of the rate) and
    YOLOv6's (distillation from the float parent).
    """

    epochs: int = setting(3, "epochs; a tenth of those of the float training is usual")
    batch: int = setting(8, "images a batch")
    lr: float = setting(1e-5, "peak learning rate, a hundredth of the float training's")
    distill_cls: float = setting(1.0, "weight of the parent's class scores")
    distill_box: float = setting(1.0, "weight of the parent's distance distributions")
    learned_scales: bool = setting(False, "learn the ranges too (LSQ)")
    patience: int = setting(3, "epochs without a better AP before stopping; 0 never stops")

    def __post_init__(self) -> None:
        _check_range("qat.epochs", self.epochs, 1, 1_000_000)
        _check_range("qat.batch", self.batch, 1, 65_536)
        _check_range("qat.lr", self.lr, 1e-12, 10)
        _check_range("qat.distill_cls", self.distill_cls, 0, 1000)
        _check_range("qat.distill_box", self.distill_box, 0, 1000)
        _check_range("qat.patience", self.patience, 0, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """Everything an INT8 checkpoint depends on beside its parent and the data."""

    target: str = setting("auto", "engine that AP and time are measured on")
    calibrator: str = setting("auto", "auto, max, percentile, mse or entropy")
    images: int = setting(256, "calibration images, of the training split")
    weight_bits: int = setting(8, "7 for CPUs without VNNI, whose sums saturate")
    bias_correction: bool = setting(True, "take out the mean error of the rounded weights")
    split: str = setting("val", "split that AP is measured on")
    eval_images: int = setting(500, "its images, evenly spread; 0 is all")
    noise_images: int = setting(32, "images for the noise of each group")
    confirm: int = setting(10, "noisiest groups whose effect on AP is measured")
    max_dropped: float = setting(0.01, "share of a split that may be unusable")
    seed: int = setting(0, "seed of the order and the augmentation of training")
    device: str = setting("cpu", "device of training: auto, cpu, cuda or cuda:N")
    threads: int = setting(0, "CPU threads; 0 is all")
    qat: QatConfig = field(default_factory=QatConfig)

    def __post_init__(self) -> None:
        for name, low in (("images", 1), ("eval_images", 0), ("noise_images", 1), ("confirm", 1)):
            _check_range(name, getattr(self, name), low, 1_000_000)
        _check_range("max_dropped", self.max_dropped, 0, 1)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        _check_range("threads", self.threads, 0, 4096)


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """The cluster that a search evaluates on; in this process where there is no address."""

    address: str = setting("", "HOST:PORT of a Ray cluster, or auto; else in this process")
    resource: str = setting("", "resource of the nodes that time candidates; else this node does")
    cpus: int = setting(1, "CPUs that scoring a candidate takes")
    gpus: float = setting(0.0, "GPUs that it takes; 0.5 lets two share one")
    parallel: int = setting(0, "candidates under way at once; 0 is as many as there is room for")
    retries: int = setting(3, "times a task is tried again whose worker died")
    wait_minutes: float = setting(10.0, "minutes without a node to go on with before giving up")

    def __post_init__(self) -> None:
        for name, low in (("cpus", 1), ("gpus", 0), ("parallel", 0), ("retries", 0)):
            _check_range(f"ray.{name}", getattr(self, name), low, 4096)
        _check_range("ray.wait_minutes", self.wait_minutes, 0, 1e6)


@dataclass(frozen=True, kw_only=True)
class SupernetConfig:
    """Weights that all networks of a space share, and what becomes of those on the front."""

    epochs: int = setting(100, "epochs of the shared weights")
    init: str = setting("", "checkpoint of a network of the space to start from")
    trained: str = setting("", "supernet/last.safetensors of another search, taken as it is")
    largest_first: float = setting(0.3, "first share of the epochs, for the largest network alone")
    random_nets: int = setting(2, "random networks a step, beside the largest and the smallest")
    recalibration_batches: int = setting(16, "training batches for a network's batch-norms")
    fine_tune_epochs: int = setting(0, "epochs that each network of the front is trained alone")

    def __post_init__(self) -> None:
        _check_range("supernet.epochs", self.epochs, 1, 1_000_000)
        _check_range("supernet.largest_first", self.largest_first, 0, 1)
        _check_range("supernet.random_nets", self.random_nets, 0, 64)
        _check_range("supernet.recalibration_batches", self.recalibration_batches, 1, 100_000)
        _check_range("supernet.fine_tune_epochs", self.fine_tune_epochs, 0, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """Everything a search depends on; `search.toml` of its folder is exactly this."""

    data: str = setting("", "COCO folder; proxies need none")
    space: str = setting("yolo-nas", "space by name, or its JSON file")
    searcher: str = setting("surrogate", "who picks the next architectures")
    evaluator: str = setting("proxy", "what scores one: proxy, supernet or train")
    objective: str = setting("pareto", "what is sought: pareto, lagrangian or weighted")
    proxy: str = setting("flops", "score without training: flops, params, naswot, zen or synflow")
    cost: str = setting("latency_ms", "set against the score: latency_ms, macs or parameters")
    alpha: float = setting(1.0, "weight of the score in the objective weighted")
    beta: float = setting(0.001, "what a unit of cost takes off the score: weighted, lagrangian")
    trials: int = setting(64, "architectures tried at most, those over a limit included")
    batch: int = setting(8, "architectures picked at a time")
    max_latency_ms: float = setting(0.0, "limit on measured latency; 0 is none")
    max_params: float = setting(0.0, "limit on deployed parameters; 0 is none")
    max_macs: float = setting(0.0, "limit on deployed multiply-adds; 0 is none")
    imgsz: str = setting("", "input size, N or HEIGHTxWIDTH; else searched where the space has it")
    classes: int = setting(80, "classes, where there is no data to tell")
    runtime: str = setting("auto", "engine whose latency counts")
    precision: str = setting("fp32", "of the graphs that are timed: fp32, fp16 or int8")
    device: str = setting("cpu", "where latency is measured: cpu, cuda or cuda:N")
    threads: int = setting(1, "CPU threads that latency is measured with")
    latency_profile: str = setting("", "profile of another device; latency is predicted from it")
    seed: int = setting(0, "seed of the search and of every training")
    epochs: int = setting(5, "epochs that the evaluator train gives an architecture")
    ray: RayConfig = field(default_factory=RayConfig)
    supernet: SupernetConfig = field(default_factory=SupernetConfig)
    train: TrainConfig = field(default_factory=TrainConfig)  # all but what is said above

    def __post_init__(self) -> None:
        _check_range("trials", self.trials, 1, 1_000_000)
        _check_range("batch", self.batch, 1, 4096)
        _check_range("classes", self.classes, 1, 100_000)
        _check_range("threads", self.threads, 1, 4096)
        _check_range("epochs", self.epochs, 1, 1_000_000)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        for name in ("alpha", "beta", "max_latency_ms", "max_params", "max_macs"):
            _check_range(name, getattr(self, name), 0, 1e15)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name}: {value} is not within {low}..{high}")


# --- merging the sources -------------------------------------------------------------------------


def resolve(
    cls: type[T],
    *,
    file: Path | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> T:
    """Defaults < TOML `file` < `key.sub=value` of `sets` < `flags` (None: not given).

    Raises:
        UsageError: unreadable file, unknown key (with the nearest name), value of the wrong type.
    """
    merged: dict[str, Any] = {} if file is None else read_toml(file)
    for text in sets:
        _assign(cls, merged, text)
    merged.update({key: value for key, value in (flags or {}).items() if value is not None})
    return from_plain(cls, merged, where=file.name if file else "config")


def read_toml(file: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        return table
    except OSError as error:
        raise UsageError(f"cannot read config {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not valid TOML: {error}") from error


def _assign(cls: type[Any], table: dict[str, Any], text: str) -> None:
    """Puts one `section.key=value` into `table`; the field's type decides how it is read."""
    path, equals, raw = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: write key=value")
    *sections, key = path.strip().split(".")
    kind: Any = cls
    for section in sections:
        kind = _field_type(kind, section, text)
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {text}: the file says {section} = {table!r}")
    table[key] = _read_value(_field_type(kind, key, text), raw.strip(), text)


def _field_type(cls: Any, name: str, text: str) -> Any:
    known = field_types(cls) if isinstance(cls, type) and dataclasses.is_dataclass(cls) else {}
    if name not in known:
        raise UsageError(f"--set {text}: unknown key '{name}'", hint=did_you_mean(name, known))
    return known[name]


def _read_value(kind: Any, raw: str, text: str) -> Any:
    if dataclasses.is_dataclass(kind):
        raise UsageError(f"--set {text}: this is a section; set one of its keys")
    if kind is str:
        return raw
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        name = getattr(kind, "__name__", str(kind))
        raise UsageError(f"--set {text}: expected {name}, got '{raw}'") from error


def to_toml(config: Any) -> str:
    """TOML text that `resolve` reads back to an equal config."""
    return "\n".join(_toml_lines(to_plain(config), ())) + "\n"


def _toml_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    scalars = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"[{'.'.join(path)}]"] if path and scalars else []
    lines += [f"{key} = {_toml_value(value)}" for key, value in scalars.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["", *_toml_lines(value, (*path, key))]
    return lines


def _toml_value(value: Any) -> str:
    """JSON but for what TOML forbids: escaped surrogates and a bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def help_lines(cls: type[Any], prefix: str = "") -> list[str]:
    """`key = default  help` of every setting, sections flattened with dots."""
    lines: list[str] = []
    for item in dataclasses.fields(cls):
        kind = typing.get_type_hints(cls)[item.name]
        if dataclasses.is_dataclass(kind):
            lines += help_lines(typing.cast(type, kind), f"{prefix}{item.name}.")
        else:
            value = f"{prefix}{item.name}={json.dumps(item.default)}"
            lines.append(f"{value:<34}{item.metadata['help']}")
    return lines
