"""rfdetr: RF-DETR by its own exporter and postprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from foreign_models.recipe import SQUARE, ForeignModel, Found

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODELS = (ForeignModel(name="RFDETRNano", outputs="rf-detr", size=(384, 384), images=SQUARE),)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports by its `export`; the file's outputs then go through its postprocessing."""
    import numpy as np
    import onnxruntime
    import rfdetr
    import torch
    from PIL import Image

    from foreign_models.weights import spread_logits, wake_boxes

    torch.manual_seed(0)
    opened = getattr(rfdetr, model.name)(pretrain_weights=None, device="cpu")
    network = opened.model.model.eval()
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in images])
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    batch = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    wake_boxes(network)
    for layer in (network.transformer.enc_out_class_embed[0], network.class_embed):
        spread_logits([layer], lambda: network(batch), directions=2)
    opened.export(output_dir=str(out.parent), dynamic_batch=True, verbose=False).rename(out)
    session, found = onnxruntime.InferenceSession(out), []
    name, size = session.get_inputs()[0].name, torch.tensor([list(pixels.shape[1:3])])
    for image in batch:
        boxes, logits = session.run(["dets", "labels"], {name: image[None].numpy()})
        outputs = {"pred_logits": torch.from_numpy(logits), "pred_boxes": torch.from_numpy(boxes)}
        (one,) = opened.model.postprocess(outputs, target_sizes=size)
        kept = one["scores"] > model.conf
        found.append(Found.of(one["boxes"][kept], one["scores"][kept], one["labels"][kept]))
    return found
