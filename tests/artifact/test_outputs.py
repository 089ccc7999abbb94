"""Nothing that detkit did not make is overwritten or removed, and no data folder is written to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from detkit.artifact.outputs import (
    MARKER,
    MadeFiles,
    begin_folder,
    check_output_file,
    check_output_folder,
    claim,
    made_files,
    seal,
)
from detkit.artifact.writing import write_text
from detkit.core.errors import UsageError
from detkit.core.serialization import to_json

REPORT = '{\n  "kind": "eval report",\n  "ap": 0.5\n}\n'
LAYOUTS = {
    "coco": ("annotations/instances_train.json", "images/a.jpg"),
    "coco of other names": ("annotations/mine.json", "images/a.jpg"),
    "coco2017": ("annotations/instances_train2017.json", "train2017/a.jpg"),
    "roboflow": ("train/_annotations.coco.json", "train/a.jpg"),
    "yolo": ("labels/train/a.txt", "images/train/a.jpg"),
    "yolo by split": ("valid/labels/a.txt", "valid/images/a.jpg"),
    "voc": ("Annotations/a.xml", "JPEGImages/a.jpg"),
}


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")


def files_below(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(found)}


# --- single files --------------------------------------------------------------------------------


def test_a_report_of_ours_is_overwritten_by_force_alone(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    check_output_file(path, force=False)
    path.write_text(REPORT)
    with pytest.raises(UsageError, match="already exists") as caught:
        check_output_file(path, force=False)
    assert caught.value.hint == "pass --force to overwrite"
    check_output_file(path, force=True)
    (tmp_path / "empty").touch()  # as of `mktemp`
    check_output_file(tmp_path / "empty", force=True)


@pytest.mark.parametrize(
    "content",
    ['{"images": []}', "notes", "<html></html>", '{"kind": "pet"}', "[1]", 'kind: "eval report"'],
)
@pytest.mark.parametrize("name", ["a.json", "a.html", "a.onnx", "a.safetensors", "a.xml", "a.bin"])
def test_what_is_not_ours_is_not_overwritten_by_force(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match="detkit did not make it"):
        check_output_file(tmp_path / name, force=True)


def test_artifacts_and_pages_of_ours_are_known(tmp_path: Path, checkpoint: Path) -> None:
    from detkit.pages.page import render_page

    check_output_file(checkpoint, force=True)
    page = render_page("page.html", "a title", {})
    (tmp_path / "a.html").write_text(page)
    check_output_file(tmp_path / "a.html", force=True)


def test_weights_beside_a_network_of_another_tool_are_left_alone(tmp_path: Path) -> None:
    fill(tmp_path, "model.bin")
    with pytest.raises(UsageError, match=r"model.bin already exists, and detkit did not make it"):
        check_output_file(tmp_path / "model.bin", force=True)


def test_a_file_is_no_folder_no_pipe_and_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in (
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a pipe"),
        (Path("/dev/null"), "is a device"),
    ):
        with pytest.raises(UsageError, match=kind):
            check_output_file(path, force=True)


# --- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_place_within_data_is_written_to(tmp_path: Path, layout: str) -> None:
    data = tmp_path / "data"
    fill(data, *LAYOUTS[layout])
    (tmp_path / "link").symlink_to(data)
    for place in (data / "new.json", data / "sub" / "new.json", tmp_path / "link" / "new.json"):
        with pytest.raises(UsageError, match="which is never written to") as caught:
            check_output_file(place, force=True)
        hinted = Path(caught.value.hint.rsplit(" ", 1)[1])
        check_output_file(hinted, force=False)
    for place in (data, data / "runs" / "a", *(data / name for name in ("images", "train"))):
        if place.parent.is_dir() and not place.is_file():
            with pytest.raises(UsageError, match="which is never written to"):
                check_output_folder(place, "train", force=True)
    check_output_folder(tmp_path / "runs", "train", force=False)


def test_folders_and_files_that_are_read_are_not_written_to(tmp_path: Path) -> None:
    fill(tmp_path, "photos/a.jpg", "base.json")
    for read in (tmp_path / "photos", tmp_path / "base.json"):
        place = read / "x.json" if read.is_dir() else read
        with pytest.raises(UsageError, match=r"never written to|would be overwritten"):
            check_output_file(place, force=True, read=(read,))


def test_the_verb_that_made_data_may_start_over_and_no_other(tmp_path: Path) -> None:
    names = ("annotations/instances_train.json", "images/a.jpg")
    begin_folder(tmp_path / "s", "data synth", names)
    fill(tmp_path / "s", *names)
    check_output_folder(tmp_path / "s", "data synth", force=True)
    with pytest.raises(UsageError, match="already exists"):
        check_output_folder(tmp_path / "s", "data synth", force=False)
    with pytest.raises(UsageError, match="never written to"):
        check_output_folder(tmp_path / "s", "predict", force=True)


def test_labels_that_a_person_edited_are_kept(tmp_path: Path) -> None:
    names = ("annotations/instances_train.json", "images/a.jpg")
    begin_folder(tmp_path, "data synth", names)
    fill(tmp_path, *names)
    seal(tmp_path, "data synth", names[0], "annotations/instances_val.json")
    begin_folder(tmp_path, "data synth", names)  # as it was
    assert files_below(tmp_path) == {}
    fill(tmp_path, *names)
    seal(tmp_path, "data synth", names[0])
    (tmp_path / names[0]).write_text("corrected")
    with pytest.raises(UsageError, match="was edited since"):
        begin_folder(tmp_path, "data synth", names)
    assert len(files_below(tmp_path)) == 2


# --- folders that are filled ---------------------------------------------------------------------


def test_an_empty_folder_may_be_filled_and_a_filled_one_by_force(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "absent", "train", force=False)
    check_output_folder(tmp_path, "train", force=False)
    begin_folder(tmp_path, "train", ("log.txt",))  # and was killed at once
    check_output_folder(tmp_path, "train", force=False)
    fill(tmp_path, "mine.txt")
    with pytest.raises(UsageError, match="already exists") as caught:
        check_output_folder(tmp_path, "train", force=False, hint="use --resume")
    assert caught.value.hint == "use --resume"
    check_output_folder(tmp_path, "train", force=True)
    check_output_folder(tmp_path, "train", force=False, resume=True)
    with pytest.raises(UsageError, match="is a file, not a folder"):
        check_output_folder(tmp_path / "mine.txt", "train", force=True)


def test_only_what_the_marker_lists_is_removed(tmp_path: Path) -> None:
    begin_folder(tmp_path, "train", ("log.txt", "state/state.safetensors", "never-written.json"))
    fill(tmp_path, "log.txt", "state/state.safetensors", "state/terraform.tfstate", "mine.txt")
    begin_folder(tmp_path, "train", ("log.txt", "state/state.safetensors"))
    assert sorted(files_below(tmp_path)) == ["mine.txt", "state/terraform.tfstate"]


def test_a_name_that_something_else_has_stops_all_before_anything_is_removed(
    tmp_path: Path,
) -> None:
    begin_folder(tmp_path, "train", ("log.txt",))
    fill(tmp_path, "log.txt", "report.json")
    before = files_below(tmp_path)
    with pytest.raises(
        UsageError, match=r"report.json is in the way: detkit train did not make it"
    ):
        begin_folder(tmp_path, "train", ("log.txt", "report.json"))
    with pytest.raises(UsageError, match="in the way"):
        begin_folder(tmp_path, "predict", ("log.txt",))  # which another verb made
    with pytest.raises(UsageError, match="in the way"):
        claim(tmp_path, "train", "report.json")
    assert files_below(tmp_path) == before


def test_folders_that_become_empty_go_and_no_other(tmp_path: Path) -> None:
    begin_folder(tmp_path, "search", ("front/a.json", "runs/x/"))
    (tmp_path / "empty").mkdir()
    fill(tmp_path, "front/a.json")
    begin_folder(tmp_path / "runs" / "x", "train", ("log.txt", "state/s"))
    fill(tmp_path / "runs" / "x", "log.txt", "state/s")
    fill(tmp_path, "runs/notes.txt")
    begin_folder(tmp_path, "search", ())
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        MARKER,
        "empty",
        "runs",
        "runs/notes.txt",
    ]


def test_resuming_removes_nothing_and_marks_again_what_a_copy_lost(tmp_path: Path) -> None:
    fill(tmp_path, "log.txt")
    begin_folder(tmp_path, "train", ("log.txt", "report.json"), resume=True)
    claim(tmp_path, "train", "sheet.png")
    assert set(made_files(tmp_path).of("train")) == {"log.txt", "report.json", "sheet.png"}
    assert list(files_below(tmp_path)) == ["log.txt"]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, "theirs/a.jpg")
    begin_folder(tmp_path / "out", "predict", ("images/a.jpg",))
    (tmp_path / "out" / "images").symlink_to(tmp_path / "theirs")
    with pytest.raises(UsageError, match="leads out of"):
        begin_folder(tmp_path / "out", "predict", ("images/a.jpg",))
    begin_folder(tmp_path / "out", "predict", ())
    assert list(files_below(tmp_path)) == ["theirs/a.jpg"]
    (tmp_path / "out" / "images").unlink()
    begin_folder(tmp_path / "out", "predict", ("a.jpg",))
    (tmp_path / "out" / "a.jpg").symlink_to(tmp_path / "theirs" / "a.jpg")
    begin_folder(tmp_path / "out", "predict", ())  # the link itself may go
    assert list(files_below(tmp_path)) == ["theirs/a.jpg"]


@pytest.mark.parametrize("name", ["../mine.txt", "/etc/hostname", "a/../../mine.txt"])
def test_a_marker_of_somebody_else_removes_nothing_outside(tmp_path: Path, name: str) -> None:
    fill(tmp_path, "mine.txt")
    made = {"train": {name: ""}}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MARKER).write_text(to_json(MadeFiles(made=made)))
    begin_folder(tmp_path / "out", "train", ())
    assert list(files_below(tmp_path)) == ["mine.txt"]


def test_a_damaged_marker_makes_nothing_ours(tmp_path: Path) -> None:
    begin_folder(tmp_path, "train", ("log.txt",))
    fill(tmp_path, "log.txt", "log.tyt")
    marker = tmp_path / MARKER
    marker.write_text(marker.read_text().replace("log.txt", "log.tyt"))
    assert made_files(tmp_path) == MadeFiles()
    begin_folder(tmp_path, "train", ())
    assert list(files_below(tmp_path)) == ["log.txt", "log.tyt"]
    for text in ("", "[]", json.dumps({"made": 3}), "[" * 9999):
        write_text(marker, text)
        assert made_files(tmp_path) == MadeFiles()
