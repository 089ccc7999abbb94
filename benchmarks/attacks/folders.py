"""Dirty COCO, YOLO and VOC folders, drawn by property: what is kept, mended and dropped adds up.

A folder is refused with one error, or every image and every label row of it is counted once. COCO
annotations are drawn as JSON values of the right and of wrong types, YOLO and VOC labels as text
that is half right.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from attacks.process import Tally
from detkit.core.errors import DetkitError
from detkit.data.coco.folder import inspect_folder
from detkit.report import DataReport

NUM_IMAGES = 5  # that exist; names of others are drawn too
SIDE = 24

# Of one drawn folder: what went wrong, or nothing, and whether it was read or refused.
Check = Callable[[Any], tuple[str, str]]

# --- what is drawn --------------------------------------------------------------------------------

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.floats(allow_nan=True, width=32),
    st.text(max_size=3),
    st.just([]),
    st.just({}),
    st.integers(2**62, 2**70),
    st.sampled_from(["1", "1.0", "1e0", 1.0, "0.png", "../0.png", "0.PNG", "9.png"]),
    st.lists(st.one_of(st.floats(width=32), st.integers(-9, 99), st.text(max_size=2)), max_size=5),
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """COCO annotations of which up to four values or entries are not what they should be."""
    count = draw(st.integers(1, NUM_IMAGES))
    images = [
        {"id": n + 1, "file_name": f"{n}.png", "width": SIDE, "height": SIDE} for n in range(count)
    ]
    sizes = st.floats(1, SIDE / 2, width=32)
    annotations = [
        {
            "id": n + 1,
            "image_id": draw(st.integers(1, count)),
            "category_id": draw(st.integers(1, 2)),
            "bbox": draw(st.lists(sizes, min_size=4, max_size=4)),
            "iscrowd": 0,
            "area": 4,
        }
        for n in range(draw(st.integers(0, 9)))
    ]
    categories = [{"id": n, "name": name} for n, name in ((1, "a"), (2, "b"))]
    tables = {"images": images, "annotations": annotations, "categories": categories}
    for _ in range(draw(st.integers(0, 4))):
        names = ["images", "annotations", "annotations", "annotations"]
        entries: list[Any] = tables[draw(st.sampled_from([*names, *names, "categories"]))]
        if not entries:
            continue
        index = draw(st.integers(0, len(entries) - 1))
        what = draw(st.integers(0, 9))
        if what == 0:
            entries[index] = draw(ODD)
        elif what == 1:
            entries.append(entries[index])
        elif isinstance(entries[index], dict) and entries[index]:
            key = draw(st.sampled_from(sorted(entries[index])))
            entry = dict(entries[index])
            entry[key] = draw(ODD)
            entries[index] = entry
            if what == 2:
                del entry[key]
    return tables


WORDS = st.one_of(
    st.floats(0, 1, width=32).map(lambda x: f"{x:.4f}"),
    st.integers(-1, 3).map(str),
    st.sampled_from(["nan", "inf", "1e0", "-0.2", "1.5", "x", "0,5", "1e400"]),
)
ROW = st.tuples(st.integers(0, 1).map(str), *[st.floats(0.1, 0.9).map(lambda x: f"{x:.3f}")] * 4)
ROWS = st.one_of(*[ROW.map(" ".join)] * 5, st.lists(WORDS, max_size=9).map(" ".join))
LABEL_FILES = st.dictionaries(
    st.integers(0, NUM_IMAGES), st.lists(ROWS, max_size=5), max_size=NUM_IMAGES + 1
)
CORNERS = st.tuples(*[st.integers(0, 9).map(str)] * 2, *[st.integers(10, SIDE).map(str)] * 2)
OBJECT = st.tuples(st.sampled_from(["a", "b"]), CORNERS.map(list))
ODD_OBJECT = st.tuples(st.sampled_from(["a", "", " ", "&amp;"]), st.lists(WORDS, max_size=5))
OBJECTS = st.lists(st.one_of(*[OBJECT] * 5, ODD_OBJECT), max_size=5)
XML_FILES = st.dictionaries(
    st.integers(0, NUM_IMAGES), st.one_of(*[OBJECTS] * 9, st.none()), max_size=NUM_IMAGES + 1
)

# --- what is checked ------------------------------------------------------------------------------


def draw_folders(work: Path, *, times: int, first_seed: int) -> list[Tally]:
    """Draws `times` folders of each format."""
    images = work / "images"
    images.mkdir(parents=True, exist_ok=True)
    for number in range(NUM_IMAGES):
        Image.new("RGB", (SIDE, SIDE), (40 * number, 90, 10)).save(images / f"{number}.png")
    return [
        _drawn("dirty COCO folders", documents(), _CocoCheck(work, images), times, first_seed),
        _drawn("dirty YOLO folders", LABEL_FILES, _YoloCheck(work, images), times, first_seed),
        _drawn("dirty VOC folders", XML_FILES, _VocCheck(work, images), times, first_seed),
    ]


def _drawn(
    what: str, drawn: st.SearchStrategy[Any], check: Check, times: int, first_seed: int
) -> Tally:
    tally = Tally(what)

    @seed(first_seed)
    @settings(
        max_examples=times,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)
    def draw(example: Any) -> None:
        note = ""
        try:
            failure, note = check(example)
        except Exception as error:  # whatever escapes is what is looked for
            failure = f"{type(error).__name__}: {error}"
        tally.add(f"{failure} of {example!r:.300}" if failure else "", note=note)

    draw()
    return tally


class _CocoCheck:
    """Reads a document as the train split of a folder, and counts."""

    def __init__(self, work: Path, images: Path) -> None:
        self.path, self.images = work / "drawn.json", images

    def __call__(self, document: dict[str, Any]) -> tuple[str, str]:
        self.path.write_text(json.dumps(document), encoding="utf-8")
        try:
            report = inspect_folder(
                self.images, files={"train": (self.path, self.images)}, splits=("train",)
            ).report
        except DetkitError:
            return "", "refused"
        if any(fault.action == "rejected" for fault in report.faults):
            return "", "refused"
        (split,) = report.splits
        images = split.images + split.dropped_images
        boxes = split.boxes + split.dropped_boxes
        if images != len(document["images"]):
            return f"{images} images counted of {len(document['images'])}", "read"
        if boxes != len(document["annotations"]):
            return f"{boxes} boxes counted of {len(document['annotations'])}", "read"
        return "", "read"


class _Converted:
    """Converts a drawn folder; every image of it is counted once."""

    kind = ""
    lists_lost = False  # labels of an image that is not there count as an image

    def __init__(self, work: Path, images: Path) -> None:
        self.source, self.out, self.images = work / f"{self.kind}-drawn", work / "made", images

    def __call__(self, files: Any) -> tuple[str, str]:
        for folder in (self.source, self.out):
            shutil.rmtree(folder, ignore_errors=True)
        num_rows = self.write(files)
        listed = NUM_IMAGES + (self.lists_lost and NUM_IMAGES in files)
        try:
            report = convert(self.source, self.out, self.kind)
        except DetkitError:
            return "it is refused, and yet written" if self.out.exists() else "", "refused"
        images = sum(split.images + split.dropped_images for split in report.splits)
        if report.source:
            images += report.source.images_in_no_split
        boxes = sum(split.boxes + split.dropped_boxes for split in report.splits)
        if images != listed:
            return f"{images} images counted of {listed}", "read"
        return "" if boxes == num_rows else f"{boxes} boxes counted of {num_rows}", "read"

    def write(self, files: Any) -> int:
        """Writes the folder; returns how many labels the report must count."""
        raise NotImplementedError


class _YoloCheck(_Converted):
    kind = "yolo"

    def write(self, files: dict[int, list[str]]) -> int:
        (self.source / "labels").mkdir(parents=True)
        shutil.copytree(self.images, self.source / "images")
        (self.source / "data.yaml").write_text("names: [a, b]\n")
        for number, rows in files.items():
            path = self.source / "labels" / f"{number}.txt"
            path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        return sum(bool(row.strip()) for n, rows in files.items() if n < NUM_IMAGES for row in rows)


class _VocCheck(_Converted):
    kind = "voc"
    lists_lost = True

    def write(self, files: dict[int, list[tuple[str, list[str]]] | None]) -> int:
        (self.source / "Annotations").mkdir(parents=True)
        shutil.copytree(self.images, self.source / "JPEGImages")
        count = 0
        for number, objects in files.items():
            text = "<annotation>" if objects is None else _voc_xml(number, objects)
            (self.source / "Annotations" / f"{number}.xml").write_text(text, encoding="utf-8")
            if objects is not None:
                count += len(objects)
        return count


def _voc_xml(number: int, objects: list[tuple[str, list[str]]]) -> str:
    parts = [f"<annotation><filename>{number}.png</filename>"]
    parts += [f"<size><width>{SIDE}</width><height>{SIDE}</height></size>"]
    for name, corners in objects:
        box = "".join(
            f"<{tag}>{text}</{tag}>"
            for tag, text in zip(("xmin", "ymin", "xmax", "ymax", "zmin"), corners, strict=False)
        )
        parts.append(f"<object><name>{name}</name><bndbox>{box}</bndbox></object>")
    return "".join([*parts, "</annotation>"])


def convert(source: Path, out: Path, kind: str) -> DataReport:
    """Converts as `detkit data convert` does."""
    from detkit.data.converters.convert import ConvertOptions, convert_folder

    return convert_folder(source, out, ConvertOptions(from_=kind), max_dropped=1.0)
