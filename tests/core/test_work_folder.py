"""Nothing that lies somewhere already is overwritten or removed unless the user said so."""

from __future__ import annotations

from pathlib import Path

import pytest

from detkit.core.errors import UsageError
from detkit.core.work_folder import (
    check_output_file,
    check_output_folder,
    check_run_folder,
    remove_earlier_run,
)


def test_a_file_is_overwritten_by_force_alone(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    check_output_file(path, force=False)
    path.touch()
    with pytest.raises(UsageError, match="already exists") as caught:
        check_output_file(path, force=False)
    assert caught.value.hint == "pass --force to overwrite"
    check_output_file(path, force=True)
    with pytest.raises(UsageError, match="is a folder"):
        check_output_file(tmp_path, force=True)


def test_an_empty_folder_may_be_filled_and_a_filled_one_by_force(tmp_path: Path) -> None:
    check_output_folder(tmp_path, force=False)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match="already exists"):
        check_output_folder(tmp_path, force=False)
    check_output_folder(tmp_path, force=True)
    with pytest.raises(UsageError, match="is a file, not a folder"):
        check_output_folder(tmp_path / "mine.txt", force=True)


def test_a_run_folder_is_resumed_or_started_over(tmp_path: Path) -> None:
    check_run_folder(tmp_path / "absent", resume=False, force=False)
    (tmp_path / "config.toml").touch()
    with pytest.raises(UsageError, match="already exists") as caught:
        check_run_folder(tmp_path, resume=False, force=False)
    assert caught.value.hint == "use --resume to continue or --force to start over"
    check_run_folder(tmp_path, resume=True, force=False)
    check_run_folder(tmp_path, resume=False, force=True)


def test_only_what_a_run_wrote_is_removed(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for name in ("state/state.safetensors", "log.txt", "mine.txt"):
        (tmp_path / name).touch()
    remove_earlier_run(tmp_path, ("state", "log.txt", "absent.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
