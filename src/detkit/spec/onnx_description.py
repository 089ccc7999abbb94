"""A detector of another tool as data: what its ONNX file takes and what its outputs mean.

A description is a JSON file or the name of one of `spec.onnx_presets.PRESETS`; a file may start
from a preset and say only what differs: `{"preset": "yolov8", "class_names": ["cat", "dog"]}`.

Legend: B batch, A anchor points or queries, C classes, M detections of an image at most.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from detkit.core.errors import UsageError, did_you_mean

# What each output holds, in the order of the graph's outputs; further outputs are ignored.
ROLES = {
    "joint": ("joint",),  # boxes, perhaps objectness, and scores in one tensor
    "separate": ("boxes", "scores"),  # (B, A, 4) and (B, A, C), in either order
    "suppressed": ("boxes", "scores", "labels"),  # (B, M, 4), (B, M), (B, M), perhaps counts (B,)
    "scored boxes": ("detections", "labels"),  # suppressed: (B, M, 5) box and score, and (B, M)
    "rows": ("rows",),  # suppressed, a row of numbers for each detection
}
# Relative to cells of `strides`. grid: the centre's offset from its cell's corner, and log of width
# and height, all in cells. ltrb: distances of left, top, right and bottom from the cell's point, in
# cells, and ltrb-px in pixels. dfl: logits of `reg_max` + 1 distances in cells for each of them.
CELL_FORMATS = ("grid", "ltrb", "ltrb-px", "dfl")
BOX_FORMATS = ("xyxy", "xywh", "cxcywh", "yxyx", *CELL_FORMATS)
ACTIVATIONS = ("none", "sigmoid", "softmax")
BACKGROUNDS = ("none", "first", "last")
COLUMNS = ("image", "box", "score", "label")
LAYOUTS = ("nchw", "nhwc")
LABELS = ("index", "category_id")


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The image as the graph wants it; see `spec.preprocess`.

    `size` (height, width) is needed where the graph leaves it free; (0, 0) is the graph's own.
    `constants` are further inputs, (B, N) or (N,), by name: the N numbers that each is fed with.
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
    constants: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check("input.layout", self.layout, LAYOUTS)


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the outputs mean. Boxes are in input pixels, or 0..1 of the input if `normalised`.

    `roles` are a permutation of one of `ROLES`; `names` says which tensor has a role where the
    order of the graph's outputs does not. `background` is a column of the scores, or a label, that
    stands for no object. With `strides` there is one row for each cell of a grid of each stride,
    row-major, one grid after the other; the `CELL_FORMATS` are relative to these cells. Where each
    stride has tensors of its own, boxes and scores are named once a stride: such a tensor is
    (B, cells, N), or a map (B, N, H, W).
    """

    roles: tuple[str, ...]
    names: dict[str, str] = field(default_factory=dict)
    box_format: str = "xyxy"
    normalised: bool = False
    strides: tuple[int, ...] = ()  # pixels a cell
    activation: str = "none"  # that turns raw scores into probabilities
    background: str = "none"
    cell_point: float = 0.0  # from a cell's corner, in cells: 0.5 is its centre
    reg_max: int = 0  # of dfl: distances are 0..reg_max cells
    anchors_last: bool = False  # (B, 4 + C, A) or scores (B, C, A), in place of A before the others
    scores_first: bool = False  # joint: the scores before the box
    objectness: bool = False  # joint: a column before the classes that multiplies them
    columns: tuple[str, ...] = ("box", "score", "label")  # of rows
    one_class: bool = False  # of raw scores: a prediction is of its best class alone
    needs_nms: bool = True  # raw predictions that are no set: several for one object

    def __post_init__(self) -> None:
        once = sorted(set(self.roles) - {"counts"})
        repeated = len(self.roles) > len(set(self.roles))
        if (
            once not in [sorted(roles) for roles in ROLES.values()]
            or ("counts" in self.roles and "labels" not in self.roles)
            or (repeated and not self._has_levels)
        ):
            known = "; ".join(", ".join(roles) for roles in ROLES.values())
            raise UsageError(
                f"outputs.roles: {', '.join(self.roles)} make no detections",
                hint=f"known, in any order: {known}; counts beside labels;"
                " boxes and scores once for each of the strides",
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
        if self.box_format in CELL_FORMATS and (self.normalised or not self.strides):
            raise UsageError(
                f"outputs.box_format: {self.box_format} needs strides, and gives pixels",
                hint='"strides": [8, 16, 32], "normalised": false',
            )
        if (self.box_format == "dfl") != (self.reg_max > 0):
            raise UsageError(
                "outputs.reg_max: of the box_format dfl, which needs it",
                hint='"reg_max": 7 for 8 numbers a side, 15 for 16',
            )

    @property
    def _has_levels(self) -> bool:
        """Whether boxes and scores are there once for each stride, and nothing else is."""
        num_levels = len(self.strides)
        return self.roles.count("boxes") == self.roles.count("scores") == num_levels and (
            len(self.roles) == 2 * num_levels
        )

    @property
    def box_width(self) -> int:
        """How many numbers describe a box."""
        return 4 * (self.reg_max + 1)

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

    @property
    def is_dense(self) -> bool:
        """Whether there are predictions all over the image, of which NMS keeps some."""
        return self.is_raw and self.needs_nms


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
