"""From what was asked to a finished run: settings, the run folder, the log, the report page."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detkit.artifact.artifact import write_text
from detkit.config import AUTO_INIT, NO_INIT, PATHS_OF_SPLITS, TrainConfig, resolve
from detkit.core.errors import UsageError
from detkit.core.safe_text import safe
from detkit.core.serialization import to_plain
from detkit.core.work_folder import check_run_folder, remove_earlier_run
from detkit.data.training.sampling import ImageSampling
from detkit.pages.run_page import render_run
from detkit.report import TrainReport
from detkit.spec.zoo import ZOO
from detkit.train.epochs import choose_epochs, epochs_note
from detkit.train.first_weights import DEFAULT_MODEL
from detkit.train.loop import Trainer
from detkit.train.progress import TrainProgress
from detkit.train.setup import TrainSetup, build_setup
from detkit.train.step import PlainStep
from detkit.train.stop import StopSignal

MAY_CHANGE = ("epochs", "time_limit", "patience", "device", "workers", "threads")
INIT_WORDS = (AUTO_INIT, NO_INIT, *ZOO)  # of `init`; all else is a file
RUN_FILES = (  # that a run writes into its folder
    "config.toml",
    "metrics.jsonl",
    "best.safetensors",
    "last.safetensors",
    "report.json",
    "report.html",
    "log.txt",
    "train_batch.jpg",
    "val_detections.jpg",
    "state",
)


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """The settings as the user gave them: flags (None where not given), --set, a file."""

    flags: Mapping[str, Any]
    sets: tuple[str, ...] = ()
    file: Path | None = None
    resume: bool = False
    force: bool = False


def resolve_config(request: TrainRequest, out: Path | None) -> TrainConfig:
    """Resolves the settings of a run; when resuming, those of its folder and what may change.

    Raises:
        UsageError: unknown or wrong settings, or one that a resumed run cannot change.
    """
    file = request.file
    if request.resume:
        if out is None:
            raise UsageError("--resume needs the folder of the run to continue", hint="-o DIR")
        file = out / "config.toml"
    flags = dict(request.flags)
    flags["data"] = flags.get("data") or flags.get("train_images")
    for key in ("data", "init", "teacher", *PATHS_OF_SPLITS):
        if flags.get(key) and not (key == "init" and flags[key] in INIT_WORDS):
            flags[key] = str(Path(flags[key]).resolve())
    config = resolve(TrainConfig, file=file, sets=request.sets, flags=flags)
    if request.resume:
        _check_unchanged(resolve(TrainConfig, file=file), config)
    if not config.data:
        raise UsageError("no COCO folder to train on", hint="detkit train DIR")
    return config


def _check_unchanged(before: TrainConfig, now: TrainConfig) -> None:
    old, new = to_plain(before), to_plain(now)
    changed = [key for key in old if old[key] != new[key] and key not in MAY_CHANGE]
    if changed:
        raise UsageError(
            f"a resumed run cannot change {', '.join(changed)}",
            hint=f"it may change {', '.join(MAY_CHANGE)}; for a new run use --init",
        )


def find_run_folder(out: Path | None, config: TrainConfig) -> Path:
    """The folder of -o, or a name made of the data and the model; never numbered."""
    if out is not None:
        return out
    named = config.init not in ("", AUTO_INIT, NO_INIT)
    model = Path(config.model or (config.init if named else DEFAULT_MODEL)).stem
    return Path("runs") / f"{Path(config.data).name}-{model}"


def run_training(
    config: TrainConfig,
    folder: Path,
    request: TrainRequest,
    *,
    dry_run: bool,
    log: Callable[[str], None],
    on_progress: Callable[[TrainProgress], None],
    stop: StopSignal,
    warn: Callable[[str], None] | None = None,
) -> TrainReport | None:
    """Trains in `folder`; None after a dry run.

    Args:
        warn: takes what nobody should overlook; else `log` does.

    Raises:
        UsageError: the folder already holds something.
        DataError, TrainingError: see `setup.build_setup` and `loop.Trainer.run`.
    """
    check_run_folder(folder, resume=request.resume, force=request.force)
    setup = build_setup(config)
    assert setup.start is not None
    config = replace(config, init=setup.start.init)
    config, notes = with_chosen_epochs(config, setup)
    first_lines = [*describe_setup(setup, folder), *notes]
    for line in first_lines:
        log(line)
    for text in setup.start.warnings:
        (warn or log)(text)
    if dry_run:
        return None
    if not request.resume:
        remove_earlier_run(folder, RUN_FILES)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a", encoding="utf-8", buffering=1) as file:

        def log_progress(progress: TrainProgress) -> None:
            if progress.ap is not None:
                file.write(progress.line() + "\n")
            on_progress(progress)

        file.writelines(f"{safe(line)}\n" for line in first_lines)
        file.writelines(f"warning: {safe(text)}\n" for text in setup.start.warnings)
        auxiliary = setup.teacher.as_loss(config) if setup.teacher else None
        trainer = Trainer(
            config,
            setup,
            folder,
            on_progress=log_progress,
            stop=stop,
            make_strategy=functools.partial(PlainStep, auxiliary=auxiliary),
        )
        report = trainer.run(resume=request.resume)
    write_text(folder / "report.html", render_run(folder))
    return report


def with_chosen_epochs(
    config: TrainConfig, setup: TrainSetup
) -> tuple[TrainConfig, tuple[str, ...]]:
    """The settings with a number of epochs, and lines that say what was chosen."""
    records, threshold = setup.train.records, config.augment.repeat_threshold
    shown = ImageSampling(records, threshold=threshold).num_draws
    repeats = f"an epoch shows {shown} images, those of rare classes more than once"
    notes = (repeats,) if shown > len(records) else ()
    if config.epochs:
        return config, notes
    epochs = choose_epochs(shown, config, from_weights=bool(setup.parents))
    return replace(config, epochs=epochs), (*notes, epochs_note(shown, epochs, config))


def describe_setup(setup: TrainSetup, folder: Path) -> list[str]:
    """What is about to be trained, on what, and what of the data was lost."""
    spec, report = setup.model.spec, setup.folder.report
    height, width = spec.image_size
    lines = [
        f"{spec.name} ({spec.digest}) at {height}x{width}, {spec.num_classes} classes:"
        f" {setup.costs['parameters'] / 1e6:.2f} M parameters and"
        f" {setup.costs['macs'] / 1e9:.2f} GMACs"
        " deployed"
    ]
    for split in report.splits:
        lost = f"dropped {split.dropped_images} images and {split.dropped_boxes} boxes"
        fixed = f", fixed {split.fixed_boxes} boxes" if split.fixed_boxes else ""
        lines.append(
            f"{split.split}: {split.images} images ({split.images_without_boxes} without boxes),"
            f" {split.boxes} boxes; {lost}{fixed}"
        )
    if report.counts:
        faults = ", ".join(f"{count} x {reason}" for reason, count in report.counts.items())
        lines.append(f"faults: {faults} (detkit data check lists them)")
    return [*lines, *setup.notes, f"run folder: {folder}"]
