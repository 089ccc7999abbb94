"""What a run writes into its folder: settings, images, metrics, checkpoints, state and report.

When each is written is the loop's to say (`train.loop`); what the state holds, `train.state`.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch

from detkit.artifact.writing import append_line, write_text
from detkit.config import TrainConfig, to_toml
from detkit.core.content_digest import seal
from detkit.core.serialization import to_json
from detkit.data.training.loader import TrainLoader
from detkit.evaluation.score_thresholds import score_thresholds
from detkit.nn.checkpoint import save_checkpoint
from detkit.nn.detector import Detector
from detkit.report import Figures, TrainReport
from detkit.train.optim import Ema
from detkit.train.progress import TrainProgress
from detkit.train.ranks import is_first
from detkit.train.replica import Replica
from detkit.train.results_csv import write_results
from detkit.train.run_images import draw_first_batch, draw_validation
from detkit.train.setup import TrainSetup
from detkit.train.state import CONFIG, LAST, METRICS, STATE, TrainState, save_state, trim_metrics
from detkit.train.stopwatch import Stopwatch
from detkit.train.validation import Validation

BEST = "best.safetensors"
FIGURES = ("ap75", "ap_small", "ap_medium", "ap_large", "precision", "recall")
UNSAVED = ("eta_s", "is_best", "scored", "to_score")  # of the progress
NO_THRESHOLDS: tuple[float, ...] = ()


class RunWriter:
    """Writes the files of the run folder `out`; where several processes do a run, the first does.

    In the others all is the same but that nothing is written.
    """

    def __init__(self, out: Path, config: TrainConfig, setup: TrainSetup) -> None:
        self.out, self.config, self.setup = out, config, setup
        self.writes = is_first()

    def begin(self, loader: TrainLoader) -> None:
        """Writes the settings of a run from the beginning, and what it is shown first."""
        if self.writes:
            self._settings()
            draw_first_batch(self.out, loader, self.setup.train.class_names)

    def go_on(self, state: TrainState) -> None:
        """Writes the settings of a resumed run; drops metrics of epochs that it will do again."""
        if self.writes:
            trim_metrics(self.out / METRICS, state.epoch)
            write_results(self.out / METRICS)
            self._settings()

    def _settings(self) -> None:
        write_text(self.out / CONFIG, to_toml(self.config))

    def checkpoint(
        self, name: str, model: Detector, figures: Figures | None, **more: float
    ) -> None:
        """Writes a checkpoint, whose manifest tells its figures, if it was validated, and more."""
        if not self.writes:
            return
        metrics, thresholds = dict(more), NO_THRESHOLDS
        if figures is not None:
            known = {"ap": figures.ap, "ap50": figures.ap50}
            metrics |= {key: value for key, value in known.items() if value is not None}
            thresholds = score_thresholds(figures)
        manifest = self.setup.manifest(self.config, metrics, thresholds)
        save_checkpoint(self.out / name, model, manifest)

    def epoch(
        self, progress: TrainProgress, validation: Validation, ema: Ema, *, spent_s: float
    ) -> None:
        """Writes the checkpoints, the image and the line of metrics of a validated epoch.

        Args:
            spent_s: of the run so far.
        """
        if not self.writes:
            return
        figures = validation.figures
        self.checkpoint(LAST, ema.model, figures, epoch=float(progress.epoch))
        if progress.is_best or figures.ap is None:
            draw_validation(self.out, self.setup.val, validation.detections)
        if progress.is_best:
            self.checkpoint(BEST, ema.model, figures, epoch=float(progress.epoch))
        append_metrics(self.out / METRICS, progress, figures, spent_s)
        write_results(self.out / METRICS)

    def state(
        self, state: TrainState, replica: Replica, ema: Ema, optimizer: torch.optim.Optimizer
    ) -> None:
        """Writes what `--resume` goes on from."""
        gradients = replica.gradients()
        if self.writes:
            save_state(self.out / STATE, state, replica.model, ema, optimizer, gradients)

    def report(self, state: TrainState, stopwatch: Stopwatch, stopped_by: str) -> TrainReport:
        """Writes what became of the run, and returns it."""
        report = self._report_of(state, stopwatch, stopped_by)
        if self.writes:
            write_text(self.out / "report.json", to_json(report) + "\n")
        return report

    def _report_of(self, state: TrainState, stopwatch: Stopwatch, stopped_by: str) -> TrainReport:
        setup, best = self.setup, self.out / BEST
        lineage = setup.start.lineage if setup.start else None
        counts = {split.split: split for split in setup.folder.report.splits}["train"]
        rate, wait_share = stopwatch.images_per_s, stopwatch.data_wait_share
        return TrainReport(
            checkpoint=str(best if best.is_file() else self.out / LAST),
            model=setup.model.spec.name,
            arch_digest=setup.model.spec.digest,
            data=self.config.data,
            data_digest=setup.folder.report.digest,
            epochs=state.epoch,
            best_epoch=None if state.best_epoch is None else state.best_epoch + 1,
            ap=state.best_ap,
            ap50=state.best_ap50,
            seconds=round(stopwatch.seconds, 3),
            images_per_s=None if rate is None else round(rate, 3),
            data_wait_share=None if wait_share is None else round(wait_share, 4),
            images=counts.images,
            boxes=counts.boxes,
            dropped_images=counts.dropped_images,
            dropped_boxes=counts.dropped_boxes,
            stopped_by=stopped_by,
            init=lineage.init if lineage else "",
            weights_taken=lineage.weights_taken if lineage else 0.0,
            classes_known=lineage.classes_known if lineage else 0,
            licence=setup.origin.licence,
            weights_source=setup.origin.source,
            averaged=state.averaged,
        )


def append_metrics(path: Path, progress: TrainProgress, figures: Figures, seconds: float) -> None:
    """Adds the epoch's line to `metrics.jsonl`: what was told of it, and more of its figures."""
    kept = {k: v for k, v in dataclasses.asdict(progress).items() if k not in UNSAVED}
    more = {name: getattr(figures, name) for name in FIGURES}
    per_class = {name: score.ap for name, score in figures.per_class.items()}
    plain = {**kept, **more, "per_class": per_class, "seconds": round(seconds, 3)}
    append_line(path, json.dumps(seal(plain)))
