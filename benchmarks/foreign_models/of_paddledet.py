"""PaddleDetection: PicoDet and PP-YOLOE+ by Paddle2ONNX, with their postprocessing and without.

Images are read by the classes of its demonstrations for ONNX Runtime. The models are of its
`configs/`, at a smaller size.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from foreign_models.recipe import SQUARE, ForeignModel, Found

PICODET = "picodet/picodet_xs_320_coco_lcnet"
PP_YOLOE = "ppyoloe/ppyoloe_plus_crn_s_80e_coco"
NUM_SURE = 25  # probabilities, of whose roots there are more: it keeps 100 boxes at most
RAW = {"post_process": False, "nms": False, "benchmark": False}
MODELS = (
    ForeignModel(
        name="PicoDet-XS",
        outputs="picodet",
        images=SQUARE,
        settings={"config": PICODET},
    ),
    ForeignModel(
        name="PicoDet-XS without postprocessing",
        outputs="picodet-raw",
        images=SQUARE,
        iou=0.6,
        settings={"config": PICODET, "export": RAW},
    ),
    ForeignModel(
        name="PP-YOLOE+-s",
        outputs="pp-yoloe",
        images=SQUARE,
        settings={"config": PP_YOLOE},
    ),
)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports by its trainer and Paddle2ONNX; finds with the file in ONNX Runtime."""
    import onnxruntime
    import paddle
    import paddle2onnx
    from ppdet.core.workspace import load_config
    from ppdet.engine import Trainer

    checkout = Path(os.environ["PADDLEDET"])
    paddle.seed(0)
    config = load_config(str(checkout / "configs" / f"{model.settings['config']}.yml"))
    if "export" in model.settings:
        config["export"] = model.settings["export"]
    config["eval_size"] = list(model.size)
    _resize_to(config["TestReader"], model.size)
    trainer = Trainer(config, mode="test")
    given = _read(config, checkout, images)
    _prepare(trainer.model, {name: paddle.to_tensor(value) for name, value in given.items()})
    trainer.export(str(out.parent))
    (exported,) = out.parent.glob("*/model.json")
    paddle2onnx.export(
        str(exported), str(exported.with_suffix(".pdiparams")), str(out), opset_version=16
    )
    session = onnxruntime.InferenceSession(out)
    names, found = {one.name for one in session.get_inputs()}, []
    for index in range(len(images)):
        one = {name: value[index : index + 1] for name, value in given.items() if name in names}
        outputs = session.run(None, one)
        rows = outputs[0]
        if "export" in model.settings:
            rows = _finished(model, checkout, outputs)
        rows = rows[rows[:, 1] > model.conf]
        found.append(Found.of(rows[:, 2:], rows[:, 1], rows[:, 0]))
    return found


def _resize_to(reader: Any, size: tuple[int, int]) -> None:
    """Has it take images of this size."""
    reader["inputs_def"]["image_shape"][-2:] = size
    for step in reader["sample_transforms"]:
        if "Resize" in step:
            step["Resize"]["target_size"] = list(size)


def _read(config: Any, checkout: Path, images: Sequence[Path]) -> dict[str, Any]:
    """What the network is given for all images, by the steps of its configuration."""
    import numpy as np

    sys.path.insert(0, str(checkout / "deploy" / "third_engine" / "onnx"))
    steps = config["TestReader"]["sample_transforms"][1:]  # which reads files itself
    read = import_module("preprocess").Compose(
        [{"type": name, **what} for step in steps for name, what in step.items()]
    )
    inputs = [read(str(path)) for path in images]
    return {
        name: np.stack([np.float32(one[name]) for one in inputs])
        for name in ("image", "im_shape", "scale_factor")
    }


def _finished(model: ForeignModel, checkout: Path, outputs: Sequence[Any]) -> Any:
    """Rows of label, score and box, by the postprocessing of its demonstration."""
    import numpy as np

    sys.path.insert(0, str(checkout / "deploy" / "python"))
    num_levels = len(outputs) // 2
    finish = import_module("picodet_postprocess").PicoDetPostProcess(
        model.size,
        [model.size],
        np.ones((1, 2)),
        score_threshold=model.conf,
        nms_threshold=model.iou,
    )
    rows, _ = finish(outputs[:num_levels], outputs[num_levels:])
    return rows


def _prepare(network: Any, given: dict[str, Any]) -> None:
    """Gives it weights that tell images apart (see `weights`)."""
    import paddle

    network.eval()
    norms = [m for m in network.sublayers() if isinstance(m, paddle.nn.layer.norm._BatchNormBase)]
    for norm in norms:
        norm.bias.set_value(paddle.full_like(norm.bias, 2.0))
        norm._momentum = 0.0
        norm.train()
    with paddle.no_grad():
        network(given)
    for norm in norms:
        norm.eval()
    head = getattr(network, "head", None) or network.yolo_head
    scores = getattr(head, "head_cls_list", None) or head.pred_cls
    boxes = getattr(head, "head_reg_list", None) or head.pred_reg
    _spread(scores, network, given)
    _spread(boxes, network, given)


def _spread(layers: Sequence[Any], network: Any, given: dict[str, Any]) -> None:
    """Does what `weights.spread_logits` does, by copies of the layers in torch."""
    import paddle
    import torch

    from foreign_models.weights import spread_logits

    seen: dict[Any, Any] = {}
    handles = [
        layer.register_forward_pre_hook(lambda one, x: seen.update({one: x[0].numpy()}))
        for layer in layers
    ]
    with paddle.no_grad():
        network(given)
    for handle in handles:
        handle.remove()
    torch.manual_seed(0)
    copies: list[Any] = []
    for layer in layers:
        num_out, num_in, side, _ = layer.weight.shape
        copies.append(torch.nn.Conv2d(num_in, num_out, side, padding=layer._padding))
    features = [torch.from_numpy(seen[layer]) for layer in layers]
    spread_logits(
        copies,
        lambda: [copy(x) for copy, x in zip(copies, features, strict=True)],
        num_sure=NUM_SURE,
    )
    for layer, copy in zip(layers, copies, strict=True):
        layer.weight.set_value(copy.weight.detach().numpy())
        layer.bias.set_value(copy.bias.detach().numpy())
