"""damo (DAMO-YOLO): decoded boxes and scores, by its converter without NMS."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from foreign_models.recipe import SQUARE, ForeignModel, Found

MODELS = (
    ForeignModel(
        name="DAMO-YOLO-T",
        outputs="damo-yolo",
        images=SQUARE,
        settings={"config": "damoyolo_tinynasL20_T"},
    ),
    ForeignModel(
        name="DAMO-YOLO-Ns",
        outputs="damo-yolo",
        images=SQUARE,
        settings={"config": "damoyolo_tinynasL18_Ns"},
    ),
)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports as its converter does; finds with the file as its demonstration does."""
    import numpy as np
    import torch
    from damo.base_models.core.ops import RepConv, SiLU
    from damo.config.base import parse_config
    from damo.detectors.detector import build_local_model
    from damo.utils.model_utils import replace_module
    from PIL import Image

    from foreign_models.weights import settle_batch_norms, spread_boxes, spread_logits

    checkout = Path(os.environ["DAMO_YOLO"])
    torch.manual_seed(0)
    here = Path.cwd()
    os.chdir(checkout)  # where the configuration looks for its backbone
    config = parse_config(str(checkout / "configs" / f"{model.settings['config']}.py"))
    os.chdir(here)
    config.model.head.nms_conf_thre, config.model.head.nms_iou_thre = model.conf, model.iou
    pixels = [np.asarray(Image.open(path).convert("RGB")) for path in images]
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float()
    network = build_local_model(config, "cpu").eval()
    network.head.nms = False
    settle_batch_norms(network, lambda: network(batch))
    spread_logits(network.head.gfl_cls, lambda: network(batch))
    spread_boxes(network.head.gfl_reg, lambda: network(batch), spread=2.0)
    network = replace_module(network, torch.nn.SiLU, SiLU)
    for layer in network.modules():
        if isinstance(layer, RepConv):
            layer.switch_to_deploy()
    network(batch[:1])
    torch.onnx.export(
        network,
        (batch[:1],),
        out,
        input_names=["images"],
        output_names=["output"],
        opset_version=11,
        dynamo=False,
    )
    reader = _reader(checkout, config, model, out)
    return [Found.of(*reader.forward(image)) for image in pixels]


def _reader(checkout: Path, config: Any, model: ForeignModel, file: Path) -> Any:
    """What its demonstration finds objects with."""
    sys.path.insert(0, str(checkout / "tools"))
    return import_module("demo").Infer(
        config,
        infer_size=list(model.size),
        device="cpu",
        output_dir=str(file.parent),
        ckpt=str(file),
    )
