"""effdet (efficientdet-pytorch): EfficientDet-D0 with its postprocessing, by torch.onnx.

Images are square: it pads others with the mean of each channel, and detkit with one value.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from foreign_models.recipe import SQUARE, ForeignModel, Found

NUM_SURE = 60  # of the 100 boxes that it keeps at most
MODELS = (
    ForeignModel(name="efficientdet_d0", outputs="effdet", size=(384, 384), images=SQUARE),
    ForeignModel(name="tf_efficientdet_d0", outputs="effdet", size=(384, 384), images=SQUARE),
)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports its bench for predictions; finds with that bench in torch."""
    os.environ["PYTORCH_JIT"] = "0"  # torch.onnx 2.13 does not write its NMS as a script
    import effdet
    import effdet.data
    import numpy as np
    import torch
    from effdet.data.transforms import transforms_coco_eval
    from PIL import Image

    from foreign_models.weights import settle_batch_norms, spread_boxes, spread_logits

    torch.manual_seed(0)
    config = effdet.get_efficientdet_config(model.name)
    config.image_size = model.size
    network = effdet.EfficientDet(config, pretrained_backbone=False).eval()
    bench = effdet.DetBenchPredict(network).eval()
    read = transforms_coco_eval(model.size[0], use_prefetcher=True)
    pixels = [read(Image.open(path).convert("RGB"), {})[0] for path in images]
    taken = effdet.data.resolve_input_config({}, config)
    mean, std = (255 * np.float32(taken[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    batch = torch.from_numpy((np.stack(pixels) - mean) / std)
    settle_batch_norms(network, lambda: network(batch))
    spread_logits([network.class_net.predict.conv_pw], lambda: network(batch), num_sure=NUM_SURE)
    spread_boxes([network.box_net.predict.conv_pw], lambda: network(batch), spread=0.4)
    with torch.no_grad():
        found = [bench(image[None])[0] for image in batch]
    torch.onnx.export(
        bench,
        (batch[:1],),
        out,
        input_names=["images"],
        output_names=["detections"],
        opset_version=17,
        dynamo=False,
    )
    return [
        Found.of(rows[:, :4], rows[:, 4], rows[:, 5] - 1)
        for every in found
        for rows in [every[every[:, 4] > model.conf]]
    ]
