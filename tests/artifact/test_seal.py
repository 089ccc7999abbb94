from __future__ import annotations

from pathlib import Path

import pytest

from detkit.artifact.seal import PLACEHOLDER, is_sealed, new_token, put, seal
from detkit.artifact.sealed_json import read_sealed, write_sealed
from detkit.core.errors import ArtifactError


def test_the_digest_goes_where_the_token_stood_and_depends_on_no_token(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        token, path = new_token(), tmp_path / name
        path.write_bytes(b"class " + PLACEHOLDER.encode() + b" digest " + token.encode() + b" end")
        digests.add(seal(path, token))
    (digest,) = digests
    assert path.read_bytes() == b"class %b digest %b end" % (PLACEHOLDER.encode(), digest.encode())
    assert is_sealed(path, digest)


def test_no_flipped_bit_is_sealed(tmp_path: Path) -> None:
    token, path = new_token(), tmp_path / "a"
    path.write_bytes(b"before " + token.encode() + b" after")
    digest = seal(path, token)
    data = path.read_bytes()
    for at in range(0, 8 * len(data), 13):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        assert not is_sealed(path, digest)
    assert not is_sealed(path, "")


def test_another_text_is_put_in_place_of_its_token(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 64)
    put(tmp_path / "a", "y" * 64, "x" * 64)
    assert (tmp_path / "a").read_bytes() == b"y" * 64


def test_json_that_a_verb_keeps_is_refused_once_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    write_sealed(path, {"1,2": {"ms": 0.25}})
    assert read_sealed(path)["1,2"] == {"ms": 0.25}
    text = path.read_text()
    for damaged in (text.replace("0.25", "0.35"), text[:-9], "[]", "[" * 100_000):
        path.write_text(damaged)
        with pytest.raises(ArtifactError, match="damaged") as caught:
            read_sealed(path)
        assert caught.value.hint.startswith(f"rm {path}")
