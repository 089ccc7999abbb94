"""`detkit quantize`, and what other verbs do with its checkpoint, in processes of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from detkit.artifact.artifact import read_manifest, sha256_of
from detkit.core.serialization import from_json
from detkit.report import QuantReport
from fixtures.verbs import Done, RunAll


class Quantized(NamedTuple):
    done: Done
    gated: Done
    parent: Path
    path: Path
    folder: Path


@pytest.fixture(scope="module")
def quantized(
    run_all: RunAll,
    settled: Callable[..., Path],
    labelled: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Quantized:
    """A bound that cannot be met: once the first point walked is picked, once the gate decides."""
    folder = tmp_path_factory.mktemp("quantized")
    parent = Path(shutil.copy(settled(), folder / "m.safetensors"))
    taken = Path(shutil.copy(parent, folder / "taken.safetensors"))
    words = f"--data {labelled} --max-drop=-50 --threads=1".split()
    words += ["--set=confirm=1", "--set=noise_images=2"]
    done, gated = run_all(
        ["quantize", "--int8", parent, *words, "--pick=0"],
        ["quantize", "--int8", parent, *words, "-o", taken, "--force"],
        missing="openvino",
    )
    return Quantized(done, gated, parent, folder / "m.int8.safetensors", folder)


# --- what it makes -------------------------------------------------------------------------------


def test_stdout_is_one_path_and_the_report_lies_beside_it(quantized: Quantized) -> None:
    done, _, parent, path, folder = quantized
    assert (done.code, done.stdout) == (0, f"{path}\n"), done.stderr
    names = {"m.safetensors", "m.int8.safetensors", "m.int8.json", "taken.safetensors"}
    assert {item.name for item in folder.iterdir()} == names
    report = from_json(QuantReport, (folder / "m.int8.json").read_text(), where="report")
    assert (report.file, report.parent) == (str(path), str(parent))
    assert report.method == "ptq"
    assert report.drop == pytest.approx(100 * (report.ap_float - report.ap_int8))
    assert report.kept_float == ()
    assert sum(report.ranges_by_method.values()) == 64
    assert report.engines[0].runtime == report.target == "onnxruntime"
    assert (report.engines[0].int8_convolutions, report.engines[0].convolutions) == (70, 76)


def test_int8_loses_little_and_torch_agrees_with_the_engine(quantized: Quantized) -> None:
    report = from_json(QuantReport, quantized.path.with_suffix(".json").read_text(), where="report")
    assert report.ap_float > 0.1
    assert abs(report.drop) < 5
    assert report.ap_int8 == pytest.approx(report.ap_fake_quant, abs=0.03)


def test_manifest_says_what_it_is_and_where_it_is_from(quantized: Quantized) -> None:
    manifest = read_manifest(quantized.path)
    assert (manifest.kind, manifest.form, manifest.precision) == ("checkpoint", "deployed", "int8")
    assert manifest.quant is not None
    assert manifest.quant.calibration_images == 8
    assert len(manifest.quant.calibration_digest) > 8
    assert manifest.parents[0].sha256 == sha256_of(quantized.parent)
    assert manifest.class_names == ("a", "b", "c")
    assert manifest.metrics["ap"] <= 1


def test_the_table_holds_every_point_walked_and_is_told(quantized: Quantized) -> None:
    report = from_json(QuantReport, quantized.path.with_suffix(".json").read_text(), where="report")
    assert [len(point.float_groups) for point in report.pareto] == [0, 1]
    assert report.picked == 0
    assert all(point.latency_ms is None or point.latency_ms > 0 for point in report.pareto)
    assert report.pareto[0].megabytes < report.pareto[1].megabytes
    assert "last returned" in quantized.done.stderr
    assert "PTQ: AP" in quantized.done.stderr


def test_every_verb_takes_the_checkpoint(
    run_all: RunAll, quantized: Quantized, labelled: Path, tmp_path: Path
) -> None:
    path = quantized.path
    evaluated, info, predicted, bench, exported = run_all(
        ["eval", path, labelled, "--json"],
        ["info", path, "--json"],
        ["predict", path, labelled / "images", "-o", tmp_path / "found", "--json"],
        ["bench", path, "--seconds=0.05", "--runs=10", "--threads=1", "--json"],
        ["export", "--to=onnx", path, "-o", tmp_path / "m.onnx", "--allow-slower"],
    )
    for done in (evaluated, info, predicted, exported):
        assert done.code == 0, done.stderr
    assert bench.code in (0, 5), bench.stderr  # a busy machine may not be trusted
    report = from_json(QuantReport, path.with_suffix(".json").read_text(), where="report")
    assert json.loads(evaluated.stdout)["ap"] == pytest.approx(report.ap_fake_quant, abs=1e-4)
    assert json.loads(info.stdout)["content"]["precision"] == "int8"
    assert json.loads(predicted.stdout)["images"] == 20
    assert json.loads(bench.stdout)["models"][0]["precision"] == "int8"
    assert exported.stdout == f"{tmp_path}/m.onnx\n"
    assert "int8 convolutions: 70 of 76 (onnxruntime)" in exported.stderr
    manifest = read_manifest(tmp_path / "m.onnx")
    assert (manifest.precision, manifest.quant) == ("int8", read_manifest(path).quant)
    assert manifest.metrics["int8_convolutions"] == 70


def test_another_point_is_picked_from_an_int8_checkpoint(
    run_all: RunAll, quantized: Quantized, tmp_path: Path
) -> None:
    out = tmp_path / "m1.safetensors"
    picked, beyond = run_all(
        ["quantize", quantized.path, "--pick=1", "-o", out, "--json"],
        ["quantize", quantized.path, "--pick=9", "-o", tmp_path / "m9.safetensors"],
    )
    assert picked.code == 0, picked.stderr
    assert picked.stdout == out.with_suffix(".json").read_text()
    report = from_json(QuantReport, picked.stdout, where="report")
    point = report.pareto[1]
    assert (report.picked, report.ap_int8, report.drop) == (1, point.ap, point.drop)
    manifest = read_manifest(out)
    assert manifest.quant is not None
    assert manifest.quant.float_groups == point.float_groups != ()
    assert manifest.parents[0].sha256 == sha256_of(quantized.path)
    assert (beyond.code, beyond.stdout) == (2, "")
    assert "--pick 9" in beyond.stderr
    assert {item.name for item in tmp_path.iterdir()} == {"m1.safetensors", "m1.json"}


def test_a_bound_that_cannot_be_met_exits_3_and_writes_nothing(quantized: Quantized) -> None:
    done, out = quantized.gated, quantized.folder / "taken.safetensors"
    assert (done.code, done.stdout) == (3, ""), done.stderr
    assert "allowed are -50" in done.stderr
    assert "the best point found loses" in done.stderr
    assert out.read_bytes() == quantized.parent.read_bytes()
    assert not out.with_suffix(".json").exists()


# --- what cannot be ------------------------------------------------------------------------------

BAD = {
    "no images given": ("{parent}", 2, "error: no images to calibrate on"),
    "no such folder": ("{parent} --data {dir}/nowhere", 1, "nowhere"),
    "no training images": ("{parent} --data {dir}/empty", 1, "train"),
    "INT8 already": ("{int8} --data {data}", 1, "is INT8 already\nhint: quantize its float parent"),
    "target": ("{parent} --data {data} --target onnxruntim", 2, "'onnxruntim'\nhint: did you mean"),
    "target elsewhere": ("{parent} --data {data} --target tensorrt", 2, "target 'tensorrt'"),
    "calibrator": ("{parent} --data {data} --calibrator entrop", 2, "did you mean 'entropy'?"),
    "bits": ("{parent} --data {data} --weight-bits 4", 2, "weight_bits is 7 or 8, not 4"),
    "setting": ("{parent} --data {data} --set imges=3", 2, "images"),
    "resume alone": ("{parent} --data {data} --resume", 2, "--qat is missing"),
    "nothing to resume": ("{parent} --data {data} --qat --resume", 2, "nothing to resume in"),
    "output there": ("{parent} --data {data} -o {dir}/taken.safetensors", 2, "already exists"),
    "point of a float model": ("{parent} --pick 0", 1, "is no INT8 checkpoint with its report"),
    "other classes": (
        "{parent} --data {other}",
        1,
        "the model does not know the class 'green' and 1 more\nhint: known: a, b, c",
    ),
    "no checkpoint": ("{dir}/none.safetensors --data {data}", 1, "none.safetensors"),
}


def test_bad_input_is_one_clear_error_and_writes_nothing(
    run_all: RunAll,
    settled: Callable[..., Path],
    int8: Callable[..., Path],
    labelled: Path,
    cell_folder: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "work"
    empty = shutil.copytree(labelled, folder / "empty")
    annotations = empty / "annotations" / "instances_train.json"
    labels = json.loads(annotations.read_text())
    annotations.write_text(json.dumps({**labels, "images": [], "annotations": []}))
    shutil.copy(cell_folder / "annotations" / "instances_val.json", cell_folder / "annotations" /
                "instances_train.json")  # fmt: skip
    parent = Path(shutil.copy(settled(), folder / "m.safetensors"))
    quantized = Path(shutil.copy(int8(), folder / "q.safetensors"))
    (folder / "taken.safetensors").write_text("somebody's")
    before = {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}
    names = {"parent": parent, "int8": quantized, "data": labelled, "dir": folder}
    commands = [
        ["quantize", *words.format(other=cell_folder, **names).split()]
        for words, _, _ in BAD.values()
    ]
    for (what, (_, code, message)), done in zip(BAD.items(), run_all(*commands), strict=True):
        assert (done.code, done.stdout) == (code, ""), (what, done)
        assert message in done.stderr, what
        assert done.stderr.count("error: ") == 1, what
        assert "Traceback" not in done.stderr, what
    assert {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))} == before


def test_an_engine_that_is_not_installed_exits_4_and_writes_nothing(
    run_all: RunAll, settled: Callable[..., Path], labelled: Path, tmp_path: Path
) -> None:
    parent = shutil.copy(settled(), tmp_path / "m.safetensors")
    engines = ("onnxruntime", "openvino")
    commands = [["quantize", parent, "--data", labelled, "--target", name] for name in engines]
    found = run_all(*commands, missing=" ".join(engines))
    for name, done in zip(engines, found, strict=True):
        assert (done.code, done.stdout) == (4, ""), done
        assert f"{name} is not installed" in done.stderr
    assert [item.name for item in tmp_path.iterdir()] == ["m.safetensors"]


def test_dry_run_says_what_would_be_done(
    run_all: RunAll, settled: Callable[..., Path], labelled: Path, tmp_path: Path
) -> None:
    parent = shutil.copy(settled(), tmp_path / "m.safetensors")
    ptq, qat = run_all(
        ["quantize", parent, "--data", labelled, "--dry-run", "--max-drop=0.3"],
        ["quantize", parent, "--data", labelled, "--dry-run", "--qat", "--epochs=2"],
    )
    assert (ptq.code, ptq.stdout, qat.code, qat.stdout) == (0, "", 0, "")
    assert f"{tmp_path}/m.int8.safetensors" in ptq.stderr
    assert "PTQ, calibrator auto on 8 training images" in ptq.stderr
    assert "at most 0.3 points lost" in ptq.stderr
    assert "QAT of 2 epochs" in qat.stderr
    assert [item.name for item in tmp_path.iterdir()] == ["m.safetensors"]
