"""yolox (Megvii's own): YOLOX-Nano as it is exported, and decoded in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foreign_models.recipe import ForeignModel, Found

DECODED = {"decoded": True}
MODELS = (
    ForeignModel(name="YOLOX-Nano", outputs="yolox", multi_label=False),
    ForeignModel(
        name="YOLOX-Nano --decode_in_inference",
        outputs="yolox-decoded",
        multi_label=False,
        settings=DECODED,
    ),
)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports as its `export_onnx` does; the file's outputs then go through its postprocessing."""
    import cv2
    import numpy as np
    import onnxruntime
    import torch
    from yolox.data.data_augment import preproc
    from yolox.models import YOLOPAFPN, YOLOX, YOLOXHead
    from yolox.models.network_blocks import SiLU
    from yolox.utils import demo_postprocess, postprocess, replace_module

    from foreign_models.weights import settle_batch_norms, spread_boxes, spread_logits

    torch.manual_seed(0)
    wide = {"width": 0.25, "depthwise": True}
    network = YOLOX(YOLOPAFPN(0.33, **wide), YOLOXHead(80, **wide)).eval()
    given = [preproc(cv2.imread(str(path)), model.size) for path in images]
    batch = torch.from_numpy(np.stack([pixels for pixels, _ in given]))
    settle_batch_norms(network, lambda: network(batch))
    spread_boxes(network.head.obj_preds, lambda: network(batch))
    for layer in network.head.obj_preds:
        layer.bias.data += 2
    spread_logits(network.head.cls_preds, lambda: network(batch))
    network = replace_module(network, torch.nn.SiLU, SiLU)
    network.head.decode_in_inference = bool(model.settings)
    torch.onnx.export(
        network,
        (batch[:1],),
        out,
        input_names=["images"],
        output_names=["output"],
        dynamic_axes={"images": {0: "batch"}, "output": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    session, found = onnxruntime.InferenceSession(out), []
    for pixels, ratio in given:
        (raw,) = session.run(None, {"images": pixels[None]})
        decoded = raw if model.settings else demo_postprocess(raw, model.size)
        (rows,) = postprocess(
            torch.from_numpy(decoded), 80, model.conf, model.iou, class_agnostic=False
        )
        rows = torch.zeros(0, 7) if rows is None else rows
        found.append(Found.of(rows[:, :4] / ratio, rows[:, 4] * rows[:, 5], rows[:, 6]))
    return found
