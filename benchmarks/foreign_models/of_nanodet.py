"""nanodet: NanoDet-m of its version 0 and NanoDet-Plus-m, raw.

It cuts boxes to the image before its NMS and detkit after, so neither suppresses here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foreign_models.recipe import EVEN, SQUARE, ForeignModel, Found

CLASSES = {"num_classes": 80, "strides": [8, 16, 32], "reg_max": 7}
ON_FOUR = {**CLASSES, "strides": [8, 16, 32, 64]}
BACKBONE = {"model_size": "1.0x", "out_stages": [2, 3, 4], "activation": "LeakyReLU"}
NECK = {"in_channels": [116, 232, 464], "out_channels": 96}
HEAD = {"input_channel": 96, "feat_channels": 96, "stacked_convs": 2, "norm_cfg": {"type": "BN"}}
LOSS = {
    "loss_qfl": {"use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0},
    "loss_dfl": {"loss_weight": 0.25},
    "loss_bbox": {"loss_weight": 2.0},
}
AUXILIARY = {"input_channel": 192, "feat_channels": 192, "stacked_convs": 4}  # not exported
NORMALISED = {"normalize": [[103.53, 116.28, 123.675], [57.375, 57.12, 58.395]]}
SHUFFLENET = {"name": "ShuffleNetV2", "pretrain": False, **BACKBONE}
MODELS = (
    ForeignModel(
        name="NanoDet-m",
        outputs="nanodet",
        images=EVEN,
        iou=1.0,
        settings={
            "name": "OneStageDetector",
            "backbone": SHUFFLENET,
            "fpn": {"name": "PAN", "start_level": 0, "num_outs": 3, **NECK},
            "head": {"name": "NanoDetHead", "share_cls_reg": True, **CLASSES, **HEAD, "loss": LOSS},
        },
    ),
    ForeignModel(
        name="NanoDet-Plus-m",
        outputs="nanodet-plus",
        images=SQUARE,
        iou=1.0,
        settings={
            "name": "NanoDetPlus",
            "backbone": SHUFFLENET,
            "fpn": {
                "name": "GhostPAN",
                "kernel_size": 5,
                "num_extra_level": 1,
                "use_depthwise": True,
                "activation": "LeakyReLU",
                **NECK,
            },
            "head": {"name": "NanoDetPlusHead", **ON_FOUR, **HEAD, "loss": LOSS},
            "aux_head": {"name": "SimpleConvHead", **ON_FOUR, **AUXILIARY},
        },
    ),
)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports as its `export_onnx` does; finds with the detector itself in torch."""
    import torch
    from nanodet.model.arch import build_model
    from nanodet.util.config import CfgNode

    from foreign_models.weights import settle_batch_norms, spread_logits

    torch.manual_seed(0)
    network = build_model(CfgNode({"arch": model.settings})).eval()
    metas = [_prepared(model, index, path) for index, path in enumerate(images)]
    batch = torch.cat([meta["img"] for meta in metas])
    settle_batch_norms(network, lambda: network(batch))
    spread_logits(network.head.gfl_cls, lambda: network(batch))
    torch.onnx.export(
        network,
        (batch[:1],),
        out,
        keep_initializers_as_inputs=True,
        opset_version=11,
        input_names=["data"],
        output_names=["output"],
        dynamo=False,
    )
    _suppress_nothing(network.head)
    return [_found(network.inference(meta)[index], model) for index, meta in enumerate(metas)]


def _prepared(model: ForeignModel, index: int, path: Path) -> dict[str, Any]:
    """What its demonstration makes of an image: a batch of one, and where its pixels went.

    NanoDet-m keeps the aspect of images, as its version 0 did it for an input of one size.
    """
    import cv2
    import torch
    from nanodet.data.transform.pipeline import LegacyPipeline, Pipeline

    image, size = cv2.imread(str(path)), model.size[::-1]
    meta: dict[str, Any] = {"img": image}
    if model.images == SQUARE:
        meta = Pipeline(NORMALISED, keep_ratio=False)(None, meta, size)
    else:
        meta = LegacyPipeline(NORMALISED, keep_ratio=True)(meta, size)
    height, width = image.shape[:2]
    return {
        "img": torch.from_numpy(meta["img"].transpose(2, 0, 1))[None],
        "warp_matrix": [meta["warp_matrix"]],
        "img_info": {"id": [index], "height": [height], "width": [width]},
    }


def _suppress_nothing(head: Any) -> None:
    """Has the head's NMS, whose threshold is fixed, keep every box."""
    import sys

    module: Any = sys.modules[type(head).get_bboxes.__module__]
    suppress = module.multiclass_nms

    def keep_all(boxes: Any, scores: Any, **settings: Any) -> Any:
        settings |= {"nms_cfg": {"type": "nms", "iou_threshold": 1.0}, "max_num": -1}
        return suppress(boxes, scores, **settings)

    module.multiclass_nms = keep_all


def _found(of_classes: dict[int, list[list[float]]], model: ForeignModel) -> Found:
    rows = [
        (*row, label) for label, some in of_classes.items() for row in some if row[4] > model.conf
    ]
    return Found.of([row[:4] for row in rows], [row[4] for row in rows], [row[5] for row in rows])
