"""`detkit info` on every kind of file, and that it needs nothing heavy."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from detkit.artifact.artifact import (
    METADATA_KEY,
    Manifest,
    Parent,
    TensorInfo,
    read_manifest,
    sha256_of,
    write_artifact,
    write_pair,
)
from detkit.config import TrainConfig, to_toml
from detkit.core.content_digest import seal
from detkit.core.serialization import from_plain, to_json, to_plain
from detkit.engines.tensorrt.build_machine import Machine
from detkit.engines.tensorrt.engine_file import EngineSidecar, write_engine
from detkit.inspection.inspect import FileInfo
from detkit.report import BenchReport, TrainReport
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO, with_task
from fixtures.command_line import Detkit

WITHOUT_HEAVY = """
import sys
for name in ("torch", "numpy", "onnx", "onnxruntime", "openvino", "safetensors", "PIL", "rich"):
    sys.modules[name] = None  # importing it raises
from detkit.cli.app import main
sys.exit(main())
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint without tensors: only its header is of interest here."""
    spec = with_task(ZOO["yolo-nas-n"], 3, (320, 320))
    manifest = Manifest(
        kind="checkpoint",
        arch=spec,
        class_names=("cell", "Blutpl\u00e4ttchen", "evil\x1b[2J"),
        preprocess=Preprocess(size=(320, 320), fit=(320, 320)),
        inputs=(TensorInfo(name="images", dtype="float32", shape=("batch", 3, 320, 320)),),
        parents=(Parent(name="first.pth", sha256="ab" * 32),),
        command="detkit import first.pth",
        versions={"detkit": "0.1.0"},
        metrics={"parameters": 3_100_000, "macs": 1.1e9, "flops": 2.2e9, "ap": 0.4321},
    )

    def write(partial: Path, text: str) -> None:
        header = json.dumps({"__metadata__": {METADATA_KEY: text}}, ensure_ascii=False).encode()
        partial.write_bytes(len(header).to_bytes(8, "little") + header)

    path = tmp_path / "model.safetensors"
    write_artifact(path, manifest, write)
    return path


def test_checkpoint_is_described_without_torch_numpy_or_onnx(
    detkit: Detkit, checkpoint: Path
) -> None:
    done = detkit("info", str(checkpoint), script=WITHOUT_HEAVY)
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["kind"] == "checkpoint"
    assert rows["arch"].startswith("yolo-nas-n (digest ")
    assert rows["classes"] == "3: cell, Blutpl\u00e4ttchen, evil\\x1b[2J"
    assert rows["parameters"] == "3.100 M fused"
    assert (rows["MACs"], rows["FLOPs"]) == ("1.100 G fused", "2.200 G fused")
    assert rows["ap"] == "0.4321"
    assert rows["parent"] == f"first.pth  sha256 {'ab' * 32}"
    assert rows["command"] == "detkit import first.pth"
    assert rows["digest"].startswith("verified")
    assert rows["sha256"] == sha256_of(checkpoint)


def test_openvino_pair_is_described_by_its_xml_and_weighed_with_its_bin(
    detkit: Detkit, checkpoint: Path, tmp_path: Path
) -> None:
    def write_files(partial: Path, partial_weights: Path, text: str) -> None:
        entry = f"<rt_info><detkit value={quoteattr(text)} /></rt_info>"
        partial.write_text(f"<net>{entry}</net>")
        partial_weights.write_bytes(bytes(1_000_000))

    manifest = dataclasses.replace(read_manifest(checkpoint), kind="openvino")
    sealed = write_pair(tmp_path / "m.xml", manifest, write_files)
    done = detkit("info", str(tmp_path / "m.xml"), script=WITHOUT_HEAVY)
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["kind"] == "openvino"
    assert rows["size"] == "1.00 MB"
    assert rows["digest"] == f"verified ({sealed.digest[:16]}...)"
    by_weights = detkit("info", str(tmp_path / "m.bin"), script=WITHOUT_HEAVY)
    assert by_weights.stdout == done.stdout
    assert rows["files"] == f"{tmp_path / 'm.xml'}, {tmp_path / 'm.bin'}"
    (tmp_path / "m.bin").unlink()
    done = detkit("info", str(tmp_path / "m.xml"), script=WITHOUT_HEAVY)
    assert (done.returncode, done.stdout) == (1, "")
    assert "hint: the two files belong together: copy both" in done.stderr


def test_an_engine_is_described_by_either_of_its_two_files(
    detkit: Detkit, checkpoint: Path, tmp_path: Path
) -> None:
    manifest = dataclasses.replace(read_manifest(checkpoint), kind="tensorrt")
    record = EngineSidecar(
        manifest=manifest,
        machine=Machine(gpu="Orin", compute_capability="8.7", library="tensorrt", version="10.3"),
        batches=(1, 1, 8),
        graph_sha256="0" * 64,
    )
    write_engine(tmp_path / "m.engine", b"engine", record)
    done = detkit("info", str(tmp_path / "m.engine"), script=WITHOUT_HEAVY)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "kind tensorrt" in lines
    assert "runs on tensorrt 10.3, Orin (sm 8.7)" in lines
    assert f"files {tmp_path / 'm.engine'}, {tmp_path / 'm.engine.json'}" in lines
    sidecar = str(tmp_path / "m.engine.json")
    assert detkit("info", sidecar, script=WITHOUT_HEAVY).stdout == done.stdout
    (tmp_path / "m.engine").unlink()
    done = detkit("info", sidecar, script=WITHOUT_HEAVY)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"belongs to {tmp_path / 'm.engine'}, which is not here" in done.stderr


def test_json_is_one_object_that_reads_back(detkit: Detkit, checkpoint: Path) -> None:
    done = detkit("info", str(checkpoint), "--json")
    found = from_plain(FileInfo, json.loads(done.stdout))
    assert isinstance(found.content, Manifest)
    assert found.content.parents[0].sha256 == "ab" * 32
    assert found.sha256 == sha256_of(checkpoint)


def test_flipped_bit_is_refused(detkit: Detkit, checkpoint: Path) -> None:
    damaged = checkpoint.read_bytes().replace(b"Blutpl", b"Blutpm")
    checkpoint.write_bytes(damaged)
    done = detkit("info", str(checkpoint))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is damaged" in done.stderr


def test_architecture_and_reports_are_told_apart(
    detkit: Detkit, tmp_path: Path, sample: Callable[..., Any]
) -> None:
    for content, kind in (
        (ZOO["yolo-nas-s"], "architecture"),
        (sample(TrainReport), "train report"),
        (sample(BenchReport), "bench report"),
    ):
        path = tmp_path / f"{kind}.json"
        path.write_text(to_json(content), encoding="utf-8")
        assert f"kind {kind}".split() in [
            line.split() for line in detkit("info", str(path)).stdout.splitlines()
        ]
        shown = json.loads(detkit("info", str(path), "--json").stdout)
        assert (shown["kind"], shown["content"]) == (kind, json.loads(to_json(content)))


def test_run_folder_names_its_best_epoch(
    detkit: Detkit, tmp_path: Path, sample: Callable[..., Any]
) -> None:
    lines = [
        {"epoch": i, "ap": ap, "per_class": {"cat": ap}} for i, ap in enumerate([0.1, 0.3, 0.2])
    ]
    text = "".join(json.dumps(seal(line)) + "\n" for line in lines) + '{"epoch": 3, "a'
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "config.toml").write_text(to_toml(TrainConfig(data="coco")), encoding="utf-8")
    running = detkit("info", str(tmp_path)).stdout
    assert "3 epochs, not ended" in running
    assert "AP 0.3000 in epoch 1" in running
    report = sample(TrainReport, stopped_by="patience")
    (tmp_path / "report.json").write_text(to_json(report), encoding="utf-8")
    assert "3 epochs, ended early: AP no longer rose" in detkit("info", str(tmp_path)).stdout


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("lost.onnx", None, "no such file: ", ""),
        ("yolo.pth", b"PK\3\4", " is a checkpoint of another tool", "detkit import "),
        ("notes.txt", b"hello", " is not a detkit artifact", ""),
        ("short.safetensors", b"\1\2", "is not a safetensors file, or is cut short", ""),
        ("broken.json", b"{", ": not valid JSON: ", ""),
        ("deep.json", b"[" * 100_000, ": not valid JSON: ", ""),
        ("coco.json", b'{"images": [], "annotations": []}', " is not a ", "detkit data check "),
        ("other.json", b"[1, 2]", " is not a detkit JSON file", "known: architecture"),
        ("latin.json", b'"\xe4"', ": not UTF-8 text", ""),
    ],
)
def test_files_of_other_tools_and_broken_ones_are_one_clear_error(
    detkit: Detkit, tmp_path: Path, name: str, content: bytes | None, message: str, hint: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    done = detkit("info", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_report_of_another_schema_or_with_unknown_keys_is_refused(
    detkit: Detkit, tmp_path: Path, sample: Callable[..., Any]
) -> None:
    path = tmp_path / "report.json"
    path.write_text(
        to_json(dataclasses.replace(sample(TrainReport), schema_version=2)), encoding="utf-8"
    )
    assert "another version of detkit" in detkit("info", str(path)).stderr
    path.write_text(to_json(seal(to_plain(sample(TrainReport)) | {"app": 1})), encoding="utf-8")
    done = detkit("info", str(path))
    assert "unknown key 'app'" in done.stderr
    assert done.stderr.endswith("hint: did you mean 'ap'?\n")


def test_an_edited_report_is_taken_with_the_flag_that_its_hint_names(
    detkit: Detkit, tmp_path: Path, sample: Callable[..., Any]
) -> None:
    path = tmp_path / "my report.json"
    path.write_text(to_json(sample(TrainReport, ap=0.25)).replace("0.25", "0.75"))
    done = detkit("info", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    command = shlex.split(done.stderr.rpartition("yourself: ")[2])
    assert command == ["detkit", "info", str(path), "--accept-edits"]
    assert "0.75" in detkit(*command[1:]).stdout
    assert detkit("info", str(path)).returncode == 0


def test_folder_that_is_no_run_is_refused(detkit: Detkit, tmp_path: Path) -> None:
    done = detkit("info", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path} is not a run folder\n")
