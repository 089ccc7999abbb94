"""libreyolo (MIT): YOLOX, RTMDet, PicoDet, YOLOv9 and YOLO-NAS, found with by its ONNX backend.

It cuts boxes to the image before its NMS and detkit after, so neither suppresses here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foreign_models.recipe import ANY_SIZE, SQUARE, ForeignModel, Found

NUM_CLASSES = 80
LAST_OF_CLASSES = re.compile(r"(cls_preds?|rtm_cls|gfl_cls)(\.\d+)?$|cv3\.\d+\.2$")
SCORED = {"roles": ["joint"], "box_format": "xyxy", "objectness": False}
CORNER = {"pad_place": "corner"}
IN_255 = {
    "scale": 1.0,
    "mean": [123.675, 116.28, 103.53],
    "std": [58.395, 57.12, 57.375],
    "resize": "stretch",
}


def _model(
    name: str,
    built: str,
    size: str,
    outputs: str | dict[str, Any],
    *,
    images: str = ANY_SIZE,
    multi_label: bool = True,
) -> ForeignModel:
    return ForeignModel(
        name=name,
        outputs=outputs,
        images=images,
        iou=1.0,
        multi_label=multi_label,
        settings={"class": built, "size": size},
    )


MODELS = (
    _model("YOLOX-Nano", "LibreYOLOX", "n", "yolox-decoded", multi_label=False),
    _model("RTMDet-tiny", "LibreRTMDet", "t", {"preset": "rtmdet", "outputs": SCORED}),
    _model(
        "PicoDet-s",
        "LibrePICODET",
        "s",
        {"preset": "raw", "input": IN_255, "outputs": SCORED},
        images=SQUARE,
    ),
    _model(
        "YOLOv9-t",
        "LibreYOLO9",
        "t",
        {"preset": "yolov8", "input": CORNER, "outputs": {"box_format": "xyxy"}},
    ),
    _model("YOLO-NAS-S", "LibreYOLONAS", "s", "raw", multi_label=False),
)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports by its exporter; finds with the file by its ONNX backend."""
    import libreyolo.models
    import torch
    from libreyolo.backends.onnx import OnnxBackend

    torch.manual_seed(0)
    built, side = getattr(libreyolo.models, model.settings["class"]), model.size[0]
    opened = built(None, size=model.settings["size"], nb_classes=NUM_CLASSES, device="cpu")
    opened.model.eval()
    batch = torch.cat([opened._preprocess(str(path), input_size=side)[0] for path in images])
    _prepare(opened.model, lambda: opened.model(batch))
    opened.export(
        format="onnx", output_path=str(out), imgsz=side, simplify=False, dynamic=True, device="cpu"
    )
    reader = OnnxBackend(str(out), device="cpu")
    found = [
        reader(str(image), conf=model.conf, iou=model.iou, max_det=300).boxes for image in images
    ]
    return [Found.of(boxes.xyxy, boxes.conf, boxes.cls) for boxes in found]


def _prepare(network: Any, run: Any) -> None:
    """Gives it weights that tell images apart (see `weights`)."""
    import torch

    from foreign_models.weights import settle_batch_norms, spread_boxes, spread_logits

    settle_batch_norms(network, run)
    convolutions: dict[str, Any] = {
        name: layer for name, layer in network.named_modules() if isinstance(layer, torch.nn.Conv2d)
    }
    objectness = [m for n, m in convolutions.items() if "obj_pred" in n]
    spread_boxes(objectness, run)
    for layer in objectness:
        layer.bias.data += 2
    for name, layer in convolutions.items():
        if re.search(r"rtm_reg\.\d+$", name):
            layer.bias.data += 3  # distances are above 0, as trained ones are
    spread_logits([m for n, m in convolutions.items() if LAST_OF_CLASSES.search(n)], run)
