"""Training with rounding in the network: what it learns from, and that a run can be taken up."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detkit.artifact.artifact import read_manifest
from detkit.artifact.outputs import MARKER, begin_folder
from detkit.config import AUTO_BATCH, QatConfig, QuantizeConfig
from detkit.core.errors import UsageError
from detkit.core.run_lock import Holder
from detkit.data.coco.folder import open_folder
from detkit.data.synthetic.synth import draw_images
from detkit.engines.torch.session import TorchSession
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.detector import Detector, fuse
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.quantize.qat import (
    QAT_FILES,
    START,
    VERB,
    QatRun,
    begin_run,
    goes_on,
    load_quantized,
    load_start,
    train_quantized,
    training_config,
)
from detkit.report import TrainReport
from detkit.runtime.session import SessionOptions
from detkit.train import ranks
from detkit.train.distill import Distillation
from detkit.train.progress import TrainProgress
from detkit.train.stop import StopSignal
from fixtures.several_ranks import in_ranks

EPOCHS = 2  # of four batches


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the parent's opinion ------------------------------------------------------------------------


def images() -> Tensor:
    return torch.from_numpy(np.stack(draw_images(2, size=64))).permute(0, 3, 1, 2) / 255


def test_the_parent_has_nothing_to_say_to_itself(settled: Callable[..., Path]) -> None:
    teacher = fuse(load_checkpoint(settled())[0].eval())
    guide = Distillation(teacher, cls=1.0, box=1.0)
    assert float(guide(images(), teacher.outputs(images()))) == pytest.approx(0, abs=1e-5)


def test_the_parent_teaches_the_network_and_not_itself(
    settled: Callable[..., Path], int8_model: Any
) -> None:
    teacher = fuse(load_checkpoint(settled())[0].eval())
    guide = Distillation(teacher, cls=1.0, box=1.0)
    int8_model.requires_grad_(True)
    loss = guide(images(), int8_model.outputs(images()))
    loss.backward()
    assert float(loss.detach()) > 0
    assert int8_model.backbone.stem.conv.conv.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_weights_of_the_parent_scale_its_loss(
    settled: Callable[..., Path], int8_model: Any
) -> None:
    teacher = fuse(load_checkpoint(settled())[0].eval())
    with torch.no_grad():
        outputs = int8_model.outputs(images())
        cls, box, both = (
            float(Distillation(teacher, cls=c, box=b)(images(), outputs))
            for c, b in ((1, 0), (0, 1), (2, 3))
        )
    assert both == pytest.approx(2 * cls + 3 * box, rel=1e-5)


# --- the run -------------------------------------------------------------------------------------


def test_a_run_is_calm_and_of_the_size_of_the_checkpoint(settled: Callable[..., Path]) -> None:
    config = training_config(
        QuantizeConfig(qat=QatConfig(epochs=7, lr=1e-4)), "data", read_manifest(settled())
    )
    assert (config.epochs, config.imgsz, config.amp) == (7, "64x64", "off")
    assert config.augment.mosaic == 0
    assert config.optim.lr == 1e-4


@dataclass
class TorchScorer:
    """Scores in torch what the real one exports first: the run is the same and takes seconds."""

    manifest: Any

    def export(self, model: Detector, engine: str) -> Any:
        return types.SimpleNamespace(session=TorchSession(model, self.manifest, SessionOptions()))


class Killed(BaseException):
    """What a power cut is to the loop."""


Train = Callable[..., TrainReport]


@pytest.fixture(scope="module")
def train(settled: Callable[..., Path], int8: Callable[..., Path], labelled: Path) -> Train:
    """`train(folder, on_progress, resume=...)`: a QAT run from `int8()`, or the rest of one."""

    def run(
        folder: Path,
        on_progress: Callable[[TrainProgress, StopSignal], None] = lambda progress, stop: None,
        *,
        resume: bool = False,
        learned_scales: bool = False,
    ) -> TrainReport:
        model, manifest = load_start(folder) if resume else load_quantized(int8())
        if learned_scales:
            for _, quantizer in model.quantizers():
                quantizer.learned = True
        scorer: Any = TorchScorer(manifest)
        stop = StopSignal()
        qat = QatConfig(epochs=EPOCHS, batch=2, lr=1e-3, learned_scales=learned_scales)
        qat_run = QatRun(
            folder=folder,
            resume=resume,
            on_progress=lambda progress: on_progress(progress, stop),
            warn=lambda _: None,
            stop=stop,
        )
        if ranks.is_first():
            begin_run(model, manifest, qat_run)
        else:
            ranks.hear_first()
        return train_quantized(
            model,
            manifest,
            fuse(load_checkpoint(settled())[0].eval()),
            parent=settled(),
            data=open_folder(labelled, splits=("train", "val")),
            config=QuantizeConfig(threads=1, qat=qat),
            scorer=scorer,
            run=qat_run,
        )

    return run


@pytest.fixture(scope="module")
def whole(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("qat") / "whole"
    report = train(folder)
    assert (report.epochs, report.stopped_by) == (EPOCHS, "epochs")
    assert report.checkpoint == f"{folder}/best.safetensors"
    return folder


def weights(path: Path) -> dict[str, Tensor]:
    return load_checkpoint(path)[0].state_dict()


def assert_same_weights(one: Path, other: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        a, b = weights(one / name), weights(other / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name


def test_a_run_leaves_int8_checkpoints_that_know_their_parent(
    whole: Path, int8: Callable[..., Path], settled: Callable[..., Path]
) -> None:
    model, manifest = load_checkpoint(whole / "best.safetensors")
    assert isinstance(model, QuantizedDetector)
    assert (manifest.form, manifest.precision) == ("deployed", "int8")
    assert manifest.quant == read_manifest(int8()).quant
    assert manifest.parents[0].name == settled().name
    start = weights(whole / START)
    assert all(torch.equal(tensor, start[key]) for key, tensor in weights(int8()).items())


def test_weights_learn_and_fixed_ranges_do_not(whole: Path) -> None:
    before, after = weights(whole / START), weights(whole / "last.safetensors")
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert "backbone.stem.conv.conv.weight" in moved
    assert not any("quantizer" in key or "bias_shift" in key for key in moved)


def test_learned_ranges_do(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "run", learned_scales=True)
    before, after = (weights(tmp_path / "run" / name) for name in (START, "last.safetensors"))
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert "backbone.stem.conv.quantizer.log_scale" in moved
    assert not any("zero_point" in key for key in moved)


def test_two_processes_train_what_one_does(train: Train, whole: Path, tmp_path: Path) -> None:
    first, second = in_ranks(2, lambda: train(tmp_path / "run").ap)
    assert first == second
    lines = [(run / "metrics.jsonl").read_text().splitlines() for run in (whole, tmp_path / "run")]
    for one, two in zip(*lines, strict=True):
        assert json.loads(two)["loss"] == pytest.approx(json.loads(one)["loss"], rel=0.02)
    start = weights(whole / START)
    for run in (whole, tmp_path / "run"):
        assert not torch.equal(
            start["backbone.stem.conv.conv.weight"],
            weights(run / "last.safetensors")["backbone.stem.conv.conv.weight"],
        )


def test_a_run_that_was_asked_to_stop_ends_in_the_same_weights(
    train: Train, whole: Path, tmp_path: Path
) -> None:
    def ask(progress: TrainProgress, stop: StopSignal) -> None:
        if (progress.epoch, progress.batch) == (2, 1):
            stop.signal = 15

    stopped = train(tmp_path / "run", ask)
    assert stopped.stopped_by == "signal"
    report = train(tmp_path / "run", resume=True)
    assert (report.epochs, report.stopped_by) == (EPOCHS, "epochs")
    assert_same_weights(whole, tmp_path / "run")


def test_a_run_that_was_killed_ends_in_the_same_weights(
    train: Train, whole: Path, tmp_path: Path
) -> None:
    def kill(progress: TrainProgress, stop: StopSignal) -> None:
        if (progress.epoch, progress.batch) == (2, 1):
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "run", kill)
    train(tmp_path / "run", resume=True)
    assert_same_weights(whole, tmp_path / "run")


# --- the folder ----------------------------------------------------------------------------------


def ready(folder: Path, *, resume: bool = False, force: bool = False, killed: bool = False) -> bool:
    holder = Holder(pid=1, host="here", since="now") if killed else None
    data, config = Path("data"), QuantizeConfig()
    return goes_on(folder, config, data=data, resume=resume, force=force, killed=holder)


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to resume in"):
        ready(tmp_path, resume=True)


def test_a_folder_of_somebody_else_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for killed in (False, True):
        with pytest.raises(UsageError, match="already exists"):
            ready(tmp_path, killed=killed)
    (tmp_path / START).write_text("years of work, too")
    assert not ready(tmp_path, force=True)
    with pytest.raises(UsageError, match="is in the way"):
        begin_folder(tmp_path, VERB, QAT_FILES)
    assert (tmp_path / START).read_text() == "years of work, too"


def test_an_earlier_run_is_started_over_by_force_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert not ready(run)
    begin_folder(run, VERB, QAT_FILES)
    for name in (START, "thesis.tex"):
        (run / name).write_text("")
    with pytest.raises(UsageError, match="already exists") as caught:
        ready(run)
    assert "--resume" in caught.value.hint
    assert not ready(run, force=True)
    begin_folder(run, VERB, QAT_FILES)
    assert sorted(path.name for path in run.iterdir()) == [MARKER, "thesis.tex"]


def test_a_run_killed_before_its_first_state_starts_again(tmp_path: Path) -> None:
    (tmp_path / START).write_text("")
    assert not ready(tmp_path, killed=True)
    assert not ready(tmp_path, resume=True)


def test_a_run_is_not_resumed_with_other_settings(whole: Path) -> None:
    config = QuantizeConfig(threads=1, qat=QatConfig(epochs=9, batch=2, lr=1e-3))
    elsewhere = {"data": Path("data"), "resume": True, "force": False, "killed": None}
    assert goes_on(whole, config, **elsewhere)  # type: ignore[arg-type]
    other = dataclasses.replace(config, qat=dataclasses.replace(config.qat, distill_cls=0.5))
    with pytest.raises(UsageError, match=r"cannot change qat.distill_cls, 1.0 when it began"):
        goes_on(whole, other, **elsewhere)  # type: ignore[arg-type]


def test_nobody_chooses_the_batch_of_a_calibrated_network() -> None:
    with pytest.raises(UsageError, match=r"qat\.batch: 0 is not within 1\.\.65536"):
        QatConfig(batch=AUTO_BATCH)
