"""torchvision: detectors whose file holds preprocessing and NMS, each of one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from foreign_models.recipe import SQUARE, ForeignModel, Found

NUM_LABELS = 91  # those of COCO with the gaps of its ids; 0 is the background
NEVER = -30.0  # the logit of a label that no training data have


def _model(name: str, size: int, **settings: Any) -> ForeignModel:
    return ForeignModel(
        name=name,
        outputs="torchvision",
        size=(size, size),
        images=SQUARE,
        settings=settings,
    )


SMALL = {"min_size": 320, "max_size": 320}
MODELS = (
    _model("ssd300_vgg16", 300),
    _model("ssdlite320_mobilenet_v3_large", 320),
    _model("retinanet_resnet50_fpn", 320, **SMALL),
    _model("fcos_resnet50_fpn", 320, **SMALL),
    _model("fasterrcnn_mobilenet_v3_large_320_fpn", 320, **SMALL),
)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports by torch.onnx; finds with the detector itself in torch."""
    import numpy as np
    import torch
    from PIL import Image
    from torchvision.models import detection

    torch.manual_seed(0)
    network = getattr(detection, model.name)(
        weights=None, weights_backbone=None, num_classes=NUM_LABELS, **model.settings
    ).eval()
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in images]
    batch = [torch.from_numpy(image.copy()).permute(2, 0, 1) / 255 for image in pixels]
    _prepare(network, lambda: network(batch))
    with torch.no_grad():
        found = [network([image])[0] for image in batch]
    torch.onnx.export(network, ([batch[0]],), out, opset_version=17, dynamo=False)
    return [
        Found.of(one["boxes"][kept], one["scores"][kept], one["labels"][kept] - 1)
        for one in found
        for kept in [one["scores"] > model.conf]
    ]


def _prepare(network: Any, run: Any) -> None:
    """Gives it weights that tell images apart (see `weights`)."""
    from foreign_models.weights import settle_batch_norms, spread_logits, spread_softmax

    settle_batch_norms(network, run)
    layers = list(_class_layers(network))
    name = type(network).__name__
    if name in ("RetinaNet", "FCOS"):
        spread_logits(layers, run)
        for layer in layers:  # label 0 is no class of COCO's, though it has a sigmoid here
            layer.bias.data.view(-1, NUM_LABELS)[:, 0] = NEVER
            layer.weight.data.view(-1, NUM_LABELS, *layer.weight.shape[1:])[:, 0] = 0
    else:
        spread_softmax(layers, run, num_labels=NUM_LABELS, background=0)


def _class_layers(network: Any) -> Iterator[Any]:
    if hasattr(network, "roi_heads"):
        yield network.roi_heads.box_predictor.cls_score
        return
    head = network.head.classification_head
    if hasattr(head, "cls_logits"):
        yield head.cls_logits
        return
    for level in head.module_list:
        yield level if hasattr(level, "weight") else level[-1]
