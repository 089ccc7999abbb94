"""`detkit data check`, `detkit data convert`, `detkit data synth`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

import typer

from detkit.cli import console
from detkit.cli.options import Force, Json, Quiet, Seed, Verbose
from detkit.core.errors import DataError
from detkit.report import DataReport, Fault

EXAMPLES = {
    "data check": ("detkit data check coco/", "detkit data check coco/ --json > check.json"),
    "data convert": (
        "detkit data convert VOC2007/ --from voc -o coco",
        "detkit data convert yolo/ --from yolo -o coco --json",
    ),
    "data synth": (
        "detkit data synth -o shapes",
        "detkit data synth -o shapes --train 1000 --val 200 --test 200 --size 320 --seed 7",
        "detkit data synth -o drawn --kind objects --train 5000 --size 256",
    ),
}
LISTED = 20  # files listed for each reason unless -v
ACTIONS = ("rejected", "dropped", "fixed", "kept")

ImagesFlag = Annotated[
    Path | None, typer.Option("--images", help="Image folder, where an annotation file is given.")
]
NewFolder = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to make.")]


def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR|FILE", help="COCO folder, or annotation file; only read.")
    ],
    images: ImagesFlag = None,
    imgsz: Annotated[
        int, typer.Option("--imgsz", min=32, help="Size to tell vanishing objects at, pixels.")
    ] = 640,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1 also for what was fixed, kept or suspicious.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List every fault of a COCO folder by file and reason; exit 1 if anything was dropped.

    Every image is decoded once; the verdicts are remembered. Training uses the same code: what
    is dropped here is dropped there. The faults are listed up to 20 files a reason, with -v all.
    What most boxes or images have in common that is seldom meant (shares of the image for pixels,
    corners for sizes, crowds alone, objects too small to see) is warned of, with what mends it.
    """
    console.setup(quiet, verbose)
    from detkit.data.coco.folder import inspect_folder, with_sizes_suspected
    from detkit.data.coco.layout import lone_file

    files = lone_file(folder, images) if images or folder.is_file() else None
    with console.progress(None, "decode") as bar:
        read = inspect_folder(folder, files=files, on_progress=lambda *_: bar.advance())
    report = with_sizes_suspected(read, (imgsz, imgsz)).report
    lines = [*_counts(report), *_totals(report), *_faults(report, verbose)]
    console.emit(report, json=json, lines=lines)
    for suspicion in report.suspicions:
        console.warn(suspicion.line)
    rejected = [fault for fault in report.faults if fault.action == "rejected"]
    if rejected:
        raise DataError(f"{folder} cannot be used: {rejected[0].reason}: {rejected[0].file}")
    if not report.clean:
        raise DataError(f"{folder}: {_dropped(report)} cannot be used")
    if strict and (report.faults or report.suspicions):
        raise DataError(f"{folder}: usable, but not without faults (--strict)")


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="VOC, YOLO or COCO folder; only read.")
    ],
    from_: Annotated[Literal["voc", "yolo", "coco"], typer.Option("--from", help="What SRC is.")],
    out: NewFolder,
    images: ImagesFlag = None,
    box_form: Annotated[
        Literal["xywh", "xyxy", "cxcywh"] | None,
        typer.Option("--box-form", help="What the numbers of a box are, if not the usual."),
    ] = None,
    box_unit: Annotated[
        Literal["pixels", "shares", "percent"] | None,
        typer.Option("--box-unit", help="Their unit, if not the usual; shares are 0 to 1."),
    ] = None,
    no_crowd: Annotated[
        bool, typer.Option("--no-crowd", help="Take crowd regions as objects.")
    ] = False,
    max_dropped: Annotated[
        float,
        typer.Option("--max-dropped", min=0, max=1, help="Share that may be left out."),
    ] = 0.01,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a COCO folder of VOC, YOLO or COCO labels: images copied, boxes checked; prints DIR.

    VOC: XML files in Annotations/ or beside the images, lists of splits in ImageSets/Main/. YOLO:
    images/, labels/, data.yaml or classes.txt. Without lists of splits the images are divided
    80/10/10, always the same way. COCO: what is in it is read another way (--box-form, --box-unit,
    --no-crowd). Exit 1, and nothing is written, where more is left out than --max-dropped allows.
    """
    console.setup(quiet, verbose)
    from detkit.data.coco.layout import lone_file
    from detkit.data.converters import convert as converting

    options = converting.ConvertOptions(
        from_=from_,
        form=box_form or "",
        unit=box_unit or "",
        crowd=not no_crowd,
        files=lone_file(source, images) if images or source.is_file() else None,
    )
    converting.check_target(source, out, force=force)
    with console.progress(None, "decode") as bar:
        read = converting.read_source(source, out, options, on_progress=lambda *_: bar.advance())
    report = read.report
    console.log("\n".join([*_counts(report), *_totals(report), *_faults(report, verbose)]))
    for suspicion in report.suspicions:
        console.warn(suspicion.line)
    converting.require_convertible(source, report, max_dropped=max_dropped)
    converting.write_source(out, read)
    if not report.clean:
        console.warn(f"{_dropped(report)} left out")
    console.emit(report, json=json, lines=[str(out)])


def synth(
    out: NewFolder,
    train: Annotated[int, typer.Option("--train", min=1, help="Images to train on.")] = 320,
    val: Annotated[int, typer.Option("--val", min=0, help="Images to choose by.")] = 80,
    test: Annotated[int, typer.Option("--test", min=0, help="Images to judge by.")] = 40,
    size: Annotated[int, typer.Option("--size", min=32, help="Side of an image, pixels.")] = 192,
    kind: Annotated[
        Literal["shapes", "objects"],
        typer.Option("--kind", help="Six plain shapes, or sixty made-up objects."),
    ] = "shapes",
    classes: Annotated[
        int | None, typer.Option("--classes", min=1, help="Only the first classes; all by default.")
    ] = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw a small COCO folder to try things on; prints DIR.

    Turned, overlapping, textured shapes of up to six classes among lines and lumps of none; or, to
    pretrain on, sparse and crowded scenes of sixty made-up classes. The same flags give the same
    bytes.
    """
    console.setup(quiet, verbose)
    from detkit.data.synthetic.synth import synthesize

    counts = {"train": train, "val": val, "test": test}
    console.log(f"drawing {train + val + test} images")
    made = synthesize(
        out, images=counts, size=size, kind=kind, classes=classes, seed=seed, force=force
    )
    console.made(made)


# --- the report as text --------------------------------------------------------------------------


def _counts(report: DataReport) -> list[str]:
    """Two tables: images and boxes of each split, then boxes of each class."""
    headers = ["split", "images", "empty", "dropped images"]
    headers += ["boxes", "crowd", "clipped", "dropped boxes"]
    rows = [
        [
            split.split,
            *map(str, (split.images, split.images_without_boxes, split.dropped_images)),
            *map(str, (split.boxes, split.crowd_boxes, split.fixed_boxes, split.dropped_boxes)),
        ]
        for split in report.splits
    ]
    classes = [
        [name, *(str(split.boxes_per_class[name]) for split in report.splits)]
        for name in report.class_names
    ]
    names = [split.split for split in report.splits]
    return [
        *console.table(headers, rows),
        "",
        *console.table(("boxes of class", *names), classes),
        "",
    ]


def _totals(report: DataReport) -> Iterator[str]:
    """A line for all images, label files and boxes there are: how many are used, how many not."""
    from detkit.data.coco.split_reader import totals

    for thing, (used, lost) in totals(report).items():
        yield f"{thing}: {used + lost} in all, {used} used, {lost} left out"
    yield ""


def _faults(report: DataReport, everything: bool) -> Iterator[str]:
    """The faults, worst first, under a line for each reason."""
    if not report.faults:
        yield "no faults"
    order = sorted(report.faults, key=lambda fault: (ACTIONS.index(fault.action), fault.reason))
    for (action, reason), group in groupby(order, key=lambda fault: (fault.action, fault.reason)):
        faults = list(group)
        yield f"{action}: {reason}: {report.counts[reason]}"
        shown = faults if everything else faults[:LISTED]
        yield from (f"  {_fault_line(fault)}" for fault in shown)
        if len(faults) > len(shown):
            yield f"  and {len(faults) - len(shown)} more files (-v or --json lists all)"


def _fault_line(fault: Fault) -> str:
    return f"{fault.file}: {fault.detail}" if fault.detail else fault.file


def _dropped(report: DataReport) -> str:
    images = sum(split.dropped_images for split in report.splits)
    boxes = sum(split.dropped_boxes for split in report.splits)
    return f"{images} images and {boxes} boxes"
