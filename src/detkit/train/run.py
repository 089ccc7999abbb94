"""From what was asked to a finished run: settings, the run folder, the log, the report page."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detkit.artifact.outputs import begin_folder, check_output_folder
from detkit.artifact.writing import append_line, write_text
from detkit.config import (
    AUTO_INIT,
    NO_INIT,
    PATHS_OF_SPLITS,
    TrainConfig,
    read_toml,
    resolve,
    to_toml,
)
from detkit.core.errors import UsageError
from detkit.core.run_lock import Holder, check_unlocked, killed_note, locked_folder
from detkit.core.safe_text import safe
from detkit.data.training.loader import part_of
from detkit.data.training.sampling import ImageSampling
from detkit.engines.torch.session import find_device
from detkit.pages.run_page import render_run
from detkit.report import TrainReport
from detkit.spec.onnx_presets import PRESETS
from detkit.spec.zoo import ZOO
from detkit.train import ranks
from detkit.train.averaging import KEPT_FILES
from detkit.train.batch_choice import with_batch_of_before, with_chosen_batch
from detkit.train.epochs import choose_epochs, epochs_note, other_length_note
from detkit.train.first_weights import DEFAULT_MODEL
from detkit.train.loggers import EVENT_FILE, TRACKED_RUN, LoggedRun, RunLoggers, logger_names
from detkit.train.loop import Trainer
from detkit.train.progress import TrainProgress
from detkit.train.replica import syncs_batch_norms
from detkit.train.results_csv import RESULTS
from detkit.train.run_inputs import (
    MAY_CHANGE,
    PATHS,
    RunInputs,
    check_inputs,
    check_settings,
    check_still_there,
    fixed_settings,
    inputs_of,
    paths_in,
    saved_settings,
    with_paths,
)
from detkit.train.setup import TrainSetup, build_setup, check_batch_norms
from detkit.train.state import CONFIG, LAST, METRICS, STATE, has_state, is_unbegun, read_state
from detkit.train.step import PlainStep
from detkit.train.stop import StopSignal

NO_VALIDATION = (
    "the val split has no boxes: AP is undefined, so no epoch is the best and the last weights"
    " are the result"
)
NAMES = {  # that are no paths
    "init": (AUTO_INIT, NO_INIT, *ZOO),
    "model": tuple(ZOO),
    "teacher_outputs": tuple(PRESETS),
}
FIRST = ("init", "model")  # settings of files that only the beginning of a run reads
VERB = "train"  # that a run folder is made by
RUN_FILES = (  # that a run writes into its folder
    CONFIG,
    METRICS,
    RESULTS,
    "best.safetensors",
    LAST,
    "report.json",
    "report.html",
    "log.txt",
    "train_batch.jpg",
    "val_detections.jpg",
    STATE.as_posix(),
    *KEPT_FILES,
    EVENT_FILE,
    TRACKED_RUN,
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
    """Resolves the settings of a run, its paths from the root; when resuming, over its own.

    Raises:
        UsageError: unknown or wrong settings, or no run to resume.
        ArtifactError: something that the run to resume reads is not where it was.
    """
    saved = saved_settings(out, CONFIG, "run") if request.resume else None
    flags = dict(request.flags)
    flags["data"] = flags.get("data") or flags.get("train_images")
    config = resolve(TrainConfig, base=saved, file=request.file, sets=request.sets, flags=flags)
    if not config.data and request.resume:
        raise UsageError(
            f"the run in {out} was killed before its settings were written",
            hint=f"name its data and settings again: detkit train DIR -o {out} --resume",
        )
    if not config.data:
        raise UsageError("no COCO folder to train on", hint="detkit train DIR")
    paths = paths_in(config, (*PATHS, "model"), NAMES)
    if saved:
        begun = out is not None and (out / STATE).is_file()
        needed = {key: path for key, path in paths.items() if not (begun and key in FIRST)}
        check_still_there(needed, f"detkit train -o {out} --resume")
    return with_paths(config, paths)


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

    Every process of a run calls it (see `train.ranks`); the folder is the first one's, the others
    read in it where the run goes on.

    Args:
        warn: takes what nobody should overlook; else `log` does.

    Raises:
        UsageError: the folder already holds something, a run is under way in it, or one that is
            resumed would have other settings.
        DataError, TrainingError: see `setup.build_setup` and `loop.Trainer.run`.
    """
    part_of(config.batch, (ranks.rank(), ranks.world()))
    follow = Follow(log=log, warn=warn or log, on_progress=on_progress, stop=stop)
    if not ranks.is_first():
        return None if dry_run else _take_part(config, folder, follow)
    if dry_run:
        check_unlocked(folder)
        resume = _goes_on(folder, config, request, None)
        prepared = _prepare(config, folder, resume=resume, follow=follow)
        if resume:
            check_inputs(read_state(folder / STATE).inputs, prepared.inputs, last=folder / LAST)
        return None
    with locked_folder(folder) as killed:
        resume = ranks.tell_others(_goes_on(folder, config, request, killed))
        if killed:
            log(killed_note(killed))
        if request.resume and not resume:
            log("no state was saved before it ended: from the beginning")
        prepared = ranks.first_before_others(
            lambda: _prepare(config, folder, resume=resume, follow=follow)
        )
        begin_folder(folder, VERB, RUN_FILES, resume=resume)
        write_text(folder / CONFIG, to_toml(prepared.config))  # first, for --resume after a kill
        report = _train(prepared, folder, resume=resume, follow=follow)
        write_text(folder / "report.html", render_run(folder))
        return report


def _take_part(config: TrainConfig, folder: Path, follow: Follow) -> TrainReport:
    """What a process other than the first does of a run: no checks of the folder, no files."""
    resume = ranks.hear_first()
    prepared = ranks.first_before_others(
        lambda: _prepare(config, folder, resume=resume, follow=follow)
    )
    return _trainer(prepared, folder, follow).run(resume=resume)


@dataclass(frozen=True, kw_only=True)
class Follow:
    """Who is told of a run, and how it is asked to stop."""

    log: Callable[[str], None]
    warn: Callable[[str], None]
    on_progress: Callable[[TrainProgress], None]
    stop: StopSignal


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """What is about to be trained, with the lines that say so."""

    config: TrainConfig
    setup: TrainSetup
    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def inputs(self) -> RunInputs:
        """What it learns from."""
        device = find_device(self.config.device)
        return inputs_of(self.setup, self.config, device, fixed_settings(self.config))


def _goes_on(
    folder: Path, config: TrainConfig, request: TrainRequest, killed: Holder | None
) -> bool:
    """Whether the run goes on from a state that is there; else it starts from the beginning.

    Raises:
        UsageError: a folder with something in it, where nobody said what to do.
        ArtifactError: a state that should be there is gone.
    """
    unbegun = killed is not None and is_unbegun(folder, RUN_FILES)
    _check_folder(folder, config, request, is_unbegun=unbegun)
    return request.resume and has_state(folder)


def _prepare(config: TrainConfig, folder: Path, *, resume: bool, follow: Follow) -> PreparedRun:
    """Opens all that the run reads, and says what it is."""
    logger_names(config.loggers)  # before minutes of work, not after
    state = read_state(folder / STATE) if resume else None
    config = with_batch_of_before(config, state)
    if state:
        check_settings(state.inputs, fixed_settings(config), MAY_CHANGE)
    setup = build_setup(config, state.inputs.lineage if state else None)
    assert setup.start is not None
    config = replace(config, init=setup.start.lineage.init)
    config, batch_notes = with_chosen_batch(config, setup)
    config, notes = with_chosen_epochs(config, setup)
    if state and config.epochs != (before := epochs_before(folder, config)):
        notes = (*notes, other_length_note(before, state, config))
    parts = 1 if syncs_batch_norms(config) else ranks.world()
    check_batch_norms(setup.model, setup.train, config.batch, parts=parts)
    lines = (*describe_setup(setup, folder), *batch_notes, *notes)
    warnings = (*setup.warnings, *([] if setup.val.is_scorable else [NO_VALIDATION]))
    for line in lines:
        follow.log(line)
    for text in warnings:
        follow.warn(text)
    return PreparedRun(config=config, setup=setup, lines=lines, warnings=warnings)


def _train(run: PreparedRun, folder: Path, *, resume: bool, follow: Follow) -> TrainReport:
    """Trains, with the lines and warnings in `log.txt`, too."""
    log_file = folder / "log.txt"

    def warn(text: str) -> None:
        append_line(log_file, f"warning: {safe(text)}")
        follow.warn(text)

    for line in (*run.lines, *(f"warning: {text}" for text in run.warnings)):
        append_line(log_file, safe(line))
    loggers = RunLoggers(LoggedRun(folder=folder, config=run.config, resumed=resume), warn)

    def log_progress(progress: TrainProgress) -> None:
        if progress.is_validated:
            append_line(log_file, progress.line())
            loggers.update()
        follow.on_progress(progress)

    logged, report = replace(follow, on_progress=log_progress, warn=warn), None
    try:
        report = _trainer(run, folder, logged).run(resume=resume)
        if report.averaged:
            append_line(log_file, report.averaged.line)
            follow.log(report.averaged.line)
    finally:
        loggers.close(report)
    return report


def _trainer(run: PreparedRun, folder: Path, follow: Follow) -> Trainer:
    auxiliary = run.setup.teacher.as_loss(run.config) if run.setup.teacher else None
    return Trainer(
        run.config,
        run.setup,
        folder,
        on_progress=follow.on_progress,
        stop=follow.stop,
        warn=follow.warn,
        make_strategy=functools.partial(PlainStep, auxiliary=auxiliary),
    )


def _check_folder(
    folder: Path, config: TrainConfig, request: TrainRequest, *, is_unbegun: bool
) -> None:
    """Raises UsageError where the run may not be in `folder`."""
    read = (config.data, *(getattr(config, name) for name in PATHS_OF_SPLITS))
    check_output_folder(
        folder,
        VERB,
        force=request.force or is_unbegun,
        resume=request.resume,
        read=[Path(path) for path in read if path],
        hint="use --resume to continue or --force to start over",
    )


def with_chosen_epochs(
    config: TrainConfig, setup: TrainSetup
) -> tuple[TrainConfig, tuple[str, ...]]:
    """The settings with a number of epochs, and lines that say what was chosen."""
    records, threshold = setup.train.records, config.augment.repeat_threshold
    shown = ImageSampling(records, threshold=threshold).num_draws
    repeats = f"an epoch shows {shown} images, those of rare classes more than once"
    notes = (repeats,) if shown > len(records) else ()
    if config.optim.nominal_batch and config.batches_per_step > 1:
        images = config.batch * config.batches_per_step
        notes = (*notes, f"a step of the optimiser is made of {images} images in batches")
    if config.epochs:
        return config, notes
    epochs = choose_epochs(shown, config, from_weights=bool(setup.parents))
    return replace(config, epochs=epochs), (*notes, epochs_note(shown, epochs, config))


def epochs_before(folder: Path, config: TrainConfig) -> int:
    """The epochs that the run in the folder was to have until now."""
    found = read_toml(folder / CONFIG).get("epochs") if (folder / CONFIG).is_file() else None
    return found if isinstance(found, int) and found else config.epochs


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
