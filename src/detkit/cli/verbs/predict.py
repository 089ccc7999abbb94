"""`detkit predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.descriptions import check_names_classes, open_model
from detkit.cli.options import Device, Force, Json, Outputs, Quiet, Runtime, Threads, Verbose
from detkit.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from detkit.runtime.session import Session

EXAMPLES = {
    "predict": (
        "detkit predict det.onnx photos/ -o found",
        "detkit predict best.safetensors a.jpg b.png -o found --conf 0.4 --json",
    ),
}


ModelArgument = Annotated[Path, typer.Argument(help="Checkpoint or exported model.")]
ImagesArgument = Annotated[list[Path], typer.Argument(help="Images, or folders of them.")]
OutFlag = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write to.")]
ConfFlag = Annotated[float, typer.Option("--conf", min=0, max=1, help="Least score.")]
IouFlag = Annotated[
    float | None,
    typer.Option("--iou", min=0, max=1, help="NMS IoU: 0.7, or what is in the graph."),
]


def predict(
    model: ModelArgument,
    images: ImagesArgument,
    out: OutFlag,
    conf: ConfFlag = 0.25,
    iou: IouFlag = None,
    outputs: Outputs = "",
    engine: Runtime = "",
    device: Device = "auto",
    threads: Threads = 0,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw a model's boxes on images; prints the paths of what was made.

    DIR gets each image as NAME.jpg, detections.json in COCO's result format, and images.json with
    the images and classes its ids stand for. Images that cannot be read are left out, and the
    exit code is 1.
    """
    console.setup(quiet, verbose)
    import dataclasses

    from detkit.artifact.outputs import check_output_folder
    from detkit.core.boxes import PREDICT_NMS
    from detkit.data.find_images import find_images, names_below_common_folder
    from detkit.predict import VERB, images_apart, predict_images, write_predictions

    check_output_folder(out, VERB, force=force)
    paths = images_apart(find_images(images), out)
    session = open_model(model, outputs=outputs, engine=engine, device=device, threads=threads)
    check_names_classes(session, model)
    _check_iou(session, model, iou)
    nms = dataclasses.replace(
        PREDICT_NMS,
        score_threshold=conf,
        iou_threshold=PREDICT_NMS.iou_threshold if iou is None else iou,
    )
    with console.progress(len(paths), "predict") as bar:
        report = write_predictions(
            predict_images(session, paths, nms),
            names_below_common_folder(images, paths),
            session.manifest.class_names,
            out,
            on_progress=bar.advance,
        )
    console.emit(report, json=json, lines=[report.detections_file, *report.drawn])
    for reason in report.skipped:
        console.warn(reason)
    if report.skipped:
        raise DataError(f"{len(report.skipped)} of {len(paths)} images could not be read")


def _check_iou(session: Session, model: Path, iou: float | None) -> None:
    """Raises UsageError for an IoU that the graph has fixed."""
    from detkit.runtime.session import SuppressingSession

    if iou is not None and isinstance(session, SuppressingSession):
        raise UsageError(f"--iou: {model} has its NMS in the graph, where the IoU is fixed")
