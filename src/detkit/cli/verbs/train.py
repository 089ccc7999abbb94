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
    Quiet,
    SeedSetting,
    Sets,
    ThreadsSetting,
    Verbose,
    settings_epilog,
)
from detkit.cli.training_output import handle_signals, printer
from detkit.spec.zoo import ZOO

EXAMPLES = {
    "train": (
        "detkit train coco/ --model yolo-nas-s -o runs/a",
        "detkit train coco/ --init yolo_nas_s.safetensors --set optim.lr=5e-4 -o runs/b",
    ),
}


def EPILOG() -> list[str]:  # noqa: N802
    return settings_epilog("TrainConfig")


def train(
    data: Annotated[Path | None, typer.Argument(help="COCO folder.")] = None,
    train_json: Annotated[
        Path | None,
        typer.Option("--train-json", help="Annotations, if DATA is laid out otherwise."),
    ] = None,
    train_images: Annotated[
        Path | None, typer.Option("--train-images", help="Their image folder.")
    ] = None,
    val_json: Annotated[
        Path | None, typer.Option("--val-json", help="The same for validation.")
    ] = None,
    val_images: Annotated[
        Path | None, typer.Option("--val-images", help="The same for validation.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="yolo-nas-p, n, s, m, l or an ArchSpec JSON file.",
            autocompletion=lambda: list(ZOO),
        ),
    ] = None,
    init: Annotated[
        Path | None, typer.Option("--init", help="Checkpoint to start from, of any classes.")
    ] = None,
    freeze: Annotated[
        str | None, typer.Option("--freeze", help="backbone, or backbone+neck: not trained.")
    ] = None,
    imgsz: Annotated[
        str | None, typer.Option("--imgsz", help="Input size, N or HEIGHTxWIDTH.")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Epochs at most.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", help="Images a batch.")] = None,
    time_limit: Annotated[
        float | None, typer.Option("--time-limit", help="Minutes at most; the schedule fits in.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option("--patience", help="Stop after so many epochs without a better AP."),
    ] = None,
    out: Out = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the run in -o stopped, bit for bit.")
    ] = False,
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
    console.setup(quiet, verbose)
    from detkit.train.run import Request, find_run_folder, resolve_config, start

    paths = {
        "data": data,
        "init": init,
        "train_json": train_json,
        "train_images": train_images,
        "val_json": val_json,
        "val_images": val_images,
    }
    flags = {
        **{name: str(path) for name, path in paths.items() if path},
        "model": model,
        "freeze": freeze,
        "imgsz": imgsz,
        "epochs": epochs,
        "batch": batch,
        "time_limit": time_limit,
        "patience": patience,
        "seed": seed,
        "device": device,
        "threads": threads,
    }
    request = Request(flags=flags, sets=tuple(sets or ()), file=config, resume=resume, force=force)
    settings = resolve_config(request, out)
    folder = find_run_folder(out, settings)
    with handle_signals() as interruption:
        report = start(
            settings,
            folder,
            request,
            dry_run=dry_run,
            log=console.log,
            notify=printer(),
            interruption=interruption,
        )
    if report is None:
        return
    console.emit(report, json=json, lines=[report.checkpoint])
    if report.stopped_by == "signal":
        console.warn(f"interrupted; go on with: detkit train -o {folder} --resume")
        raise typer.Exit(128 + interruption.signal)
