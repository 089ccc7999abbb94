"""Fixtures of every room."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
import subprocess
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.core.serialization import field_types

pytest_plugins = (
    "fixtures.engine_files",
    "fixtures.graphs",
    "fixtures.machines",
    "fixtures.small_space",
)

# Threads that spin for work on a busy machine cost far more than they give on images this small.
os.environ.setdefault("OMP_NUM_THREADS", "1")

PLAIN = {str: "text", int: 3, float: 0.5, bool: True, Any: [1, "x"]}


def fill(kind: Any) -> Any:
    """A value of the annotated type `kind` with nothing left empty."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return fill(args[0])
    if origin is tuple:
        return (fill(args[0]),) if args[-1] is Ellipsis else tuple(map(fill, args))
    if origin is dict:
        return {"key": fill(args[1])}
    if dataclasses.is_dataclass(kind):
        return kind(**{name: fill(item) for name, item in field_types(kind).items()})
    return PLAIN[kind]


@pytest.fixture
def sample() -> Callable[..., Any]:
    """`sample(Report, field=value, ...)`: a filled record, so that new fields need no new tests."""

    def make(cls: type, **fields: Any) -> Any:
        defaults = {item.name: item.default for item in dataclasses.fields(cls)}
        schema = {k: v for k, v in defaults.items() if k in ("schema_version", "kind")}
        return dataclasses.replace(fill(cls), **schema, **fields)

    return make


@pytest.fixture(scope="session")
def parity() -> Path:
    """Folder of numeric fixtures computed by the original implementation."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "parity"
    if not folder.is_dir():
        pytest.skip("no parity fixtures beside this checkout")
    return folder


@pytest.fixture(scope="session")
def make_pth(parity: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`make_pth(KIND)`: a checkpoint of YOLO-NAS S as super-gradients lays it out."""
    folder = tmp_path_factory.mktemp("super-gradients")

    def make(kind: str) -> Path:
        path = folder / f"{kind}.pth"
        if not path.exists():
            tensors = parity / "yolo_nas_s_seed1_tensors.json"
            script = [sys.executable, str(parity / "make_ckpt.py"), str(tensors), str(path), kind]
            subprocess.run(script, check=True, capture_output=True, timeout=120)
        return path

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """yolo-nas-p of 3 classes at 64 px whose scores spread over 0..1."""
    import torch

    from detkit.artifact.artifact import Manifest
    from detkit.nn.checkpoint import new_detector, save_checkpoint
    from detkit.spec.preprocess import Preprocess
    from detkit.spec.zoo import ZOO, with_task

    spec = with_task(ZOO["yolo-nas-p"], 3, (64, 64))
    model = new_detector(spec, 0).train()
    torch.manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        model(torch.rand(8, 3, 64, 64))  # the statistics are now those of this batch
        for head in (model.heads.head1, model.heads.head2, model.heads.head3):
            head.cls_pred.weight.normal_(std=0.2)
            head.cls_pred.bias.fill_(-1.0)
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    manifest = Manifest(
        kind="checkpoint",
        arch=spec,
        class_names=("a", "b", "c"),
        preprocess=Preprocess(size=(64, 64), fit=(64, 64)),
    )
    save_checkpoint(path, model, manifest)
    return path


# --- a detector that INT8 serves well -------------------------------------------------------------


@pytest.fixture(scope="session")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`settled(activation)`: as `checkpoint`, but it does not amplify the noise of rounding.

    Freshly drawn weights make a chaotic network, trained ones do not. Here every activation is
    centred where its function is nearly linear, and statistics are those of synthetic images.
    Scales of shortcuts are not 1, as training leaves them.
    """
    import numpy as np
    import torch

    from detkit.artifact.artifact import Manifest
    from detkit.data.synthetic.synth import draw_images
    from detkit.nn.blocks import Bottleneck
    from detkit.nn.checkpoint import input_output, new_detector, save_checkpoint
    from detkit.nn.detector import cost_metrics
    from detkit.spec.preprocess import Preprocess
    from detkit.spec.zoo import ZOO, with_task

    @functools.cache
    def make(activation: str = "relu") -> Path:
        spec = with_task(ZOO["yolo-nas-p"], 3, (64, 64))
        spec = dataclasses.replace(spec, activation=activation)
        model = new_detector(spec, 0).train()
        torch.manual_seed(0)
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = 1.0
                layer.bias.data.fill_(1.0)
            if isinstance(layer, Bottleneck):
                layer.alpha.data.uniform_(0.5, 1.5)
        pixels = torch.from_numpy(np.stack(draw_images(16, size=64)))
        with torch.no_grad():
            model(pixels.permute(0, 3, 1, 2) / 255)
            for head in (model.heads.head1, model.heads.head2, model.heads.head3):
                weight = head.cls_pred.weight.normal_(std=0.2)
                weight -= weight.mean(dim=1, keepdim=True)
                head.cls_pred.bias.fill_(-1.0)
        inputs, outputs = input_output(spec)
        manifest = Manifest(
            kind="checkpoint",
            arch=spec,
            class_names=("a", "b", "c"),
            preprocess=Preprocess(size=(64, 64), fit=(64, 64)),
            inputs=inputs,
            outputs=outputs,
            metrics=cost_metrics(spec),
        )
        path = tmp_path_factory.mktemp("settled") / "m.safetensors"
        save_checkpoint(path, model, manifest)
        return path

    return make


@pytest.fixture(scope="session")
def labelled(settled: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO folder: 12 val and 8 train images with some of the boxes `settled()` sees, moved.

    So it is neither right nor wrong everywhere, and its AP depends on every score and box.
    """
    import numpy as np

    from detkit.core.boxes import PREDICT_NMS
    from detkit.data.coco.write import LabelledImage, write_split
    from detkit.data.draw import save_image
    from detkit.data.synthetic.synth import draw_images
    from detkit.engines.opening import open_session
    from detkit.predict import Prediction, predict

    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for number, image in enumerate(draw_images(20, size=96)):
        save_image(folder / "images" / f"{number:02}.png", image)
    images = []
    for seen in predict(open_session(settled()), sorted(folder.rglob("*.png")), PREDICT_NMS):
        assert isinstance(seen, Prediction)
        kept = rng.random(len(seen.detections)) < 0.3
        boxes = seen.detections.boxes_xyxy[kept]
        moved = np.clip(boxes + rng.normal(0, 3, boxes.shape), 0, 96).astype(np.float32)
        real = (moved[:, 2:] - moved[:, :2] > 2).all(axis=1)
        images.append(
            LabelledImage(
                file_name=seen.path.name,
                width=96,
                height=96,
                boxes_xyxy=moved[real],
                classes=seen.detections.classes[kept][real],
            )
        )
    write_split(folder, "val", images[:12], ("a", "b", "c"))
    write_split(folder, "train", images[12:], ("a", "b", "c"))
    return folder


@pytest.fixture(scope="session")
def int8(settled: Callable[..., Path], labelled: Path) -> Callable[..., Path]:
    """`int8(activation)`: `settled(activation)` calibrated on `labelled`, as a checkpoint."""
    from detkit.artifact.artifact import parent_of
    from detkit.data.coco.folder import open_folder
    from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
    from detkit.nn.detector import fuse
    from detkit.nn.quantization.quantized import QuantizedDetector
    from detkit.quantize.calibrate import collect_stats, correct_biases, load_images, set_ranges
    from detkit.spec.quant import QuantSpec

    @functools.cache
    def make(activation: str = "relu", weight_bits: int = 8) -> Path:
        parent = settled(activation)
        model, manifest = load_checkpoint(parent)
        records = open_folder(labelled, splits=("train",)).splits["train"].records
        quant = QuantSpec(weight_bits=weight_bits)
        quantized = QuantizedDetector(fuse(model.eval()), quant).eval()
        found = collect_stats(quantized, load_images(records, manifest.preprocess, 8))
        set_ranges(quantized, found, "auto")
        correct_biases(quantized, found)
        path = parent.with_name(f"m.int{weight_bits}.safetensors")
        manifest = dataclasses.replace(
            manifest,
            form="deployed",
            precision="int8",
            quant=quant,
            data=str(labelled),
            parents=(parent_of(parent),),
        )
        save_checkpoint(path, quantized, manifest)
        return path

    return make


@pytest.fixture(scope="session")
def _loaded_int8(int8: Callable[..., Path]) -> Any:
    from detkit.nn.checkpoint import load_checkpoint

    return load_checkpoint(int8())[0].eval()


@pytest.fixture
def int8_model(_loaded_int8: Any) -> Any:
    """`int8()` as a network of the test's own."""
    return copy.deepcopy(_loaded_int8)


# --- a detector that can be worked out by hand ---------------------------------------------------

CELL = 32


@pytest.fixture
def cell_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes an exported model of 64x64 input that sees which 32x32 cells are red or green.

    Its 4 anchors are the cells, in rows; the score of class 0 is 2 * red - 1 of the cell's mean,
    that of class 1 the same of green. Gray gives 0. `uint8` and `nms` are the forms of export.
    """

    def write(
        name: str = "cells.onnx",
        *,
        class_names: tuple[str, ...] = ("red", "green"),
        uint8: bool = False,
        nms: bool = False,
        score_factor: float = 2.0,
        data: str = "",
    ) -> Path:
        from detkit.artifact.artifact import Manifest, TensorInfo, write_artifact
        from detkit.spec.preprocess import Preprocess
        from detkit.spec.zoo import ZOO, with_task

        model = cell_graph(score_factor, uint8=uint8)
        if nms:
            from detkit.core.boxes import EVAL_NMS
            from detkit.export.nms import append_nms

            model = append_nms(model, EVAL_NMS)
        dtype, shape = ("uint8", ("B", 64, 64, 3)) if uint8 else ("float32", ("B", 3, 64, 64))
        manifest = Manifest(
            kind="onnx",
            arch=with_task(ZOO["yolo-nas-p"], len(class_names), (64, 64)),
            form="nms" if nms else "deployed",
            class_names=class_names,
            preprocess=Preprocess(size=(64, 64), fit=(64, 64)),
            inputs=(TensorInfo(name="images", dtype=dtype, shape=shape),),
            data=data,
        )
        write_artifact(tmp_path / name, manifest, functools.partial(save_onnx, model))
        return tmp_path / name

    return write


def save_onnx(model: Any, path: Path, manifest_json: str) -> None:
    import onnx

    onnx.helper.set_model_props(model, {"detkit": manifest_json})
    onnx.save(model, path)


def cell_graph(score_factor: float, *, uint8: bool) -> Any:
    import onnx

    scale = "0.00392156862745098" if uint8 else "1.0"
    images = "uint8[batch,64,64,3]" if uint8 else "float[batch,3,64,64]"
    to_planes = "Transpose <perm = [0, 3, 1, 2]>" if uint8 else "Identity"
    return onnx.parser.parse_model(f"""
<ir_version: 8, opset_import: ["" : 17]>
cells ({images} images) => (float[batch,4,4] boxes, float[batch,4,2] scores)
{{
  levels = Cast <to = 1> (images)
  planes = {to_planes} (levels)
  scale = Constant <value = float[1] {{{scale}}}> ()
  unit = Mul (planes, scale)
  means = AveragePool <kernel_shape = [{CELL}, {CELL}], strides = [{CELL}, {CELL}]> (unit)
  first = Constant <value = int64[1] {{0}}> ()
  two = Constant <value = int64[1] {{2}}> ()
  channels = Constant <value = int64[1] {{1}}> ()
  red_green = Slice (means, first, two, channels)
  planes_first = Constant <value = int64[3] {{0, 2, 4}}> ()
  by_class = Reshape (red_green, planes_first)
  by_cell = Transpose <perm = [0, 2, 1]> (by_class)
  factor = Constant <value = float[1] {{{score_factor}}}> ()
  doubled = Mul (by_cell, factor)
  offset = Constant <value = float[1] {{-1.0}}> ()
  shifted = Add (doubled, offset)
  low = Constant <value = float {{0.0}}> ()
  high = Constant <value = float {{1.0}}> ()
  scores = Clip (shifted, low, high)
  cells = Constant <value = float[1,4,4] {{0.0, 0.0, 32.0, 32.0, 32.0, 0.0, 64.0, 32.0,
                                           0.0, 32.0, 32.0, 64.0, 32.0, 32.0, 64.0, 64.0}}> ()
  batch_size = Shape <start = 0, end = 1> (images)
  rest = Constant <value = int64[2] {{4, 4}}> ()
  box_shape = Concat <axis = 0> (batch_size, rest)
  boxes = Expand (cells, box_shape)
}}
""")


COLOURS = {"red": (255, 0, 0), "green": (0, 230, 0), "": (114, 114, 114)}
IMAGES = {  # the four cells in rows, as `cell_model` sees them
    "a.png": ("red", "", "", "green"),
    "b.png": ("", "green", "", ""),
    "deep/c.png": ("", "", "red", "red"),
    "d.png": ("", "", "", ""),
}


@pytest.fixture
def cell_folder(tmp_path: Path) -> Path:
    """A COCO folder, split val, of four 64x64 images on which `cell_model` makes no mistake."""
    import numpy as np

    from detkit.data.coco.write import LabelledImage, write_split
    from detkit.data.draw import save_image

    names, images = ("red", "green"), []
    for file_name, cells in IMAGES.items():
        grid = np.array([COLOURS[cell] for cell in cells], np.uint8).reshape(2, 2, 3)
        pixels = grid.repeat(CELL, axis=0).repeat(CELL, axis=1)
        save_image(tmp_path / "coco" / "images" / file_name, pixels)
        found = [(i, names.index(cell)) for i, cell in enumerate(cells) if cell]
        corners = np.array([[i % 2, i // 2, i % 2 + 1, i // 2 + 1] for i, _ in found])
        images.append(
            LabelledImage(
                file_name=file_name,
                width=2 * CELL,
                height=2 * CELL,
                boxes_xyxy=(corners.reshape(-1, 4) * CELL).astype(np.float32),
                classes=np.array([label for _, label in found], np.int64),
            )
        )
    write_split(tmp_path / "coco", "val", images, names)
    return tmp_path / "coco"


# --- the same detector as other tools would export it ---------------------------------------------

# What is done to the boxes (B, 4, 4) xyxy pixels, its scores (B, 4, 2) and its images.
AS_CXCYWH = "[0.5, 0.0, -1.0, 0.0, 0.0, 0.5, 0.0, -1.0, 0.5, 0.0, 1.0, 0.0, 0.0, 0.5, 0.0, 1.0]"
AS_YXYX = "[0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0]"
FOUR_TIMES = """
  boxes16 = Concat <axis = 1> (cxcywh, cxcywh, cxcywh, cxcywh)
  scores16 = Concat <axis = 1> (scores, scores, scores, scores)
"""
CERTAINTY = """
  low = Constant <value = float {0.001}> ()
  high = Constant <value = float {0.99}> ()
  likely = Clip (scores, low, high)
  one = Constant <value = float {1.0}> ()
"""
FOUND = """
  limit = Constant <value = float {0.01}> ()
  seen = Greater (scores, limit)
  found = NonZero (seen)
  rows = Transpose (found)
  found_scores = GatherND (scores, rows)
  first = Constant <value = int64[1] {0}> ()
  two = Constant <value = int64[1] {2}> ()
  three = Constant <value = int64[1] {3}> ()
  axis = Constant <value = int64[1] {1}> ()
  cells = Slice (rows, first, two, axis)
  found_boxes = GatherND (boxes, cells)
  label_column = Slice (rows, two, three, axis)
  image_column = Slice (rows, first, axis, axis)
"""
# Form -> outputs, and the nodes that make them of `boxes`, `cxcywh` and `scores`.
DESCRIBED_FORMS = {
    "yolov8": (
        "float[batch,6,16] output0",
        FOUR_TIMES
        + """
  rows16 = Concat <axis = 2> (boxes16, scores16)
  output0 = Transpose <perm = [0, 2, 1]> (rows16)""",
    ),
    "yolov5": (
        "float[batch,16,7] output",
        FOUR_TIMES
        + """
  objectness = ReduceMax <axes = [2]> (scores16)
  small = Constant <value = float {0.000001}> ()
  safe = Max (objectness, small)
  classes = Div (scores16, safe)
  output = Concat <axis = 2> (boxes16, objectness, classes)""",
    ),
    "rt-detr": (
        "float[batch,4,2] logits, float[batch,4,4] pred_boxes",
        CERTAINTY
        + """
  unlikely = Sub (one, likely)
  odds = Div (likely, unlikely)
  logits = Log (odds)
  side = Constant <value = float {64.0}> ()
  pred_boxes = Div (cxcywh, side)""",
    ),
    "detr": (
        "float[batch,4,3] logits, float[batch,4,4] pred_boxes",
        CERTAINTY
        + """
  sums = ReduceSum <keepdims = 1> (likely, last)
  nothing = Sub (one, sums)
  likely_all = Concat <axis = 2> (likely, nothing)
  logits = Log (likely_all)
  side = Constant <value = float {64.0}> ()
  pred_boxes = Div (cxcywh, side)""",
    ),
    "torchvision": (
        "float[N,4] found_boxes, int64[N] labels, float[N] found_scores",
        FOUND
        + """
  flat = Squeeze (label_column, axis)
  labels = Add (flat, axis)""",
    ),
    "yolov7-nms": (
        "float[N,7] output",
        FOUND
        + """
  images_float = Cast <to = 1> (image_column)
  labels_float = Cast <to = 1> (label_column)
  scores_column = Unsqueeze (found_scores, axis)
  output = Concat <axis = 1> (images_float, found_boxes, labels_float, scores_column)""",
    ),
    "yolov10": (
        "float[batch,4,6] output0",
        """
  best = ReduceMax <axes = [2]> (scores)
  which = ArgMax <axis = 2> (scores)
  label = Cast <to = 1> (which)
  output0 = Concat <axis = 2> (boxes, best, label)""",
    ),
    "nms": (
        "int64[batch,1] num, float[batch,4,4] det_boxes, float[batch,4] det_scores,"
        " int64[batch,4] det_classes",
        """
  best = ReduceMax <axes = [2]> (scores)
  which = ArgMax <axis = 2> (scores)
  det_scores = Squeeze (best, last)
  det_classes = Squeeze (which, last)
  det_boxes = Identity (boxes)
  shape = Shape (det_scores)
  ones = ConstantOfShape <value = int64[1] {1}> (shape)
  num = ReduceSum <keepdims = 1> (ones, last)""",
    ),
    "yyxx": (
        "float[batch,4,4] detection_boxes, float[batch,4,2] class_scores",
        f"""
  swap = Constant <value_floats = {AS_YXYX}> ()
  swap_matrix = Reshape (swap, square)
  yxyx = MatMul (boxes, swap_matrix)
  side = Constant <value = float {{64.0}}> ()
  detection_boxes = Div (yxyx, side)
  class_scores = Identity (scores)""",
    ),
}
INPUTS = {  # how the image comes -> input, and the nodes that make it (B, 3, 64, 64) RGB 0..1
    "plain": ("float[batch,3,64,64] x", "images = Identity (x)"),
    "one": ("float[1,3,64,64] x", "images = Identity (x)"),
    "no batch": (
        "float[3,64,64] x",
        "zero = Constant <value = int64[1] {0}> () images = Unsqueeze (x, zero)",
    ),
    "half": ("float16[batch,3,64,64] x", "images = Cast <to = 1> (x)"),
    "nhwc bytes": (
        "uint8[batch,64,64,3] x",
        """levels = Cast <to = 1> (x)
  most = Constant <value = float {255.0}> ()
  unit = Div (levels, most)
  images = Transpose <perm = [0, 3, 1, 2]> (unit)""",
    ),
    "bytes": (
        "uint8[batch,3,64,64] x",
        """levels = Cast <to = 1> (x)
  most = Constant <value = float {255.0}> ()
  images = Div (levels, most)""",
    ),
    "bgr normalised": (
        "float[batch,3,64,64] x",
        """deviation = Constant <value_floats = [0.25, 0.5, 0.125]> ()
  middle = Constant <value_floats = [0.5, 0.25, 0.75]> ()
  planes = Constant <value = int64[3] {3, 1, 1}> ()
  std = Reshape (deviation, planes)
  mean = Reshape (middle, planes)
  scaled = Mul (x, std)
  bgr = Add (scaled, mean)
  back = Constant <value = int64[3] {2, 1, 0}> ()
  images = Gather <axis = 1> (bgr, back)""",
    ),
}


@pytest.fixture
def described_graph(tmp_path: Path) -> Callable[..., Path]:
    """`described_graph(FORM, INPUT)`: the detector of `cell_model` in a form of another tool.

    `change` is given the model before it is saved.
    """

    def write(
        form: str, images: str = "plain", *, change: Callable[[Any], None] = lambda _: None
    ) -> Path:
        import onnx

        entry, before = INPUTS[images]
        outputs, after = DESCRIBED_FORMS[form]
        opset = '<ir_version: 8, opset_import: ["" : 17]>'
        front = onnx.parser.parse_model(
            f"{opset} front ({entry}) => (float[batch,3,64,64] images) {{ {before} }}"
        )
        back = onnx.parser.parse_model(f"""{opset}
back (float[batch,4,4] boxes, float[batch,4,2] scores) => ({outputs})
{{
  last = Constant <value = int64[1] {{-1}}> ()
  square = Constant <value = int64[2] {{4, 4}}> ()
  centred = Constant <value_floats = {AS_CXCYWH}> ()
  matrix = Reshape (centred, square)
  cxcywh = MatMul (boxes, matrix)
{after}
}}""")
        merge = onnx.compose.merge_models
        model = merge(
            front,
            onnx.compose.add_prefix(cell_graph(2.0, uint8=False), "cell/"),
            io_map=[("images", "cell/images")],
        )
        names = [("cell/boxes", "boxes"), ("cell/scores", "scores")]
        model = merge(model, back, io_map=names, prefix2="back/")
        change(model)
        path = tmp_path / f"{form}-{images.replace(' ', '-')}.onnx"
        onnx.save(model, path)
        return path

    return write


# --- annotations and detections without images -------------------------------------------------


@pytest.fixture
def make_record() -> Callable[..., Any]:
    """`make_record(boxes_xyxy, classes, crowd=..., area=...)`: the annotations of one image."""
    import numpy as np

    from detkit.data.coco.split_reader import ImageRecord

    def make(boxes_xyxy: Any, classes: Any, *, crowd: Any = False, area: Any = None) -> ImageRecord:
        boxes = np.array(boxes_xyxy, np.float32).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        return ImageRecord(
            image_id=7,
            path=Path("image.jpg"),
            file_name="image.jpg",
            width=640,
            height=640,
            boxes_xyxy=boxes,
            classes=np.array(classes, np.int64),
            crowd=np.broadcast_to(np.array(crowd, bool), len(boxes)),
            area=np.array(sides.prod(axis=1) if area is None else area, np.float64),
        )

    return make


@pytest.fixture
def random_set(make_record: Callable[..., Any]) -> Callable[..., Any]:
    """`random_set(seed, num_classes=K)`: records of all sizes, with crowds and empty images, and
    detections that are near, far, doubled, of the wrong class, more than 100, with tied scores."""
    import numpy as np

    from detkit.core.boxes import Detections

    def make(seed: int, *, num_classes: int, images: int = 12) -> tuple[list[Any], list[Any]]:
        rng = np.random.default_rng(seed)
        records, detections = [], []
        for number in range(images):
            count = 0 if number == 1 else int(rng.integers(1, 12))
            corner = rng.uniform(0, 400, (count, 2))
            sides = np.exp(rng.uniform(np.log(8), np.log(200), (count, 2)))
            boxes = np.concatenate([corner, corner + sides], axis=1)
            labels = rng.integers(0, num_classes, count)
            crowd, area = rng.random(count) < 0.15, sides.prod(axis=1) * rng.uniform(0.4, 1, count)
            records.append(make_record(boxes, labels, crowd=crowd, area=area))
            found = 0 if number == 2 else int(rng.integers(1, 60)) * (8 if number == 3 else 1)
            source = rng.integers(0, max(count, 1), found)
            near = boxes[source] if count else np.sort(rng.uniform(0, 400, (found, 4)), axis=1)
            noise = rng.normal(0, 0.07, (found, 4)) * (
                near[:, [2, 3, 2, 3]] - near[:, [0, 1, 0, 1]]
            )
            guess = rng.integers(0, num_classes, found)
            right = (rng.random(found) < 0.8) & (count > 0)
            classes = np.where(right, labels[source] if count else 0, guess)
            scores = np.sort(rng.random(found).round(2).astype(np.float32))[::-1]
            moved = (near + noise * (rng.random((found, 1)) < 0.8)).astype(np.float32)
            detections.append(Detections(moved, scores, classes))
        return records, detections

    return make
