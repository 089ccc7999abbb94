"""`detkit predict`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.descriptions import check_names_classes, open_model
from detkit.cli.options import Device, Force, Json, Outputs, Quiet, Runtime, Threads, Verbose
from detkit.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from detkit.data.coco.ids import OutputIds
    from detkit.report import PredictReport
    from detkit.runtime.session import Session

EXAMPLES = {
    "predict": (
        "detkit predict det.onnx photos/ -o found",
        "detkit predict best.safetensors a.jpg b.png -o found --conf 0.4 --json",
        "detkit predict best.safetensors val/ -o found --annotations instances_val.json",
    ),
}
SHOWN = 5  # classes named in a line

ModelArgument = Annotated[Path, typer.Argument(help="Checkpoint or exported model.")]
ImagesArgument = Annotated[list[Path], typer.Argument(help="Images, or folders of them.")]
OutFlag = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write to.")]
AnnotationsFlag = Annotated[
    Path | None,
    typer.Option("--annotations", help="COCO file whose ids of images and classes are to be used."),
]
ConfFlag = Annotated[
    float | None,
    typer.Option(
        "--conf", min=0, max=1, help="Least score; else the model's own of each class, or 0.25."
    ),
]
IouFlag = Annotated[
    float | None,
    typer.Option("--iou", min=0, max=1, help="NMS IoU: 0.7, or what is in the graph."),
]


def predict(
    model: ModelArgument,
    images: ImagesArgument,
    out: OutFlag,
    annotations: AnnotationsFlag = None,
    conf: ConfFlag = None,
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
    the images and classes its ids stand for: they count from 1, or are those of --annotations.
    Images that cannot be read are left out, and the exit code is 1.
    """
    console.setup(quiet, verbose)
    from detkit.artifact.outputs import check_output_folder
    from detkit.data.find_images import find_images, names_below_common_folder
    from detkit.predict import VERB, images_apart, nms_of, predict_images, write_predictions

    check_output_folder(out, VERB, force=force)
    paths = images_apart(find_images(images), out)
    session = open_model(model, outputs=outputs, engine=engine, device=device, threads=threads)
    check_names_classes(session, model)
    _check_iou(session, model, iou)
    nms = nms_of(session.manifest, conf=conf, iou=iou)
    if nms.class_thresholds:
        console.log(_thresholds_line(nms.class_thresholds, session.manifest.class_names))
    names = names_below_common_folder(images, paths)
    ids = _ids(annotations, names, session.manifest.class_names, paths)
    with console.progress(len(paths), "predict") as bar:
        report = write_predictions(
            predict_images(session, paths, nms),
            names,
            session.manifest.class_names,
            out,
            ids=ids,
            on_progress=bar.advance,
        )
    console.emit(report, json=json, lines=[report.detections_file, *report.drawn])
    _tell(report, annotations, len(paths))


def _thresholds_line(thresholds: tuple[float, ...], class_names: tuple[str, ...]) -> str:
    """Says what is left out, and where that comes from."""
    named = zip(class_names, thresholds, strict=True)
    shown = ", ".join(f"{name} {least:g}" for name, least in list(named)[:SHOWN])
    more = f" and {len(thresholds) - SHOWN} more" if len(thresholds) > SHOWN else ""
    return f"least scores, of the best F1 in validation: {shown}{more}; --conf says otherwise"


def _tell(report: PredictReport, annotations: Path | None, num_paths: int) -> None:
    """Warns of what is odd or left out; raises DataError where images could not be read."""
    for text in (*report.remarks, *report.skipped):
        console.warn(text)
    if report.without_id:
        console.warn(
            f"{report.without_id} detections are of classes that {annotations} does not have: "
            "drawn, and left out of detections.json"
        )
    if report.skipped:
        raise DataError(f"{len(report.skipped)} of {num_paths} images could not be read")


def _ids(
    annotations: Path | None, names: list[Path], class_names: tuple[str, ...], paths: list[Path]
) -> OutputIds | None:
    """The ids of the user's file; None where none is named, with a note if there seems one."""
    from detkit.data.coco.ids import file_that_lists, ids_of_file

    if annotations:
        return ids_of_file(annotations, names, class_names)
    if paths and (listing := file_that_lists(paths[0])):
        line = f"--annotations {shlex.quote(os.path.relpath(listing))}"
        console.log(f"ids of images and classes count from 1; {line} takes those of that file")
    return None


def _check_iou(session: Session, model: Path, iou: float | None) -> None:
    """Raises UsageError for an IoU that the graph has fixed."""
    from detkit.runtime.session import SuppressingSession

    if iou is not None and isinstance(session, SuppressingSession):
        raise UsageError(f"--iou: {model} has its NMS in the graph, where the IoU is fixed")
