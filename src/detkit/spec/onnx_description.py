"""A detector of another tool as data: what its ONNX file takes and what its outputs mean.

A description is a JSON file or the name of one of `PRESETS`; a file may start from a preset and say
only what differs: `{"preset": "yolov8", "class_names": ["cat", "dog"]}`.

Legend: B batch, A anchor points or queries, C classes, M detections of an image at most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detkit.core.errors import UsageError, did_you_mean
from detkit.core.serialization import from_plain, to_plain
from detkit.spec.coco_names import COCO_NAMES
from detkit.spec.json_file import read_plain

# What each output holds, in the order of the graph's outputs; further outputs are ignored.
ROLES = {
    "joint": ("joint",),  # boxes, perhaps objectness, and scores in one tensor
    "separate": ("boxes", "scores"),  # (B, A, 4) and (B, A, C), in either order
    "suppressed": ("boxes", "scores", "labels"),  # (B, M, 4), (B, M), (B, M), perhaps counts (B,)
    "rows": ("rows",),  # suppressed, a row of numbers for each detection
}
# grid: the centre's offset from its cell's corner, and log of width and height; all in cells
BOX_FORMATS = ("xyxy", "xywh", "cxcywh", "yxyx", "grid")
ACTIVATIONS = ("none", "sigmoid", "softmax")
BACKGROUNDS = ("none", "first", "last")
COLUMNS = ("image", "box", "score", "label")
LAYOUTS = ("nchw", "nhwc")
LABELS = ("index", "category_id")


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The image as the graph wants it; see `spec.preprocess`.

    `size` (height, width) is needed where the graph leaves it free; (0, 0) is the graph's own.
    """

    name: str = ""  # that of the graph's only input
    size: tuple[int, int] = (0, 0)
    layout: str = "nchw"
    channel_order: str = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resize: str = "letterbox"
    pad_value: int = 114
    pad_place: str = "center"

    def __post_init__(self) -> None:
        _check("input.layout", self.layout, LAYOUTS)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the outputs mean. Boxes are in input pixels, or 0..1 of the input if `normalised`.

    `roles` are a permutation of one of `ROLES`; `names` says which tensor has a role where the
    order of the graph's outputs does not. `background` is a column of the scores, or a label, that
    stands for no object. With `strides` there is one row for each cell of a grid of each stride,
    row-major, one grid after the other; `box_format` grid is relative to these cells.
    """

    roles: tuple[str, ...]
    names: dict[str, str] = field(default_factory=dict)
    box_format: str = "xyxy"
    normalised: bool = False
    strides: tuple[int, ...] = ()  # pixels a cell
    activation: str = "none"  # that turns raw scores into probabilities
    background: str = "none"
    anchors_last: bool = False  # joint: (B, 4 + C, A) in place of (B, A, 4 + C)
    objectness: bool = False  # joint: a column before the classes that multiplies them
    columns: tuple[str, ...] = ("box", "score", "label")  # of rows
    needs_nms: bool = True  # raw predictions that are no set: several for one object

    def __post_init__(self) -> None:
        wanted = sorted(role for role in self.roles if role != "counts")
        if wanted not in [sorted(roles) for roles in ROLES.values()] or (
            "counts" in self.roles and "labels" not in self.roles
        ):
            known = "; ".join(", ".join(roles) for roles in ROLES.values())
            raise UsageError(
                f"outputs.roles: {', '.join(self.roles)} make no detections",
                hint=f"known, in any order: {known}; counts beside labels",
            )
        for role in self.names:
            _check("outputs.names", role, self.roles)
        for column in self.columns:
            _check("outputs.columns", column, COLUMNS)
        if not {"box", "score", "label"} <= set(self.columns):
            raise UsageError("outputs.columns: box, score and label are needed")
        _check("outputs.box_format", self.box_format, BOX_FORMATS)
        self._check_strides()
        _check("outputs.activation", self.activation, ACTIVATIONS)
        _check("outputs.background", self.background, BACKGROUNDS)

    def _check_strides(self) -> None:
        if self.strides and (min(self.strides) < 1 or not self.is_raw):
            raise UsageError("outputs.strides: pixels a cell, of raw predictions alone")
        if self.box_format == "grid" and (self.normalised or not self.strides):
            raise UsageError("outputs.box_format: grid needs strides, and gives pixels")

    @property
    def has_background(self) -> bool:
        return self.background != "none"

    @property
    def is_suppressed(self) -> bool:
        """Whether the outputs are final, so that no NMS of detkit's follows."""
        return not (self.is_raw and self.needs_nms)

    @property
    def is_raw(self) -> bool:
        """Whether there are scores of every class."""
        return "labels" not in self.roles and "rows" not in self.roles


@dataclass(frozen=True, kw_only=True)
class OnnxDescription:
    """A detector of another tool: its input, its outputs and its classes.

    `class_names` are in the order of the model's classes, without its background; an empty name is
    a number that no class has. `classes_from` takes them from a COCO json or folder instead, in the
    order of the category ids, or with `labels` category_id, each at the number of its id.
    """

    input: InputSpec = field(default_factory=InputSpec)
    outputs: OutputSpec
    class_names: tuple[str, ...] = ()
    classes_from: str = ""
    labels: str = "index"

    def __post_init__(self) -> None:
        _check("labels", self.labels, LABELS)
        if self.class_names and self.classes_from:
            raise UsageError("class_names and classes_from: one of them, not both")


def _check(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{what}: unknown '{value}'", hint=did_you_mean(value, known))


# --- the usual exports ---------------------------------------------------------------------------

_ANCHORS_FIRST = OnnxDescription(
    outputs=OutputSpec(roles=("joint",), box_format="cxcywh", objectness=True)
)
_QUERIES = OutputSpec(
    roles=("scores", "boxes"), box_format="cxcywh", normalised=True, needs_nms=False
)
_CELLS = OutputSpec(roles=("joint",), box_format="cxcywh", objectness=True, strides=(8, 16, 32))
_YOLOX = OnnxDescription(  # since its release 0.1.1; before, RGB less ImageNet's mean
    input=InputSpec(channel_order="bgr", scale=1.0, resize="letterbox-floor", pad_place="corner"),
    outputs=dataclasses.replace(_CELLS, box_format="grid"),
    class_names=COCO_NAMES,
)
_IMAGENET = InputSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize="stretch")

PRESETS = {
    "yolov5": _ANCHORS_FIRST,
    "yolov7": _ANCHORS_FIRST,
    "yolov8": OnnxDescription(
        outputs=OutputSpec(roles=("joint",), box_format="cxcywh", anchors_last=True)
    ),
    "yolov10": OnnxDescription(outputs=OutputSpec(roles=("rows",))),
    "yolov7-nms": OnnxDescription(
        outputs=OutputSpec(roles=("rows",), columns=("image", "box", "label", "score"))
    ),
    "yolox": _YOLOX,  # as its exporter writes it
    "yolox-decoded": dataclasses.replace(_YOLOX, outputs=_CELLS),  # --decode_in_inference
    "detr": OnnxDescription(
        input=_IMAGENET,
        outputs=dataclasses.replace(_QUERIES, activation="softmax", background="last"),
    ),
    "rt-detr": OnnxDescription(
        input=InputSpec(resize="stretch"),
        outputs=dataclasses.replace(_QUERIES, activation="sigmoid"),
    ),
    "torchvision": OnnxDescription(
        outputs=OutputSpec(roles=("boxes", "labels", "scores"), background="first")
    ),
    "nms": OnnxDescription(outputs=OutputSpec(roles=("counts", "boxes", "scores", "labels"))),
    "raw": OnnxDescription(outputs=OutputSpec(roles=("boxes", "scores"))),
}


def read_description(text: str) -> OnnxDescription:
    """The preset of this name, or the description in the file of this path.

    Raises:
        UsageError: neither, or a description that does not hold together.
    """
    if text in PRESETS:
        return PRESETS[text]
    if not text.endswith(".json"):
        raise UsageError(
            f"--outputs: unknown preset '{text}'",
            hint=f"{did_you_mean(text, PRESETS)} (or name a FILE.json)",
        )
    path = Path(text)
    plain = read_plain(path, "description")
    spec = from_plain(OnnxDescription, _on_preset(plain, path.name), where=path.name)
    if not spec.classes_from:
        return spec
    source = path.parent / spec.classes_from
    return dataclasses.replace(spec, classes_from=str(source))


def _on_preset(plain: Any, where: str) -> Any:
    """The description, filled up from its preset where it says nothing itself."""
    if not isinstance(plain, Mapping) or "preset" not in plain:
        return plain
    name = plain["preset"]
    if name not in PRESETS:
        raise UsageError(f"{where}: unknown preset '{name}'", hint=did_you_mean(str(name), PRESETS))
    merged = to_plain(PRESETS[name])
    if "classes_from" in plain:
        del merged["class_names"]
    for key, value in plain.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = {**merged[key], **value}
        elif key != "preset":
            merged[key] = value
    return merged
