"""`detkit export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.conversion_output import emit_conversion, output_path
from detkit.cli.options import ComparisonData, Force, Json, Out, Quiet, Verbose
from detkit.engines import default_engine, exporters, int8_engines
from detkit.spec.nms_forms import NMS_FORMS

if TYPE_CHECKING:
    from detkit.core.boxes import NmsConfig

EXAMPLES = {
    "export": (
        "detkit export --to onnx best.safetensors --imgsz 480x640 --uint8 --nms flat -o det.onnx",
        "detkit export --to tensorrt best.fused.safetensors --half --batches 1:4:16",
    ),
}


def _targets() -> list[str]:
    return list(exporters())


def _parse_batches(text: str) -> tuple[int, int, int]:
    """`LEAST:BEST:MOST`, or one number that is all three."""
    from detkit.core.errors import UsageError

    parts = text.split(":")
    if len(parts) not in (1, 3) or not all(part.isdecimal() for part in parts):
        raise UsageError(f"'{text}' are no batch sizes", hint="N or LEAST:BEST:MOST, as 1:1:8")
    least, best, most = (int(part) for part in parts * (3 // len(parts)))
    return least, best, most


CheckpointArgument = Annotated[Path, typer.Argument(help="Checkpoint, fused or not.")]
ToFlag = Annotated[
    str,
    typer.Option("--to", help=f"{', '.join(exporters())}.", autocompletion=_targets),
]
ImgszFlag = Annotated[
    str, typer.Option("--imgsz", help="Input size, N or HEIGHTxWIDTH; else the checkpoint's.")
]
Uint8Flag = Annotated[
    bool, typer.Option("--uint8", help="uint8 (B,H,W,3) input, scaled in the graph.")
]
NmsFlag = Annotated[
    str,
    typer.Option(
        "--nms",
        metavar="FORM",
        help="Suppress in the graph: batched (num_dets, det_boxes, ...) or flat (rows of 7).",
        autocompletion=lambda: list(NMS_FORMS),
    ),
]
ConfFlag = Annotated[
    float | None,
    typer.Option(
        "--conf", min=0, max=1, help="Least score, with --nms; else the model's lowest, up to 0.25."
    ),
]
IouFlag = Annotated[float, typer.Option("--iou", min=0, max=1, help="NMS IoU, with --nms.")]
HalfFlag = Annotated[
    bool, typer.Option("--half", help="float16: OpenVINO's weights, or a TensorRT engine.")
]
BatchesFlag = Annotated[
    str, typer.Option("--batches", metavar="N:N:N", help="Of an engine: least, best, most.")
]
TargetFlag = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="ENGINE",
        help=f"Of an INT8 graph: {', '.join(int8_engines())}; else what --to says.",
        autocompletion=lambda: list(int8_engines()),
    ),
]
AllowSlowerFlag = Annotated[
    bool, typer.Option("--allow-slower", help="Keep an INT8 graph slower than float.")
]
ExporterFlag = Annotated[str, typer.Option("--exporter", help="torch's torchscript or dynamo.")]


def export(
    checkpoint: CheckpointArgument,
    to: ToFlag = "onnx",
    imgsz: ImgszFlag = "",
    uint8: Uint8Flag = False,
    nms: NmsFlag = "",
    conf: ConfFlag = None,
    iou: IouFlag = 0.7,
    half: HalfFlag = False,
    batches: BatchesFlag = "1:1:8",
    target: TargetFlag = "",
    allow_slower: AllowSlowerFlag = False,
    data: ComparisonData = None,
    exporter: ExporterFlag = "torchscript",
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a checkpoint as ONNX, OpenVINO or engine, compared with it; prints the file's path.

    Outputs decoded boxes (B,A,4) xyxy in input pixels and scores (B,A,C) for any batch size. The
    file is compared with torch on real images and not written when it strays (exit 3). OpenVINO's
    is NAME.xml with its weights in NAME.bin. tensorrt builds NAME.engine for the GPU that is here;
    tensorrt-rtx needs none to build, and then its engine is compared with nothing.
    """
    console.setup(quiet, verbose)
    from detkit.core.boxes import PREDICT_NMS
    from detkit.core.errors import UsageError, did_you_mean
    from detkit.engines.exporting import ExportOptions, find_exporter, load_exporter
    from detkit.engines.int8_graph import check_int8_engine
    from detkit.spec.arch import parse_image_size

    if exporter not in ("torchscript", "dynamo"):
        raise UsageError(
            f"unknown exporter '{exporter}'", hint=did_you_mean(exporter, ("torchscript", "dynamo"))
        )
    file_engine = find_exporter(to)
    engine = target or file_engine.int8_engine
    check_int8_engine(engine)
    if engine != file_engine.int8_engine and file_engine != default_engine():
        raise UsageError(f"--to {to} is for {file_engine.int8_engine}, not {engine}")
    options = ExportOptions(
        image_size=parse_image_size(imgsz) if imgsz else (0, 0),
        uint8=uint8,
        nms=nms,
        nms_config=_nms_config(checkpoint, conf, iou) if nms else PREDICT_NMS,
        half=half,
        batches=_parse_batches(batches),
        exporter=exporter,
        engine=engine,
        allow_slower=allow_slower,
        data=data,
    )
    path = output_path(out, checkpoint, file_engine.suffix, force=force, read=data)
    emit_conversion(load_exporter(to)(checkpoint, path, options), json=json)


def _nms_config(checkpoint: Path, conf: float | None, iou: float) -> NmsConfig:
    """What the graph keeps: without a --conf all that `predict` may take of any class."""
    import dataclasses

    from detkit.artifact.artifact import read_manifest
    from detkit.core.boxes import PREDICT_NMS

    least = PREDICT_NMS.score_threshold
    if conf is None:
        own = read_manifest(checkpoint, verify=False).score_thresholds
        conf = min(least, *own) if own else least
    return dataclasses.replace(PREDICT_NMS, score_threshold=conf, iou_threshold=iou)
