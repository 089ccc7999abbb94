"""The `export` verb: a checkpoint becomes what an engine runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from detkit.core.boxes import PREDICT_NMS, NmsConfig
from detkit.core.errors import UsageError, did_you_mean
from detkit.engines import default_engine, exporters
from detkit.engines.engine import Engine
from detkit.report import ConversionReport
from detkit.spec.nms_forms import NMS_FORMS


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the exported graph shall contain. `image_size` (0, 0) is the checkpoint's own."""

    image_size: tuple[int, int] = (0, 0)
    uint8: bool = False  # uint8 NHWC input, scaled in the graph
    nms: str = ""  # one of `NMS_FORMS`: suppressed detections instead of raw predictions
    nms_config: NmsConfig = PREDICT_NMS
    half: bool = False  # float16: weights in OpenVINO's file, the network in an engine
    exporter: str = "torchscript"  # or dynamo
    # The engine that an INT8 graph is for; see `engines.int8_engines`.
    engine: str = field(default_factory=lambda: default_engine().name)
    allow_slower: bool = False  # keep an INT8 graph that takes longer than float
    batches: tuple[int, int, int] = (1, 1, 8)  # least, tuned for and most, of an engine
    data: Path | None = None  # where to take comparison images from

    def __post_init__(self) -> None:
        if self.nms and self.nms not in NMS_FORMS:
            raise UsageError(f"unknown --nms '{self.nms}'", hint=did_you_mean(self.nms, NMS_FORMS))


Export = Callable[[Path, Path, ExportOptions], ConversionReport]


def find_exporter(name: str) -> Engine:
    """The engine whose file `--to` calls by this name.

    Raises:
        UsageError: there is none.
    """
    known = exporters()
    if name not in known:
        raise UsageError(f"cannot export to '{name}'", hint=did_you_mean(name, known))
    return known[name]


def load_exporter(name: str) -> Export:
    """The function that exports to `name`.

    Raises:
        UsageError: there is none.
        BackendError: it needs a package that is not installed here.
    """
    engine = find_exporter(name)
    exporter: Export = engine.load(engine.export)
    return exporter
