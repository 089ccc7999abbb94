"""transformers: the DETR family, with random weights and each processor's own postprocessing.

Backbones and transformers are as deep as their configurations say but where a size is given; the
files are written as Optimum writes them: `pixel_values` in, `logits` and `pred_boxes` out.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from foreign_models.recipe import SQUARE, ForeignModel, Found

SIDE = 320
DEFORMABLE = "deformable-detr"
SMALL = {"backbone": "resnet18", "encoder_layers": 2, "decoder_layers": 2}
R18 = {
    "backbone_config": {
        "model_type": "rt_detr_resnet",
        "layer_type": "basic",
        "depths": [2, 2, 2, 2],
        "hidden_sizes": [64, 128, 256, 512],
        "out_features": ["stage2", "stage3", "stage4"],
    },
    "encoder_in_channels": [128, 256, 512],
    "decoder_layers": 3,
}
YOLOS_TINY = {
    "image_size": [SIDE, SIDE],
    "hidden_size": 192,
    "num_attention_heads": 3,
    "intermediate_size": 768,
}


def _model(
    name: str, family: str, processor: str, outputs: str | dict[str, Any], **settings: Any
) -> ForeignModel:
    return ForeignModel(
        name=name,
        outputs=outputs,
        size=(SIDE, SIDE),
        images=SQUARE,
        settings={"family": family, "processor": processor, "config": settings},
    )


MODELS = (
    _model("DETR", "Detr", "Detr", "detr", **SMALL),
    _model("YOLOS", "Yolos", "Yolos", "detr", **YOLOS_TINY),
    _model("Conditional DETR", "ConditionalDetr", "ConditionalDetr", DEFORMABLE, **SMALL),
    _model("Deformable DETR", "DeformableDetr", "DeformableDetr", DEFORMABLE, **SMALL),
    _model("RT-DETR", "RTDetr", "RTDetr", "rt-detr", **R18),
    _model("RT-DETRv2", "RTDetrV2", "RTDetr", "rt-detr", **R18),
    _model("D-FINE", "DFine", "RTDetr", "rt-detr", decoder_layers=3),
    _model("DEIMv2", "Deimv2", "RTDetr", "rt-detr"),
)


def make(model: ForeignModel, out: Path, images: Sequence[Path]) -> list[Found]:
    """Exports by torch.onnx; the file's outputs then go through the processor's postprocessing."""
    import onnxruntime
    import torch
    import transformers
    from PIL import Image

    torch.manual_seed(0)
    family, size = model.settings["family"], {"height": SIDE, "width": SIDE}
    config = getattr(transformers, f"{family}Config")(num_labels=80, **model.settings["config"])
    network = getattr(transformers, f"{family}ForObjectDetection")(config).eval()
    processor = getattr(transformers, f"{model.settings['processor']}ImageProcessor")(size=size)
    opened = [Image.open(path).convert("RGB") for path in images]
    batch = processor(opened, return_tensors="pt")["pixel_values"]
    _prepare(network, lambda: network(pixel_values=batch))
    _export(network, batch, out)
    session = onnxruntime.InferenceSession(out)
    finish, found = processor.post_process_object_detection, []
    most = {"top_k": 300} if "top_k" in inspect.signature(finish).parameters else {}
    for image in opened:
        given = processor(image, return_tensors="np")["pixel_values"]
        logits, boxes = session.run(["logits", "pred_boxes"], {"pixel_values": given})
        outputs = SimpleNamespace(
            logits=torch.from_numpy(logits), pred_boxes=torch.from_numpy(boxes)
        )
        (one,) = finish(
            outputs, threshold=model.conf, target_sizes=[(image.height, image.width)], **most
        )
        found.append(Found.of(one["boxes"], one["scores"], one["labels"]))
    return found


def _prepare(network: Any, run: Any) -> None:
    """Gives it weights that tell images apart (see `weights`)."""
    import torch

    from foreign_models.weights import spread_boxes, spread_logits, spread_softmax, wake_boxes

    is_softmax = type(network).__name__.startswith(("DetrFor", "Yolos"))
    wake_boxes(network)
    for name, parameter in network.named_parameters():
        if "decoder" in name and re.search(r"[qk]_(content_|pos_)?proj.weight", name):
            parameter.data *= 6  # an untrained attention looks everywhere alike
        if "token" in name and not parameter.any():  # else every query of YOLOS is the same
            torch.nn.init.normal_(parameter)
    encoders, decoders, boxes = _last_layers(network)
    for layer in encoders:
        spread_logits([layer], run)
    if is_softmax:
        spread_softmax(decoders, run, num_labels=81, background=80, num_sure=20)
    else:
        spread_logits(decoders, run)
    if not encoders:  # no box is a refined one
        spread_boxes(boxes, run)


def _last_layers(network: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """The layers of the encoder's scores, the last decoder's scores, and the last boxes."""
    import torch

    linear = {n: m for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
    labels = (network.config.num_labels, network.config.num_labels + 1)
    scores = {name: layer for name, layer in linear.items() if layer.out_features in labels}
    encoders = [layer for name, layer in scores.items() if "enc" in name.split(".")[-1]]
    encoders += [layer for name, layer in scores.items() if ".enc_out" in name]
    decoders = [layer for layer in scores.values() if layer not in encoders]
    boxes = [layer for name, layer in linear.items() if "bbox" in name and layer.out_features == 4]
    return encoders, decoders[-1:], boxes[-1:]


def _export(network: Any, batch: Any, out: Path) -> None:
    import torch

    class Outputs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = self.network(pixel_values=pixel_values)
            return found.logits, found.pred_boxes

    names = ["pixel_values", "logits", "pred_boxes"]
    torch.onnx.export(
        Outputs().eval(),
        (batch[:2],),
        out,
        opset_version=17,
        dynamo=False,
        input_names=names[:1],
        output_names=names[1:],
        dynamic_axes={name: {0: "batch"} for name in names},
    )
