"""The shell pipeline: each verb takes what the one before printed."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from detkit.data.synthetic.synth import synthesize
from fixtures.command_line import Detkit
from fixtures.verbs import RunAll

SMALL = "--model yolo-nas-p --init none --imgsz 64 --epochs 1".split()
SMALL += "--batch 4 --threads 1 --device cpu".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "coco"
    return synthesize(folder, images={"train": 8, "val": 4, "test": 4}, size=96)


def only_path(done: CompletedProcess[str]) -> str:
    """What was printed, which must be one existing path and nothing else."""
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert Path(line).is_file()
    return line


def test_train_reparam_export_bench_eval_predict(
    detkit: Detkit, data: Path, tmp_path: Path
) -> None:
    best = only_path(detkit("train", str(data), *SMALL, "-o", str(tmp_path / "run")))
    fused = only_path(detkit("reparam", best))
    onnx = only_path(detkit("export", "--to", "onnx", fused))
    assert onnx == f"{tmp_path}/run/best.fused.onnx"

    bench = json.loads(
        detkit(
            "bench", best, onnx, "--seconds", "0.1", "--runs", "10", "--threads", "1", "--json"
        ).stdout
    )
    assert [model["runtime"] for model in bench["models"]] == ["torch", "onnxruntime"]
    assert bench["models"][1]["latency_ms"]["p50"] > 0

    scores = [
        json.loads(detkit("eval", path, str(data), "--split", "test", "--json").stdout)
        for path in (best, fused, onnx)
    ]
    assert max(s["ap"] for s in scores) - min(s["ap"] for s in scores) <= 1e-3
    assert all(s["images"] == 4 for s in scores)

    done = detkit("predict", onnx, str(data / "images"), "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) is not None

    lineage = json.loads(detkit("info", onnx, "--json").stdout)
    assert "best.fused.safetensors" in json.dumps(lineage)
    assert "detkit export" in json.dumps(lineage) or "export" in json.dumps(lineage)


def test_train_refuses_what_it_cannot_do_with_the_right_code(
    run_all: RunAll, data: Path, tmp_path: Path
) -> None:
    out, taken = tmp_path / "run", tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").touch()
    refused: tuple[tuple[list[Any], int, str], ...] = (
        ([], 2, "error: no COCO folder to train on\nhint: detkit train DIR\n"),
        ([data, "--model", "yolo-nas-x", "-o", out], 2, "did you mean 'yolo-nas-"),
        ([data, "--set", "optim.lrr=1", "-o", out], 2, "did you mean 'lr'?"),
        ([data, "--imgsz", "100", "-o", out], 2, "multiples of 32"),
        ([tmp_path / "nothing", "-o", out], 1, ""),
        ([data, "--init", data / "no.safetensors", "-o", out], 1, ""),
        ([data, *SMALL, "--device", "cuda:7", "-o", out], 4, ""),
        (["--resume"], 2, ""),
        ([data, *SMALL, "-o", taken], 2, "already exists"),
    )
    found = run_all(*(["train", *args] for args, _, _ in refused))
    for (args, code, message), done in zip(refused, found, strict=True):
        assert (done.code, done.stdout) == (code, ""), args
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith(("error: ", "hint: "))
    assert found[0].stderr == refused[0][2]


def test_folders_of_no_known_layout_are_named_file_by_file(
    detkit: Detkit, data: Path, tmp_path: Path
) -> None:
    where = data / "annotations"
    files = [f"--train-json={where}/instances_train.json", f"--train-images={data}/images"]
    files += [f"--val-json={where}/instances_val.json", f"--val-images={data}/images"]
    done = detkit("train", *files, *SMALL, "--dry-run", "-o", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "val: 4 images" in done.stderr
    done = detkit("train", *files[:3], *SMALL, "--dry-run")
    assert (done.returncode, "all four" in done.stderr) == (2, True)


def test_a_dry_run_trains_nothing(detkit: Detkit, data: Path, tmp_path: Path) -> None:
    done = detkit("train", str(data), *SMALL, "--dry-run", "-o", str(tmp_path / "run"))
    assert (done.returncode, done.stdout) == (0, "")
    assert "yolo-nas-p" in done.stderr
    assert "train: 8 images" in done.stderr
    assert not (tmp_path / "run").exists()


def test_json_of_train_is_its_report_file(detkit: Detkit, data: Path, tmp_path: Path) -> None:
    done = detkit("train", str(data), *SMALL, "--json", "-q", "-o", str(tmp_path / "run"))
    assert done.stdout == (tmp_path / "run" / "report.json").read_text()
    assert done.stderr == ""
    made = json.loads(detkit("info", str(tmp_path / "run" / "best.safetensors"), "--json").stdout)
    assert "train" in json.dumps(made)
