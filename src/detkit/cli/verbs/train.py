"""`detkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.command_flags import SettingsHelp
from detkit.cli.options import (
    Config,
    DeviceSetting,
    DryRun,
    Force,
    Json,
    Out,
    OutputsSetting,
    Quiet,
    SeedSetting,
    Sets,
    ThreadsSetting,
    Verbose,
    field_option,
    settings_given,
)
from detkit.cli.training_output import check_resume, shared_run, training_progress
from detkit.config import AUTO_BATCH, TrainConfig
from detkit.spec.zoo import ZOO

if TYPE_CHECKING:
    from detkit.train.run import TrainRequest

EXAMPLES = {
    "train": (
        "detkit train coco/ --model yolo-nas-s -o runs/a",
        "detkit train coco/ --init yolo_nas_s.safetensors --set optim.lr=5e-4 -o runs/b",
        "detkit train coco/ --model yolo-nas-n --teacher runs/b/best.safetensors -o runs/c",
    ),
}


def parse_batch(text: str) -> int:
    """The number of images that `--batch` names; `auto` is 0, which leaves it to detkit."""
    try:
        return AUTO_BATCH if text == "auto" else int(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is neither a number nor auto") from None


SETTINGS = SettingsHelp(config="TrainConfig")
DataArgument = Annotated[Path | None, typer.Argument(help="COCO folder.")]
TrainJsonFlag = Annotated[
    Path | None,
    typer.Option("--train-json", help="Annotations, if DATA is laid out otherwise."),
]
TrainImagesFlag = Annotated[Path | None, typer.Option("--train-images", help="Their image folder.")]
ValJsonFlag = Annotated[Path | None, typer.Option("--val-json", help="The same for validation.")]
ValImagesFlag = Annotated[
    Path | None, typer.Option("--val-images", help="The same for validation.")
]
ClassesFlag = Annotated[str | None, field_option(TrainConfig, "classes", metavar="NAMES")]
SingleClsFlag = Annotated[bool | None, field_option(TrainConfig, "single_cls")]
FractionFlag = Annotated[float | None, field_option(TrainConfig, "fraction")]
ModelFlag = Annotated[
    str | None,
    field_option(TrainConfig, "model", words=ZOO),
]
InitFlag = Annotated[
    Path | None,
    field_option(TrainConfig, "init", metavar="FILE|NAME"),
]
TeacherFlag = Annotated[
    Path | None,
    typer.Option("--teacher", help="Detector to learn from beside the labels, or in their place."),
]
LicenceFlag = Annotated[str | None, field_option(TrainConfig, "licence")]
FreezeFlag = Annotated[str | None, field_option(TrainConfig, "freeze")]
ImgszFlag = Annotated[str | None, field_option(TrainConfig, "imgsz")]
EpochsFlag = Annotated[int | None, field_option(TrainConfig, "epochs")]
BatchFlag = Annotated[
    int | None, field_option(TrainConfig, "batch", metavar="N|auto", parser=parse_batch)
]
TimeLimitFlag = Annotated[float | None, field_option(TrainConfig, "time_limit")]
PatienceFlag = Annotated[int | None, field_option(TrainConfig, "patience")]
LoggersFlag = Annotated[str | None, field_option(TrainConfig, "loggers", metavar="NAMES")]
ResumeFlag = Annotated[
    bool, typer.Option("--resume", help="Continue the run in -o where it stopped, bit for bit.")
]


def train(
    data: DataArgument = None,
    train_json: TrainJsonFlag = None,
    train_images: TrainImagesFlag = None,
    val_json: ValJsonFlag = None,
    val_images: ValImagesFlag = None,
    classes: ClassesFlag = None,
    single_cls: SingleClsFlag = None,
    fraction: FractionFlag = None,
    model: ModelFlag = None,
    init: InitFlag = None,
    teacher: TeacherFlag = None,
    teacher_outputs: OutputsSetting = None,
    licence: LicenceFlag = None,
    freeze: FreezeFlag = None,
    imgsz: ImgszFlag = None,
    epochs: EpochsFlag = None,
    batch: BatchFlag = None,
    time_limit: TimeLimitFlag = None,
    patience: PatienceFlag = None,
    loggers: LoggersFlag = None,
    out: Out = None,
    resume: ResumeFlag = False,
    config: Config = None,
    sets: Sets = None,
    seed: SeedSetting = None,
    device: DeviceSetting = None,
    threads: ThreadsSetting = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a detector on a COCO folder; prints the path of the best checkpoint.

    The run folder (-o, by default runs/DATA-MODEL) gets config.toml, metrics.jsonl, results.csv,
    best.safetensors, last.safetensors, report.json, report.html, log.txt and the state to resume
    from. Each epoch is scored by the COCO metric on the validation split; the best AP wins.

    It starts from the starter weights that come with detkit where the architecture, or a near one,
    has some, and says so; --init none starts from scratch. What is trained from a checkpoint stays
    under its licence, whatever --licence states of the rest.
    """
    given = locals()
    console.setup(quiet, verbose)
    check_resume(resume, force)
    from detkit.train.run import TrainRequest

    flags, more = settings_given(TrainConfig, given), tuple(sets or ())
    request = TrainRequest(flags=flags, sets=more, file=config, resume=resume, force=force)
    _run(request, out, dry_run=dry_run, json=json)


def _run(request: TrainRequest, out: Path | None, *, dry_run: bool, json: bool) -> None:
    """Trains and prints the result, or says what would be done."""
    from detkit.train.run import find_run_folder, resolve_config, run_training

    with shared_run() as stop, training_progress() as on_progress:
        settings = resolve_config(request, out)
        folder = find_run_folder(out, settings)
        report = run_training(
            settings,
            folder,
            request,
            dry_run=dry_run,
            log=console.log,
            on_progress=on_progress,
            stop=stop,
            warn=console.warn,
        )
    if report is None:
        return
    console.emit(report, json=json, lines=[report.checkpoint])
    if report.stopped_by == "signal":
        console.warn(f"interrupted; continue with: detkit train -o {folder} --resume")
        raise typer.Exit(128 + stop.signal)
