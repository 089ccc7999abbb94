"""Quantization-aware training: the ordinary training loop on a fake-quantized network.

The float parent teaches beside the boxes (distillation of class scores and distance
distributions); each epoch is scored on the exported INT8 graph, and the best one is kept.
Legend: B batch, A anchor points, C classes, K bins of a distance.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.artifact.artifact import Manifest, parent_of
from detkit.artifact.outputs import begin_folder, check_output_folder
from detkit.config import (
    NO_INIT,
    AugmentConfig,
    OptimConfig,
    QuantizeConfig,
    TrainConfig,
    settings_by_key,
)
from detkit.core.errors import UsageError
from detkit.core.run_lock import Holder
from detkit.data.coco.folder import CocoFolder
from detkit.engines.torch.session import find_device
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.nn.detector import Detector
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.quantize.graph_scorer import GraphScorer
from detkit.report import TrainReport
from detkit.train import ranks
from detkit.train.distill import Distillation
from detkit.train.loop import Trainer, UserWords
from detkit.train.progress import TrainProgress
from detkit.train.run import RUN_FILES
from detkit.train.run_inputs import check_settings
from detkit.train.setup import TrainSetup
from detkit.train.state import STATE, has_state, is_unbegun, read_state
from detkit.train.step import PlainStep
from detkit.train.stop import StopSignal

VERB = "quantize"  # that the folder of a QAT run is made by
START = "calibrated.safetensors"
QAT_FILES = (START, *RUN_FILES)  # that such a run writes into its folder
MAY_CHANGE = ("qat.epochs", "qat.patience", "device", "threads", "confirm", "max_dropped")
WARMUP_EPOCHS = 0.1


@dataclass(frozen=True, kw_only=True)
class QatRun:
    """The folder of one QAT run, how it is followed and stopped, and whether it resumes."""

    folder: Path
    resume: bool  # else what an earlier run left is removed
    on_progress: Callable[[TrainProgress], None]
    warn: Callable[[str], None]
    stop: StopSignal


def train_quantized(
    model: QuantizedDetector,
    manifest: Manifest,
    teacher: Detector,
    *,
    parent: Path,
    data: CocoFolder,
    config: QuantizeConfig,
    scorer: GraphScorer,
    run: QatRun,
) -> TrainReport:
    """Trains a calibrated network in `run.folder`; its report names the best checkpoint.

    Every process of a run calls it (see `train.ranks`), after `begin_run`.

    Raises:
        TrainingError: the loss became NaN or infinite.
    """
    device = find_device(config.device)
    model.requires_grad_(True)
    for _, quantizer in model.quantizers():
        quantizer.log_scale.requires_grad_(quantizer.learned)
    setup = TrainSetup(
        folder=data,
        train=data.splits["train"],
        val=data.splits[config.split],
        model=model,
        preprocess=manifest.preprocess,
        parents=(parent_of(parent),),
        notes=(),
        origin=manifest.origin,
        class_scope=manifest.class_scope,
        form="deployed",
        quant=model.quant,
    )
    settings = training_config(config, str(data.root), manifest)
    distillation = Distillation(
        copy.deepcopy(teacher).to(device).eval(),
        cls=config.qat.distill_cls,
        box=config.qat.distill_box,
    )
    trainer = Trainer(
        settings,
        setup,
        run.folder,
        on_progress=run.on_progress,
        stop=run.stop,
        warn=run.warn,
        settings=fixed_settings(config),
        words=UserWords(lr="qat.lr", has_init=False),
        make_strategy=functools.partial(PlainStep, auxiliary=distillation),
        open_session=lambda current, _manifest, _device: (
            scorer.export(current, config.target).session
        ),
        uses_all=not model.quant.learned_scales,  # those of groups in float are not used
    )
    return trainer.run(resume=run.resume)


def begin_run(model: QuantizedDetector, manifest: Manifest, run: QatRun) -> None:
    """Writes the calibrated network, unless the run goes on; the other processes wait for it."""
    if not run.resume:
        begin_folder(run.folder, VERB, QAT_FILES)
        save_checkpoint(run.folder / START, model, manifest)
    ranks.tell_others(run.resume)


def training_config(config: QuantizeConfig, data: str, manifest: Manifest) -> TrainConfig:
    """Settings of a short, calm run: no mosaic, little zoom, and float32.

    bfloat16 would be coarser than 8 bits.
    """
    qat = config.qat
    height, width = manifest.preprocess.size
    return TrainConfig(
        data=data,
        init=NO_INIT,
        imgsz=f"{height}x{width}",
        epochs=qat.epochs,
        batch=qat.batch,
        patience=qat.patience,
        seed=config.seed,
        device=config.device,
        threads=config.threads,
        max_dropped=config.max_dropped,
        amp="off",
        augment=AugmentConfig(mosaic=0.0, scale=0.2, translate=0.05),
        optim=OptimConfig(lr=qat.lr, weight_decay=0.0, warmup_epochs=WARMUP_EPOCHS),
    )


def fixed_settings(config: QuantizeConfig) -> dict[str, Any]:
    """The settings that a resumed run cannot change, by their keys."""
    return {k: v for k, v in settings_by_key(config).items() if k not in MAY_CHANGE}


def goes_on(
    folder: Path,
    config: QuantizeConfig,
    *,
    data: Path,
    resume: bool,
    force: bool,
    killed: Holder | None,
) -> bool:
    """Whether a run goes on from the state in its folder; else it starts from the beginning.

    Raises:
        UsageError: a folder with something in it, where nobody said what to do; nothing to resume,
            or a run with other settings.
        ArtifactError: a state that should be there is gone.
    """
    if resume and not (killed or (folder / START).is_file()):
        raise UsageError(f"nothing to resume in {folder}", hint="leave out --resume")
    if resume and has_state(folder):
        check_settings(read_state(folder / STATE).inputs, fixed_settings(config), MAY_CHANGE)
        return True
    unbegun = killed is not None and is_unbegun(folder, QAT_FILES)
    check_output_folder(
        folder,
        VERB,
        force=force or unbegun,
        resume=resume,
        read=(data,),
        hint="use --resume to continue or --force to start over",
    )
    return False


def load_start(folder: Path) -> tuple[QuantizedDetector, Manifest]:
    """Loads the calibrated network that an interrupted run began from."""
    return load_quantized(folder / START)


def load_quantized(path: Path) -> tuple[QuantizedDetector, Manifest]:
    model, manifest = load_checkpoint(path)
    assert isinstance(model, QuantizedDetector)
    return model, manifest
