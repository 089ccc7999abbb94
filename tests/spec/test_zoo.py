from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from detkit.core.errors import UsageError
from detkit.core.serialization import to_json
from detkit.spec.zoo import ZOO, find_arch, with_task


def test_names_are_the_keys_and_no_two_members_are_the_same_network() -> None:
    assert all(spec.name == name for name, spec in ZOO.items())
    assert len({spec.digest for spec in ZOO.values()}) == len(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_member_is_found_by_name_and_by_its_json(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(to_json(ZOO[name]), encoding="utf-8")
    assert find_arch(name) is ZOO[name]
    assert find_arch(str(path)) == ZOO[name]


def test_unknown_name_suggests_the_near_one() -> None:
    with pytest.raises(UsageError, match="unknown model 'yolo_nas_s'") as caught:
        find_arch("yolo_nas_s")
    assert caught.value.hint == "did you mean 'yolo-nas-s'?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such architecture file"),
        ("\ud8ff", "not UTF-8 text"),
        ("{", "mine.json: not valid JSON"),
        ('{"name": "x"}', "mine.json: missing stages, neck, head_widths"),
        ('{"nam": "x"}', "mine.json: unknown key 'nam'"),
    ],
)
def test_file_that_is_no_architecture_is_refused(
    tmp_path: Path, text: str | None, message: str
) -> None:
    path = tmp_path / "mine.json"
    if text is not None:
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(UsageError, match=message):
        find_arch(str(path))


def test_with_task_changes_classes_and_size_only() -> None:
    spec = with_task(ZOO["yolo-nas-m"], 3, (320, 416))
    assert (spec.num_classes, spec.image_size) == (3, (320, 416))
    assert dataclasses.replace(spec, num_classes=80, image_size=(640, 640)) == ZOO["yolo-nas-m"]
