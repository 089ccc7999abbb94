from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from detkit.artifact.artifact import (
    METADATA_KEY,
    Manifest,
    Parent,
    TensorInfo,
    parent_of,
    read_manifest,
    sha256_of,
    size_of,
    versions,
    write_artifact,
    write_pair,
)
from detkit.artifact.embedded import MAX_HEADER_BYTES
from detkit.artifact.seal import PLACEHOLDER
from detkit.artifact.writing import sweep
from detkit.core.errors import ArtifactError, UsageError
from detkit.core.protobuf import bytes_field, int_field
from detkit.core.serialization import to_json
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO, with_task

SUFFIXES = (".safetensors", ".onnx", ".xml")


def safetensors_bytes(text: str, tensors: bytes = b"weights " * 100) -> bytes:
    header = json.dumps({"__metadata__": {METADATA_KEY: text}}, ensure_ascii=False).encode()
    return len(header).to_bytes(8, "little") + header + tensors


def onnx_bytes(text: str, tensors: bytes = b"weights " * 100) -> bytes:
    """A ModelProto: ir_version, a graph, another tool's metadata, ours."""
    other = bytes_field(1, b"author") + bytes_field(2, b"somebody")
    ours = bytes_field(1, METADATA_KEY.encode()) + bytes_field(2, text.encode())
    return (
        int_field(1, 10) + bytes_field(7, tensors) + bytes_field(14, other) + bytes_field(14, ours)
    )


def xml_bytes(text: str) -> bytes:
    """A network of one layer; the metadata is in rt_info, where a layer has one of its own."""
    layer = '<layer name="weights "><rt_info><detkit value="another" /></rt_info></layer>'
    ours = (
        f"<rt_info><detkit value={quoteattr(text)} /><other><detkit value='x' /></other></rt_info>"
    )
    return f'<?xml version="1.0"?>\n<net>{layer}{ours}</net>\n'.encode()


FORMATS = {".safetensors": safetensors_bytes, ".onnx": onnx_bytes, ".xml": xml_bytes}


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        kind="checkpoint",
        arch=with_task(ZOO["yolo-nas-p"], 2, (64, 96)),
        class_names=(PLACEHOLDER, '\u6587 "x" \x1b'),
        preprocess=Preprocess(size=(64, 96), fit=(60, 96)),
        inputs=(TensorInfo(name="images", dtype="float32", shape=("batch", 3, 64, 96)),),
        parents=(Parent(name="a.pth", sha256="0" * 64),),
        metrics={"ap": 0.5},
    )


def write(path: Path, manifest: Manifest) -> Manifest:
    content = FORMATS[path.suffix]
    if path.suffix == ".xml":
        return write_xml_and_bin(path, manifest, b"weights" * 100)

    def save(partial: Path, text: str) -> None:
        partial.write_bytes(content(text))

    return write_artifact(path, manifest, save)


def write_xml_and_bin(path: Path, manifest: Manifest, weights: bytes) -> Manifest:
    def write_files(partial: Path, partial_weights: Path, text: str) -> None:
        partial.write_bytes(xml_bytes(text))
        partial_weights.write_bytes(weights)

    return write_pair(path, manifest, write_files)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_manifest_reads_back_with_the_digest_it_was_sealed_with(
    tmp_path: Path, manifest: Manifest, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    sealed = write(path, manifest)
    assert read_manifest(path) == sealed
    assert dataclasses.replace(sealed, digest="", weights_sha256="") == manifest
    assert len(sealed.digest) == 64
    assert write(path, manifest) == sealed  # the same content, the same digest


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_flipped_bit_is_noticed(tmp_path: Path, manifest: Manifest, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    write(path, manifest)
    data = path.read_bytes()
    for at in range(0, len(data), 37):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ArtifactError):
            read_manifest(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_cut_short_anywhere_is_refused(
    tmp_path: Path, manifest: Manifest, suffix: str
) -> None:
    path = tmp_path / f"model{suffix}"
    write(path, manifest)
    data = path.read_bytes()
    for length in range(0, len(data), 61):
        path.write_bytes(data[:length])
        with pytest.raises(ArtifactError):
            read_manifest(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_verification_may_be_skipped(tmp_path: Path, manifest: Manifest, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    sealed = write(path, manifest)
    path.write_bytes(path.read_bytes().replace(b"weights ", b"WEIGHTS ", 1))
    assert read_manifest(path, verify=False) == sealed
    with pytest.raises(ArtifactError, match="is damaged"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lost.onnx", None, "no such file"),
        ("x.pth", b"\x80\x02", "is a checkpoint of another tool"),
        ("x.bin", b"PK\x03\x04", "is a checkpoint of another tool"),
        ("x.txt", b"hello", "is not a detkit artifact"),
        ("x.safetensors", b"", "is empty"),
        ("x.safetensors", b"\xff", "not a safetensors file, or is cut short"),
        ("x.safetensors", b"\xff" * 64, "not a safetensors file, or is cut short"),
        ("x.safetensors", b"\x02" + bytes(7) + b"[]", "header is damaged"),
        ("x.safetensors", b"\x02" + bytes(7) + b"{}", "carries no detkit manifest"),
        ("x.safetensors", safetensors_bytes("[]"), "unreadable manifest"),
        ("x.safetensors", safetensors_bytes("[" * 99_999), "unreadable manifest"),
        ("x.safetensors", safetensors_bytes('{"schema_version": "x"}'), "unreadable manifest"),
        ("x.safetensors", safetensors_bytes('{"schema_version": 1}'), "unreadable manifest"),
        ("x.safetensors", safetensors_bytes('{"schema_version": 4}'), "made by a newer detkit"),
        ("x.onnx", b"", "is empty"),
        ("x.onnx", bytes_field(7, b""), "carries no detkit manifest"),
        ("x.onnx", b"\x08", "not an ONNX file, or is cut short"),
        ("x.onnx", b"\xff" * 20, "not an ONNX file, or is cut short"),
        ("x.onnx", b"\x72\xff\xff\xff\xff\x0f", "not an ONNX file, or is cut short"),
        ("x.onnx", b"\x0b", "not an ONNX file, or is cut short"),
        ("x.onnx", bytes_field(14, bytes_field(1, b"author")), "holds no graph"),
        (
            "x.onnx",
            bytes_field(7, b"") + bytes_field(14, bytes_field(1, b"author")),
            "carries no detkit manifest",
        ),
        ("x.onnx", bytes_field(14, bytes_field(1, b"detkit")), "not an ONNX file, or is cut short"),
        ("x.onnx", onnx_bytes("{"), "unreadable manifest"),
        ("x.xml", b"", "is empty"),
        ("x.xml", b"<", "not an OpenVINO file, or is cut short"),
        ("x.xml", b"<net>", "not an OpenVINO file, or is cut short"),
        ("x.xml", b"\xff\xff<net/>", "not an OpenVINO file, or is cut short"),
        ("x.xml", b"<net>&lost;</net>", "not an OpenVINO file, or is cut short"),
        ("x.xml", b"<net/>", "carries no detkit manifest"),
        ("x.xml", b"<net>" + b"<a>" * 99_999 + b"</a>" * 99_999 + b"</net>", "no detkit manifest"),
        ("x.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><net>&b;</net>', "has a DOCTYPE"),
        ("x.xml", b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><net/>', "has a DOCTYPE"),
        ("x.xml", xml_bytes("{"), "unreadable manifest"),
    ],
)
def test_files_of_other_tools_and_broken_ones_are_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_manifest(path)


def test_an_xml_of_absurd_size_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "x.xml").open("wb") as file:
        file.truncate(MAX_HEADER_BYTES + 1)  # a hole, which takes no space
    with pytest.raises(ArtifactError, match="too large"):
        read_manifest(tmp_path / "x.xml")


def test_class_names_must_be_as_many_as_the_classes(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="1 class names for 2 classes"):
        dataclasses.replace(manifest, class_names=("cell",))


def test_parent_is_what_sha256sum_prints(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert parent_of(path) == Parent(name="a.txt", sha256=digest)
    assert sha256_of(path) == digest


def test_versions_name_what_is_installed_and_nothing_else() -> None:
    found = versions("typer", "no-such-package")
    assert {"detkit", "python", "typer"} == set(found)


# --- two files, one artifact ---------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path, manifest: Manifest) -> Path:
    path = tmp_path / "model.xml"
    write_xml_and_bin(path, manifest, b"old weights")
    return path


def test_the_digest_of_an_xml_covers_its_bin(pair: Path) -> None:
    weights = pair.with_suffix(".bin")
    data = weights.read_bytes()
    assert size_of(pair) == pair.stat().st_size + len(data)
    for at in range(len(data)):
        weights.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ArtifactError, match=r"model.bin is damaged, or was not made with"):
            read_manifest(pair)
    assert read_manifest(pair, verify=False).weights_sha256


def test_an_xml_without_its_bin_is_told_which_file_is_missing(pair: Path) -> None:
    pair.with_suffix(".bin").unlink()
    with pytest.raises(ArtifactError, match=r"weights are missing: no such file: .*model.bin") as e:
        read_manifest(pair)
    assert e.value.hint == "the two files belong together: copy both"


def test_a_bin_named_as_the_model_is_told_its_xml(pair: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model.bin is not a detkit artifact") as caught:
        read_manifest(pair.with_suffix(".bin"))
    assert caught.value.hint == f"it may be the weights of {pair}"


KILLED = """
import os, pathlib, sys
from xml.sax.saxutils import quoteattr
from detkit.artifact.artifact import read_manifest, write_pair
path, last = pathlib.Path(sys.argv[1]), int(sys.argv[2])
replace, count = os.replace, 0

def killing(*args):
    global count
    if count == last:
        os.kill(os.getpid(), 9)
    count += 1
    replace(*args)

def write_files(partial, partial_weights, text):
    partial_weights.write_bytes(b"new weights")
    partial.write_text(f"<net><rt_info><detkit value={quoteattr(text)}/></rt_info></net>")

os.replace = killing
write_pair(path, read_manifest(path), write_files)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("renames", "weights"), [(0, b"old weights"), (1, None), (2, b"new weights")]
)
def test_kill_between_the_renames_of_a_pair_leaves_nothing_that_passes_for_a_model(
    pair: Path, manifest: Manifest, renames: int, weights: bytes | None
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(pair), str(renames)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    if weights is None:
        with pytest.raises(ArtifactError, match="was not made with model"):
            read_manifest(pair)
    else:
        assert read_manifest(pair).weights_sha256 == hashlib.sha256(weights).hexdigest()
    sweep.cache_clear()  # as in the next process
    sealed = write_xml_and_bin(pair, manifest, b"third weights")
    assert read_manifest(pair) == sealed
    assert sorted(item.name for item in pair.parent.iterdir()) == ["model.bin", "model.xml"]


def test_a_pair_that_cannot_be_written_leaves_the_old_one(pair: Path) -> None:
    def fail(partial: Path, partial_weights: Path, text: str) -> None:
        partial_weights.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = read_manifest(pair)
    with pytest.raises(ArtifactError, match="the disk is full"):
        write_pair(pair, before, fail)
    assert read_manifest(pair) == before
    assert sorted(item.name for item in pair.parent.iterdir()) == ["model.bin", "model.xml"]


def test_manifest_json_is_small_enough_for_a_header(manifest: Manifest) -> None:
    assert len(to_json(manifest)) < 5000
