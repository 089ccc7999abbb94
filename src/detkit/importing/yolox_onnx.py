"""YOLOX's own ONNX exports: their batch-norms are folded, so tensors are known by order alone.

The network comes back in training form. Each batch-norm gets the statistics that its convolution
has on drawn images, and the scale and shift that undo them: evaluated, the network is the exported
one; trained, its batch-norms begin near what they are used to. (The original statistics are lost.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detkit.data.synthetic.synth import draw_images
from detkit.importing.imported import Imported, members, unknown_architecture
from detkit.importing.yolox import imported
from detkit.nn.blocks import ConvBN, CSPLayer
from detkit.nn.checkpoint import assign_strictly
from detkit.nn.detector import Detector, build_detector

# Parts in the order in which the published network runs them.
STAGES = [
    f"backbone.stage{number}.{part}"
    for number in (1, 2, 3, 4)
    for part in ("downsample", "context_module", "blocks")
]
MERGES = [
    f"neck.{name}.{part}"
    for name, first in (
        ("up1", "reduce"),
        ("up2", "reduce"),
        ("down1", "downsample"),
        ("down2", "downsample"),
    )
    for part in (first, "blocks")
]
HEADS = [
    f"heads.head{level}.{part}"
    for level in (1, 2, 3)
    for part in ("stem", "cls_convs", "cls_pred", "reg_convs", "reg_pred", "obj_pred")
]
DRAWN, DRAWN_SIDE = 8, 320


def parse_yolox_onnx(convolutions: Sequence[tuple[Tensor, Tensor]]) -> Imported:
    """The YOLOX of these weights and biases, as `onnx_weights.read_convolutions` gives them.

    Raises:
        ArtifactError: they are those of no published size.
    """
    model = _recognise(convolutions)
    tensors = _with_neutral_norms(model, convolutions)
    notes = {
        "weights": f"{len(convolutions)} convolutions in the order they run",
        "batch_norms": f"folded in the file; put back with statistics of {DRAWN} drawn images",
    }
    found = imported(tensors, notes)
    return dataclasses.replace(
        found, tensors=_with_statistics(model, found), source="an ONNX file of YOLOX"
    )


def _recognise(convolutions: Sequence[tuple[Tensor, Tensor]]) -> Detector:
    """The published size, without weights, whose convolutions have these shapes in this order."""
    shapes = [tuple(weight.shape) for weight, _ in convolutions]
    for spec in members("yolox"):
        model = build_detector(spec, "training")
        order = _order(model)
        if len(order) != len(shapes):
            continue
        num_classes = shapes[order.index("heads.head1.cls_pred")][0]
        model = build_detector(dataclasses.replace(spec, num_classes=num_classes), "training")
        wanted = [tuple(model.get_parameter(f"{path}.weight").shape) for path in order]
        stem = (wanted[0][0], 12, 3, 3)  # the published one: see `yolox.fold_stem`
        if [stem, *wanted[1:]] == shapes:
            return model
    raise unknown_architecture(
        f"its {len(shapes)} convolutions",
        "yolox",
        hint="detkit import reads YOLOX's ONNX files; other detectors: --outputs of eval",
    )


def _order(model: Detector) -> list[str]:
    """Paths of the convolutions in the order in which the published network runs them."""
    order = []
    for path in ["backbone.stem", *STAGES, *MERGES, *HEADS]:
        part = model.get_submodule(path)
        found = [n for n, module in part.named_modules() if isinstance(module, nn.Conv2d)]
        if isinstance(part, CSPLayer):  # the joining convolution runs last
            found.sort(key=lambda name: name.startswith("conv3"))
        order += [f"{path}.{name}".rstrip(".") for name in found]
    return order


def _with_neutral_norms(
    model: Detector, convolutions: Sequence[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """All tensors, with batch-norms that only add the bias."""
    tensors: dict[str, Tensor] = {}
    for path, (weight, bias) in zip(_order(model), convolutions, strict=True):
        tensors[f"{path}.weight"] = weight
        norm = f"{path.removesuffix('.conv')}.bn"
        owner = model.get_submodule(path.removesuffix(".conv"))
        if not isinstance(owner, ConvBN):
            tensors[f"{path}.bias"] = bias
            continue
        ones = torch.ones_like(bias)
        tensors |= {
            f"{norm}.weight": ones,
            f"{norm}.bias": bias,
            f"{norm}.running_mean": torch.zeros_like(bias),
            f"{norm}.running_var": ones - owner.bn.eps,
            f"{norm}.num_batches_tracked": torch.zeros((), dtype=torch.int64),
        }
    return tensors


@torch.no_grad()
def _with_statistics(model: Detector, found: Imported) -> dict[str, Tensor]:
    """Puts the statistics of drawn images into the batch-norms; outputs stay what they are."""
    assign_strictly(model, found.tensors, where="the file")
    model.eval()

    def adopt(norm: nn.BatchNorm2d, args: tuple[Tensor, ...], _: Tensor) -> None:
        variance, mean = torch.var_mean(args[0].double(), dim=(0, 2, 3), unbiased=False)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((norm.running_var.double() + norm.eps).sqrt())
        norm.bias.copy_(norm.bias.double() + norm.running_mean.double())

    hooks = [
        layer.register_forward_hook(adopt)
        for layer in model.modules()
        if isinstance(layer, nn.BatchNorm2d)
    ]
    drawn = draw_images(DRAWN, size=DRAWN_SIDE)
    pixels = torch.stack([torch.from_numpy(image) for image in drawn])
    model(pixels.permute(0, 3, 1, 2).float() / 255)
    for hook in hooks:
        hook.remove()
    return model.state_dict()
