"""Descriptions of the usual exports by name, and those that users write in files.

Each preset is what the named project's own exporter writes, with that project's own preprocessing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detkit.core.errors import UsageError, did_you_mean
from detkit.core.serialization import from_plain, to_plain
from detkit.spec.coco_names import COCO_NAMES
from detkit.spec.json_file import read_plain
from detkit.spec.onnx_description import InputSpec, OnnxDescription, OutputSpec

_STRIDES = (8, 16, 32)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB 0..1
_MEAN_BGR, _STD_BGR = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # the same, BGR 0..255

_STRETCHED = InputSpec(resize="stretch")
_IMAGENET = InputSpec(mean=_MEAN, std=_STD, resize="stretch")
_IMAGENET_BGR = InputSpec(
    channel_order="bgr", scale=1.0, mean=_MEAN_BGR, std=_STD_BGR, resize="stretch"
)

_ANCHORS_FIRST = OutputSpec(roles=("joint",), box_format="cxcywh", objectness=True)
_CELLS = dataclasses.replace(_ANCHORS_FIRST, strides=_STRIDES)
_QUERIES = OutputSpec(
    roles=("scores", "boxes"), box_format="cxcywh", normalised=True, needs_nms=False
)
_DISTANCES = OutputSpec(
    roles=("joint",),
    scores_first=True,
    box_format="dfl",
    reg_max=7,
    strides=(*_STRIDES, 64),
)
_YOLOX = OnnxDescription(  # since its release 0.1.1; before, RGB less ImageNet's mean
    input=InputSpec(channel_order="bgr", scale=1.0, resize="letterbox-floor", pad_place="corner"),
    outputs=dataclasses.replace(_CELLS, box_format="grid"),
    class_names=COCO_NAMES,
)
_Constants = dict[str, tuple[float, ...]]
_PADDLE: _Constants = {
    "scale_factor": (1.0, 1.0)
}  # that boxes are divided by: they stay in input pixels
_OF_ONE_PIXEL: _Constants = {"orig_target_sizes": (1.0, 1.0)}  # so that boxes are 0..1
_PADDLE_ROWS = OutputSpec(roles=("rows",), columns=("label", "score", "box"))
_TENSORFLOW = InputSpec(layout="nhwc", resize="stretch")

PRESETS = {
    "yolov5": OnnxDescription(outputs=_ANCHORS_FIRST),
    "yolov6": OnnxDescription(outputs=_CELLS),
    "yolov7": OnnxDescription(outputs=_ANCHORS_FIRST),
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
        outputs=dataclasses.replace(
            _QUERIES, activation="softmax", background="last", one_class=True
        ),
    ),
    "deformable-detr": OnnxDescription(  # transformers; Conditional DETR too
        input=_IMAGENET, outputs=dataclasses.replace(_QUERIES, activation="sigmoid")
    ),
    "rt-detr": OnnxDescription(  # transformers; D-FINE too
        input=_STRETCHED, outputs=dataclasses.replace(_QUERIES, activation="sigmoid")
    ),
    "rt-detr-deploy": OnnxDescription(  # RT-DETR's and D-FINE's own exporters
        input=dataclasses.replace(_STRETCHED, constants=_OF_ONE_PIXEL),
        outputs=OutputSpec(roles=("labels", "boxes", "scores"), normalised=True),
    ),
    "rt-detr-ultralytics": OnnxDescription(  # since its release 8.4
        input=_STRETCHED, outputs=dataclasses.replace(_QUERIES, roles=("rows",))
    ),
    "rt-detr-ultralytics-raw": OnnxDescription(  # before
        input=_STRETCHED, outputs=dataclasses.replace(_QUERIES, roles=("joint",))
    ),
    "rf-detr": OnnxDescription(
        input=_IMAGENET,
        outputs=dataclasses.replace(_QUERIES, roles=("boxes", "scores"), activation="sigmoid"),
    ),
    "torchvision": OnnxDescription(
        outputs=OutputSpec(roles=("boxes", "labels", "scores"), background="first")
    ),
    "tensorflow": OnnxDescription(  # the Object Detection API, by tf2onnx
        input=_TENSORFLOW,
        outputs=OutputSpec(
            roles=("boxes", "labels", "scores", "counts"),
            box_format="yxyx",
            normalised=True,
            background="first",
        ),
    ),
    "efficientdet": OnnxDescription(  # google/automl, by tf2onnx
        input=dataclasses.replace(_TENSORFLOW, resize="letterbox", pad_place="corner"),
        outputs=OutputSpec(
            roles=("rows",),
            columns=("image", "box", "score", "label"),
            box_format="yxyx",
            background="first",
        ),
    ),
    "effdet": OnnxDescription(  # rwightman/efficientdet-pytorch, with its postprocessing
        input=InputSpec(  # it pads with the mean of each channel: 124, 116, 104
            mean=_MEAN, std=_STD, resize="letterbox-floor", pad_value=115, pad_place="corner"
        ),
        outputs=OutputSpec(roles=("rows",), background="first"),
    ),
    "rtmdet": OnnxDescription(  # mmdeploy
        input=dataclasses.replace(_IMAGENET_BGR, resize="letterbox", pad_place="corner"),
        outputs=OutputSpec(roles=("detections", "labels")),
    ),
    "nanodet": OnnxDescription(  # its release 0, which pads images in black
        input=dataclasses.replace(_IMAGENET_BGR, resize="letterbox", pad_value=0),
        outputs=dataclasses.replace(_DISTANCES, strides=_STRIDES, cell_point=0.5),
    ),
    "nanodet-plus": OnnxDescription(  # its release 1
        input=_IMAGENET_BGR, outputs=_DISTANCES
    ),
    "picodet": OnnxDescription(  # Paddle2ONNX, with its postprocessing
        input=dataclasses.replace(_IMAGENET, constants=_PADDLE), outputs=_PADDLE_ROWS
    ),
    "picodet-raw": OnnxDescription(  # Paddle2ONNX, exported without postprocessing
        input=_IMAGENET,
        outputs=dataclasses.replace(
            _DISTANCES,
            roles=("scores",) * 4 + ("boxes",) * 4,
            scores_first=False,
            cell_point=0.5,
        ),
    ),
    "pp-yoloe": OnnxDescription(  # PP-YOLOE+; before, less ImageNet's mean
        input=dataclasses.replace(_STRETCHED, constants=_PADDLE), outputs=_PADDLE_ROWS
    ),
    "damo-yolo": OnnxDescription(
        input=InputSpec(scale=1.0, resize="stretch"),
        outputs=OutputSpec(roles=("scores", "boxes")),
    ),
    "flat": OnnxDescription(  # YOLO-NAS with NMS inside: super-gradients, detkit
        outputs=OutputSpec(roles=("rows",), columns=("image", "box", "score", "label"))
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
