from __future__ import annotations

from pathlib import Path

import pytest

from detkit.core.errors import DataError
from detkit.data.find_images import find_images, names_below_common_folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "a/deep/2.PNG", "a/.hidden.jpg", "a/notes.txt", "b/1.jpg", "b/raw"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def names(sources: list[Path]) -> list[str]:
    return [str(name) for name in names_below_common_folder(sources, find_images(sources))]


def test_a_folder_gives_its_images_named_within_it(tree: Path) -> None:
    assert names([tree / "a"]) == ["1.jpg", "deep/2.PNG"]


def test_a_file_counts_whatever_its_suffix(tree: Path) -> None:
    assert names([tree / "b" / "raw"]) == ["raw"]


def test_equal_names_of_two_folders_stay_distinct(tree: Path) -> None:
    assert names([tree / "a", tree / "b"]) == ["a/1.jpg", "a/deep/2.PNG", "b/1.jpg"]
    assert names([tree / "b/1.jpg", tree / "a"]) == ["b/1.jpg", "a/1.jpg", "a/deep/2.PNG"]


def test_a_image_named_twice_counts_once(tree: Path) -> None:
    assert len(find_images([tree / "a", tree / "a" / "1.jpg"])) == 2


def test_relative_names_work(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert names([Path("a"), Path("b/1.jpg")]) == ["a/1.jpg", "a/deep/2.PNG", "b/1.jpg"]
    assert names([Path("a/1.jpg")]) == ["1.jpg"]


@pytest.mark.parametrize(("name", "message"), [("gone", "no such"), ("empty", "no images")])
def test_nothing_there_is_an_error(tree: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_images([tree / "a", tree / name])
