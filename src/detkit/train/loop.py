"""The loop over epochs: step, validate, keep the best, save so that a kill costs nothing.

What lives here: the order of things and what is written when. What does not: what a step learns
(`train.step`), the images (`data.training`), the metric (`train.validation`), the files
(`train.run_writer`), and all printing (`cli`). Several processes may do one run (`train.ranks`):
each runs the same loop, and decides what to do next by what all of them know.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from detkit.config import OptimConfig, TrainConfig
from detkit.core.errors import NonFiniteError, TrainingError
from detkit.data.training.batch import Batch
from detkit.data.training.loader import TrainLoader
from detkit.engines.torch.session import find_device
from detkit.nn.detector import Detector
from detkit.report import Averaged, TrainReport
from detkit.train import ranks
from detkit.train.averaging import KEPT_FILES, mean_of, slot_for
from detkit.train.batch_memory import does_not_fit
from detkit.train.class_weights import class_weights
from detkit.train.optim import Ema, learning_rate, make_optimizer
from detkit.train.precision import LossScaler, half_type
from detkit.train.progress import TrainProgress
from detkit.train.replica import Replica, syncs_batch_norms
from detkit.train.run_inputs import check_inputs, fixed_settings, inputs_of, rounding_changes
from detkit.train.run_writer import BEST, RunWriter
from detkit.train.setup import TrainSetup, check_batch_norms, frozen_parts
from detkit.train.state import LAST, STATE, KeptEpoch, TrainState, load_state, read_state
from detkit.train.step import MakeStrategy, PlainStep, StepContext
from detkit.train.stop import StopSignal
from detkit.train.stopwatch import Stopwatch
from detkit.train.validation import OpenSession, Validation, is_finite, open_fused, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class UserWords:
    """What the user of a verb calls the learning rate, and whether it has --init."""

    lr: str
    has_init: bool


TRAIN_WORDS = UserWords(lr="optim.lr", has_init=True)


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
        uses_all: bool = True,
    ) -> None:
        """Makes all that changes from step to step.

        Args:
            settings: what a resumed run may not change, by the keys that the user knows; by default
                those of `config`.
            words: what hints can tell the user to type.
            make_strategy: what a step learns from a batch.
            open_session: how the averaged weights are run in validation.
            uses_all: whether the last pass of every step uses all weights (see `train.replica`).
        """
        self.config, self.setup, self.out, self.words = config, setup, out, words
        self.on_progress, self.stop, self.warn = on_progress, stop, warn
        self.open_session = open_session
        self.writer = RunWriter(out, config, setup)
        ranks.use_machine(config.threads)
        self.device = find_device(config.device)
        ranks.check_device(self.device)
        self.model = setup.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = Ema(self.model, config.optim.ema)
        self.optimizer = make_optimizer(self.model, config.optim)
        self.scaler = LossScaler(half_type(config.amp, self.device), self.device)
        synced, share = syncs_batch_norms(config), (ranks.rank(), ranks.world())
        parts = 1 if synced else ranks.world()
        check_batch_norms(self.model, setup.train, config.batch, parts=parts)
        self.replica = Replica(self.model, sync_norms=synced, uses_all=uses_all)
        self.strategy = make_strategy(self._context())
        self.loader = TrainLoader(
            setup.train,
            size=self.model.spec.image_size,
            augment=config.augment,
            seed=config.seed,
            batch_size=config.batch,
            workers=config.workers,
            cache=config.cache,
            share=share,
            pin=self.device.type == "cuda",
        )
        batches = self.loader.batches_per_epoch
        self.steps_per_epoch = math.ceil(batches / config.batches_per_step)
        fixed = fixed_settings(config) if settings is None else settings
        self.state = TrainState(inputs=inputs_of(setup, config, self.device, fixed))
        self.stopwatch = Stopwatch(limit_s=config.time_limit * 60)
        self.losses = torch.zeros(4)  # sums of the epoch: total, cls, iou, dfl
        self.signal = 0  # that any process got
        self.is_save_due = False

    def _context(self) -> StepContext:
        return StepContext(
            model=self.model,
            replica=self.replica,
            config=self.config,
            device=self.device,
            scaler=self.scaler,
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
        else:
            self.writer.begin(self.loader)
        self.stopwatch.start(spent_s=self.state.seconds)
        self._agree()
        try:
            stopped_by = self._epochs()
        finally:
            self.loader.close()
        if stopped_by != "signal":
            self._try_mean()
        return self.writer.report(self.state, self.stopwatch, stopped_by)

    def _resume(self) -> None:
        """Takes up the state in the folder, if it is of the same inputs."""
        before, now = read_state(self.out / STATE).inputs, self.state.inputs
        check_inputs(before, now, last=self.out / LAST if self.words.has_init else None)
        if changes := rounding_changes(before, now):
            self.warn(changes)
        state = load_state(self.out / STATE, self.model, self.ema, self.optimizer)
        self.state = dataclasses.replace(state, inputs=now)
        self.losses = torch.tensor(state.loss_sums)
        self.scaler.recall(state.loss_scale)
        self.writer.go_on(self.state)

    def _epochs(self) -> str:
        """Runs epochs until one of them is the last; returns the reason."""
        while self.state.epoch < self.config.epochs:
            if not self._train_epoch():
                self.writer.checkpoint(LAST, self.ema.model, None)
                self._save_state()
                return "signal"
            self._end_epoch(self._validate(self.ema.model))
            self._agree()
            if self.signal:
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
            self.stopwatch.note_step()
            self._agree()
            if self.signal:
                return False
            self.on_progress(self._progress())
            if self.stopwatch.share_of_limit >= 1:
                break
            if self.is_save_due:
                self._save_state()
        return True

    def _agree(self) -> None:
        """Takes signals of all processes and the clock of the first, so that all decide alike."""
        is_due = self.stopwatch.seconds_since_saved > self.config.checkpoint_minutes * 60
        mine = [float(self.stop.signal), self.stopwatch.seconds, float(is_due)]
        signals, seconds, due = ranks.gather_rows(torch.tensor(mine, dtype=torch.float64)).unbind(1)
        self.signal = int(signals.max())
        if self.signal:
            self.stop.signal = self.signal
        if ranks.is_shared():
            self.stopwatch.agree_on(float(seconds[0]))
        self.is_save_due = bool(due[0])

    def _step(self, batch: Batch) -> None:
        """Learns from one batch; updates the weights where an accumulation ends."""
        images = batch.images_on(self.device)
        labels = batch.labels.to(self.device)
        epoch, number = self.state.epoch, self.state.batch
        done = number + 1
        is_last = done % self.config.batches_per_step == 0 or done == self.loader.batches_per_epoch
        with self.replica.summing(not is_last):
            try:
                parts = self.strategy.learn(images, labels, epoch=epoch, batch=number)
            except torch.OutOfMemoryError:
                parts = None  # told below: what the pass holds on to is free then
        if parts is None:
            raise does_not_fit(self.strategy, images)
        self.replica.average_statistics()
        losses = torch.stack([parts.total, parts.cls, parts.iou, parts.dfl])
        losses = ranks.gather_rows(losses).mean(0).float()
        if not torch.isfinite(losses).all():
            self._give_up(losses)
        if is_last:
            self._update(losses)
        self.losses += losses
        self.state = dataclasses.replace(self.state, batch=done)

    def _update(self, losses: torch.Tensor) -> None:
        """Makes one optimiser step with the gradients summed so far."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr()
        if not self.scaler.make_step(self.optimizer, self.config.optim.clip_norm):
            self._give_up(losses)
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(self.model)
        self.state = dataclasses.replace(self.state, step=self.state.step + 1)

    def _give_up(self, losses: torch.Tensor) -> None:
        """Saves the weights from before the bad step and says so."""
        if is_finite(self.ema.model):
            self.writer.checkpoint(LAST, self.ema.model, None)
        self._agree()  # it is written
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

    def _validate(self, model: Detector) -> Validation:
        """Scores weights on the whole validation split.

        Raises:
            TrainingError: they, or what they give, are not finite.
        """
        what = f"the weights give NaN or Inf after epoch {self.state.epoch + 1}"
        if not is_finite(model):
            raise self._diverged(what)
        self.strategy.before_validation(model)
        session = self.open_session(model, self.setup.manifest(self.config, {}), str(self.device))
        try:
            return validate(
                session,
                self.setup.val,
                batch_size=self.config.batch,
                on_progress=self._tell_scored(),
            )
        except NonFiniteError as error:
            raise self._diverged(what) from error

    def _tell_scored(self) -> Callable[[int], None]:
        """Tells how far a validation is, as it is told of images that are done."""
        progress, total = self._progress(), len(self.setup.val.records)
        scored = 0

        def tell(images: int) -> None:
            nonlocal scored
            scored = min(scored + images, total)
            self.on_progress(dataclasses.replace(progress, scored=scored, to_score=total))

        return tell

    def _end_epoch(self, validation: Validation) -> None:
        """Has the epoch written down; moves on to the next one and saves the state."""
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
        self.writer.epoch(progress, validation, self.ema, spent_s=self.stopwatch.seconds)
        if ap and (slot := slot_for(state.kept, ap, most=self.config.average_best)) is not None:
            self.writer.checkpoint(
                KEPT_FILES[slot], self.ema.model, figures, epoch=float(progress.epoch)
            )
            kept = (*state.kept[:slot], KeptEpoch(epoch=progress.epoch, ap=ap))
            state = dataclasses.replace(state, kept=(*kept, *state.kept[slot + 1 :]))
        if is_best:
            state = dataclasses.replace(state, best_ap=ap, best_ap50=ap50, best_epoch=state.epoch)
        self.state = dataclasses.replace(
            state, epoch=state.epoch + 1, batch=0, loss_sums=(0.0,) * 4
        )
        self.losses = torch.zeros(4)
        self._save_state()
        self.on_progress(progress)

    def _try_mean(self) -> None:
        """Scores the mean weights of the best epochs; where they are better, they are the best."""
        state = self.state
        epochs = tuple(sorted(kept.epoch for kept in state.kept))
        is_done = state.averaged is not None and state.averaged.epochs == epochs
        if not self.config.average_best or state.best_ap is None or is_done:
            return
        mean = mean_of(self.ema.model, state.kept, self.out)
        if mean is None:
            return
        figures = self._validate(mean.to(self.device)).figures
        assert figures.ap is not None  # there are boxes
        is_better = figures.ap > state.best_ap
        averaged = Averaged(
            epochs=epochs, ap=figures.ap, ap_of_best=max(k.ap for k in state.kept), kept=is_better
        )
        if is_better:
            at = max(state.kept, key=lambda kept: kept.ap).epoch
            self.writer.checkpoint(BEST, mean, figures, epoch=float(at), averaged=len(epochs))
            state = dataclasses.replace(state, best_ap=figures.ap, best_ap50=figures.ap50)
        self.state = dataclasses.replace(state, averaged=averaged)
        self._save_state()

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
            images_per_s=self.stopwatch.images_per_s,
            data_wait_share=self.stopwatch.data_wait_share,
            eta_s=max(eta, 0.0),
        )

    def _save_state(self) -> None:
        self.state = dataclasses.replace(
            self.state,
            seconds=self.stopwatch.seconds,
            ema_updates=self.ema.updates,
            loss_sums=tuple(self.losses.tolist()),
            loss_scale=self.scaler.memory,
        )
        self.writer.state(self.state, self.replica, self.ema, self.optimizer)
        self.stopwatch.note_saved()
