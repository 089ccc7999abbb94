"""The settings of every verb, each a frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from detkit.config.fields import MAX_SEED, SWITCH, Settings, setting
from detkit.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(Settings):
    """Training-time augmentation. Probabilities are 0..1; ranges are symmetric around no change."""

    section: ClassVar[str] = "augment."

    mosaic: float = setting(1.0, "probability that four images are tiled into one", least=0, most=1)
    mixup: float = setting(0.0, "probability that two training images are blended", least=0, most=1)
    close_epochs: int = setting(3, "last epochs without mosaic and mixup", least=0, most=100_000)
    repeat_threshold: float = setting(
        0.0,
        "share of images below which a class is repeated; 0 is off",
        least=0,
        most=1,
    )
    scale: float = setting(0.5, "zoom by 1 - scale to 1 + scale", least=0, most=0.95)
    translate: float = setting(0.1, "shift by up to this share of the side", least=0, most=0.95)
    degrees: float = setting(0.0, "rotate by up to this many degrees", least=0, most=180)
    shear: float = setting(0.0, "shear by up to this many degrees", least=0, most=45)
    flip: float = setting(0.5, "probability of a left-right flip", least=0, most=1)
    flip_vertical: float = setting(0.0, "probability of an upside-down flip", least=0, most=1)
    hue: float = setting(
        0.015, "turn the hue by up to this share of the colour circle", least=0, most=0.5
    )
    saturation: float = setting(0.5, "scale the saturation by 1 - x to 1 + x", least=0, most=0.95)
    brightness: float = setting(0.25, "scale the brightness by 1 - x to 1 + x", least=0, most=0.95)


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Settings):
    """AdamW with linear warm-up, cosine decay and an exponential moving average of the weights."""

    section: ClassVar[str] = "optim."

    lr: float = setting(1e-3, "peak learning rate", least=1e-12, most=10)
    final_lr: float = setting(
        0.05, "learning rate at the end, as a share of the peak", least=0, most=1
    )
    weight_decay: float = setting(
        0.02, "decoupled decay; not on biases and batch-norms", least=0, most=1
    )
    warmup_epochs: float = setting(1.0, "epochs of linear warm-up", least=0, most=1e6)
    clip_norm: float = setting(10.0, "largest gradient norm", least=1e-6, most=1e9)
    ema: float = setting(0.9997, "decay of the averaged weights", least=0, most=1)
    accumulate: int = setting(
        1, "batches whose gradients are summed for one step", least=1, most=1_000_000
    )
    nominal_batch: int = setting(
        0, "images for one step, by summing smaller batches; 0 is off", least=0, most=1_000_000
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nominal_batch and self.accumulate > 1:
            raise UsageError("optim.accumulate and optim.nominal_batch: one of them, not both")


@dataclass(frozen=True, kw_only=True)
class LossConfig(Settings):
    """PPYoloE loss with task-aligned assignment (see `train.loss`)."""

    section: ClassVar[str] = "loss."

    cls: float = setting(1.0, "weight of the varifocal class loss", least=0, most=1000)
    iou: float = setting(2.5, "weight of the GIoU loss", least=0, most=1000)
    dfl: float = setting(0.5, "weight of the distribution focal loss", least=0, most=1000)
    topk: int = setting(13, "anchor points assigned to a ground truth at most", least=1, most=1000)
    alpha: float = setting(1.0, "power of the score in the alignment metric", least=0, most=1000)
    beta: float = setting(6.0, "power of the IoU in the alignment metric", least=0, most=1000)
    class_weight_power: float = setting(
        0.0,
        "power of inverse class frequency in the class loss",
        least=0,
        most=1,
    )


@dataclass(frozen=True, kw_only=True)
class DistillConfig(Settings):
    """How much a teacher counts beside the labels (see `train.teacher`)."""

    section: ClassVar[str] = "distill."

    cls: float = setting(1.0, "weight of the teacher's class scores", least=0, most=1000)
    box: float = setting(1.0, "weight of the teacher's distances", least=0, most=1000)
    features: float = setting(
        0.0, "weight of the teacher's features, for pretraining", least=0, most=1000
    )
    score: float = setting(
        0.3, "least score of a box that becomes a label, 1 for none", least=0.05, most=1
    )


MAX_AVERAGED = 10
AUTO_INIT, NO_INIT = "auto", "none"  # beside files and names of starter weights
AUTO_BATCH = 0  # images a batch that nobody named
MAX_LICENCE_LENGTH = 200


def check_licence(text: str) -> str:
    """The text as given, if it is one printable line; empty where none is stated.

    Raises:
        UsageError: it holds control characters, or is longer than a name.
    """
    if not text.isprintable() or len(text) > MAX_LICENCE_LENGTH:
        raise UsageError(
            f"licence: expected one printable line of at most {MAX_LICENCE_LENGTH} characters, such"
            " as Apache-2.0"
        )
    return text


PATHS_OF_SPLITS = ("train_json", "train_images", "val_json", "val_images")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """Everything a run depends on; `config.toml` of a run folder is exactly this."""

    data: str = setting("", "COCO folder")
    train_json: str = setting("", "annotation file, where the folder has no known layout")
    train_images: str = setting("", "its image folder")
    val_json: str = setting("", "the same for validation")
    val_images: str = setting("", "the same for validation")
    max_dropped: float = setting(0.01, "share of a split that may be unusable", least=0, most=1)
    classes: str = setting("", "classes to learn, separated by commas; else all of the data")
    other_images: str = setting(
        "keep",
        "images of other classes alone: negatives, or out",
        choices=("keep", "drop"),
    )
    single_cls: bool = setting(False, "learn all classes as one, named object")
    fraction: float = setting(
        1.0, "share of the training images, drawn by the seed", least=1e-4, most=1
    )
    model: str = setting("", "architecture name or ArchSpec JSON; else that of init, yolo-nas-s")
    init: str = setting(AUTO_INIT, "checkpoint, starter weights by name, none or auto: what fits")
    licence: str = setting("", "licence of the weights made; what init is under is added")
    teacher: str = setting("", "detector to learn from, beside the labels or in their place")
    teacher_outputs: str = setting("", "of another tool's teacher: a preset or a FILE.json")
    freeze: str = setting(
        "",
        "parts kept as they are",
        choices=("", "early", "backbone", "backbone+neck"),
    )
    imgsz: str = setting("", "input size, N or HEIGHTxWIDTH; else the architecture's own")
    epochs: int = setting(
        0, "epochs at most; 0 chooses by the number of images", least=0, most=1_000_000
    )
    batch: int = setting(
        8,
        "images a batch of all processes; 0: what the GPU holds",
        least=0,
        most=65536,
    )
    time_limit: float = setting(0.0, "minutes at most; 0 is no limit", least=0, most=1e9)
    patience: int = setting(
        0, "epochs without a better AP before stopping; 0 never stops", least=0, most=1_000_000
    )
    seed: int = setting(0, "seed of weights, order and augmentation", least=0, most=MAX_SEED)
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    workers: int = setting(1, "processes that prepare images; 0 is in-process", least=0, most=1024)
    threads: int = setting(0, "CPU threads of a process; 0 shares all cores", least=0, most=4096)
    amp: str = setting("auto", "mixed precision; auto is where it pays", choices=SWITCH)
    cache: str = setting("auto", "decoded images in memory; auto is when they fit", choices=SWITCH)
    sync_bn: str = setting(
        "auto",
        "batch-norms across processes; auto: few images",
        choices=SWITCH,
    )
    average_best: int = setting(
        0,
        "best epochs whose mean is tried at the end; 0 is off",
        least=0,
        most=MAX_AVERAGED,
    )
    loggers: str = setting("", "trackers to follow the run with: tensorboard, mlflow")
    checkpoint_minutes: float = setting(
        5.0, "minutes between states saved within an epoch", least=0, most=1e6
    )
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)

    @property
    def batches_per_step(self) -> int:
        """Batches whose gradients make one step of the optimiser."""
        nominal = self.optim.nominal_batch
        return max(1, round(nominal / self.batch)) if nominal else self.optim.accumulate

    def __post_init__(self) -> None:
        super().__post_init__()
        check_licence(self.licence)
        named = [bool(getattr(self, name)) for name in PATHS_OF_SPLITS]
        if any(named) and not all(named):
            raise UsageError(f"{', '.join(PATHS_OF_SPLITS)}: all four of them, or none")


@dataclass(frozen=True, kw_only=True)
class QatConfig(Settings):
    """Quantization-aware training: a short run at a low rate from the calibrated ranges.

    Defaults after super-gradients' recipe (a tenth of the epochs, a hundredth of the rate) and
    YOLOv6's (distillation from the float parent).
    """

    section: ClassVar[str] = "qat."

    epochs: int = setting(
        3, "epochs; a tenth of those of the float training is usual", least=1, most=1_000_000
    )
    batch: int = setting(8, "images a batch, of all processes together", least=1, most=65536)
    lr: float = setting(
        1e-5, "peak learning rate, a hundredth of the float training's", least=1e-12, most=10
    )
    distill_cls: float = setting(1.0, "weight of the parent's class scores", least=0, most=1000)
    distill_box: float = setting(
        1.0, "weight of the parent's distance distributions", least=0, most=1000
    )
    learned_scales: bool = setting(False, "learn the ranges too (LSQ)")
    patience: int = setting(
        3, "epochs without a better AP before stopping; 0 never stops", least=0, most=1_000_000
    )


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig(Settings):
    """Everything an INT8 checkpoint depends on beside its parent and the data."""

    target: str = setting("auto", "engine that AP and time are measured on")
    calibrator: str = setting(
        "auto", "how ranges are chosen: auto, max, percentile, mse or entropy"
    )
    images: int = setting(256, "calibration images, of the training split", least=1, most=1_000_000)
    weight_bits: int = setting(8, "7 for CPUs without VNNI, whose sums saturate")
    bias_correction: bool = setting(True, "take out the mean error of the rounded weights")
    split: str = setting("val", "split that AP is measured on")
    eval_images: int = setting(500, "its images, evenly spread; 0 is all", least=0, most=1_000_000)
    noise_images: int = setting(32, "images for the noise of each group", least=1, most=1_000_000)
    least_sqnr: float = setting(
        10.0, "dB of signal to noise below which a group stays in float", least=-200, most=200
    )
    confirm: int = setting(
        10, "noisiest groups whose effect on AP is measured", least=1, most=1_000_000
    )
    max_dropped: float = setting(0.01, "share of a split that may be unusable", least=0, most=1)
    seed: int = setting(
        0, "which images calibrate (0: evenly spread); order of training", least=0, most=MAX_SEED
    )
    device: str = setting("cpu", "device of training: auto, cpu, cuda or cuda:N")
    threads: int = setting(0, "CPU threads; 0 is all", least=0, most=4096)
    qat: QatConfig = field(default_factory=QatConfig)


@dataclass(frozen=True, kw_only=True)
class RayConfig(Settings):
    """The Ray cluster that a search evaluates on; without an address, this process does."""

    section: ClassVar[str] = "ray."

    address: str = setting("", "HOST:PORT of a Ray cluster, or auto; else in this process")
    resource: str = setting("", "resource of the nodes that time candidates; else this node does")
    cpus: int = setting(1, "CPUs that scoring a candidate takes", least=1, most=4096)
    gpus: float = setting(0.0, "GPUs that it takes; 0.5 lets two share one", least=0, most=4096)
    parallel: int = setting(
        0, "candidates under way at once; 0 is as many as there is room for", least=0, most=4096
    )
    retries: int = setting(3, "times a task is tried again whose worker died", least=0, most=4096)
    wait_minutes: float = setting(
        10.0, "minutes to wait for a usable node before giving up", least=0, most=1e6
    )


@dataclass(frozen=True, kw_only=True)
class SupernetConfig(Settings):
    """Weights that all networks of a space share, and what becomes of those on the front."""

    section: ClassVar[str] = "supernet."

    epochs: int = setting(100, "epochs of the shared weights", least=1, most=1_000_000)
    init: str = setting("", "checkpoint or starter weights, of a network of the space")
    trained: str = setting("", "supernet/last.safetensors of another search, taken as it is")
    largest_first: float = setting(
        0.3, "first share of the epochs, for the largest network alone", least=0, most=1
    )
    random_nets: int = setting(
        2, "random networks a step, beside the largest and the smallest", least=0, most=64
    )
    recalibration_batches: int = setting(
        16, "training batches for a network's batch-norms", least=1, most=100_000
    )
    fine_tune_epochs: int = setting(
        0, "epochs that each network of the front is trained alone", least=0, most=1_000_000
    )


@dataclass(frozen=True, kw_only=True)
class SearchConfig(Settings):
    """Everything a search depends on; `search.toml` of its folder is exactly this."""

    data: str = setting("", "COCO folder; proxies need none")
    space: str = setting("yolo-nas", "space by name, or its JSON file")
    searcher: str = setting("surrogate", "who picks the next architectures")
    evaluator: str = setting(
        "proxy",
        "what scores one: no training, shared weights or a few epochs",
        choices=("proxy", "supernet", "train"),
    )
    objective: str = setting(
        "pareto", "what is sought", choices=("pareto", "lagrangian", "weighted")
    )
    proxy: str = setting(
        "flops",
        "score without training",
        choices=("flops", "params", "naswot", "zen", "synflow"),
    )
    cost: str = setting(
        "latency_ms", "set against the score", choices=("latency_ms", "macs", "parameters")
    )
    alpha: float = setting(1.0, "weight of the score in the objective weighted", least=0, most=1e15)
    beta: float = setting(
        0.001, "what a unit of cost takes off the score: weighted, lagrangian", least=0, most=1e15
    )
    trials: int = setting(
        64, "architectures tried at most, those over a limit included", least=1, most=1_000_000
    )
    batch: int = setting(8, "architectures picked at a time", least=1, most=4096)
    max_latency_ms: float = setting(0.0, "limit on measured latency; 0 is none", least=0, most=1e15)
    max_params: float = setting(0.0, "limit on deployed parameters; 0 is none", least=0, most=1e15)
    max_macs: float = setting(0.0, "limit on deployed multiply-adds; 0 is none", least=0, most=1e15)
    imgsz: str = setting("", "input size, N or HEIGHTxWIDTH; else searched where the space has it")
    classes: int = setting(80, "classes, where there is no data to tell", least=1, most=100_000)
    runtime: str = setting("auto", "engine whose latency counts")
    precision: str = setting(
        "fp32", "of the graphs that are timed", choices=("fp32", "fp16", "int8")
    )
    device: str = setting("cpu", "where latency is measured: cpu, cuda or cuda:N")
    threads: int = setting(1, "CPU threads that latency is measured with", least=1, most=4096)
    latency_profile: str = setting("", "profile of another device; latency is predicted from it")
    seed: int = setting(0, "seed of the search and of every training", least=0, most=MAX_SEED)
    epochs: int = setting(
        5, "epochs that the evaluator train gives an architecture", least=1, most=1_000_000
    )
    ray: RayConfig = field(default_factory=RayConfig)
    supernet: SupernetConfig = field(default_factory=SupernetConfig)
    train: TrainConfig = field(default_factory=TrainConfig)  # all but what is said above

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train.batch == AUTO_BATCH:
            raise UsageError(
                "train.batch: networks that are compared learn from batches of one size",
                hint="--set train.batch=8",
            )
