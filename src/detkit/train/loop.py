"""The loop over epochs: step, validate, keep the best, save so that a kill costs nothing.

What lives here: the order of things and what is written when. What does not: the loss
(`train.loss`), the images (`data.loader`), the metric (`evaluate`), and all printing (`cli`).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from detkit.artifact.artifact import Manifest, write_text
from detkit.config import TrainConfig, to_toml
from detkit.core.boxes import EVAL_NMS
from detkit.core.errors import TrainingError
from detkit.core.serialization import to_json
from detkit.data.training.loader import Batch, TrainLoader
from detkit.engines.torch.session import TorchSession, find_device
from detkit.evaluation.evaluate import coco_figures, detect
from detkit.nn.checkpoint import save_checkpoint
from detkit.nn.detector import Detector, fuse
from detkit.report import Figures, TrainReport
from detkit.runtime.session import Session, SessionOptions
from detkit.train.loss import DetectionLoss, LossParts
from detkit.train.optim import Ema, learning_rate, make_optimizer
from detkit.train.progress import Progress
from detkit.train.run_images import draw_first_batch, draw_validation
from detkit.train.setup import TrainSetup, frozen_parts
from detkit.train.state import Place, load_state, save_state
from detkit.train.stopwatch import Stopwatch

STATE = Path("state") / "state.safetensors"


class Stopped(KeyboardInterrupt):
    """A signal came in the middle of work of which half is worth nothing."""


@dataclasses.dataclass
class StopSignal:
    """Set from a signal handler; the loop saves and returns after the step in hand."""

    signal: int = 0

    def check(self) -> None:
        """Raises Stopped once there was a signal."""
        if self.signal:
            raise Stopped


class AuxiliaryLoss(Protocol):
    """A further loss, from the images (B, 3, H, W) and the network's raw outputs on them."""

    def __call__(self, images: Tensor, logits: Tensor, distances: Tensor) -> Tensor: ...


def open_fused(model: Detector, manifest: Manifest, device: str) -> Session:
    """The network as validation runs it by default: fused, in torch."""
    return TorchSession(fuse(model), manifest, SessionOptions(device=device))


@dataclasses.dataclass(frozen=True)
class Method:
    """What a run may do otherwise than to learn from boxes and be scored in torch."""

    guide: AuxiliaryLoss | None = None
    open_session: Callable[[Detector, Manifest, str], Session] = open_fused


class Trainer:
    """One run in its folder `out`: the objects that change from step to step."""

    def __init__(
        self,
        config: TrainConfig,
        job: TrainSetup,
        out: Path,
        *,
        notify: Callable[[Progress], None],
        interruption: StopSignal,
        method: Method | None = None,
    ) -> None:
        self.config, self.job, self.out = config, job, out
        self.method = method or Method()
        self.notify, self.interruption = notify, interruption
        torch.set_num_threads(config.threads or torch.get_num_threads())
        self.device = find_device(config.device)
        self.model = job.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = Ema(self.model, config.optim.ema)
        self.optimizer = make_optimizer(self.model, config.optim)
        self.loss = DetectionLoss(config.loss, self.model.spec.image_size).to(self.device)
        self.amp = uses_bfloat16(config.amp, self.device)
        self.loader = TrainLoader(
            job.train,
            size=self.model.spec.image_size,
            augment=config.augment,
            seed=config.seed,
            batch_size=config.batch,
            workers=config.workers,
            cache=config.cache,
        )
        batches = self.loader.batches_per_epoch
        self.steps_per_epoch = math.ceil(batches / config.optim.accumulate)
        self.place = Place()
        self.rate = self.wait_share = 0.0  # of the last epoch that trained
        self.losses = torch.zeros(4)  # sums of the epoch: total, cls, iou, dfl

    def run(self, *, resume: bool) -> TrainReport:
        """Trains to the end, or to the first reason to stop.

        Raises:
            TrainingError: the loss became NaN or infinite; the last good weights are saved.
        """
        if resume:
            self.place = load_state(self.out / STATE, self.model, self.ema, self.optimizer)
            self.losses = torch.tensor(self.place.loss_sums)
            trim_metrics(self.out / "metrics.jsonl", self.place.epoch)
        else:
            draw_first_batch(self.out, self.loader, self.job.train.class_names)
        write_text(self.out / "config.toml", to_toml(self.config))
        self.watch = Stopwatch(spent_s=self.place.seconds, limit_s=self.config.time_limit * 60)
        try:
            stopped_by = self._epochs()
        finally:
            self.loader.close()
        return self._finish(stopped_by)

    def _epochs(self) -> str:
        """Runs epochs until one of them is the last; returns the reason."""
        while self.place.epoch < self.config.epochs:
            if not self._train_epoch():
                self._save_checkpoint("last", {})
                self._save_state()
                return "signal"
            self._end_epoch(self._validate())
            if self.interruption.signal:
                return "signal"
            since_best = self.place.epoch - 1 - self.place.best_epoch
            if self.config.patience and since_best >= self.config.patience:
                return "patience"
            if self.watch.share_of_limit >= 1:
                return "time-limit"
        return "epochs"

    def _train_epoch(self) -> bool:
        """Trains from the place on to the end of its epoch; False when interrupted."""
        self.model.train()
        for part in frozen_parts(self.model, self.config.freeze):
            part.eval()
        batches = self.loader.epoch(
            self.place.epoch, close=self._mosaic_closed(), start=self.place.batch
        )
        for batch in self.watch.watch(batches, self.config.batch):
            self._step(batch)
            self.rate, self.wait_share = self.watch.images_per_s, self.watch.data_wait_share
            if self.interruption.signal:
                return False
            self.notify(self._progress())
            if self.watch.share_of_limit >= 1:
                break
            if self.watch.seconds_since_saved > self.config.checkpoint_minutes * 60:
                self._save_state()
        return True

    def _step(self, batch: Batch) -> None:
        """Forward and backward of one batch; an update where an accumulation ends."""
        images = batch.images.to(self.device, memory_format=torch.channels_last)
        parts = self.learn(images, batch.boxes.to(self.device))
        losses = torch.stack([parts.total, parts.cls, parts.iou, parts.dfl]).detach().cpu()
        if not torch.isfinite(losses).all():
            self._give_up(losses)
        done = self.place.batch + 1
        if done % self.config.optim.accumulate == 0 or done == self.loader.batches_per_epoch:
            self._update(losses)
        self.losses += losses
        self.place = dataclasses.replace(self.place, batch=done)

    def learn(self, images: Tensor, targets_n6: Tensor) -> LossParts:
        """Forward and backward of one batch; gradients are added to those there are."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            logits, distances = self.model(images)
        parts: LossParts = self.loss(logits, distances, targets_n6)
        if self.method.guide is not None:
            parts = parts.plus(self.method.guide(images, logits, distances))
        (parts.total / self.config.optim.accumulate).backward()  # type: ignore[no-untyped-call]
        return parts

    def _update(self, losses: torch.Tensor) -> None:
        """One optimiser step with the gradients summed so far."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr()
        clip = self.config.optim.clip_norm
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip)):
            self._give_up(losses)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.model)
        self.place = dataclasses.replace(self.place, step=self.place.step + 1)

    def _give_up(self, losses: torch.Tensor) -> None:
        """Saves the weights from before the bad step and says so."""
        checkpoint = self._save_checkpoint("last", {})
        shown = dict(zip(("loss", "cls", "iou", "dfl"), losses.tolist(), strict=True))
        raise TrainingError(
            f"the loss or its gradient is not finite at epoch {self.place.epoch + 1}, batch"
            f" {self.place.batch + 1}: {shown}; last good checkpoint: {checkpoint}",
            hint=f"most often a lower rate helps: --set optim.lr={self.config.optim.lr / 4:.1e}",
        )

    def _validate(self) -> Figures:
        """COCO figures of the averaged weights on the whole validation split."""
        manifest = self.job.manifest(self.config, {})
        session = self.method.open_session(self.ema.model, manifest, str(self.device))
        val = self.job.val
        detections = detect(session, val.records, batch_size=self.config.batch, nms=EVAL_NMS)
        self.detections = detections
        return coco_figures(val.records, val.class_names, detections)

    def _end_epoch(self, figures: Figures) -> None:
        """Writes the epoch's metrics, checkpoints and state; moves on to the next epoch."""
        ap, ap50 = figures.ap or 0.0, figures.ap50 or 0.0
        is_best = ap > self.place.best_ap
        progress = dataclasses.replace(self._progress(), ap=ap, ap50=ap50, is_best=is_best)
        metrics = {"ap": ap, "ap50": ap50, "epoch": self.place.epoch + 1}
        self._save_checkpoint("last", metrics)
        place = dataclasses.replace(
            self.place,
            epoch=self.place.epoch + 1,
            batch=0,
            loss_sums=(0.0,) * 4,
        )
        if is_best:
            self._save_checkpoint("best", metrics)
            draw_validation(self.out, self.job.val, self.detections)
            place = dataclasses.replace(
                place, best_ap=ap, best_ap50=ap50, best_epoch=self.place.epoch
            )
        append_metrics(self.out / "metrics.jsonl", progress, figures, self.watch.seconds)
        self.place, self.losses = place, torch.zeros(4)
        self._save_state()
        self.notify(progress)

    def _finish(self, stopped_by: str) -> TrainReport:
        best = self.out / "best.safetensors"
        counts = {split.split: split for split in self.job.folder.report.splits}["train"]
        report = TrainReport(
            checkpoint=str(best if best.is_file() else self.out / "last.safetensors"),
            model=self.model.spec.name,
            arch_digest=self.model.spec.digest,
            data=self.config.data,
            data_digest=self.job.folder.report.digest,
            epochs=self.place.epoch,
            best_epoch=self.place.best_epoch + 1,
            ap=max(self.place.best_ap, 0.0),
            ap50=self.place.best_ap50,
            seconds=round(self.watch.seconds, 3),
            images_per_s=round(self.rate, 3),
            data_wait_share=round(self.wait_share, 4),
            images=counts.images,
            boxes=counts.boxes,
            dropped_images=counts.dropped_images,
            dropped_boxes=counts.dropped_boxes,
            stopped_by=stopped_by,
        )
        write_text(self.out / "report.json", to_json(report) + "\n")
        return report

    def _lr(self) -> float:
        """By the steps done, or by the time gone where the limit will come first."""
        total = self.config.epochs * self.steps_per_epoch
        step = max(self.place.step, int(min(self.watch.share_of_limit, 1) * total))
        return learning_rate(self.config.optim, step, self.steps_per_epoch, total)

    def _mosaic_closed(self) -> bool:
        left = self.config.epochs - self.place.epoch
        if self.config.time_limit and self.place.epoch:
            share_an_epoch = self.watch.share_of_limit / self.place.epoch
            left = min(left, math.ceil((1 - self.watch.share_of_limit) / share_an_epoch))
        return left <= self.config.augment.close_epochs

    def _progress(self) -> Progress:
        batches = self.loader.batches_per_epoch
        done = self.place.epoch * batches + self.place.batch
        eta = self.watch.seconds / max(done, 1) * (self.config.epochs * batches - done)
        if self.config.time_limit:
            eta = min(eta, self.config.time_limit * 60 - self.watch.seconds)
        total, cls, iou, dfl = (self.losses / max(self.place.batch, 1)).tolist()
        return Progress(
            epoch=self.place.epoch + 1,
            epochs=self.config.epochs,
            batch=self.place.batch,
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
        save_checkpoint(path, self.ema.model, self.job.manifest(self.config, metrics))
        return path

    def _save_state(self) -> None:
        self.place = dataclasses.replace(
            self.place,
            seconds=self.watch.seconds,
            ema_updates=self.ema.updates,
            loss_sums=tuple(self.losses.tolist()),
        )
        save_state(self.out / STATE, self.place, self.model, self.ema, self.optimizer)
        self.watch.note_saved()


def uses_bfloat16(setting: str, device: torch.device) -> bool:
    """Whether to run mixed precision: `auto` says yes where bfloat16 has its own hardware."""
    if setting != "auto":
        return setting == "on"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def append_metrics(path: Path, progress: Progress, figures: Figures, seconds: float) -> None:
    """Adds the epoch's line to `metrics.jsonl`."""
    kept = {k: v for k, v in dataclasses.asdict(progress).items() if k not in ("eta_s", "is_best")}
    per_class = {name: score.ap for name, score in figures.per_class.items()}
    line = json.dumps({**kept, "per_class": per_class, "seconds": round(seconds, 3)})
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def trim_metrics(path: Path, epochs: int) -> None:
    """Drops lines of epochs that the resumed run will do again."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    whole = [line for line in lines if line.endswith("}")]
    write_text(path, "".join(line + "\n" for line in whole if json.loads(line)["epoch"] <= epochs))
