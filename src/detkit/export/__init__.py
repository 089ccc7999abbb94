"""The `export` verb: a checkpoint becomes what an engine runs.

`EXPORTERS` is the plug-in table: the name after `--to` -> "module:function".
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from detkit.boxes import PREDICT_NMS, NmsConfig
from detkit.errors import UsageError, did_you_mean
from detkit.report import ConversionReport

EXPORTERS = {
    "onnx": "detkit.export.onnx:export",
    "tensorrt": "detkit.export.tensorrt:export",
    "tensorrt-rtx": "detkit.export.tensorrt:export_rtx",
}
SUFFIXES = {"onnx": ".onnx", "tensorrt": ".engine", "tensorrt-rtx": ".engine"}


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What shall be in the graph. `image_size` (0, 0) is the checkpoint's own."""

    image_size: tuple[int, int] = (0, 0)
    uint8: bool = False  # uint8 NHWC input, scaled in the graph
    nms: bool = False  # suppressed detections instead of raw predictions
    nms_config: NmsConfig = PREDICT_NMS
    exporter: str = "torchscript"  # or dynamo
    data: Path | None = None  # where to take comparison pictures from
    precision: str = "fp32"  # or fp16, of an engine
    batches: tuple[int, int, int] = (1, 1, 8)  # least, tuned for and most, of an engine


Exporter = Callable[[Path, Path, ExportOptions], ConversionReport]


def find_exporter(name: str) -> Exporter:
    """The exporter called `name`.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in EXPORTERS:
        raise UsageError(f"cannot export to '{name}'", hint=did_you_mean(name, EXPORTERS))
    module, function = EXPORTERS[name].split(":")
    exporter: Exporter = getattr(importlib.import_module(module), function)
    return exporter
