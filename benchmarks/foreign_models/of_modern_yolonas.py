"""modern-yolonas: YOLO-NAS, raw, with its own letterbox and postprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foreign_models.recipe import ForeignModel, Found

MODELS = (ForeignModel(name="yolo_nas_s", outputs="raw"),)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports as its command does; the file's outputs then go through its postprocessing."""
    import cv2
    import modern_yolonas
    import onnxruntime
    import torch
    from modern_yolonas.inference.postprocess import postprocess, rescale_boxes
    from modern_yolonas.inference.preprocess import preprocess

    from foreign_models.weights import settle_batch_norms, spread_logits

    torch.manual_seed(0)
    network = getattr(modern_yolonas, model.name)(pretrained=False, num_classes=80).eval()
    pixels = [cv2.imread(str(path)) for path in images]
    given = [preprocess(image, model.size[0]) for image in pixels]
    batch = torch.cat([tensor for tensor, _, _ in given])
    settle_batch_norms(network, lambda: network(batch))
    heads = [m for n, m in network.named_modules() if n.endswith("cls_pred")]
    spread_logits(heads, lambda: network(batch))
    names = ["images", "pred_bboxes", "pred_scores"]
    torch.onnx.export(
        network,
        (batch[:1],),
        out,
        input_names=names[:1],
        output_names=names[1:],
        dynamic_axes={name: {0: "batch"} for name in names},
        opset_version=17,
        dynamo=False,
    )
    session, found = onnxruntime.InferenceSession(out), []
    for image, (tensor, scale, pad) in zip(pixels, given, strict=True):
        outputs = map(torch.from_numpy, session.run(names[1:], {"images": tensor.numpy()}))
        ((boxes, scores, labels),) = postprocess(*outputs, model.conf, model.iou)
        boxes = rescale_boxes(boxes, scale, pad, image.shape[:2])
        found.append(Found.of(boxes, scores, labels))
    return found
