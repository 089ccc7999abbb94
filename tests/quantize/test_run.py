"""The steps in one process, on the real graphs; by the command line they are in `tests/cli`."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import detkit.quantize.result as outcome
from detkit.artifact.artifact import Manifest, read_manifest
from detkit.config import QatConfig, QuantizeConfig
from detkit.core.errors import ArtifactError, UsageError
from detkit.core.serialization import from_json
from detkit.data.coco.folder import open_folder
from detkit.nn.checkpoint import new_detector, save_checkpoint
from detkit.quantize.qat import START
from detkit.quantize.request import QuantizeRequest, open_parent
from detkit.quantize.result import pick_again
from detkit.quantize.run import quantize_checkpoint
from detkit.report import QuantReport
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO, with_task
from detkit.timing import side_by_side
from detkit.timing.plan import TimingPlan
from detkit.train.stop import StopSignal


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that mean nothing, on one engine."""
    plan = TimingPlan(
        min_seconds=0.01, min_runs=3, blocks=3, warmup_seconds=0.01, max_warmup_seconds=0.02
    )
    monkeypatch.setattr(side_by_side, "GRAPH_PLAN", plan)
    monkeypatch.setattr(outcome, "measuring_engines", lambda: ("onnxruntime",))


@pytest.mark.usefixtures("brief")
def test_one_image_7_bits_and_an_epoch_of_training_with_its_scales(
    settled: Callable[..., Path], labelled: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    request = QuantizeRequest(
        checkpoint=settled(),
        out=tmp_path / "m.safetensors",
        data=labelled,
        config=QuantizeConfig(
            images=1,
            noise_images=1,
            weight_bits=7,
            threads=1,
            qat=QatConfig(epochs=1, batch=4, learned_scales=True),
        ),
        qat=True,
    )
    report = quantize_checkpoint(
        request, told.append, lambda progress: None, StopSignal(), told.append
    )
    assert report is not None
    calibrated = float(re.findall(r"calibrated: AP ([\d.]+)", "\n".join(told))[0])
    assert report.ap_int8 >= calibrated - 1e-4
    assert (report.calibration_images, report.weight_bits) == (1, 7)
    assert from_json(QuantReport, (tmp_path / "m.json").read_text(), where="report") == report
    quant = read_manifest(tmp_path / "m.safetensors").quant
    assert quant is not None
    assert (quant.weight_bits, quant.calibration_images, quant.learned_scales) == (7, 1, True)
    assert (request.run_folder / START).is_file()
    assert {item.name for item in tmp_path.iterdir()} == {"m.safetensors", "m.json", "m.qat"}


@pytest.mark.usefixtures("brief")
def test_a_training_that_is_stopped_leaves_only_what_it_resumes_from(
    settled: Callable[..., Path], labelled: Path, tmp_path: Path
) -> None:
    request = QuantizeRequest(
        checkpoint=settled(),
        out=tmp_path / "m.safetensors",
        data=labelled,
        config=QuantizeConfig(threads=1, qat=QatConfig(epochs=1, batch=4)),
        qat=True,
    )
    stop = StopSignal(signal=15)
    assert (
        quantize_checkpoint(request, lambda text: None, lambda progress: None, stop, print) is None
    )
    assert [item.name for item in tmp_path.iterdir()] == ["m.qat"]
    assert (request.run_folder / "state" / "state.safetensors").is_file()


@pytest.mark.usefixtures("brief")
def test_groups_that_are_too_noisy_stay_in_float_and_it_is_said(
    settled: Callable[..., Path], labelled: Path, tmp_path: Path
) -> None:
    """No group has so little noise as is asked for: what is left is the float network."""
    told: list[str] = []
    request = QuantizeRequest(
        checkpoint=settled(),
        out=tmp_path / "m.safetensors",
        data=labelled,
        config=QuantizeConfig(images=2, noise_images=1, threads=1, least_sqnr=150.0),
    )
    report = quantize_checkpoint(
        request, told.append, lambda progress: None, StopSignal(), told.append
    )
    assert report is not None
    assert set(report.kept_float) == {group.group for group in report.sensitivity}
    assert report.ap_int8 == pytest.approx(report.ap_float, abs=1e-3)
    assert report.coverage == 0
    assert report.pareto[0].float_groups == report.kept_float
    assert sum("stays in float: INT8 of it alone leaves" in line for line in told) == len(
        report.kept_float
    )
    quant = read_manifest(tmp_path / "m.safetensors").quant
    assert quant is not None
    assert quant.float_groups == report.kept_float


def test_a_point_is_picked_only_beside_a_report(int8: Callable[..., Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(int8(), tmp_path / "m.safetensors"))
    with pytest.raises(ArtifactError, match=r"with its report m\.json"):
        pick_again(path, tmp_path / "other.safetensors", 0)
    assert [item.name for item in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_head_that_is_not_trained_here_is_calibrated_but_not_trained(
    labelled: Path, tmp_path: Path
) -> None:
    spec = with_task(ZOO["yolox-nano"], 3, (64, 64))
    manifest = Manifest(
        kind="checkpoint",
        arch=spec,
        class_names=("a", "b", "c"),
        preprocess=Preprocess.filling((64, 64)),
    )
    parent = tmp_path / "nano.safetensors"
    save_checkpoint(parent, new_detector(spec, 0), manifest)
    request = QuantizeRequest(
        checkpoint=parent,
        out=tmp_path / "m.safetensors",
        data=labelled,
        config=QuantizeConfig(threads=1, images=2, noise_images=1),
        qat=True,
    )
    with pytest.raises(UsageError, match="yolox-nano is not one that detkit trains"):
        open_parent(request)
    assert open_parent(dataclasses.replace(request, qat=False)).manifest.arch == spec


def test_classes_of_the_data_may_be_in_any_order(
    settled: Callable[..., Path], labelled: Path, tmp_path: Path
) -> None:
    """A folder whose ids run the other way is to the model the same folder."""
    other = shutil.copytree(labelled, tmp_path / "other")
    for path in (other / "annotations").iterdir():
        plain = json.loads(path.read_text())
        for item in plain["categories"]:
            item["id"] = 4 - item["id"]
        for item in plain["annotations"]:
            item["category_id"] = 4 - item["category_id"]
        path.write_text(json.dumps(plain))
    assert open_folder(other).split("val").class_names == ("c", "b", "a")
    first, then = (
        open_parent(
            QuantizeRequest(
                checkpoint=settled(),
                out=tmp_path / "m.safetensors",
                data=data,
                config=QuantizeConfig(),
            )
        )
        for data in (labelled, other)
    )
    for split in ("train", "val"):
        assert then.folder.split(split).class_names == then.manifest.class_names
        pairs = zip(
            then.folder.split(split).records, first.folder.split(split).records, strict=True
        )
        for one, two in pairs:
            assert one.classes.tolist() == two.classes.tolist()
