from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.core.errors import DataError, UsageError
from detkit.data.coco import faults
from detkit.data.coco.folder import open_folder
from detkit.data.converters.convert import convert_folder
from detkit.data.converters.labels import divided
from detkit.data.converters.yolo_yaml import read_yolo_yaml

Write = Callable[..., Path]


def image(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(levels).save(path)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


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
    report = convert_folder(voc, tmp_path / "out", from_="voc")
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
    first = convert_folder(voc, tmp_path / "a", from_="voc")
    assert first.counts == {faults.NO_SPLIT_LIST: 1}
    assert sum(split.images for split in first.splits) == 3
    convert_folder(voc, tmp_path / "b", from_="voc")
    for path in (tmp_path / "a").rglob("*.json"):
        assert (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_text() == path.read_text()


def test_split_is_80_10_10() -> None:
    parts = divided([str(i) for i in range(200)])
    assert [len(parts[split]) for split in ("train", "val", "test")] == [160, 20, 20]
    assert sorted(name for part in parts.values() for name in part) == sorted(map(str, range(200)))


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
    report = convert_folder(voc, tmp_path / "out", from_="voc")
    assert report.counts == {reason: 1}
    assert open_folder(tmp_path / "out").report.faults == ()


def test_voc_images_with_unreadable_labels_count_as_dropped(voc: Path, tmp_path: Path) -> None:
    write(voc / "Annotations/b.xml", "<annotation>")
    report = convert_folder(voc, tmp_path / "out", from_="voc")
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
    report = convert_folder(voc, tmp_path / "out", from_="voc")
    assert report.counts == {faults.BAD_LABELS: 1}


def test_voc_names_that_lead_out_are_refused(voc: Path, tmp_path: Path) -> None:
    write(voc / "ImageSets/Main/val.txt", "../../c\n")
    assert convert_folder(voc, tmp_path / "out", from_="voc").counts[faults.BAD_LABELS] == 1


def test_wrong_sizes_refuse_the_source_before_writing(voc: Path, tmp_path: Path) -> None:
    write(voc / "Annotations/b.xml", voc_xml(size="41x30"))
    with pytest.raises(DataError, match=faults.SIZE_MISMATCH):
        convert_folder(voc, tmp_path / "out", from_="voc")
    assert not (tmp_path / "out").exists()


# --- YOLO ----------------------------------------------------------------------------------------


def test_yolo_becomes_an_equal_coco_folder(yolo: Path, tmp_path: Path) -> None:
    report = convert_folder(yolo, tmp_path / "out", from_="yolo")
    folder = open_folder(tmp_path / "out")
    assert report.counts == {}
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
    report = convert_folder(yolo, tmp_path / "out", from_="yolo")
    assert report.counts == {reason: 1}
    assert report.faults[0].file == "images/train/b.jpg"
    assert open_folder(tmp_path / "out").report.faults == ()


def test_yolo_labels_that_are_no_text_drop_the_image(yolo: Path, tmp_path: Path) -> None:
    (yolo / "labels/train/b.txt").write_bytes(b"\xff\xfe\x00")
    report = convert_folder(yolo, tmp_path / "out", from_="yolo")
    assert report.counts == {faults.BAD_LABELS: 1}
    assert report.splits[0].dropped_images == 1


def test_nan_refuses_the_source(yolo: Path, tmp_path: Path) -> None:
    write(yolo / "labels/train/b.txt", "0 nan 0.5 0.4 0.4")
    with pytest.raises(DataError, match=faults.NOT_FINITE):
        convert_folder(yolo, tmp_path / "out", from_="yolo")


def test_yolo_without_yaml_uses_folders_and_classes_txt(yolo: Path, tmp_path: Path) -> None:
    (yolo / "data.yaml").unlink()
    write(yolo / "classes.txt", "cat\ncow\ndog\n")
    report = convert_folder(yolo, tmp_path / "out", from_="yolo")
    assert [(split.split, split.images) for split in report.splits] == [("train", 2), ("val", 1)]


def test_roboflow_yolo_export(tmp_path: Path) -> None:
    root = tmp_path / "export"
    for seed, (split, stem) in enumerate((("train", "a"), ("valid", "b"))):
        image(root / split / "images" / f"{stem}.jpg", seed)
        write(root / split / "labels" / f"{stem}.txt", "0 0.5 0.5 0.5 0.5")
    write(root / "data.yaml", "train: ../train/images\nval: ../valid/images\nnc: 1\nnames: ['x']\n")
    report = convert_folder(root, tmp_path / "out", from_="yolo")
    assert [(split.split, split.boxes) for split in report.splits] == [("train", 1), ("val", 1)]


def test_lists_of_images(yolo: Path, tmp_path: Path) -> None:
    write(yolo / "data.yaml", "train: train.txt\nnames:\n  0: cat\n  1: cow\n  2: dog\n")
    write(yolo / "train.txt", "./images/train/a.jpg\nimages/val/c.jpg\n")
    report = convert_folder(yolo, tmp_path / "out", from_="yolo")
    assert [(split.split, split.images, split.boxes) for split in report.splits] == [
        ("train", 2, 3)
    ]


@pytest.mark.parametrize("place", ["/etc", "../elsewhere", "nowhere"])
def test_paths_that_lead_out_are_refused(yolo: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(yolo / "data.yaml", f"train: {place}\nnames: [cat]\n")
    with pytest.raises(DataError, match="not in the folder"):
        convert_folder(yolo, tmp_path / "out", from_="yolo")


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
    convert_folder(voc, tmp_path / "out", from_="voc")
    assert sorted((str(p), p.stat().st_mtime_ns) for p in voc.rglob("*")) == before


def test_filled_folders_and_unknown_formats_are_refused(voc: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="already exists"):
        convert_folder(voc, tmp_path, from_="voc")
    with pytest.raises(UsageError, match="the source itself"):
        convert_folder(voc, voc, from_="voc", force=True)
    with pytest.raises(UsageError, match="unknown format 'vok'") as caught:
        convert_folder(voc, tmp_path / "out", from_="vok")
    assert "voc" in caught.value.hint


@pytest.mark.parametrize("from_", ["voc", "yolo"])
def test_folders_of_another_kind_say_what_is_needed(tmp_path: Path, from_: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        convert_folder(tmp_path / "empty", tmp_path / "out", from_=from_)
    assert "it needs" in caught.value.hint
    with pytest.raises(DataError, match="no such folder"):
        convert_folder(tmp_path / "nowhere", tmp_path / "out", from_=from_)


def test_ids_start_at_one(voc: Path, tmp_path: Path) -> None:
    convert_folder(voc, tmp_path / "out", from_="voc")
    content = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    for key in ("images", "annotations", "categories"):
        assert [item["id"] for item in content[key]] == [1, 2]
