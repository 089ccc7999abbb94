"""`detkit eval`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from detkit.cli import console
from detkit.cli.descriptions import open_model
from detkit.cli.options import Device, Force, Json, Out, Outputs, Quiet, Runtime, Threads, Verbose
from detkit.cli.report_output import check_report_file, emit_report
from detkit.core.errors import GateError

if TYPE_CHECKING:
    from detkit.artifact.artifact import Signature
    from detkit.data.coco.folder import CocoSplit
    from detkit.report import EvalReport

EXAMPLES = {
    "eval": (
        "detkit eval best.safetensors coco/ --split test",
        "detkit eval det.onnx coco/ --min-ap 0.45 --json > eval.json",
    ),
}


ModelArgument = Annotated[Path, typer.Argument(help="Checkpoint or exported model.")]
DataArgument = Annotated[Path, typer.Argument(help="COCO folder.")]
SplitFlag = Annotated[
    str,
    typer.Option(
        "--split", help="train, val or test.", autocompletion=lambda: ["train", "val", "test"]
    ),
]
AnnotationsFlag = Annotated[
    Path | None,
    typer.Option("--annotations", help="Annotation file, DATA being its image folder."),
]
SharedFlag = Annotated[
    bool,
    typer.Option("--shared-classes", help="Leave out classes that the model does not know."),
]
ScorerFlag = Annotated[
    Literal["fast", "pycocotools"],
    typer.Option("--scorer", help="faster-coco-eval or the reference; the figures are equal."),
]
BatchFlag = Annotated[int, typer.Option("--batch", min=1, help="Images a batch.")]
MinApFlag = Annotated[
    float | None, typer.Option("--min-ap", min=0, max=1, help="Exit 3 if AP is below.")
]
MinAp50Flag = Annotated[
    float | None, typer.Option("--min-ap50", min=0, max=1, help="Exit 3 if AP50 is below.")
]


def eval_(
    model: ModelArgument,
    data: DataArgument,
    split: SplitFlag = "val",
    annotations: AnnotationsFlag = None,
    shared_classes: SharedFlag = False,
    scorer: ScorerFlag = "fast",
    batch: BatchFlag = 8,
    min_ap: MinApFlag = None,
    min_ap50: MinAp50Flag = None,
    outputs: Outputs = "",
    engine: Runtime = "",
    device: Device = "auto",
    threads: Threads = 0,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score a model on a COCO folder: the 12 figures, per class, gates.

    Precision and recall are those at the confidence of the best F1. With -o the report is also
    written to a file. Any artifact can be scored: what is shipped is what should be measured.
    ONNX files of other tools are scored too, once --outputs says what they take and give.
    """
    console.setup(quiet, verbose)
    from detkit.artifact.artifact import parent_of
    from detkit.evaluation.evaluate import score_split

    check_report_file(out, force=force, read=(model, data, annotations))
    session = open_model(
        model,
        outputs=outputs,
        engine=engine,
        device=device,
        threads=threads,
        data=annotations or data,
        split=split,
    )
    chosen = _read_split(data, split, annotations, session.manifest.preprocess.size)
    chosen = _as_trained(chosen, session.manifest)
    chosen = _of_model(chosen, session.manifest.class_names, shared_only=shared_classes)
    with console.progress(len(chosen.records), f"eval {split}") as bar:
        report = score_split(
            session,
            chosen,
            model=parent_of(model),
            data=str(data),
            batch_size=batch,
            scorer=scorer,
            on_progress=bar.advance,
        )
    for text in undefined_notes(report):
        console.warn(text)
    emit_report(report, out, json=json, lines=_lines(report))
    check_gates(report, {"ap": min_ap, "ap50": min_ap50})


def check_gates(report: EvalReport, least: dict[str, float | None]) -> None:
    """Raises GateError naming every figure that is below its limit, or was not measured."""
    failures = []
    for name, limit in least.items():
        value = getattr(report, name)
        if limit is not None and (value is None or value < limit):
            found = f"{value:.4f} is below" if value is not None else "is undefined, no match for"
            failures.append(f"{name.upper()} {found} {limit:g}")
    if failures:
        raise GateError("; ".join(failures))


def undefined_notes(report: EvalReport) -> list[str]:
    """What to say of figures that are not what they seem."""
    if report.ap is None:
        return [f"'{report.split}' has no boxes to find: AP is undefined"]
    if not report.detections:
        return [f"nothing was found ({_limits(report)}): every AP is 0 for that reason"]
    return []


def _read_split(
    data: Path, split: str, annotations: Path | None, size: tuple[int, int]
) -> CocoSplit:
    """The split, with a warning where something in it could not be used or is seldom meant."""
    from detkit.data.coco.commands import check_command
    from detkit.data.coco.folder import open_folder, with_sizes_suspected

    files = {split: (annotations, data)} if annotations else None
    folder = with_sizes_suspected(open_folder(data, files=files, splits=(split,)), size)
    counts = folder.report.splits[0]
    if counts.dropped_images or counts.dropped_boxes:
        console.warn(
            f"{counts.dropped_images} images and {counts.dropped_boxes} boxes of '{split}' "
            f"cannot be used and do not count: see `{check_command(data, files)}`"
        )
    for suspicion in folder.report.suspicions:
        console.warn(suspicion.line)
    return folder.split(split)


def _as_trained(split: CocoSplit, facts: Signature) -> CocoSplit:
    """The split with the classes that the model was trained on, and a line where they are fewer."""
    from detkit.data.coco.selection import as_trained

    part = as_trained(split, facts)
    if facts.class_scope.kind == "some":
        names = ", ".join(part.class_names[:3]) + (", ..." if part.class_names[3:] else "")
        of = f"{len(part.class_names)} of {len(split.class_names)} classes"
        console.log(f"scored on {of}, as trained: {names}")
    elif facts.class_scope.kind == "one":
        console.log(f"scored with {facts.class_scope}, as trained: {facts.class_names[0]}")
    return part


def _of_model(split: CocoSplit, names: tuple[str, ...], *, shared_only: bool) -> CocoSplit:
    """The split as the model can be scored on, with a warning of what is not: on either side."""
    from detkit.data.coco.classes import of_classes

    missing = [name for name in names if name not in split.class_names]
    if missing and len(missing) < len(names):
        console.warn(
            f"the data does not have {len(missing)} of the model's {len(names)} classes "
            f"({', '.join(missing[:3])}{', ...' if missing[3:] else ''}): "
            "what it finds of them does not count"
        )
    if not shared_only:
        return split
    shared = of_classes(split, names)
    left_out = len(split.class_names) - len(shared.class_names)
    if left_out:
        boxes = sum(len(record.classes) for record in split.records)
        lost = boxes - sum(len(record.classes) for record in shared.records)
        console.warn(
            f"{left_out} of {len(split.class_names)} classes of the data, with {lost} of {boxes} "
            "boxes, are left out: the model does not know them"
        )
    return shared


def _lines(report: EvalReport) -> list[str]:
    figures = {
        "AP": report.ap,
        "AP50": report.ap50,
        "AP75": report.ap75,
        "AP small": report.ap_small,
        "AP medium": report.ap_medium,
        "AP large": report.ap_large,
        "AR 1": report.ar1,
        "AR 10": report.ar10,
        "AR 100": report.ar100,
        "AR small": report.ar_small,
        "AR medium": report.ar_medium,
        "AR large": report.ar_large,
    }
    rows = [
        (
            name,
            *map(_figure, (c.ap, c.ap50, c.precision, c.recall, c.f1, c.confidence)),
            f"{c.boxes}",
        )
        for name, c in report.per_class.items()
    ]
    together = (report.precision, report.recall, report.f1, report.confidence)
    rows.append(("all", *map(_figure, (report.ap, report.ap50, *together)), f"{report.boxes}"))
    headers = ("class", "AP", "AP50", "precision", "recall", "F1", "confidence", "boxes")
    return [
        *console.table(("figure", "value"), [(k, _figure(v)) for k, v in figures.items()]),
        "",
        *console.table(headers, rows),
        "",
        f"{report.images} images of {report.split}, {report.detections} detections, "
        f"{report.runtime}, {report.engine} ({report.engine_version}), {_limits(report)}",
    ]


def _limits(report: EvalReport) -> str:
    if report.score_threshold is None:
        return "suppressed in the graph"
    return (
        f"score > {report.score_threshold:g}, NMS IoU {report.nms_iou:g}, "
        f"at most {report.max_detections} an image"
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
