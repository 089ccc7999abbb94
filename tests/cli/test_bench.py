from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from detkit.core.serialization import from_json
from detkit.report import BenchReport
from fixtures.command_line import Detkit

QUICK = ("--seconds", "0", "--runs", "20")


def test_two_models_are_set_side_by_side(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    first, second = cell_model(), cell_model("nms.onnx", nms=True)
    done = detkit("bench", str(first), str(second), *QUICK, "--data", str(cell_folder))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["model", "engine"]
    assert lines[1].split()[:3] == ["cells.onnx", "onnxruntime", "fp32"]
    assert lines[2].startswith("nms.onnx")
    assert "unreliable: cells.onnx: p99 of 20 runs" in done.stderr
    assert "4 images from" in done.stderr


def test_the_throughput_scenario_has_a_table_of_its_own(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    flags = (*QUICK, "--data", str(cell_folder), "--scenario", "throughput")
    done = detkit("bench", str(cell_model()), *flags)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("throughput"))
    assert lines[at].split()[1:4] == ["in", "flight", "images/s"]
    assert lines[at + 1].startswith("cells.onnx")


def test_a_gate_that_is_missed_exits_3_after_the_report(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    limits = ("--max-ms", "0.0001")
    done = detkit("bench", str(cell_model()), *QUICK, "--data", str(cell_folder), "--json", *limits)
    assert done.returncode == 3
    report = from_json(BenchReport, done.stdout)
    plain = json.loads(done.stdout)
    assert plain["schema_version"] == 3
    assert set(plain["models"][0]["latency_ms"]) >= {"p50", "p90", "p95", "p99"}
    assert f"p50 {report.models[0].latency_ms.p50:.2f} ms is above 0.0001" in done.stderr


def test_times_that_cannot_be_trusted_exit_5_where_that_was_asked_for(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bench.json"
    args = ("bench", str(cell_model()), *QUICK, "--data", str(cell_folder), "--strict")
    done = detkit(*args, "-q", "-o", str(out))
    assert done.returncode == 5
    assert not from_json(BenchReport, out.read_text()).valid


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--batch", "0"), 2, "batch"),
        (("--scenario", "offline"), 2, "'offline' is not one of"),
        (
            ("--baseline", "b.json", "--max-regress", "-3%"),
            2,
            "--max-regress '-3%' is no percentage",
        ),
        (
            ("--baseline", "b.json", "--max-regress", "100%"),
            2,
            "--max-regress '100%' is no percentage",
        ),
        (
            ("--baseline", "b.json", "--max-regress", "five%"),
            2,
            "--max-regress 'five%' is no percentage",
        ),
        *(
            (("--baseline", "b.json", "--max-regress", text), 2, f"'{text}' is no percentage")
            for text in ("5", "-3%", "100%", "five%")
        ),
        (("--max-regress", "5%"), 2, "--max-regress needs a --baseline"),
        (("--baseline", "nowhere.json"), 1, "no such file: nowhere.json"),
        (("--data", "nowhere"), 1, "nowhere"),
        (("--device", "cuda"), 4, "cuda"),
        (("--runtime", "torch"), 2, "torch cannot run"),
    ],
)
def test_what_cannot_be_is_told_without_a_traceback(
    detkit: Detkit, cell_model: Callable[..., Path], args: tuple[str, ...], code: int, message: str
) -> None:
    done = detkit("bench", str(cell_model()), *QUICK, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# --- against a baseline --------------------------------------------------------------------------


@pytest.fixture
def baseline(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> tuple[Path, tuple[str, ...]]:
    """A report of `cells.onnx`, and the flags that measure as it was."""
    out = tmp_path / "baseline.json"
    flags = (*QUICK, "--data", str(cell_folder), "--threads", "1")
    done = detkit("bench", str(cell_model()), *flags, "-q", "-o", str(out))
    assert done.returncode == 0, done.stderr
    return out, flags


def test_what_cannot_be_trusted_is_not_compared_and_exits_5(
    detkit: Detkit, cell_model: Callable[..., Path], baseline: tuple[Path, tuple[str, ...]]
) -> None:
    out, flags = baseline
    done = detkit("bench", str(cell_model()), *flags, "--baseline", str(out))
    assert done.returncode == 5
    assert "cells.onnx cannot be compared: " in done.stderr
    assert "baseline: cells.onnx: p99 of 20 runs" in done.stderr
    assert "hint: --runs 100, or more" in done.stderr
    row = next(line for line in done.stdout.splitlines() if "reference" in line)
    assert row.startswith("cells.onnx")
    assert "unknown" in row


def test_a_regression_exits_3_and_names_the_figures(
    detkit: Detkit,
    cell_model: Callable[..., Path],
    baseline: tuple[Path, tuple[str, ...]],
    tmp_path: Path,
) -> None:
    """The new file has a second network of convolutions in it, so it must be slower."""
    out, flags = baseline
    slow = cell_model("slow.onnx")
    add_work(slow)
    done = detkit("bench", str(slow), *flags, "--baseline", str(out), "--max-regress", "50%")
    assert done.returncode == 3, done.stderr
    assert "error: " in done.stderr
    assert "slow.onnx: " in done.stderr
    assert "95 % interval" in done.stderr
    assert "above the limit of 50.0%" in done.stderr
    row = next(line for line in done.stdout.splitlines() if "interleaved" in line)
    assert "regression" in row


def test_a_file_that_is_as_fast_exits_0(
    detkit: Detkit, cell_model: Callable[..., Path], baseline: tuple[Path, tuple[str, ...]]
) -> None:
    out, flags = baseline
    done = detkit(
        "bench", str(cell_model("new.onnx", class_names=("rot", "gruen"))), *flags,
        "--baseline", str(out), "--max-regress", "99%", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    compared = from_json(BenchReport, done.stdout).baseline
    assert compared is not None
    (change,) = compared.changes
    assert change.verdict in ("no change", "slower", "faster")
    assert change.low <= change.change <= change.high


def test_a_baseline_of_other_settings_exits_5(
    detkit: Detkit, cell_model: Callable[..., Path], baseline: tuple[Path, tuple[str, ...]]
) -> None:
    out, flags = baseline
    done = detkit("bench", str(cell_model()), *flags, "--batch", "2", "--baseline", str(out))
    assert (done.returncode, done.stdout) == (5, "")
    assert "batch 1 -> 2" in done.stderr


def test_a_baseline_that_is_no_bench_report_exits_1(
    detkit: Detkit, cell_model: Callable[..., Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    done = detkit("bench", str(cell_model()), "--baseline", str(other))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not a detkit JSON file" in done.stderr


def add_work(path: Path) -> None:
    """Convolutions of noise, added to the scores times nothing; engines cannot leave them out."""
    import onnx

    from detkit.artifact.artifact import read_manifest, write_artifact

    model, manifest = onnx.load(path), read_manifest(path)
    work = onnx.parser.parse_graph("""
work (float[batch,3,64,64] images) => (float[1] nothing) {
  shape = Constant <value = int64[4] {32, 3, 5, 5}> ()
  weight = ConstantOfShape <value = float[1] {0.1}> (shape)
  wide = Conv <pads = [2, 2, 2, 2]> (images, weight)
  mean = ReduceMax <keepdims = 0> (wide)
  zero = Constant <value = float[1] {0.0}> ()
  nothing = Mul (mean, zero)
}""")
    scores = next(node for node in model.graph.node if node.output[0] == "scores")
    scores.output[0] = "scores_alone"
    model.graph.node.extend(work.node)
    model.graph.node.append(onnx.helper.make_node("Add", ["scores_alone", "nothing"], ["scores"]))

    def save(partial: Path, text: str) -> None:
        onnx.helper.set_model_props(model, {"detkit": text})
        onnx.save(model, partial)

    write_artifact(path, manifest, save)
