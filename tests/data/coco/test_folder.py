"""One test for each row of what real folders hold."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detkit.core.errors import DataError
from detkit.core.serialization import from_json, to_json
from detkit.data.coco import faults
from detkit.data.coco.folder import (
    inspect_folder,
    open_folder,
    require_usable,
    sample_images,
    synthetic_images,
)
from detkit.report import DataReport
from detkit.spec.preprocess import Preprocess

Json = dict[str, Any]
MakeFolder = Callable[..., Path]
Change = Callable[[Json], object]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """An image that no other seed gives."""
    levels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(levels)


def document(images: int = 2, boxes: int = 1) -> Json:
    """`images` images of 40x30 named 1.jpg ..., each with `boxes` boxes of the class cat."""
    pairs = [(i, b) for i in range(1, images + 1) for b in range(boxes)]
    return {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30}
            for i in range(1, images + 1)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": i,
                "category_id": 3,
                "bbox": [2.0 + b % 20, 4.0, 10.0, 8.0],
                "area": 80.0,
                "iscrowd": 0,
            }
            for number, (i, b) in enumerate(pairs, start=1)
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    }


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """`make_folder(train=document, val=...)`: a folder with an image for each image listed."""

    def make(name: str = "coco", **splits: Json | str) -> Path:
        root = tmp_path / name
        (root / "annotations").mkdir(parents=True)
        for number, (split, content) in enumerate(splits.items()):
            path = root / "annotations" / f"instances_{split}.json"
            if isinstance(content, str):
                path.write_text(content, encoding="utf-8")
                continue
            for position, item in enumerate(content["images"]):
                image = root / "images" / split / item["file_name"].split("/")[-1]
                image.parent.mkdir(parents=True, exist_ok=True)
                noise(40, 30, seed=100 * number + position).save(image)
            path.write_text(json.dumps(content), encoding="utf-8")
        return root

    return make


def reasons(root: Path) -> dict[str, int]:
    return inspect_folder(root).report.counts


# --- what is right -------------------------------------------------------------------------------


def test_a_clean_folder_is_read_as_annotated(make_folder: MakeFolder) -> None:
    folder = open_folder(make_folder(train=document(2, boxes=2), val=document(1)))
    record = folder.split("train").records[1]
    assert folder.report.clean
    assert folder.report.faults == ()
    assert record.image_id == 2
    assert record.boxes_xyxy.tolist() == [[2, 4, 12, 12], [3, 4, 13, 12]]
    assert record.classes.tolist() == [0, 0]
    assert record.area.tolist() == [80, 80]
    assert not record.crowd.any()
    assert folder.split("val").category_ids == (3, 7)
    assert folder.split("val").class_names == ("cat", "dog")
    assert folder.report.splits[0].boxes_per_class == {"cat": 4, "dog": 0}


def test_report_survives_json(make_folder: MakeFolder) -> None:
    report = open_folder(make_folder(train=document())).report
    assert from_json(DataReport, to_json(report)) == report


def test_folder_is_never_written_to(make_folder: MakeFolder) -> None:
    root = make_folder(train=document())
    before = sorted((str(p), p.stat().st_mtime_ns) for p in [root, *root.rglob("*")])
    open_folder(root)
    assert sorted((str(p), p.stat().st_mtime_ns) for p in [root, *root.rglob("*")]) == before


def test_digest_follows_content_not_place(make_folder: MakeFolder) -> None:
    first = open_folder(make_folder("a", train=document())).report.digest
    assert open_folder(make_folder("b", train=document())).report.digest == first
    assert open_folder(make_folder("c", train=document(3))).report.digest != first


def test_images_without_boxes_are_kept(make_folder: MakeFolder) -> None:
    folder = open_folder(make_folder(train=document(3, boxes=0)))
    assert folder.report.splits[0].images_without_boxes == 3
    assert folder.split("train").records[0].boxes_xyxy.shape == (0, 4)
    assert folder.report.clean


def test_crowds_are_marked(make_folder: MakeFolder) -> None:
    content = document(1, boxes=2)
    content["annotations"][1]["iscrowd"] = 1
    folder = open_folder(make_folder(train=content))
    assert folder.split("train").records[0].crowd.tolist() == [False, True]
    assert folder.report.splits[0].crowd_boxes == 1


@pytest.mark.parametrize("name", ["b\u00e4r \u718a.jpg", "deep/er/1.jpg"])
def test_unicode_and_nested_names(make_folder: MakeFolder, name: str) -> None:
    root = make_folder(train=document(1))
    path = root / "images" / "train" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / "images" / "train" / "1.jpg").rename(path)
    edit(root, lambda content: content["images"][0].update(file_name=name))
    assert open_folder(root).split("train").records[0].path == path


def test_names_in_the_other_unicode_form_are_found(make_folder: MakeFolder) -> None:
    name = "b\u00e4r.jpg"
    root = make_folder(train=document(1))
    path = root / "images" / "train" / "1.jpg"
    path.rename(path.with_name(unicodedata.normalize("NFD", name)))
    edit(root, lambda content: content["images"][0].update(file_name=name))
    assert len(open_folder(root).split("train").records) == 1


# --- layouts -------------------------------------------------------------------------------------


def edit(root: Path, change: Change, split: str = "train") -> Path:
    path = root / "annotations" / f"instances_{split}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return root


def lay_out(root: Path, layout: str) -> None:
    for word in ("train", "val"):
        images = {
            "coco": root / "images",
            "coco2017": root / f"{word}2017",
            "roboflow": root / ("valid" if word == "val" else word),
        }[layout]
        annotations = {
            "coco": root / "annotations" / f"instances_{word}.json",
            "coco2017": root / "annotations" / f"instances_{word}2017.json",
            "roboflow": images / "_annotations.coco.json",
        }[layout]
        images.mkdir(parents=True, exist_ok=True)
        annotations.parent.mkdir(parents=True, exist_ok=True)
        content = document(1)
        content["images"][0]["file_name"] = f"{word}.jpg"
        noise(40, 30, seed=len(word)).save(images / f"{word}.jpg")
        annotations.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("layout", ["coco", "coco2017", "roboflow"])
def test_three_layouts_are_recognised(tmp_path: Path, layout: str) -> None:
    lay_out(tmp_path / "d", layout)
    folder = open_folder(tmp_path / "d")
    assert folder.layout == layout
    assert list(folder.splits) == ["train", "val"]
    assert folder.split("val").records[0].file_name == "val.jpg"


def test_files_named_one_by_one(tmp_path: Path) -> None:
    lay_out(tmp_path / "d", "roboflow")
    pair = (tmp_path / "d" / "valid" / "_annotations.coco.json", tmp_path / "d" / "valid")
    folder = open_folder(tmp_path, files={"test": pair})
    assert list(folder.splits) == ["test"]


def test_only_the_splits_asked_for_are_read(make_folder: MakeFolder) -> None:
    root = make_folder(train=document(), val="not json")
    assert list(open_folder(root, splits=["train"]).splits) == ["train"]
    with pytest.raises(DataError, match="no split 'test'") as caught:
        open_folder(root, splits=["test"])
    assert caught.value.hint == "it has: train, val"


def test_missing_and_unknown_folders_say_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder") as caught:
        open_folder(tmp_path / "nowhere")
    assert "_annotations.coco.json" in caught.value.hint
    with pytest.raises(DataError, match="not a COCO folder"):
        open_folder(tmp_path)


# --- boxes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bbox", "reason"),
    [
        ([5, 5, 0, 9], faults.BOX_EMPTY),
        ([5, 5, 9, -1], faults.BOX_EMPTY),
        ([50, 5, 9, 9], faults.BOX_OUTSIDE),
        ([39.5, 5, 9, 9], faults.BOX_OUTSIDE),
        ([1, 2, 3], faults.BOX_MALFORMED),
        (None, faults.BOX_MALFORMED),
        (["1,5", 2, 3, 4], faults.BOX_MALFORMED),
        ([True, 2, 3, 4], faults.BOX_MALFORMED),
    ],
)
def test_bad_boxes_are_dropped_and_counted(
    make_folder: MakeFolder, bbox: object, reason: str
) -> None:
    content = document(1, boxes=2)
    content["annotations"][1]["bbox"] = bbox
    folder = open_folder(make_folder(train=content))
    split = folder.report.splits[0]
    assert folder.report.counts == {reason: 1}
    assert (split.boxes, split.dropped_boxes) == (1, 1)
    assert folder.report.faults[0].file == "images/train/1.jpg"
    assert folder.report.faults[0].action == "dropped"
    assert not folder.report.clean


def test_box_reaching_outside_is_clipped(make_folder: MakeFolder) -> None:
    content = document(1)
    content["annotations"][0]["bbox"] = [-5, 20, 60, 20]
    folder = open_folder(make_folder(train=content))
    assert folder.split("train").records[0].boxes_xyxy.tolist() == [[0, 20, 40, 30]]
    assert folder.report.counts == {faults.BOX_CLIPPED: 1}
    assert folder.report.splits[0].fixed_boxes == 1
    assert folder.report.clean


def test_rounding_beyond_the_edge_is_no_fault(make_folder: MakeFolder) -> None:
    content = document(1)
    content["annotations"][0]["bbox"] = [30, 20, 10.004, 10.001]
    folder = open_folder(make_folder(train=content))
    assert folder.report.counts == {}
    assert folder.split("train").records[0].boxes_xyxy.tolist() == [[30, 20, 40, 30]]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_reject_the_folder(
    make_folder: MakeFolder, number: str
) -> None:
    text = json.dumps(document()).replace("4.0", number, 1)
    root = make_folder(train=document())
    (root / "annotations" / "instances_train.json").write_text(text)
    with pytest.raises(DataError, match=faults.NOT_FINITE):
        open_folder(root)


def test_integers_too_large_for_floats_reject_the_folder(make_folder: MakeFolder) -> None:
    content = document(1)
    content["annotations"][0]["bbox"] = [1, 2, 10**400, 3]
    with pytest.raises(DataError, match=faults.NOT_FINITE):
        open_folder(make_folder(train=content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"image_id": 99}, faults.BOX_NO_IMAGE),
        ({"image_id": [1]}, faults.BOX_NO_IMAGE),
        ({"category_id": 1}, faults.BOX_NO_CATEGORY),
        ({"category_id": None}, faults.BOX_NO_CATEGORY),
    ],
)
def test_annotations_of_nothing_known_are_dropped(
    make_folder: MakeFolder, change: Json, reason: str
) -> None:
    content = document(1, boxes=2)
    content["annotations"][0].update(change)
    assert reasons(make_folder(train=content)) == {reason: 1}


def test_missing_area_and_iscrowd_are_filled(make_folder: MakeFolder) -> None:
    content = document(2)
    for item in content["annotations"]:
        del item["area"], item["iscrowd"]
    folder = open_folder(make_folder(train=content))
    assert folder.report.counts == {faults.AREA_FILLED: 2, faults.CROWD_FILLED: 2}
    assert folder.split("train").records[0].area.tolist() == [80]
    assert folder.report.clean


@pytest.mark.parametrize("ids", [(0, 1, 2), (5, 5, 5), (None, 1, 2)])
def test_annotation_ids_that_break_evaluators_are_noted(
    make_folder: MakeFolder, ids: tuple[int | None, ...]
) -> None:
    content = document(3)
    for item, number in zip(content["annotations"], ids, strict=True):
        item["id"] = number
    folder = open_folder(make_folder(train=content))
    assert list(folder.report.counts) == [faults.ANNOTATION_IDS]
    assert folder.report.splits[0].boxes == 3
    assert folder.report.clean


# --- categories and ids --------------------------------------------------------------------------


def duplicate(key: str) -> Change:
    return lambda content: content[key].append(dict(content[key][0]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (duplicate("images"), faults.DUPLICATE_IMAGE),
        (duplicate("categories"), faults.DUPLICATE_CATEGORY),
        (lambda c: c["categories"].append({"id": 9, "name": "cat"}), faults.DUPLICATE_CATEGORY),
        (lambda c: c["categories"].clear(), faults.BAD_STRUCTURE),
        (lambda c: c["categories"][0].update(name=5), faults.BAD_STRUCTURE),
        (lambda c: c["categories"][0].update(name="\ud800"), faults.BAD_STRUCTURE),
        (lambda c: c["images"][0].pop("id"), faults.BAD_STRUCTURE),
        (lambda c: c["images"][0].update(file_name=7), faults.BAD_STRUCTURE),
        (lambda c: c.pop("annotations"), faults.BAD_STRUCTURE),
        (lambda c: c.update(images={"1": 2}), faults.BAD_STRUCTURE),
        (lambda c: c.update(annotations=[1]), faults.BAD_STRUCTURE),
    ],
)
def test_contradictions_reject_the_folder(
    make_folder: MakeFolder, change: Change, reason: str
) -> None:
    root = edit(make_folder(train=document()), change)
    with pytest.raises(DataError, match=reason):
        open_folder(root)
    report = inspect_folder(root).report
    assert report.counts[reason] >= 1
    assert not report.clean
    assert from_json(DataReport, to_json(report)) == report


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "[" * 100_000, '{"images": [1]}', "\udcff"], ids=repr
)
def test_files_that_are_not_coco_reject_the_folder(make_folder: MakeFolder, content: str) -> None:
    root = make_folder(train=document())
    path = root / "annotations" / "instances_train.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="annotation file"):
        open_folder(root)


def test_splits_must_agree_on_the_categories_of_boxes(make_folder: MakeFolder) -> None:
    other = document()
    other["categories"][0]["name"] = "fox"
    root = make_folder(train=document(), val=other)
    with pytest.raises(DataError, match="only here: 'fox'; only elsewhere: 'cat'") as error:
        open_folder(root)
    assert "'categories' of every file" in error.value.hint


def test_a_split_may_lack_categories(make_folder: MakeFolder) -> None:
    other = document()
    del other["categories"][0]
    other["annotations"] = [{**other["annotations"][0], "category_id": 7}]
    folder = open_folder(make_folder(train=document(), val=other))
    assert folder.report.counts == {faults.CATEGORIES_FEWER: 1}
    assert folder.split("val").class_names == ("cat", "dog")
    assert folder.split("val").records[0].classes.tolist() == [1]


def test_categories_are_matched_by_name_where_numbers_differ(make_folder: MakeFolder) -> None:
    other = document()
    other["categories"] = [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}]
    folder = open_folder(make_folder(train=document(), val=other))
    assert folder.report.counts == {faults.CATEGORY_NUMBERS: 2}
    assert folder.split("train").records[0].classes.tolist() == [0]
    assert folder.split("val").records[0].classes.tolist() == [1]


def test_a_category_without_boxes_that_others_lack_is_left_out(make_folder: MakeFolder) -> None:
    other = document()
    other["categories"][1]["name"] = "fox"
    folder = open_folder(make_folder(train=document(), val=other))
    assert folder.report.counts == {faults.CATEGORY_UNUSED: 1, faults.CATEGORIES_FEWER: 1}
    assert folder.report.class_names == ("cat", "dog")


def test_order_of_categories_in_the_file_does_not_matter(make_folder: MakeFolder) -> None:
    other = document()
    other["categories"].reverse()
    folder = open_folder(make_folder(train=document(), val=other))
    assert folder.split("val").category_ids == (3, 7)
    assert folder.split("val").records[0].classes.tolist() == [0]


def grouped(used: bool) -> Json:
    content = document(1)
    content["categories"] = [
        {"id": 0, "name": "pets", "supercategory": "none"},
        {"id": 3, "name": "cat", "supercategory": "pets"},
        {"id": 7, "name": "dog", "supercategory": "pets"},
    ]
    if used:
        content["annotations"][0]["category_id"] = 0
    return content


def test_grouping_category_of_roboflow_is_left_out(make_folder: MakeFolder) -> None:
    folder = open_folder(make_folder(train=grouped(used=False)))
    assert folder.split("train").class_names == ("cat", "dog")
    assert folder.report.counts == {faults.ROOT_CLASS: 1}
    assert folder.report.clean


def test_category_zero_with_boxes_stays(make_folder: MakeFolder) -> None:
    folder = open_folder(make_folder(train=grouped(used=True), val=grouped(used=False)))
    assert folder.split("train").class_names == ("pets", "cat", "dog")


def test_image_ids_of_text_are_renumbered(make_folder: MakeFolder) -> None:
    content = document(2)
    for item in (*content["images"], *content["annotations"]):
        key = "file_name" in item
        item["id" if key else "image_id"] = f"n{item['id'] if key else item['image_id']}"
    folder = open_folder(make_folder(train=content))
    assert [record.image_id for record in folder.split("train").records] == [1, 2]
    assert folder.report.splits[0].boxes == 2
    assert folder.report.counts == {faults.IMAGE_IDS: 2}


# --- image files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../1.jpg", "a/../../1.jpg", "/etc/passwd", "a\\1.jpg", "C:1.jpg", "a\0b", "\ud800"]
)
def test_names_that_lead_out_reject_the_folder(make_folder: MakeFolder, name: str) -> None:
    root = edit(make_folder(train=document()), lambda c: c["images"][0].update(file_name=name))
    with pytest.raises(DataError, match=faults.PATH_ESCAPE):
        open_folder(root)
    to_json(inspect_folder(root).report).encode()


@pytest.mark.parametrize("length", [300, 3000])
def test_names_no_file_can_have_reject_the_folder(make_folder: MakeFolder, length: int) -> None:
    name = "/".join(["x" * 100] * (length // 100)) if length > 1000 else "x" * length
    root = edit(make_folder(train=document()), lambda c: c["images"][0].update(file_name=name))
    with pytest.raises(DataError, match=faults.PATH_ESCAPE):
        open_folder(root)


def test_link_out_of_the_folder_rejects_it(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder(train=document(1))
    image = root / "images" / "train" / "1.jpg"
    image.rename(tmp_path / "elsewhere.jpg")
    image.symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(DataError, match="links to a file outside"):
        open_folder(root)


def test_linked_image_folder_is_fine(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder(train=document(1))
    (root / "images").rename(tmp_path / "elsewhere")
    (root / "images").symlink_to(tmp_path / "elsewhere")
    assert open_folder(root).report.clean


def test_missing_image_is_dropped_with_its_boxes(make_folder: MakeFolder) -> None:
    root = make_folder(train=document(3, boxes=2))
    (root / "images" / "train" / "2.jpg").unlink()
    folder = open_folder(root)
    split = folder.report.splits[0]
    assert folder.report.counts == {faults.FILE_MISSING: 1, faults.BOX_OF_DROPPED: 2}
    assert (split.images, split.dropped_images) == (2, 1)
    assert (split.boxes, split.dropped_boxes) == (4, 2)
    assert not folder.report.clean


@pytest.mark.parametrize("verify_pixels", [True, False])
def test_cut_image_is_dropped_when_pixels_are_verified(
    make_folder: MakeFolder, verify_pixels: bool
) -> None:
    root = make_folder(train=document(2))
    image = root / "images" / "train" / "1.jpg"
    image.write_bytes(image.read_bytes()[:-200])
    folder = open_folder(root, verify_pixels=verify_pixels)
    assert len(folder.split("train").records) == (1 if verify_pixels else 2)
    if verify_pixels:
        assert folder.report.counts[faults.UNDECODABLE] == 1


def test_values_that_training_cannot_use_are_found(make_folder: MakeFolder) -> None:
    content = document(1)
    content["images"][0]["file_name"] = "1.tif"
    root = make_folder(train=content)
    odd = Image.fromarray(np.full((30, 40), 300.5, np.float32))
    odd.save(root / "images" / "train" / "1.tif")
    report = inspect_folder(root).report
    assert report.faults[0].file == "images/train/1.tif"
    assert "300.5" in report.faults[0].detail


def test_dark_images_of_sixteen_bits_are_suspicious(make_folder: MakeFolder) -> None:
    content = document(1)
    content["images"][0]["file_name"] = "1.png"
    root = make_folder(train=content)
    dark = Image.fromarray(np.full((30, 40), 4095, np.uint16))
    dark.save(root / "images" / "train" / "1.png")
    for report in (inspect_folder(root).report, inspect_folder(root).report):  # second: remembered
        assert report.counts == {faults.SMALL_DEPTH: 1}
        assert "16 bits" in report.suspicions[0].what


def test_annotated_size_must_be_the_images(make_folder: MakeFolder) -> None:
    root = edit(make_folder(train=document()), lambda c: c["images"][1].update(width=41))
    with pytest.raises(DataError, match=r"images/train/2.jpg: .* annotated 41x30, is 40x30"):
        open_folder(root, verify_pixels=False)


@pytest.mark.parametrize("size", [(40, 30), (30, 40)])
def test_annotated_size_decides_about_exif(make_folder: MakeFolder, size: tuple[int, int]) -> None:
    root = make_folder(train=document(1))
    exif = Image.Exif()
    exif[0x0112] = 8
    noise(40, 30).save(root / "images" / "train" / "1.jpg", exif=exif)
    edit(root, lambda c: c["images"][0].update(width=size[0], height=size[1]))
    record = open_folder(root).split("train").records[0]
    assert (record.width, record.height) == size


def test_ambiguous_exif_is_kept_with_a_remark(make_folder: MakeFolder) -> None:
    root = make_folder(train=document(1))
    exif = Image.Exif()
    exif[0x0112] = 3
    noise(40, 30).save(root / "images" / "train" / "1.jpg", exif=exif)
    report = open_folder(root).report
    assert report.counts == {faults.AMBIGUOUS_TURN: 1}
    assert report.clean


@pytest.mark.parametrize(
    "size", [{"width": None}, {"height": 0}, {"width": "wide"}, {"width": 40.5}]
)
def test_missing_sizes_are_filled(make_folder: MakeFolder, size: Json) -> None:
    root = edit(make_folder(train=document(1)), lambda c: c["images"][0].update(size))
    folder = open_folder(root)
    assert (folder.split("train").records[0].width, folder.split("train").records[0].height) == (
        40,
        30,
    )
    assert folder.report.counts == {faults.SIZE_FILLED: 1}


def test_animated_image_is_kept_with_a_remark(make_folder: MakeFolder) -> None:
    root = make_folder(train=document(1))
    frames = [noise(40, 30, seed=i) for i in range(3)]
    frames[0].save(root / "images" / "train" / "a.gif", save_all=True, append_images=frames[1:])
    edit(root, lambda c: c["images"][0].update(file_name="a.gif"))
    report = open_folder(root).report
    assert report.counts == {faults.ANIMATED: 1}
    assert report.faults[0].detail == "3 frames"
    assert report.clean


def test_same_image_in_two_splits_is_told(make_folder: MakeFolder) -> None:
    root = make_folder(train=document(2), val=document(2))
    images = root / "images"
    (images / "val" / "2.jpg").write_bytes((images / "train" / "1.jpg").read_bytes())
    report = open_folder(root).report
    assert report.counts == {faults.LEAK: 1}
    assert report.faults[0].file == "images/val/2.jpg"
    assert report.faults[0].detail == "as images/train/1.jpg"
    assert report.clean


def test_image_listed_twice_is_told(make_folder: MakeFolder) -> None:
    root = edit(make_folder(train=document(2)), lambda c: c["images"][1].update(file_name="1.jpg"))
    assert reasons(root) == {faults.REPEATED: 1}


# --- the rule of one percent ---------------------------------------------------------------------


def test_more_than_a_percent_dropped_is_an_error(make_folder: MakeFolder) -> None:
    content = document(1, boxes=99)
    content["annotations"][0]["bbox"] = [0, 0, 0, 0]
    folder = open_folder(make_folder(train=content))
    with pytest.raises(DataError, match=r"1 of 99 boxes of 'train' .* box without area: 1"):
        require_usable(folder)
    require_usable(folder, max_dropped_share=0.02)


def test_a_split_without_images_is_an_error(make_folder: MakeFolder) -> None:
    folder = open_folder(make_folder(train=document(0)))
    with pytest.raises(DataError, match="no usable images in 'train'"):
        require_usable(folder)


# --- images to compare models on ---------------------------------------------------------------


def test_sample_images_come_from_val_first(make_folder: MakeFolder) -> None:
    root = make_folder(train=document(3), val=document(2))
    images, source = sample_images(root, Preprocess(size=(64, 32), fit=(64, 32)), 16)
    assert images.shape == (2, 3, 64, 32)
    assert source == f"{root} (val)"
    again, _ = sample_images(open_folder(root), Preprocess(size=(64, 32), fit=(64, 32)), 1)
    assert np.array_equal(again, images[:1])


def test_synthetic_images_are_the_same_at_every_call() -> None:
    preprocess = Preprocess(size=(64, 96), fit=(64, 96))
    first, second = synthetic_images(preprocess, 3), synthetic_images(preprocess, 3)
    assert first.shape == (3, 3, 64, 96)
    assert np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_images_may_be_unreadable_for_lack_of_rights(make_folder: MakeFolder) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    root = make_folder(train=document(2))
    (root / "images" / "train" / "1.jpg").chmod(0)
    assert reasons(root)[faults.UNDECODABLE] == 1


def test_every_reason_has_an_action() -> None:
    names = {name for name in vars(faults) if name.isupper()}
    plain = {name for name in names if isinstance(getattr(faults, name), str)} - {"LINKED_OUT"}
    assert {getattr(faults, name) for name in plain} == set(faults.ACTION_OF)


def test_boxes_are_not_suspected_where_the_sizes_are_wrong(make_folder: MakeFolder) -> None:
    content = document(images=4, boxes=6)
    for item in content["images"]:
        item.update(width=400, height=300)
    for item in content["annotations"]:
        item["bbox"] = [10, 10, 60, 60]  # of pixels it would be: all of them below 100
    report = inspect_folder(make_folder(train=content)).report
    assert report.counts[faults.SIZE_MISMATCH] == 4
    assert report.suspicions == ()
