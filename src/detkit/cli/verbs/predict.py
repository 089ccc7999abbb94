"""`detkit predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli import console
from detkit.cli.foreign_outputs import foreign_spec
from detkit.cli.options import Device, Force, Json, Outputs, Quiet, Runtime, Threads, Verbose
from detkit.core.errors import DataError, UsageError

EXAMPLES = {
    "predict": (
        "detkit predict det.onnx photos/ -o found",
        "detkit predict best.safetensors a.jpg b.png -o found --conf 0.4 --json",
    ),
}


def predict(
    model: Annotated[Path, typer.Argument(help="Checkpoint or exported model.")],
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write to.")],
    conf: Annotated[float, typer.Option("--conf", min=0, max=1, help="Least score.")] = 0.25,
    iou: Annotated[
        float | None,
        typer.Option("--iou", min=0, max=1, help="NMS IoU: 0.7, or what is in the graph."),
    ] = None,
    outputs: Outputs = "",
    runtime: Runtime = "",
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

    from detkit.core.boxes import PREDICT_NMS
    from detkit.data.coco.write import refuse_filled
    from detkit.data.find_images import find_images, names_below_common_folder
    from detkit.engines.opening import open_session
    from detkit.predict import predict as detect_in
    from detkit.predict import write_predictions
    from detkit.runtime.session import Placement, SuppressingSession

    refuse_filled(out, force=force)
    made_here = out.resolve()
    paths = [p for p in find_images(images) if not p.resolve().is_relative_to(made_here)]
    placement = Placement(device=device, threads=threads)
    foreign = foreign_spec(outputs, model)
    session = open_session(model, runtime=runtime, placement=placement, foreign=foreign)
    if not session.manifest.class_names:
        raise UsageError(
            f"{model} does not name its classes",
            hint='--outputs FILE.json: {"preset": ..., "class_names": [...]}',
        )
    if iou is not None and isinstance(session, SuppressingSession):
        raise UsageError(f"--iou: {model} has its NMS in the graph, where the IoU is fixed")
    nms = dataclasses.replace(
        PREDICT_NMS,
        score_threshold=conf,
        iou_threshold=PREDICT_NMS.iou_threshold if iou is None else iou,
    )
    with console.progress(len(paths), "predict") as bar:
        report = write_predictions(
            detect_in(session, paths, nms),
            names_below_common_folder(images, paths),
            session.manifest.class_names,
            out,
            on_image=bar.advance,
        )
    console.emit(report, json=json, lines=[report.detections_file, *report.drawn])
    for reason in report.skipped:
        console.warn(reason)
    if report.skipped:
        raise DataError(f"{len(report.skipped)} of {len(paths)} images could not be read")
