"""yolov5 (the packaged one, GPL-3.0, installed apart): anchors and objectness, raw.

Images are square: of an odd padding it takes half a pixel that it did not pad off its boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foreign_models.recipe import SQUARE, ForeignModel, Found

MODELS = (ForeignModel(name="yolov5n", outputs="yolov5", images=SQUARE, multi_label=False),)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports by its `export_onnx`; the file's outputs then go through its NMS."""
    import cv2
    import numpy as np
    import onnxruntime
    import torch
    import yolov5
    from yolov5.export import export_onnx
    from yolov5.models.yolo import Model
    from yolov5.utils.augmentations import letterbox
    from yolov5.utils.general import non_max_suppression, scale_boxes

    from foreign_models.weights import settle_batch_norms, spread_logits

    torch.manual_seed(0)
    recipe = Path(yolov5.__file__).parent / "models" / f"{model.name}.yaml"
    network = Model(str(recipe)).float().eval()
    pixels = [cv2.imread(str(path)) for path in images]
    boxed = [letterbox(image, model.size, auto=False)[0][..., ::-1] for image in pixels]
    batch = torch.from_numpy(np.stack(boxed)).permute(0, 3, 1, 2).float() / 255
    settle_batch_norms(network, lambda: network(batch))
    spread_logits(network.model[-1].m, lambda: network(batch), num_sure=600)
    for layer in network.model[-1].m:
        layer.bias.data.view(3, -1)[:, :5] += 6  # boxes of a size, and objects, for each anchor
    network.model[-1].export = True
    export_onnx(network, batch[:1], out, 17, dynamic=False, simplify=False)
    session, found = onnxruntime.InferenceSession(out), []
    for image, given in zip(pixels, batch, strict=True):
        (raw,) = session.run(None, {"images": given[None].numpy()})
        (rows,) = non_max_suppression(
            torch.from_numpy(raw), model.conf, model.iou, max_det=300, multi_label=False
        )
        boxes = scale_boxes(model.size, rows[:, :4], image.shape[:2])
        found.append(Found.of(boxes, rows[:, 4], rows[:, 5]))
    return found
