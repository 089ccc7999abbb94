"""YOLOX checkpoints: which tensors count, which network, and what its input is folded into.

Facts from the public repository (Megvii, Apache-2.0, release 0.3): a trainer's file holds `model`,
which is the EMA copy where one was kept, beside `optimizer`. Input is BGR 0..255 without mean,
letterboxed at the top left with 114. The stem (Focus) gathers the pixels of each 2x2 into channels,
top left, bottom left, top right, bottom right, and convolves them by 3x3: the same as one 6x6
convolution of stride 2, which detkit has in its place. Weights from before release 0.1.1 took
RGB less ImageNet's mean, and nothing in the file tells them apart: they do not work.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from detkit.core.errors import ArtifactError
from detkit.importing.imported import Imported, assumed_class_names, find_state_dict, recognise
from detkit.spec.preprocess import Preprocess

PUBLISHED_LICENCE = "Apache-2.0"
MARK = "head.cls_preds.0.weight"
FOCUS = "backbone.stem.conv.conv.weight"
# Published name -> detkit's, in turns: each pattern is replaced in what the ones before have left.
RENAMED = (
    (r"^backbone\.backbone\.dark5\.2\.m\.(\d+)\.conv1", r"backbone.stage4.blocks.bottlenecks.\1.0"),
    (r"^backbone\.backbone\.dark5\.2\.m\.(\d+)\.conv2", r"backbone.stage4.blocks.bottlenecks.\1.1"),
    (r"^backbone\.backbone\.dark5\.1\.conv(\d)", r"backbone.stage4.context_module.cv\1"),
    (r"^backbone\.backbone\.dark5\.2\.", r"backbone.stage4.blocks."),
    (r"^backbone\.backbone\.dark(\d)\.0\.", lambda m: f"backbone.stage{int(m[1]) - 1}.downsample."),
    (r"^backbone\.backbone\.dark(\d)\.1\.", lambda m: f"backbone.stage{int(m[1]) - 1}.blocks."),
    (r"^(backbone\.stage\d\.blocks)\.m\.(\d+)\.conv(\d)", r"\1.bottlenecks.\2.cv\3"),
    (r"^backbone\.backbone\.stem\.", r"backbone.stem."),
    (r"^backbone\.lateral_conv0\.", r"neck.up1.reduce."),
    (r"^backbone\.reduce_conv1\.", r"neck.up2.reduce."),
    (r"^backbone\.bu_conv2\.", r"neck.down1.downsample."),
    (r"^backbone\.bu_conv1\.", r"neck.down2.downsample."),
    (r"^backbone\.C3_p4\.", r"neck.up1.blocks."),
    (r"^backbone\.C3_p3\.", r"neck.up2.blocks."),
    (r"^backbone\.C3_n3\.", r"neck.down1.blocks."),
    (r"^backbone\.C3_n4\.", r"neck.down2.blocks."),
    (r"^(neck\.\w+\.blocks)\.m\.(\d+)\.conv1", r"\1.bottlenecks.\2.0"),
    (r"^(neck\.\w+\.blocks)\.m\.(\d+)\.conv2", r"\1.bottlenecks.\2.1"),
    (r"^head\.(\w+?)s\.(\d)\.", lambda m: f"heads.head{int(m[2]) + 1}.{m[1]}."),
    (r"^(heads\.head\d\.(?:cls|reg)_conv)\.", r"\1s."),
)


def is_yolox(saved: Any) -> bool:
    """Whether a checkpoint, as loaded by `unpickle.read_checkpoint`, holds weights of a YOLOX."""
    return _find_tensors(saved) is not None


def parse_yolox(saved: Any) -> Imported:
    """Reads a YOLOX checkpoint as loaded by `unpickle.read_checkpoint`.

    Raises:
        ArtifactError: no YOLOX state dict in it, or one of no published size.
    """
    found = _find_tensors(saved)
    if found is None:
        raise ArtifactError(f"no YOLOX weights in it (no {MARK})")
    published, source = found
    tensors = {published_to_detkit(name): tensor for name, tensor in published.items()}
    return imported(tensors, {"weights": source})


def imported(tensors: dict[str, Tensor], notes: dict[str, str]) -> Imported:
    """The network of these tensors, which have detkit's names and the published stem.

    Raises:
        ArtifactError: the tensors are those of no published size.
    """
    if FOCUS in tensors and tensors[FOCUS].shape[1:] == (12, 3, 3):
        tensors = {**tensors, FOCUS: fold_stem(tensors[FOCUS])}
    spec = recognise(tensors, "yolox")
    class_names, names_from = assumed_class_names(spec.num_classes)
    return Imported(
        spec=spec,
        tensors=tensors,
        class_names=class_names,
        preprocess=Preprocess(
            size=spec.image_size,
            fit=spec.image_size,
            pad_place="corner",
            resize="letterbox-floor",
        ),
        notes={
            **notes,
            "class_names": names_from,
            "preprocess": "assumed as published",
            "folded_into_stem": "BGR order, 0..255 scale and the gathering of 2x2 pixels",
        },
        source="a YOLOX checkpoint",
        licence=PUBLISHED_LICENCE,
    )


def published_to_detkit(name: str) -> str:
    """detkit's name of a published tensor.

    >>> published_to_detkit("backbone.backbone.dark3.1.m.0.conv2.bn.bias")
    'backbone.stage2.blocks.bottlenecks.0.cv2.bn.bias'
    >>> published_to_detkit("head.obj_preds.2.weight")
    'heads.head3.obj_pred.weight'
    """
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def fold_stem(kernel_focus: Tensor) -> Tensor:
    """The 6x6 kernel on RGB 0..1 that equals a published 3x3 one on gathered BGR 0..255; exact."""
    kernel = kernel_focus.new_zeros(len(kernel_focus), 3, 6, 6)
    phases = ((0, 0), (1, 0), (0, 1), (1, 1))  # row, column of the pixel in its 2x2
    for index, (row, column) in enumerate(phases):
        bgr = kernel_focus[:, 3 * index : 3 * index + 3]
        kernel[:, :, row::2, column::2] = bgr[:, torch.tensor([2, 1, 0])] * 255.0
    return kernel


def _find_tensors(saved: Any) -> tuple[dict[str, Tensor], str] | None:
    """The state dict with published names and the key it lay under; None where there is none."""
    return find_state_dict(saved, ("model", "ema", "ema_model", "state_dict"), MARK)
