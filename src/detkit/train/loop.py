"""The loop over epochs: step, validate, keep the best, save so that a kill costs nothing.

What lives here: the order of things and what is written when. What does not: what a step learns
(`train.step`), the images (`data.training`), the metric (`evaluation`), and all printing (`cli`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from detkit.artifact.artifact import Manifest
from detkit.artifact.writing import append_line, write_text
from detkit.config import OptimConfig, TrainConfig, to_toml
from detkit.core.boxes import EVAL_NMS, Detections
from detkit.core.content_digest import seal
from detkit.core.errors import NonFiniteError, TrainingError
from detkit.core.memory import keep_freed_memory
from detkit.core.serialization import to_json
from detkit.data.training.loader import Batch, TrainLoader
from detkit.engines.torch.session import TorchSession, find_device
from detkit.evaluation.evaluate import coco_figures, detect
from detkit.nn.checkpoint import save_checkpoint
from detkit.nn.detector import Detector, fuse
from detkit.report import Figures, TrainReport
from detkit.runtime.session import Session, SessionOptions
from detkit.train.class_weights import class_weights
from detkit.train.optim import Ema, learning_rate, make_optimizer
from detkit.train.progress import TrainProgress
from detkit.train.run_images import draw_first_batch, draw_validation
from detkit.train.run_inputs import check_inputs, fixed_settings, inputs_of, rounding_changes
from detkit.train.setup import TrainSetup, check_batch_norms, frozen_parts
from detkit.train.state import (
    CONFIG,
    LAST,
    METRICS,
    STATE,
    TrainState,
    load_state,
    read_state,
    save_state,
    trim_metrics,
)
from detkit.train.step import MakeStrategy, PlainStep, StepContext, uses_bfloat16
from detkit.train.stop import StopSignal
from detkit.train.stopwatch import Stopwatch


def open_fused(model: Detector, manifest: Manifest, device: str) -> Session:
    """The network as validation runs it by default: fused, in torch."""
    return TorchSession(fuse(model), manifest, SessionOptions(device=device))


OpenSession = Callable[[Detector, Manifest, str], Session]


@dataclasses.dataclass(frozen=True, kw_only=True)
class UserWords:
    """What the user of a verb calls the learning rate, and whether it has --init."""

    lr: str
    has_init: bool


TRAIN_WORDS = UserWords(lr="optim.lr", has_init=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Validation:
    """The COCO figures of one validation, and the detections that they are of."""

    figures: Figures
    detections: list[Detections]


class Trainer:
    """One run in its folder `out`: the objects that change from step to step."""

    def __init__(
        self,
        config: TrainConfig,
        setup: TrainSetup,
        out: Path,
        *,
        on_progress: Callable[[TrainProgress], None],
        stop: StopSignal,
        warn: Callable[[str], None],
        settings: Mapping[str, Any] | None = None,
        words: UserWords = TRAIN_WORDS,
        make_strategy: MakeStrategy = PlainStep,
        open_session: OpenSession = open_fused,
    ) -> None:
        """Makes all that changes from step to step.

        Args:
            settings: what a resumed run may not change, by the keys that the user knows; by default
                those of `config`.
            words: what hints can tell the user to type.
            make_strategy: what a step learns from a batch.
            open_session: how the averaged weights are run in validation.
        """
        self.config, self.setup, self.out, self.words = config, setup, out, words
        self.on_progress, self.stop, self.warn = on_progress, stop, warn
        self.open_session = open_session
        torch.set_num_threads(config.threads or torch.get_num_threads())
        keep_freed_memory()
        self.device = find_device(config.device)
        self.model = setup.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = Ema(self.model, config.optim.ema)
        self.optimizer = make_optimizer(self.model, config.optim)
        check_batch_norms(self.model, setup.train, config.batch)
        self.strategy = make_strategy(self._context())
        self.loader = TrainLoader(
            setup.train,
            size=self.model.spec.image_size,
            augment=config.augment,
            seed=config.seed,
            batch_size=config.batch,
            workers=config.workers,
            cache=config.cache,
        )
        batches = self.loader.batches_per_epoch
        self.steps_per_epoch = math.ceil(batches / config.optim.accumulate)
        fixed = fixed_settings(config) if settings is None else settings
        self.state = TrainState(inputs=inputs_of(setup, config, self.device, fixed))
        self.stopwatch = Stopwatch(limit_s=config.time_limit * 60)
        self.rate: float | None = None  # of the last epoch that trained
        self.wait_share: float | None = None
        self.losses = torch.zeros(4)  # sums of the epoch: total, cls, iou, dfl

    def _context(self) -> StepContext:
        return StepContext(
            model=self.model,
            config=self.config,
            device=self.device,
            mixed_precision=uses_bfloat16(self.config.amp, self.device),
            class_weights=class_weights(
                self.setup.train.records,
                self.model.spec.num_classes,
                power=self.config.loss.class_weight_power,
            ),
        )

    def run(self, *, resume: bool) -> TrainReport:
        """Trains to the end, or to the first reason to stop.

        Raises:
            TrainingError: the loss became NaN or infinite; the last good weights are saved. Or the
                run to resume learned from other inputs.
        """
        if resume:
            self._resume()
        write_text(self.out / CONFIG, to_toml(self.config))
        if not resume:
            draw_first_batch(self.out, self.loader, self.setup.train.class_names)
        self.stopwatch.start(spent_s=self.state.seconds)
        try:
            stopped_by = self._epochs()
        finally:
            self.loader.close()
        return self._finish(stopped_by)

    def _resume(self) -> None:
        """Takes up the state in the folder, if it is of the same inputs."""
        before, now = read_state(self.out / STATE).inputs, self.state.inputs
        check_inputs(before, now, last=self.out / LAST if self.words.has_init else None)
        if changes := rounding_changes(before, now):
            self.warn(changes)
        state = load_state(self.out / STATE, self.model, self.ema, self.optimizer)
        self.state = dataclasses.replace(state, inputs=now)
        self.losses = torch.tensor(state.loss_sums)
        trim_metrics(self.out / METRICS, state.epoch)

    def _epochs(self) -> str:
        """Runs epochs until one of them is the last; returns the reason."""
        while self.state.epoch < self.config.epochs:
            if not self._train_epoch():
                self._save_checkpoint("last", {})
                self._save_state()
                return "signal"
            self._end_epoch(self._validate())
            if self.stop.signal:
                return "signal"
            if 0 < self.config.patience <= self.state.epochs_without_rise:
                return "patience"
            if self.stopwatch.share_of_limit >= 1:
                return "time-limit"
        return "epochs"

    def _train_epoch(self) -> bool:
        """Trains to the end of the epoch in progress; False when a signal stopped it."""
        self.model.train()
        for part in frozen_parts(self.model, self.config.freeze):
            part.eval()
        batches = self.loader.epoch(
            self.state.epoch, close=self._mosaic_closed(), start=self.state.batch
        )
        for batch in self.stopwatch.time_batches(batches, self.config.batch):
            self._step(batch)
            self.rate, self.wait_share = self.stopwatch.images_per_s, self.stopwatch.data_wait_share
            if self.stop.signal:
                return False
            self.on_progress(self._progress())
            if self.stopwatch.share_of_limit >= 1:
                break
            if self.stopwatch.seconds_since_saved > self.config.checkpoint_minutes * 60:
                self._save_state()
        return True

    def _step(self, batch: Batch) -> None:
        """Learns from one batch; updates the weights where an accumulation ends."""
        images = batch.images_on(self.device)
        labels = batch.labels.to(self.device)
        parts = self.strategy.learn(images, labels, epoch=self.state.epoch, batch=self.state.batch)
        losses = torch.stack([parts.total, parts.cls, parts.iou, parts.dfl]).detach().cpu()
        if not torch.isfinite(losses).all():
            self._give_up(losses)
        done = self.state.batch + 1
        if done % self.config.optim.accumulate == 0 or done == self.loader.batches_per_epoch:
            self._update(losses)
        self.losses += losses
        self.state = dataclasses.replace(self.state, batch=done)

    def _update(self, losses: torch.Tensor) -> None:
        """Makes one optimiser step with the gradients summed so far."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr()
        clip = self.config.optim.clip_norm
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)):
            self._give_up(losses)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.model)
        self.state = dataclasses.replace(self.state, step=self.state.step + 1)

    def _give_up(self, losses: torch.Tensor) -> None:
        """Saves the weights from before the bad step and says so."""
        if is_finite(self.ema.model):
            self._save_checkpoint("last", {})
        shown = dict(zip(("loss", "cls", "iou", "dfl"), losses.tolist(), strict=True))
        where = f"epoch {self.state.epoch + 1}, batch {self.state.batch + 1}"
        raise self._diverged(f"the loss or its gradient is not finite at {where}: {shown}")

    def _diverged(self, what: str) -> TrainingError:
        last = self.out / LAST
        good = f"; last good checkpoint: {last}" if last.is_file() else ""
        lower = min(self.config.optim.lr / 4, OptimConfig.lr)
        return TrainingError(
            f"the training diverged: {what}{good}",
            hint="most often a lower learning rate helps, in another folder or with --force:"
            f" --set {self.words.lr}={lower:.1e}",
        )

    def _validate(self) -> Validation:
        """Scores the averaged weights on the whole validation split.

        Raises:
            TrainingError: they, or what they give, are not finite.
        """
        what = f"the weights give NaN or Inf after epoch {self.state.epoch + 1}"
        if not is_finite(self.ema.model):
            raise self._diverged(what)
        self.strategy.before_validation(self.ema.model)
        manifest = self.setup.manifest(self.config, {})
        session = self.open_session(self.ema.model, manifest, str(self.device))
        val = self.setup.val
        try:
            detections = detect(session, val.records, batch_size=self.config.batch, nms=EVAL_NMS)
        except NonFiniteError as error:
            raise self._diverged(what) from error
        figures = coco_figures(val.records, val.class_names, detections)
        return Validation(figures, detections)

    def _end_epoch(self, validation: Validation) -> None:
        """Writes the epoch's metrics, checkpoints and state; moves on to the next epoch."""
        figures, state = validation.figures, self.state
        ap, ap50 = figures.ap, figures.ap50
        is_best = ap is not None and (not state.best_ap or ap > state.best_ap)  # of none, the last
        progress = dataclasses.replace(
            self._progress(),
            ap=ap,
            ap50=ap50,
            detections=sum(map(len, validation.detections)),
            is_best=is_best,
        )
        metrics = {"ap": ap, "ap50": ap50, "epoch": float(state.epoch + 1)}
        known = {key: value for key, value in metrics.items() if value is not None}
        self._save_checkpoint("last", known)
        if is_best or ap is None:
            draw_validation(self.out, self.setup.val, validation.detections)
        if is_best:
            self._save_checkpoint("best", known)
            state = dataclasses.replace(state, best_ap=ap, best_ap50=ap50, best_epoch=state.epoch)
        append_metrics(self.out / METRICS, progress, figures, self.stopwatch.seconds)
        self.state = dataclasses.replace(
            state, epoch=state.epoch + 1, batch=0, loss_sums=(0.0,) * 4
        )
        self.losses = torch.zeros(4)
        self._save_state()
        self.on_progress(progress)

    def _finish(self, stopped_by: str) -> TrainReport:
        best = self.out / "best.safetensors"
        lineage = self.setup.start.lineage if self.setup.start else None
        counts = {split.split: split for split in self.setup.folder.report.splits}["train"]
        report = TrainReport(
            checkpoint=str(best if best.is_file() else self.out / "last.safetensors"),
            model=self.model.spec.name,
            arch_digest=self.model.spec.digest,
            data=self.config.data,
            data_digest=self.setup.folder.report.digest,
            epochs=self.state.epoch,
            best_epoch=None if self.state.best_epoch is None else self.state.best_epoch + 1,
            ap=self.state.best_ap,
            ap50=self.state.best_ap50,
            seconds=round(self.stopwatch.seconds, 3),
            images_per_s=None if self.rate is None else round(self.rate, 3),
            data_wait_share=None if self.wait_share is None else round(self.wait_share, 4),
            images=counts.images,
            boxes=counts.boxes,
            dropped_images=counts.dropped_images,
            dropped_boxes=counts.dropped_boxes,
            stopped_by=stopped_by,
            init=lineage.init if lineage else "",
            weights_taken=lineage.weights_taken if lineage else 0.0,
            classes_known=lineage.classes_known if lineage else 0,
            licence=self.setup.origin.licence,
            weights_source=self.setup.origin.source,
        )
        write_text(self.out / "report.json", to_json(report) + "\n")
        return report

    def _lr(self) -> float:
        """The learning rate, by the steps done or by the time gone where the limit comes first."""
        total = self.config.epochs * self.steps_per_epoch
        step = max(self.state.step, int(min(self.stopwatch.share_of_limit, 1) * total))
        return learning_rate(self.config.optim, step, self.steps_per_epoch, total)

    def _mosaic_closed(self) -> bool:
        left = self.config.epochs - self.state.epoch
        if self.config.time_limit and self.state.epoch:
            share_an_epoch = self.stopwatch.share_of_limit / self.state.epoch
            left = min(left, math.ceil((1 - self.stopwatch.share_of_limit) / share_an_epoch))
        return left <= self.config.augment.close_epochs

    def _progress(self) -> TrainProgress:
        batches = self.loader.batches_per_epoch
        done = self.state.epoch * batches + self.state.batch
        eta = self.stopwatch.seconds / max(done, 1) * (self.config.epochs * batches - done)
        if self.config.time_limit:
            eta = min(eta, self.config.time_limit * 60 - self.stopwatch.seconds)
        total, cls, iou, dfl = (self.losses / max(self.state.batch, 1)).tolist()
        return TrainProgress(
            epoch=self.state.epoch + 1,
            epochs=self.config.epochs,
            batch=self.state.batch,
            batches=batches,
            loss=total,
            loss_cls=cls,
            loss_iou=iou,
            loss_dfl=dfl,
            lr=float(self.optimizer.param_groups[0]["lr"]),
            images_per_s=self.rate,
            data_wait_share=self.wait_share,
            eta_s=max(eta, 0.0),
        )

    def _save_checkpoint(self, name: str, metrics: dict[str, float]) -> Path:
        path = self.out / f"{name}.safetensors"
        save_checkpoint(path, self.ema.model, self.setup.manifest(self.config, metrics))
        return path

    def _save_state(self) -> None:
        self.state = dataclasses.replace(
            self.state,
            seconds=self.stopwatch.seconds,
            ema_updates=self.ema.updates,
            loss_sums=tuple(self.losses.tolist()),
        )
        save_state(self.out / STATE, self.state, self.model, self.ema, self.optimizer)
        self.stopwatch.note_saved()


def is_finite(model: Detector) -> bool:
    """Whether every weight and statistic is a number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())


def append_metrics(path: Path, progress: TrainProgress, figures: Figures, seconds: float) -> None:
    """Adds the epoch's line to `metrics.jsonl`."""
    kept = {k: v for k, v in dataclasses.asdict(progress).items() if k not in ("eta_s", "is_best")}
    per_class = {name: score.ap for name, score in figures.per_class.items()}
    line = json.dumps(seal({**kept, "per_class": per_class, "seconds": round(seconds, 3)}))
    append_line(path, line)
