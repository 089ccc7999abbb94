"""Detectors of other packages, read by detkit, against what each package itself finds.

    python benchmarks/foreign.py install [PACKAGE...]
    python benchmarks/foreign.py run DATA [PACKAGE...] -o results/foreign.json
    python benchmarks/foreign.py table

Each package has a virtual environment of its own in $FOREIGN (/tmp/detkit-foreign), where it writes
an ONNX file by its own exporter, and finds objects in real images by its own preprocessing, network
and postprocessing. Packages that are on no index are installed from checkouts of their
repositories, named by the variables NANODET, PADDLEDET and DAMO_YOLO.

detkit then reads the file as `--outputs` was told, and what it finds is held against that: class,
corners and scores of every detection. Weights are random but seeded, and tell images apart
(`foreign_models/weights.py`). Images have the size of the input, since detkit's resize is not the
packages': what is compared is how pixels are fed, and outputs read. Files that take any number of
images are run with four alone and together, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from foreign_matching import agreement
from foreign_models.packages import PACKAGES, Package
from foreign_models.recipe import EVEN, EXPECTED, FILE, SQUARE, ForeignModel, Found, read_found
from PIL import Image
from rows import Row, add_out_argument, show_rows

from detkit.core.boxes import PREDICT_NMS, Detections, NmsConfig, area_xyxy
from detkit.core.errors import DetkitError, DetkitWarning
from detkit.data.image import Pixels, read_image
from detkit.engines.opening import open_session
from detkit.onnx_signature.fitting import fitting_presets
from detkit.onnx_signature.onnx_graph import read_graph
from detkit.predict import detect_in_images
from detkit.runtime.batches import only_batch_of
from detkit.runtime.session import Session, SessionOptions
from detkit.spec.onnx_presets import read_description

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "foreign.json"
NUM_IMAGES = 4
SAME, ONE_ONLY = "same", "one image only"
WRONG = "wrong in the graph: told, and run one at a time"


def home() -> Path:
    """The folder of all environments and files."""
    return Path(os.environ.get("FOREIGN", "/tmp/detkit-foreign"))


# --- making ----------------------------------------------------------------------------------


def make(package: Package, index: int, data: Path, folder: Path) -> str:
    """Has the package write its file and its detections into `folder`; returns its version.

    Where both are there, they are kept.
    """
    model, version = package.models[index], folder / "version.txt"
    if version.exists():
        return version.read_text(encoding="utf-8")
    write_images(data, folder, model)
    command = [package.python(home()), "-m", "foreign_models.make", package.name, str(index)]
    done = subprocess.run(
        [*command, folder], cwd=folder, env=package.environment(home(), HERE), **CAPTURED
    )
    (folder / "log.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        raise MakingError((done.stderr.strip() or "no message").splitlines()[-1])
    version.write_text(done.stdout.split()[-1], encoding="utf-8")
    return version.read_text(encoding="utf-8")


CAPTURED: dict[str, Any] = {"capture_output": True, "text": True, "check": False}


class MakingError(Exception):
    """The package did not write its file; the message is its last line."""


def write_images(data: Path, folder: Path, model: ForeignModel) -> None:
    """Writes real images, of the size that the model takes, as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted((data / "images").rglob("*.jpg"))[:NUM_IMAGES]
    height, width = model.size
    for index, path in enumerate(paths):
        image = Image.open(path).convert("RGB")
        scale = min(height / image.height, width / image.width)
        step = 2 if model.images == EVEN else 1
        size = (
            round(image.width * scale) // step * step,
            round(image.height * scale) // step * step,
        )
        image.resize((width, height) if model.images == SQUARE else size).save(
            folder / f"{index}.png"
        )


# --- comparing -------------------------------------------------------------------------------


def opened(model: ForeignModel, folder: Path) -> Session:
    """The file as detkit reads it by its preset or description."""
    outputs = model.outputs
    if not isinstance(outputs, str):
        path = folder / "outputs.json"
        path.write_text(json.dumps(outputs), encoding="utf-8")
        outputs = str(path)
    return open_session(
        folder / FILE,
        session_options=SessionOptions(threads=1),
        description=read_description(outputs),
    )


def nms_of(model: ForeignModel) -> NmsConfig:
    """The postprocessing that the package was given."""
    return dataclasses.replace(
        PREDICT_NMS,
        score_threshold=model.conf,
        iou_threshold=model.iou,
        max_candidates=30000,
        multi_label=model.multi_label,
    )


def compared(model: ForeignModel, folder: Path) -> Row:
    """What detkit finds in the images, beside what the package found."""
    session, nms = opened(model, folder), nms_of(model)
    images = [read_image(path) for path in sorted(folder.glob("*.png"))]
    expected = [
        as_detections(found, image.shape[:2])
        for found, image in zip(read_found(folder / EXPECTED), images, strict=True)
    ]
    alone = [detect_in_images(session, [image], nms)[0] for image in images]
    result = agreement(expected, alone, model.conf)
    return {
        "detections": result.detections,
        "unpaired": result.unpaired,
        "box_px": float(f"{result.box_px:.2g}"),
        "score": float(f"{result.score:.2g}"),
        "equal": result.is_equal,
        "batch": in_a_batch(session, images, alone, nms),
        "info": list(fitting_presets(read_graph(folder / FILE))),
    }


def in_a_batch(
    session: Session, images: Sequence[Pixels], alone: Sequence[Detections], nms: NmsConfig
) -> str:
    """Whether images together give what each gave alone, and what detkit said of it."""
    if only_batch_of(session) == 1:
        return ONE_ONLY
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", DetkitWarning)
        together = detect_in_images(session, images, nms)
    found = agreement(alone, together, nms.score_threshold)
    if not found.is_same:
        return f"{found.unpaired} of {found.detections} differ"
    return WRONG if any(issubclass(one.category, DetkitWarning) for one in told) else SAME


def as_detections(found: Found, size: tuple[int, ...]) -> Detections:
    """What a package found, its boxes cut to the image as detkit always cuts them."""
    limits = np.array([size[1], size[0], size[1], size[0]], np.float64)
    boxes = np.clip(found.boxes_xyxy, 0, limits).astype(np.float32)
    cut = Detections(boxes, found.scores.astype(np.float32), found.labels)
    return cut.at(area_xyxy(boxes) > 0)


# --- the command -----------------------------------------------------------------------------


def measured(data: Path, packages: Sequence[Package], *, again: bool) -> Iterator[Row]:
    """One row for each model: what came out, or why there is nothing."""
    for package in packages:
        for index, model in enumerate(package.models):
            folder = home() / "work" / f"{package.name}-{index}"
            if again:
                shutil.rmtree(folder, ignore_errors=True)
            row: Row = {"package": package.name, "model": model.name, "outputs": model.outputs}
            if not Path(package.python(home())).exists():
                yield row | {"failed": f"not installed: foreign.py install {package.name}"}
                continue
            try:
                row["version"] = make(package, index, data, folder)
                yield row | compared(model, folder)
            except (MakingError, DetkitError) as error:
                yield row | {"failed": str(error)}


def table_lines(rows: Sequence[Row]) -> list[str]:
    """The Markdown table, and what it says in one sentence."""
    lines = [
        "| package | model | `--outputs` | detections | px | score | 4 in a batch |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        outputs = row["outputs"]
        told = f"`{outputs}`" if isinstance(outputs, str) else f"a file on `{outputs['preset']}`"
        start = f"| {row['package']} {row.get('version', '')} | {row['model']} | {told} "
        if "failed" in row:
            lines.append(f"{start}| {row['failed']} | | | |")
            continue
        lost = f", {row['unpaired']} not shared" if row["unpaired"] else ""
        figures = (f"{row['detections']}{lost}", f"{row['box_px']:g}", f"{row['score']:g}")
        lines.append(f"{start}| {' | '.join(figures)} | {row['batch']} |")
    equal = [row for row in rows if row.get("equal")]
    preset = [row for row in rows if isinstance(row["outputs"], str) and "info" in row]
    named = [row for row in preset if row["outputs"] in row["info"]]
    packages = {row["package"] for row in equal}
    return [
        *lines,
        "",
        f"{len(equal)} of {len(rows)} equal their own postprocessing, of {len(packages)} packages."
        f" Of {len(preset)} that a preset reads, `info` names it for {len(named)}.",
    ]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="make the files, read them, compare")
    run.add_argument("--again", action="store_true", help="make files anew that are there")
    run.add_argument("data", type=Path, help="folder with images, JPEG")
    add_out_argument(run)
    install = verbs.add_parser("install", help="make the environments")
    for verb in (run, install):
        verb.add_argument("packages", nargs="*", help=f"of {', '.join(PACKAGES)}; else all")
    table = verbs.add_parser("table", help="print the table of a record")
    table.add_argument("record", type=Path, nargs="?", default=RESULTS)
    asked = parser.parse_args()
    if asked.verb == "table":
        record = json.loads(asked.record.read_text(encoding="utf-8"))
        print("\n".join(table_lines(record["rows"])))
        return
    if unknown := set(asked.packages) - set(PACKAGES):
        parser.error(f"unknown package {', '.join(unknown)}: known are {', '.join(PACKAGES)}")
    packages = [PACKAGES[name] for name in asked.packages or PACKAGES]
    if asked.verb == "install":
        sys.exit(max(package.install(home()) for package in packages))
    rows = measured(asked.data, packages, again=asked.again)
    show_rows(rows, "detectors of other packages", asked.out)


if __name__ == "__main__":
    main()
