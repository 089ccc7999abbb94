"""`detkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detkit.cli import console
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
    settings_epilog,
    settings_given,
)
from detkit.cli.training_output import handle_signals, printer
from detkit.config import TrainConfig
from detkit.spec.zoo import ZOO

EXAMPLES = {
    "train": (
        "detkit train coco/ --model yolo-nas-s -o runs/a",
        "detkit train coco/ --init yolo_nas_s.safetensors --set optim.lr=5e-4 -o runs/b",
        "detkit train coco/ --model yolo-nas-n --teacher runs/b/best.safetensors -o runs/c",
    ),
}


def EPILOG() -> list[str]:  # noqa: N802
    return settings_epilog("TrainConfig")


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
ModelFlag = Annotated[
    str | None,
    field_option(TrainConfig, "model", words=ZOO),
]
InitFlag = Annotated[
    Path | None, typer.Option("--init", help="Checkpoint to start from, of any classes.")
]
TeacherFlag = Annotated[
    Path | None,
    typer.Option("--teacher", help="Detector to learn from beside the labels, or in their place."),
]
FreezeFlag = Annotated[str | None, field_option(TrainConfig, "freeze")]
ImgszFlag = Annotated[str | None, field_option(TrainConfig, "imgsz")]
EpochsFlag = Annotated[int | None, field_option(TrainConfig, "epochs")]
BatchFlag = Annotated[int | None, field_option(TrainConfig, "batch")]
TimeLimitFlag = Annotated[float | None, field_option(TrainConfig, "time_limit")]
PatienceFlag = Annotated[int | None, field_option(TrainConfig, "patience")]
ResumeFlag = Annotated[
    bool, typer.Option("--resume", help="Continue the run in -o where it stopped, bit for bit.")
]


def train(
    data: DataArgument = None,
    train_json: TrainJsonFlag = None,
    train_images: TrainImagesFlag = None,
    val_json: ValJsonFlag = None,
    val_images: ValImagesFlag = None,
    model: ModelFlag = None,
    init: InitFlag = None,
    teacher: TeacherFlag = None,
    teacher_outputs: OutputsSetting = None,
    freeze: FreezeFlag = None,
    imgsz: ImgszFlag = None,
    epochs: EpochsFlag = None,
    batch: BatchFlag = None,
    time_limit: TimeLimitFlag = None,
    patience: PatienceFlag = None,
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

    The run folder (-o, by default runs/DATA-MODEL) gets config.toml, metrics.jsonl,
    best.safetensors, last.safetensors, report.json, report.html, log.txt and the state to resume
    from. Each epoch is scored by the COCO metric on the validation split; the best AP wins.
    """
    given = locals()
    console.setup(quiet, verbose)
    from detkit.train.run import TrainRequest, find_run_folder, resolve_config, run_training

    flags, more = settings_given(TrainConfig, given), tuple(sets or ())
    request = TrainRequest(flags=flags, sets=more, file=config, resume=resume, force=force)
    settings = resolve_config(request, out)
    folder = find_run_folder(out, settings)
    with handle_signals() as stop:
        report = run_training(
            settings,
            folder,
            request,
            dry_run=dry_run,
            log=console.log,
            on_progress=printer(),
            stop=stop,
        )
    if report is None:
        return
    console.emit(report, json=json, lines=[report.checkpoint])
    if report.stopped_by == "signal":
        console.warn(f"interrupted; continue with: detkit train -o {folder} --resume")
        raise typer.Exit(128 + stop.signal)
