from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import pytest

from detkit.compare import compare_architectures
from detkit.core.errors import UsageError
from detkit.core.serialization import from_json, to_json
from detkit.nn.detector import cost_of
from detkit.report import CompareReport
from detkit.spec.arch import ArchSpec, NeckSpec, StageSpec
from detkit.spec.published import PUBLISHED_AP, published_ap
from detkit.spec.zoo import ZOO, with_task
from detkit.timing.plan import TimingPlan

AnyStage = TypeVar("AnyStage", StageSpec, NeckSpec)

PLAN = TimingPlan(
    min_seconds=0, min_runs=10, blocks=2, warmup_seconds=0, max_warmup_seconds=0.1, max_chain_runs=1
)


def slim() -> ArchSpec:
    """YOLOv8-N with an eighth of its channels and a name that is no file name."""
    spec = ZOO["yolov8-n"]

    def thin(stage: AnyStage) -> AnyStage:
        return dataclasses.replace(stage, out=8, hidden=4, blocks=1)

    return dataclasses.replace(
        spec,
        name="../slim v8",
        stem=8,
        stages=tuple(map(thin, spec.stages)),
        neck=tuple(map(thin, spec.neck)),
        head_widths=(8, 8, 8),
        num_classes=3,
    )


@pytest.fixture(scope="module")
def slim_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arch") / "slim.json"
    path.write_text(to_json(slim()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def report(slim_file: Path, lines: list[str]) -> CompareReport:
    names = ["yolo-nas-p", str(slim_file)]
    return compare_architectures(names, image_size=(64, 64), plan=PLAN, log=lines.append)


def test_networks_keep_their_order_and_have_their_costs(report: CompareReport) -> None:
    assert [model.name for model in report.models] == ["yolo-nas-p", "../slim v8"]
    for model, spec in zip(report.models, (ZOO["yolo-nas-p"], slim()), strict=True):
        cost = cost_of(dataclasses.replace(spec, image_size=(64, 64)))
        assert (model.parameters, model.macs, model.flops) == (
            cost.parameters,
            cost.macs,
            2 * cost.macs,
        )
        assert model.family == spec.family


def test_each_precision_is_measured_and_set_against_the_first_and_against_fp32(
    report: CompareReport,
) -> None:
    for model in report.models:
        fp32, int8 = model.files
        assert (fp32.measured.precision, int8.measured.precision) == ("fp32", "int8")
        assert int8.measured.bytes < fp32.measured.bytes
        assert fp32.ratio_to_fp32 == 1
        ratio = int8.measured.ratio_to_first / fp32.measured.ratio_to_first
        assert int8.ratio_to_fp32 == pytest.approx(ratio)
        assert fp32.measured.image_size == (64, 64)
    assert [file.ratio_to_first for file in report.models[0].files] == [1, 1]
    assert all(file.ratio_to_first != 1 for file in report.models[1].files)


def test_too_few_runs_are_a_reason_not_to_trust_it(report: CompareReport) -> None:
    assert not report.valid
    assert any("p99 of 10 runs" in warning for warning in report.warnings)


def test_it_says_beforehand_how_long_it_will_take(report: CompareReport, lines: list[str]) -> None:
    assert next(line for line in lines if "GMACs" in line).startswith("yolo-nas-p.fp32.onnx: ")
    assert sum("will take about" in line for line in lines) == 1


def test_report_survives_json(report: CompareReport) -> None:
    assert from_json(CompareReport, to_json(report)) == report
    assert report.weights == "untrained"


def test_published_figures_are_of_named_networks_alone(report: CompareReport) -> None:
    assert [model.ap_published for model in report.models] == [None, None]
    assert set(PUBLISHED_AP) == set(ZOO) - {"yolo-nas-p", "yolo-nas-n"}
    assert published_ap(with_task(ZOO["yolov8-m"], 3, (320, 320))) == 0.502
    assert published_ap(dataclasses.replace(ZOO["yolov8-m"], activation="relu")) is None


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["yolov8"], {}, "unknown model 'yolov8'"),
        (["yolo-nas-p", "yolo-nas-p"], {}, r"yolo-nas-p\.fp32\.onnx would be timed twice"),
        (["yolo-nas-p"], {"precisions": ("fp16",)}, "no fp16 on onnxruntime"),
        (["yolo-nas-p"], {"precisions": ("int8", "int8")}, "would be timed twice"),
        (["yolo-nas-p"], {"engine": "onnx"}, "no untrained model for 'onnx'"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(
    names: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compare_architectures(names, plan=PLAN, **options)
