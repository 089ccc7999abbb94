from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.core.errors import DataError, UsageError
from detkit.data.coco import faults
from detkit.data.coco.folder import inspect_folder, open_folder
from detkit.data.coco.split_reader import totals
from detkit.data.converters.convert import ConvertOptions, convert_folder
from detkit.data.converters.labels import divided
from detkit.data.converters.yolo_yaml import read_yolo_yaml
from detkit.report import DataReport

Write = Callable[..., Path]


def image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(levels).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def convert(source: Path, out: Path, from_: str, *, force: bool = False) -> DataReport:
    """Converts whatever can be, however little that is."""
    return convert_folder(source, out, ConvertOptions(from_=from_), force=force, max_dropped=1)


def voc_xml(*boxes: tuple[str, object, object, object, object], size: str = "40x30") -> str:
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for name, a, b, c, d in boxes
    )
    width, height = size.split("x")
    return (
        f'<?xml version="1.0" encoding="utf-8"?><annotation><filename>x.jpg</filename>'
        f"<size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"
    )


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Images a (cat, dog), b (nothing) to train on and c (cat) to validate."""
    root = tmp_path / "voc"
    for seed, stem in enumerate("abc"):
        image(root / "JPEGImages" / f"{stem}.jpg", seed)
    write(root / "Annotations/a.xml", voc_xml(("dog", 1, 2, 11, 12), ("cat", 5, 5, 9.5, 9)))
    write(root / "Annotations/b.xml", voc_xml())
    write(root / "Annotations/c.xml", voc_xml(("cat", 0, 0, 40, 30)))
    write(root / "ImageSets/Main/train.txt", "a\nb 1\n\n")
    write(root / "ImageSets/Main/val.txt", "c\n")
    return root


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Images a (cat, dog), b (no labels) to train on and c (a polygon) to validate."""
    root = tmp_path / "yolo"
    for seed, name in enumerate(("train/a", "train/b", "val/c")):
        image(root / "images" / f"{name}.jpg", seed)
    write(root / "labels/train/a.txt", "0 0.5 0.5 0.25 0.4\n2 0.1 0.1 0.1 0.1\n")
    write(root / "labels/val/c.txt", "0 0.25 0.5 0.75 0.5 0.5 1.0\n")
    write(root / "data.yaml", "train: images/train\nval: images/val\nnames: [cat, cow, dog]\n")
    return root


# --- VOC -----------------------------------------------------------------------------------------


def test_voc_becomes_an_equal_coco_folder(voc: Path, tmp_path: Path) -> None:
    report = convert(voc, tmp_path / "out", "voc")
    folder = open_folder(tmp_path / "out")
    assert report.clean
    assert folder.report.faults == ()
    assert folder.report.class_names == ("cat", "dog")
    first, second = folder.split("train").records
    assert first.file_name == "train/a.jpg"
    assert first.boxes_xyxy.tolist() == [[1, 2, 11, 12], [5, 5, 9.5, 9]]
    assert first.classes.tolist() == [1, 0]
    assert first.path.read_bytes() == (voc / "JPEGImages" / "a.jpg").read_bytes()
    assert len(second.classes) == 0
    assert len(folder.split("val").records) == 1


def test_voc_without_lists_is_divided_alike_every_time(voc: Path, tmp_path: Path) -> None:
    for name in ("train", "val"):
        (voc / "ImageSets" / "Main" / f"{name}.txt").unlink()
    first = convert(voc, tmp_path / "a", "voc")
    assert first.counts == {faults.NO_SPLIT_LIST: 1}
    assert sum(split.images for split in first.splits) == 3
    convert(voc, tmp_path / "b", "voc")
    for path in (tmp_path / "a").rglob("*.json"):
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_text() == path.read_text()


def test_split_is_80_10_10() -> None:
    parts = divided([str(i) for i in range(200)])
    assert [len(parts[split]) for split in ("train", "val", "test")] == [160, 20, 20]
    assert sorted(name for part in parts.values() for name in part) == sorted(map(str, range(200)))


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (2, [1, 1]), (4, [3, 1]), (6, [4, 1, 1])])
def test_a_few_images_have_one_to_validate_on(count: int, sizes: list[int]) -> None:
    parts = divided([str(i) for i in range(count)])
    assert [len(part) for part in parts.values()] == sizes
    assert list(parts) == ["train", "val", "test"][: len(sizes)]


def test_lists_whose_names_are_no_splits_are_named(voc: Path, tmp_path: Path) -> None:
    (voc / "ImageSets" / "Main" / "train.txt").rename(voc / "ImageSets" / "Main" / "fold1.txt")
    (voc / "ImageSets" / "Main" / "val.txt").unlink()
    (fault,) = (
        fault
        for fault in convert(voc, tmp_path / "a", "voc").faults
        if fault.reason == faults.NO_SPLIT_LIST
    )
    assert fault.detail == "not splits by their names: fold1.txt"


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (voc_xml(("cat", 5, 5, 5, 9)), faults.BOX_EMPTY),
        (voc_xml(("cat", 50, 5, 60, 9)), faults.BOX_OUTSIDE),
        (voc_xml(("cat", "x", 5, 60, 9)), faults.BOX_MALFORMED),
        (voc_xml(("cat", "", 5, 60, 9)), faults.BOX_MALFORMED),
        (voc_xml(("cat", 5, 5, 60, 9)), faults.BOX_CLIPPED),
        (voc_xml(size="0x0"), faults.SIZE_FILLED),
        ("<annotation>", faults.BAD_LABELS),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", faults.BAD_LABELS),
        ("<a>" + "x" * (1 << 20) + "</a>", faults.BAD_LABELS),
    ],
)
def test_voc_faults_are_told_and_left_out(voc: Path, tmp_path: Path, xml: str, reason: str) -> None:
    write(voc / "Annotations/b.xml", xml)
    report = convert(voc, tmp_path / "out", "voc")
    assert report.counts == {reason: 1}
    assert open_folder(tmp_path / "out").report.faults == ()


def test_voc_images_with_unreadable_labels_count_as_dropped(voc: Path, tmp_path: Path) -> None:
    write(voc / "Annotations/b.xml", "<annotation>")
    report = convert(voc, tmp_path / "out", "voc")
    assert (report.splits[0].images, report.splits[0].dropped_images) == (1, 1)
    assert not (tmp_path / "out/images/train/b.jpg").exists()


@pytest.mark.parametrize("bomb", ["utf-16", "declared"])
def test_entities_cannot_hide_in_another_encoding(voc: Path, tmp_path: Path, bomb: str) -> None:
    text = "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>&b;</annotation>"
    if bomb == "declared":
        raw = b'<?xml version="1.0" encoding="utf-7"?>' + text.encode("utf-7")
    else:
        raw = text.encode("utf-16")
    (voc / "Annotations/b.xml").write_bytes(raw)
    report = convert(voc, tmp_path / "out", "voc")
    assert report.counts == {faults.BAD_LABELS: 1}


def test_voc_names_that_lead_out_are_refused(voc: Path, tmp_path: Path) -> None:
    write(voc / "ImageSets/Main/val.txt", "../../d\n")
    assert convert(voc, tmp_path / "out", "voc").counts[faults.BAD_LABELS] == 1


def test_wrong_sizes_refuse_the_source_before_writing(voc: Path, tmp_path: Path) -> None:
    write(voc / "Annotations/b.xml", voc_xml(size="41x30"))
    with pytest.raises(DataError, match=faults.SIZE_MISMATCH):
        convert(voc, tmp_path / "out", "voc")
    assert not (tmp_path / "out").exists()


# --- YOLO ----------------------------------------------------------------------------------------


def test_yolo_becomes_an_equal_coco_folder(yolo: Path, tmp_path: Path) -> None:
    report = convert(yolo, tmp_path / "out", "yolo")
    folder = open_folder(tmp_path / "out")
    assert report.counts == {faults.NO_LABEL_FILE: 1, faults.POLYGON: 1}
    assert folder.report.class_names == ("cat", "cow", "dog")
    first, second = folder.split("train").records
    assert np.allclose(first.boxes_xyxy, np.array([[15, 9, 25, 21], [2, 1.5, 6, 4.5]]))
    assert first.classes.tolist() == [0, 2]
    assert len(second.classes) == 0
    assert np.allclose(folder.split("val").records[0].boxes_xyxy, [[10, 15, 30, 30]])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0 0.5 0.5 0 0.4", faults.BOX_EMPTY),
        ("0 0.5 0.5 0.4", faults.BOX_MALFORMED),
        ("0 0.5 0.5 0.4 0.4 0.9", faults.BOX_MALFORMED),
        ("0 a 0.5 0.4 0.4", faults.BOX_MALFORMED),
        ("0 2.5 0.5 0.4 0.4", faults.BOX_OUTSIDE),
        ("9 0.5 0.5 0.4 0.4", faults.BOX_NO_CATEGORY),
        ("cat 0.5 0.5 0.4 0.4", faults.BOX_NO_CATEGORY),
    ],
)
def test_yolo_faults_are_told_and_left_out(
    yolo: Path, tmp_path: Path, row: str, reason: str
) -> None:
    write(yolo / "labels/train/b.txt", row)
    report = convert(yolo, tmp_path / "out", "yolo")
    assert report.counts == {reason: 1, faults.POLYGON: 1}
    assert report.faults[-1].file == "images/train/b.jpg"
    assert open_folder(tmp_path / "out").report.faults == ()


def test_yolo_labels_that_are_no_text_drop_the_image(yolo: Path, tmp_path: Path) -> None:
    (yolo / "labels/train/b.txt").write_bytes(b"\xff\xfe\x00")
    report = convert(yolo, tmp_path / "out", "yolo")
    assert report.counts == {faults.BAD_LABELS: 1, faults.POLYGON: 1}
    assert report.splits[0].dropped_images == 1


def test_nan_refuses_the_source(yolo: Path, tmp_path: Path) -> None:
    write(yolo / "labels/train/b.txt", "0 nan 0.5 0.4 0.4")
    with pytest.raises(DataError, match=faults.NOT_FINITE):
        convert(yolo, tmp_path / "out", "yolo")


def test_yolo_without_yaml_uses_folders_and_classes_txt(yolo: Path, tmp_path: Path) -> None:
    (yolo / "data.yaml").unlink()
    write(yolo / "classes.txt", "cat\ncow\ndog\n")
    report = convert(yolo, tmp_path / "out", "yolo")
    assert [(split.split, split.images) for split in report.splits] == [("train", 2), ("val", 1)]


def test_roboflow_yolo_export(tmp_path: Path) -> None:
    root = tmp_path / "export"
    for seed, (split, stem) in enumerate((("train", "a"), ("valid", "b"))):
        image(root / split / "images" / f"{stem}.jpg", seed)
        write(root / split / "labels" / f"{stem}.txt", "0 0.5 0.5 0.5 0.5")
    write(root / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['x']\n")
    report = convert(root, tmp_path / "out", "yolo")
    assert [(split.split, split.boxes) for split in report.splits] == [("train", 1), ("val", 1)]


def test_lists_of_images(yolo: Path, tmp_path: Path) -> None:
    write(yolo / "data.yaml", "train: train.txt\nnames:\n  0: cat\n  1: cow\n  2: dog\n")
    write(yolo / "train.txt", "./images/train/a.jpg\nimages/val/c.jpg\n")
    report = convert(yolo, tmp_path / "out", "yolo")
    assert [(split.split, split.images, split.boxes) for split in report.splits] == [
        ("train", 2, 3)
    ]


@pytest.mark.parametrize("place", ["/etc", "../elsewhere", "nowhere"])
def test_paths_that_lead_out_are_refused(yolo: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(yolo / "data.yaml", f"train: {place}\nnames: [cat]\n")
    with pytest.raises(DataError, match="not in the folder"):
        convert(yolo, tmp_path / "out", "yolo")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names: [a, b]", {0: "a", 1: "b"}),
        ("names: ['a, b', \"it's\", c d]  # comment", {0: "a, b", 1: "it's", 2: "c d"}),
        ("names: ['it''s']", {0: "it's"}),
        ("nc: 2\nnames:\n- a # one\n- 'b # two'\n", {0: "a", 1: "b # two"}),
        ("names:\n  0: a\n  3: \u718a\npath: x", {0: "a", 3: "\u718a"}),
        ("names: {0: a, 1: b}", {0: "a", 1: "b"}),
        ("names: [\n  'a',\n  'b',\n]\nnc: 2", {0: "a", 1: "b"}),
        ("# head\n---\nnames:\n\n  - a\n", {0: "a"}),
        ("names: a", {0: "a"}),
    ],
)
def test_class_names_of_yaml(tmp_path: Path, text: str, names: dict[int, str]) -> None:
    write(tmp_path / "data.yaml", text)
    assert read_yolo_yaml(tmp_path / "data.yaml").names == names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nc: 3",
        "names:",
        "names: {a: b}",
        "names: [[a], b]",
        "names: [a: {b: c}]",
        f"names: {{{'9' * 5000}: a}}",
    ],
)
def test_yaml_without_class_names_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path / "data.yaml", text)
    with pytest.raises(DataError):
        read_yolo_yaml(tmp_path / "data.yaml")


@pytest.mark.parametrize(
    ("nested", "reason"), [("- " * 30 + "a", "more than 20 levels"), ("[" * 100_000, "")]
)
def test_yaml_nested_without_end_is_refused_with_its_line(
    tmp_path: Path, nested: str, reason: str
) -> None:
    write(tmp_path / "data.yaml", f"names:\n{nested}")
    with pytest.raises(DataError, match=f"line 2: cannot be read as YAML: .*{reason}"):
        read_yolo_yaml(tmp_path / "data.yaml")


@pytest.mark.parametrize("text", ["names: [no, 007, 1.0, on]", "names: [null, ~, 2020-01-01, x]"])
def test_class_names_stay_the_text_that_was_written(tmp_path: Path, text: str) -> None:
    write(tmp_path / "data.yaml", text)
    names = read_yolo_yaml(tmp_path / "data.yaml").names
    assert ", ".join(names[k] for k in range(4)) == text[8:-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x]\nnames: *a\n", "line 2: cannot be read as YAML: an alias"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\n", "line 2"),
        ("names: [a\nval: x", "cannot be read as YAML"),
        ("names: !!python/object/apply:os.system ['true']", None),
    ],
)
def test_yaml_that_could_do_harm_is_refused_or_read_as_text(
    tmp_path: Path, text: str, message: str | None
) -> None:
    write(tmp_path / "data.yaml", text)
    if message is None:
        assert read_yolo_yaml(tmp_path / "data.yaml").names == {0: "true"}
        return
    with pytest.raises(DataError, match=message):
        read_yolo_yaml(tmp_path / "data.yaml")


def test_splits_of_yaml(tmp_path: Path) -> None:
    text = "path: ../d  # root\ntrain: [a/images, b/images]\nval: v\ntest:\nnames: [x]\n"
    write(tmp_path / "data.yaml", text)
    settings = read_yolo_yaml(tmp_path / "data.yaml")
    assert settings.path == "../d"
    assert settings.splits == {"train": ["a/images", "b/images"], "val": ["v"]}


# --- both ----------------------------------------------------------------------------------------


def test_sources_are_not_written_to(voc: Path, tmp_path: Path) -> None:
    before = sorted((str(p), p.stat().st_mtime_ns) for p in voc.rglob("*"))
    convert(voc, tmp_path / "out", "voc")
    assert sorted((str(p), p.stat().st_mtime_ns) for p in voc.rglob("*")) == before


def test_filled_folders_and_unknown_formats_are_refused(voc: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already exists"):
        convert(voc, tmp_path, "voc")
    with pytest.raises(UsageError, match="the source itself"):
        convert(voc, voc, "voc", force=True)
    with pytest.raises(UsageError, match="unknown format 'vok'") as caught:
        convert(voc, tmp_path / "out", "vok")
    assert "voc" in caught.value.hint


@pytest.mark.parametrize("from_", ["voc", "yolo"])
def test_folders_of_another_kind_say_what_is_needed(tmp_path: Path, from_: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        convert(tmp_path / "empty", tmp_path / "out", from_)
    assert "it needs" in caught.value.hint
    with pytest.raises(DataError, match="no such folder"):
        convert(tmp_path / "nowhere", tmp_path / "out", from_)


def test_ids_start_at_one(voc: Path, tmp_path: Path) -> None:
    convert(voc, tmp_path / "out", "voc")
    content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    for key in ("images", "annotations", "categories"):
        assert [item["id"] for item in content[key]] == [1, 2]


# --- nothing is lost without a word --------------------------------------------------------------


def test_voc_lists_of_other_names_are_read(voc: Path, tmp_path: Path) -> None:
    (voc / "ImageSets/Main/train.txt").unlink()
    (voc / "ImageSets/Main/val.txt").rename(voc / "ImageSets/Main/valid.txt")
    write(voc / "ImageSets/Main/trainval.txt", "a\nb.jpg\nJPEGImages/c.jpg\n")
    report = convert(voc, tmp_path / "out", "voc")
    assert [(split.split, split.images) for split in report.splits] == [("train", 2), ("val", 1)]
    assert report.counts == {}


def test_voc_files_that_no_split_has_are_counted(voc: Path, tmp_path: Path) -> None:
    for seed, stem in enumerate(("listed nowhere", "without xml"), start=9):
        image(voc / f"JPEGImages/{stem}.jpg", seed)
    write(voc / "Annotations/listed nowhere.xml", voc_xml(("cat", 0, 0, 9, 9)))
    write(voc / "Annotations/without image.xml", voc_xml())
    report = convert(voc, tmp_path / "out", "voc")
    assert report.counts == {faults.NOT_LISTED: 1, faults.UNLABELLED: 1, faults.LABELS_ALONE: 1}
    assert totals(report) == {"images": (3, 2), "boxes": (3, 0), "label files": (3, 2)}
    with pytest.raises(DataError, match="2 of 5 images would be left out") as caught:
        convert_folder(voc, tmp_path / "again", ConvertOptions(from_="voc"))
    assert caught.value.hint.endswith("; --max-dropped 0.4 converts the rest")
    assert not (tmp_path / "again").exists()


def test_voc_xml_may_lie_beside_the_images(tmp_path: Path) -> None:
    for seed, stem in enumerate(("train/a b", "valid/c")):
        image(tmp_path / f"voc/{stem}.png", seed)
        write(tmp_path / f"voc/{stem}.xml", voc_xml(("cat", 0, 0, 9, 9)))
    report = convert(tmp_path / "voc", tmp_path / "out", "voc")
    assert report.counts == {}
    assert [(split.split, split.boxes) for split in report.splits] == [("train", 1), ("val", 1)]


@pytest.mark.parametrize("folder", ["Labels", "LABELS"])
def test_yolo_labels_in_a_folder_in_capitals_are_found(
    yolo: Path, tmp_path: Path, folder: str
) -> None:
    (yolo / "labels").rename(yolo / folder)
    assert totals(convert(yolo, tmp_path / "out", "yolo"))["label files"] == (2, 0)


def test_yolo_without_any_label_is_refused(yolo: Path, tmp_path: Path) -> None:
    (yolo / "labels").rename(yolo / "elsewhere")
    with pytest.raises(DataError, match="no label file for any of 3 images") as caught:
        convert(yolo, tmp_path / "out", "yolo")
    assert "labels/NAME.txt" in caught.value.hint


def test_yolo_files_that_no_split_has_are_counted(yolo: Path, tmp_path: Path) -> None:
    image(yolo / "images/more/d.jpg", 9)
    write(yolo / "labels/more/d.txt", "0 0.5 0.5 0.5 0.5\n")
    write(yolo / "labels/train/gone.txt", "0 0.5 0.5 0.5 0.5\n")
    write(yolo / "notes.txt", "not labels\n")
    report = convert(yolo, tmp_path / "out", "yolo")
    assert (report.counts[faults.NOT_LISTED], report.counts[faults.LABELS_ALONE]) == (1, 1)
    assert totals(report) == {"images": (3, 1), "boxes": (3, 0), "label files": (2, 2)}


def test_lists_are_relative_to_themselves_or_to_the_path(yolo: Path, tmp_path: Path) -> None:
    write(yolo / "data.yaml", "path: .\ntrain: splits/train.txt\nnames: [cat, cow, dog]\n")
    write(yolo / "splits/train.txt", "images/train/a.jpg\n../images/train/b.jpg\nimages/no.jpg\n")
    report = convert(yolo, tmp_path / "out", "yolo")
    assert (report.splits[0].images, report.splits[0].dropped_images) == (2, 1)


@pytest.mark.parametrize("word", ["0.0", "0", "0e0"])
def test_a_class_is_a_number_however_it_is_written(yolo: Path, tmp_path: Path, word: str) -> None:
    write(yolo / "labels/train/b.txt", f"{word} 0.5 0.5 0.5 0.5")
    convert(yolo, tmp_path / "out", "yolo")
    assert open_folder(tmp_path / "out").split("train").records[1].classes.tolist() == [0]


POSE = "0 0.5 0.5 0.5 0.4 0.45 0.5 2 0.55 0.6 1 0 0 0 0.5 0.5 2"


def test_boxes_of_pose_rows_are_taken_where_the_yaml_says_so(yolo: Path, tmp_path: Path) -> None:
    for name in ("train/a", "val/c"):
        write(yolo / f"labels/{name}.txt", POSE)
    with pytest.raises(DataError, match="4 key points") as caught:
        convert(yolo, tmp_path / "out", "yolo")
    line = caught.value.hint.removeprefix("add this line to data.yaml: ")
    with (yolo / "data.yaml").open("a") as file:
        file.write(f"{line}\n")
    convert(yolo, tmp_path / "out", "yolo")
    (box,) = open_folder(tmp_path / "out").split("val").records[0].boxes_xyxy.tolist()
    assert box == [10, 9, 30, 21]


def test_turned_boxes_and_polygons_are_no_pose(yolo: Path, tmp_path: Path) -> None:
    write(yolo / "labels/train/a.txt", "0 0.4 0.4 0.6 0.4 0.7 0.5 0.6 0.6 0.4 0.6")
    write(yolo / "labels/val/c.txt", "1 0.2 0.2 0.3 0.2 0.35 0.25 0.3 0.3 0.2 0.3")
    assert convert(yolo, tmp_path / "out", "yolo").counts[faults.POLYGON] == 2


# --- the same folder, read otherwise -------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "unit", "row"),
    [
        ("xyxy", "shares", "0.25 0.2 0.75 0.8"),
        ("cxcywh", "pixels", "20 15 20 18"),
        ("xywh", "percent", "25 20 50 60"),
    ],
)
def test_boxes_are_read_as_told(yolo: Path, tmp_path: Path, form: str, unit: str, row: str) -> None:
    for name in ("train/a", "val/c"):
        write(yolo / f"labels/{name}.txt", f"0 {row}")
    options = ConvertOptions(from_="yolo", form=form, unit=unit)
    report = convert_folder(yolo, tmp_path / "out", options)
    assert [s for s in report.suspicions if "boxes" in s.what and "no boxes" not in s.what] == []
    (box,) = open_folder(tmp_path / "out").split("val").records[0].boxes_xyxy.tolist()
    assert box == pytest.approx([10, 6, 30, 24])


def test_what_mends_a_suspicion_mends_it(voc: Path, tmp_path: Path) -> None:
    first = convert(voc, tmp_path / "coco", "voc")
    path = tmp_path / "coco/annotations/instances_train.json"
    content = json.loads(path.read_text())
    for item in content["annotations"]:
        x, y, w, h = item["bbox"]
        item.update(bbox=[x / 40, y / 30, (x + w) / 40, (y + h) / 30], iscrowd=1)
    path.write_text(json.dumps(content))
    suspicions = inspect_folder(tmp_path / "coco").report.suspicions
    assert ["--box-unit shares" in s.remedy or "--no-crowd" in s.remedy for s in suspicions] == [
        True,
        True,
    ]
    options = ConvertOptions(from_="coco", form="xyxy", unit="shares", crowd=False)
    convert_folder(tmp_path / "coco", tmp_path / "mended", options, max_dropped=1)
    mended = open_folder(tmp_path / "mended").split("train").records
    assert first.splits[0].boxes == 2
    assert np.allclose(mended[0].boxes_xyxy, np.array([[1, 2, 11, 12], [5, 5, 9.5, 9]]), atol=1e-3)
    assert not mended[0].crowd.any()
