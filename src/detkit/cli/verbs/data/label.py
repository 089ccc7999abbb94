"""`detkit data label`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.command_flags import SettingsHelp
from detkit.cli.descriptions import check_names_classes, open_model
from detkit.cli.options import (
    Config,
    Device,
    Force,
    Json,
    Outputs,
    Quiet,
    Runtime,
    Sets,
    Threads,
    Verbose,
    field_option,
    settings_given,
)
from detkit.config import LabelConfig
from detkit.core.errors import UsageError

if TYPE_CHECKING:
    from detkit.labelling.classes import ClassMap
    from detkit.labelling.images import LabelSource
    from detkit.report import LabelReport
    from detkit.runtime.session import Session

EXAMPLES = {
    "data label": (
        "detkit data label photos/ --model best.safetensors -o labelled",
        "detkit data label photos/ --model v8.onnx --outputs yolov8 --classes map.json -o labelled",
        "detkit data label photos/ --model det.onnx --score 0.5 --score-of person=0.7 -o labelled",
        "detkit data label coco/images --annotations coco/annotations/instances_train.json"
        " --model det.onnx -o more",
    ),
}
SHOWN = 5  # images named for each thing worth a warning


SETTINGS = SettingsHelp(config="LabelConfig")
ImagesArgument = Annotated[
    list[Path], typer.Argument(help="Images, folders of them, or a COCO folder; only read.")
]
ModelFlag = Annotated[
    Path, typer.Option("--model", metavar="FILE", help="Checkpoint or exported model.")
]
OutFlag = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="COCO folder to make.")]
AnnotationsFlag = Annotated[
    Path | None,
    typer.Option("--annotations", help="Labels of people for some of the images; they are kept."),
]
ClassesFlag = Annotated[
    Path | None,
    typer.Option(
        "--classes",
        metavar="FILE",
        help='JSON or TOML: {"car": "vehicle", "dog": null} renames and drops classes.',
    ),
]
ScoreFlag = Annotated[float | None, field_option(LabelConfig, "score")]
ScoreOfFlag = Annotated[
    list[str] | None,
    typer.Option("--score-of", metavar="NAME=X", help="Least score of one class; may be repeated."),
]
IouFlag = Annotated[float | None, field_option(LabelConfig, "iou")]
MaxBoxesFlag = Annotated[int | None, field_option(LabelConfig, "max_boxes")]
UnmappedFlag = Annotated[str | None, field_option(LabelConfig, "unmapped")]
HumanClassesFlag = Annotated[str | None, field_option(LabelConfig, "human_classes")]
SplitFlag = Annotated[str | None, field_option(LabelConfig, "split")]
ValShareFlag = Annotated[float | None, field_option(LabelConfig, "val_share")]
LinkFlag = Annotated[bool | None, field_option(LabelConfig, "link")]
SheetsFlag = Annotated[int | None, field_option(LabelConfig, "sheets")]


def label(
    images: ImagesArgument,
    model: ModelFlag,
    out: OutFlag,
    annotations: AnnotationsFlag = None,
    classes: ClassesFlag = None,
    score: ScoreFlag = None,
    score_of: ScoreOfFlag = None,
    iou: IouFlag = None,
    max_boxes: MaxBoxesFlag = None,
    unmapped: UnmappedFlag = None,
    human_classes: HumanClassesFlag = None,
    split: SplitFlag = None,
    val_share: ValShareFlag = None,
    link: LinkFlag = None,
    sheets: SheetsFlag = None,
    outputs: Outputs = "",
    engine: Runtime = "",
    device: Device = "auto",
    threads: Threads = 0,
    config: Config = None,
    sets: Sets = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a COCO folder of the boxes a model finds, with their scores; prints DIR.

    DIR gets images/, annotations/, doubtful.csv (every image, the most doubtful first), sheets/
    (these drawn, near misses dashed) and report.json. Labels that exist, of a COCO folder or
    --annotations, are kept: on their images the model adds classes that they lack, with
    --human-classes fill also boxes that they lack. Equal images are labelled once.
    """
    given = locals()
    console.setup(quiet, verbose)
    from detkit.artifact.outputs import check_output_folder
    from detkit.config import resolve
    from detkit.labelling.images import find_label_images
    from detkit.labelling.review import VERB

    flags = settings_given(LabelConfig, given)
    settings = resolve(LabelConfig, file=config, sets=sets or (), flags=flags)
    class_map = _class_map(classes, score_of or [])
    check_output_folder(out, VERB, force=force)
    source = find_label_images(images, out, settings, annotations=annotations)
    session = open_model(model, outputs=outputs, engine=engine, device=device, threads=threads)
    check_names_classes(session, model)
    report = _label(session, source, out, model, settings, class_map, force)
    for warning in _warnings(report):
        console.warn(warning)
    console.emit(report, json=json, lines=[str(out)])


def _label(
    session: Session,
    source: LabelSource,
    out: Path,
    model: Path,
    settings: LabelConfig,
    class_map: ClassMap,
    force: bool,
) -> LabelReport:
    """Labels the images with lines and a bar on stderr."""
    from detkit.artifact.artifact import parent_of
    from detkit.labelling.run import label_images

    labelled = sum(item.human is not None for item in source.items)
    console.log(f"{len(source.items)} images, {labelled} of them with labels; {session.engine}")
    with console.progress(len(source.items), "label") as bar:
        report = label_images(
            session,
            source,
            out,
            model=parent_of(model),
            config=settings,
            class_map=class_map,
            force=force,
            on_progress=bar.advance,
        )
    console.log("\n".join(_summary(report)))
    return report


def _class_map(file: Path | None, score_of: list[str]) -> ClassMap:
    """What the file says, and above it `--score-of`.

    Raises:
        UsageError: a file or a flag that cannot be understood.
    """
    from detkit.labelling.classes import ClassMap, checked_score, read_class_map

    found = read_class_map(file) if file else ClassMap()
    scores = dict(found.scores)
    for text in score_of:
        name, equals, number = text.rpartition("=")
        try:
            value = float(number) if equals else None
        except ValueError:
            value = None
        if value is None:
            raise UsageError(f"--score-of {text}: write NAME=SCORE")
        scores[name] = checked_score(value, f"--score-of {text}")
    return ClassMap(labels=found.labels, scores=scores)


def _summary(report: LabelReport) -> list[str]:
    counts = report.counts
    splits = ", ".join(f"{name} {count}" for name, count in counts.images_per_split.items())
    rows = [
        (name, f"{count}", f"{counts.human_boxes_per_class[name]}")
        for name, count in counts.boxes_per_class.items()
        if count or counts.human_boxes_per_class[name]
    ]
    lines = console.table(("class", "boxes", "of people"), rows) if rows else []
    lines += [
        f"{counts.images} images ({splits}), {counts.images_without_boxes} without boxes,"
        f" {counts.images_linked} hard-linked, the others copied",
        f"{counts.boxes} boxes of the model, {counts.human_boxes} of people",
    ]
    if report.doubtful:
        first = report.doubtful[0]
        lines.append(f"look first at {first.image} (doubt {first.doubt:.1f}): doubtful.csv, sheets")
    return lines


def _warnings(report: LabelReport) -> list[str]:
    found = []
    if report.counts.left_to_humans:
        found.append(
            f"{report.counts.left_to_humans} boxes of classes that people labelled are left out"
            " of their images: --human-classes fill adds those that overlap no box of theirs"
        )
    if report.dropped_human_boxes:
        found.append(
            f"{report.dropped_human_boxes} boxes of people cannot be used and are left out:"
            " `detkit data check` lists such faults of a COCO folder"
        )
    if report.duplicates:
        pairs = [f"{name} is {first}" for name, first in report.duplicates.items()]
        found.append(f"{len(pairs)} duplicates left out: {_some(pairs)}")
    if report.skipped:
        found.append(f"{len(report.skipped)} images cannot be read: {_some(report.skipped)}")
    return found


def _some(texts: list[str] | tuple[str, ...]) -> str:
    rest = f" and {len(texts) - SHOWN} more: report.json" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + rest
