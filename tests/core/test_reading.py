"""Files are read; whatever would keep a reader waiting is refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from detkit.core.reading import bytes_of, kind_of_file, open_file, text_of


def test_a_file_is_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\xc3\xa9\r")
    (tmp_path / "link").symlink_to("a.txt")
    assert bytes_of(tmp_path / "link") == b"one\r\ntwo\xc3\xa9\r"
    assert (
        text_of(tmp_path / "link") == (tmp_path / "a.txt").read_text("utf-8") == "one\ntwo\u00e9\n"
    )
    with open_file(tmp_path / "a.txt") as file:
        assert file.read(3) == b"one"


def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name, reason in (
            ("pipe", "it is a pipe"),
            ("link", "it is a pipe"),
            ("socket", "it is a socket"),
            ("/dev/zero", "it is a device"),
            (".", "it is a folder"),
            ("absent", "No such file"),
            ("loop", "symbolic links"),
        ):
            with pytest.raises(OSError, match=reason) as caught:
                bytes_of(Path(name))
            assert caught.value.filename == name


def test_kinds_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    paths = (tmp_path / "a", tmp_path, Path("/dev/null"), tmp_path / "b")
    assert [kind_of_file(path) for path in paths] == ["a file", "a folder", "a device", ""]
