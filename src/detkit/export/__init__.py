"""The `export` verb: a checkpoint becomes what an engine runs.

`EXPORTERS` is the plug-in table: the name after `--to` -> how its files end, and what makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from detkit.core.boxes import PREDICT_NMS, NmsConfig
from detkit.core.errors import UsageError, did_you_mean
from detkit.core.lazy_import import load_plugin
from detkit.report import ConversionReport


class Exporter(NamedTuple):
    """`target` is "module:function", imported only when it is called for.

    `engine` is the one an INT8 graph is made for, where nothing else is asked.
    """

    suffix: str
    target: str
    engine: str


EXPORTERS = {
    "onnx": Exporter(".onnx", "detkit.engines.onnxruntime.export:export", "onnxruntime"),
    "openvino": Exporter(".xml", "detkit.engines.openvino.export:export", "openvino"),
    "tensorrt": Exporter(".engine", "detkit.engines.tensorrt.export:export", "tensorrt"),
    "tensorrt-rtx": Exporter(".engine", "detkit.engines.tensorrt.export:export_rtx", "tensorrt"),
}


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What shall be in the graph. `image_size` (0, 0) is the checkpoint's own."""

    image_size: tuple[int, int] = (0, 0)
    uint8: bool = False  # uint8 NHWC input, scaled in the graph
    nms: bool = False  # suppressed detections instead of raw predictions
    nms_config: NmsConfig = PREDICT_NMS
    half: bool = False  # float16: weights in OpenVINO's file, the network in an engine
    exporter: str = "torchscript"  # or dynamo
    engine: str = "onnxruntime"  # that an INT8 graph is for; see `spec.quant.TARGETS`
    allow_slower: bool = False  # keep an INT8 graph that takes longer than float
    batches: tuple[int, int, int] = (1, 1, 8)  # least, tuned for and most, of an engine
    data: Path | None = None  # where to take comparison images from


Export = Callable[[Path, Path, ExportOptions], ConversionReport]


def find_exporter(name: str) -> Exporter:
    """The table's line of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in EXPORTERS:
        raise UsageError(f"cannot export to '{name}'", hint=did_you_mean(name, EXPORTERS))
    return EXPORTERS[name]


def load_exporter(name: str) -> Export:
    """The function that exports to `name`.

    Raises:
        UsageError: there is none.
        BackendError: it needs a package that is not installed here.
    """
    exporter: Export = load_plugin(name, find_exporter(name).target)
    return exporter
