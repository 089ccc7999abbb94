"""One run at a time in a folder, whatever became of the one before."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from detkit.core import run_lock
from detkit.core.errors import UsageError
from detkit.core.run_lock import LOCK, check_unlocked, locked_folder

HOLD = """
import os, sys, time
from pathlib import Path
from detkit.core.run_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    if sys.argv[2] == "fork" and not os.fork():
        os.close(1)
        time.sleep(60)
    print(flush=True)
    time.sleep(60)
"""


def holder(folder: Path, *, fork: bool = False) -> subprocess.Popen[str]:
    """A process that holds the lock by now."""
    words = [sys.executable, "-c", HOLD, str(folder), "fork" if fork else "alone"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_second_run_is_refused_by_the_pid_and_host_of_the_first(tmp_path: Path) -> None:
    with holder(tmp_path / "run") as process:
        for attempt in (check_unlocked, enter):
            with pytest.raises(UsageError, match="a run is under way in") as caught:
                attempt(tmp_path / "run")
            assert f"process {process.pid} on {platform.node()}" in str(caught.value)
        process.kill()


def enter(folder: Path) -> None:
    with locked_folder(folder):
        pass


def test_the_lock_of_a_killed_run_is_stale_though_what_it_forked_lives_on(tmp_path: Path) -> None:
    with holder(tmp_path, fork=True) as process:
        process.kill()
        process.wait()
        try:
            check_unlocked(tmp_path)
            with locked_folder(tmp_path) as killed:
                assert killed is not None
                assert killed.pid == process.pid
                mine = json.loads((tmp_path / LOCK).read_text())
                assert (mine["pid"], mine["host"]) == (os.getpid(), platform.node())
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / LOCK).exists()


def test_nothing_is_left_of_a_folder_that_was_not_filled(tmp_path: Path) -> None:
    enter(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    enter(tmp_path / "old")
    assert list((tmp_path / "old").iterdir()) == []
    with pytest.raises(ZeroDivisionError):
        fill_and_fail(tmp_path / "filled")
    assert [path.name for path in (tmp_path / "filled").iterdir()] == ["log.txt"]
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file, not a folder"):
        enter(tmp_path / "file")


def test_a_lock_that_cannot_be_written_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "old").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for name in ("new", "old"):
            with pytest.raises(OSError, match="No space"):
                enter(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]
    enter(tmp_path / "old")


def fill_and_fail(folder: Path) -> None:
    with locked_folder(folder) as killed:
        assert killed is None
        (folder / "log.txt").touch()
        raise ZeroDivisionError


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lock_file_that_says_nothing_is_stale(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK).write_text(text)
    with locked_folder(tmp_path) as killed:
        assert killed is None


@pytest.mark.parametrize(
    ("pid", "host", "is_free"),
    [
        (os.getppid(), platform.node(), False),
        (2**22 + 1, platform.node(), True),
        (1, "moon", False),
    ],
)
def test_without_locks_in_the_file_system_the_named_process_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int, host: str, is_free: bool
) -> None:
    def no_locks(file: object, flags: int) -> None:
        raise OSError(run_lock.NO_LOCKS_HERE[0], "no locks")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    (tmp_path / LOCK).write_text(json.dumps({"pid": pid, "host": host, "since": "today"}))
    if is_free:
        enter(tmp_path)
    else:
        with pytest.raises(UsageError, match=f"process {pid} on {host}"):
            enter(tmp_path)
