"""A file is there whole or not at all, and nothing of ours stays beside it."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from detkit.artifact.writing import (
    append_line,
    atomic_path,
    copy_file,
    link_file,
    sweep,
    sync_files,
    temporary_folder,
    write_bytes,
    write_text,
)
from detkit.core.errors import ArtifactError


def names_in(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def fail_after_half(path: Path) -> None:
    with atomic_path(path) as partial:
        partial.write_text("half")
        partial.with_name("of-a-library").touch()
        raise KeyError


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyError):
        fail_after_half(path)
    assert names_in(tmp_path) == ["a.txt"]
    assert path.read_text() == "old"


def test_missing_folders_are_made_and_the_mode_is_that_of_any_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text(path, "\u6587")
    (tmp_path / "plain").touch()
    assert path.read_text(encoding="utf-8") == "\u6587"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


KILLED = """
import pathlib, sys, time
from detkit.artifact.writing import atomic_path, temporary_folder
with atomic_path(pathlib.Path(sys.argv[1])) as partial, temporary_folder() as folder:
    partial.write_text("half")
    partial.with_name(".tmpOfALibrary").touch()
    print("ready", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_and_nothing_of_a_living_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, temporaries = tmp_path / "out" / "a.txt", tmp_path / "temporaries"
    temporaries.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporaries))
    monkeypatch.setattr(tempfile, "tempdir", None)
    write_text(path, "old")
    process = subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    sweep.cache_clear()
    write_text(path, "while another writes")
    assert len(names_in(path.parent)) == 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.read_text() == "while another writes"
    sweep.cache_clear()  # as in the next process
    write_text(path, "new")
    with temporary_folder():
        assert len(names_in(temporaries)) == 1
    assert names_in(path.parent) == ["a.txt"]
    assert names_in(temporaries) == []


def test_only_what_is_surely_ours_is_swept(tmp_path: Path) -> None:
    for name in (".detkit-notes", "detkit-peers", ".detkit-abcdefgh.partial.bak"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
    theirs = tmp_path / ".detkit-abcdefg1.partial"  # a name like ours, without a lock
    theirs.mkdir()
    (theirs / "thesis.tex").touch()
    (tmp_path / ".detkit-abcdefg2.partial").symlink_to(theirs)
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"cannot write .*file/a.txt: "):
        write_text(tmp_path / "file" / "a.txt", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArtifactError, match=r"cannot write .*folder: it is a folder"):
        write_text(tmp_path / "folder", "x")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match=r"cannot write .*pipe: it is a pipe"):
        write_text(tmp_path / "pipe", "x")
    assert names_in(tmp_path) == ["file", "folder", "pipe"]


def test_no_device_and_no_stream_is_replaced(tmp_path: Path) -> None:
    link = tmp_path / "stdout"
    link.symlink_to("/proc/self/fd/1")
    for path in (Path("/dev/null"), Path("/proc/self/fd/1"), link):
        with pytest.raises(ArtifactError, match="cannot write"):
            write_text(path, "x")
    assert link.is_symlink()
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_full_disk_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="the disk is full"), atomic_path(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(ArtifactError, match="quota") as caught, atomic_path(tmp_path / "a.bin"):
        raise OSError(errno.EFBIG, "over quota of size")
    assert caught.value.exit_code == 1
    assert names_in(tmp_path) == []


def test_a_full_folder_of_temporary_files_is_named_with_what_mends_it() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    message = r"temporary files in .*full"
    with pytest.raises(ArtifactError, match=message) as caught, temporary_folder():
        raise full
    assert "TMPDIR" in caught.value.hint


def test_less_on_the_disk_than_was_written_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: whole(path, data[:-1]))
    with pytest.raises(ArtifactError, match="the disk is full"):
        write_bytes(tmp_path / "a.jpg", b"pixels")
    assert names_in(tmp_path) == []


def test_a_copy_is_a_file_of_its_own_and_a_link_is_not(tmp_path: Path) -> None:
    source, target = tmp_path / "a.jpg", tmp_path / "b.jpg"
    source.write_bytes(b"pixels")
    assert link_file(source, target)
    assert target.samefile(source)
    assert link_file(source, target)  # again
    copy_file(source, target)  # replaces the link, and is not written through it
    sync_files((source, target))
    assert not target.samefile(source)
    assert target.read_bytes() == source.read_bytes() == b"pixels"
    assert not link_file(tmp_path / "absent", target)
    assert names_in(tmp_path) == ["a.jpg", "b.jpg"]


def test_a_line_that_does_not_fit_leaves_the_lines_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.txt"
    append_line(path, "one")
    append_line(path, "two \udcff")
    whole = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: whole(handle, data[:2]))
    with pytest.raises(ArtifactError, match=r"log.txt: the disk is full"):
        append_line(path, "three")
    assert path.read_text() == "one\ntwo \\udcff\n"
    with pytest.raises(ArtifactError, match="cannot write /dev/full"):
        append_line(Path("/dev/full"), "x")
