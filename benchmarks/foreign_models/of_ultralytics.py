"""ultralytics (AGPL-3.0, installed apart): YOLOs raw, end to end and with NMS, and RT-DETR."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from foreign_models.recipe import SQUARE, ForeignModel, Found


def _yolo(name: str, preset: str = "yolov8", **settings: Any) -> ForeignModel:
    label = " ".join([name.removesuffix(".yaml"), *(f"{k}={v}" for k, v in settings.items())])
    return ForeignModel(
        name=label,
        outputs=preset,
        multi_label=False,
        settings={"yaml": f"{name}.yaml", **settings},
    )


MODELS = (
    _yolo("yolov5n"),
    _yolo("yolov8n"),
    _yolo("yolov9t"),
    _yolo("yolo11n"),
    _yolo("yolo12n"),
    _yolo("yolov8n", "yolov10", nms=True),
    _yolo("yolov10n", "yolov10", nms=False),
    _yolo("yolo26n", "yolov8"),
    _yolo("yolo26n", "yolov10", nms=False),
    ForeignModel(
        name="rtdetr-l",
        outputs="rt-detr-ultralytics",
        images=SQUARE,
        settings={"yaml": "rtdetr-l.yaml"},
    ),
)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports the model with a batch of any size; finds with that file, each image alone."""
    import torch
    from ultralytics import RTDETR, YOLO

    from foreign_models.weights import settle_batch_norms, spread_boxes, spread_logits

    settings = dict(model.settings)
    name = settings.pop("yaml")
    torch.manual_seed(0)
    opened = (RTDETR if name.startswith("rtdetr") else YOLO)(name)
    network, size = opened.model.float().eval(), model.size[0]
    batch = _batch(images, size)
    settle_batch_norms(network, lambda: network(batch))
    head = network.model[-1]
    for layers in _class_layers(head):
        spread_logits(layers, lambda: network(batch))
    if hasattr(head, "dec_bbox_head"):
        spread_boxes([head.dec_bbox_head[-1].layers[-1]], lambda: network(batch))
    inside = {"conf": model.conf, "iou": model.iou} if settings.get("nms") else {}
    made = opened.export(
        format="onnx", imgsz=size, dynamic=True, simplify=False, device="cpu", **settings, **inside
    )
    Path(made).rename(out)
    reader = type(opened)(out)
    found = []
    for image in images:
        (result,) = reader.predict(
            image,
            imgsz=size,
            conf=model.conf,
            iou=model.iou,
            max_det=300,
            rect=False,
            device="cpu",
            verbose=False,
        )
        found.append(Found.of(result.boxes.xyxy, result.boxes.conf, result.boxes.cls))
    return found


def _batch(images: Sequence[Path], size: int) -> Any:
    import numpy as np
    import torch
    from PIL import Image

    pixels = [np.asarray(Image.open(path).convert("RGB").resize((size, size))) for path in images]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255


def _class_layers(head: Any) -> Iterator[list[Any]]:
    """The last layers of each set of scores: one to many, one to one; encoder, decoder's stages."""
    if hasattr(head, "enc_score_head"):
        yield [head.enc_score_head]
        yield from ([layer] for layer in head.dec_score_head)
        return
    yield [tower[-1] for tower in head.cv3]
    if hasattr(head, "one2one_cv3"):
        yield [tower[-1] for tower in head.one2one_cv3]
