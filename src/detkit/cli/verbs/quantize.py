"""`detkit quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.command_flags import SettingsHelp
from detkit.cli.conversion_output import output_path
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
    field_option,
    settings_given,
)
from detkit.cli.report_output import check_report_file
from detkit.cli.training_output import check_resume, shared_run, training_progress
from detkit.config import QuantizeConfig
from detkit.core.errors import UsageError
from detkit.engines import measuring_engines

if TYPE_CHECKING:
    from detkit.quantize.request import QuantizeRequest
    from detkit.report import EngineFigures, QuantReport

EXAMPLES = {
    "quantize": (
        "detkit quantize --int8 best.fused.safetensors --data coco/ --max-drop 0.3",
        "detkit quantize --int8 best.safetensors --data coco/ --qat --epochs 5 -o int8.safetensors",
    ),
}


SETTINGS = SettingsHelp(config="QuantizeConfig")
MUCH = 1.0  # points of AP that nobody gives up unasked

CheckpointArgument = Annotated[
    Path, typer.Argument(help="Float checkpoint; an INT8 one with --pick alone.")
]
DataFlag = Annotated[
    Path | None, typer.Option("--data", help="COCO folder to calibrate and to score on.")
]
Int8Flag = Annotated[bool, typer.Option("--int8", help="8 bits: the one scheme there is.")]
QatFlag = Annotated[
    bool, typer.Option("--qat", help="Train from the calibrated ranges, the parent teaching.")
]
EpochsFlag = Annotated[
    int | None, typer.Option("--epochs", min=1, help="Epochs of --qat (setting qat.epochs).")
]
MaxDropFlag = Annotated[
    float | None,
    typer.Option("--max-drop", help="Points of AP it may lose; groups return to float for it."),
]
PickFlag = Annotated[
    int | None,
    typer.Option("--pick", min=0, metavar="K", help="Take this point of the table instead."),
]
TargetFlag = Annotated[
    str | None,
    field_option(QuantizeConfig, "target", words=measuring_engines()),
]
ImagesFlag = Annotated[int | None, field_option(QuantizeConfig, "images")]
CalibratorFlag = Annotated[str | None, field_option(QuantizeConfig, "calibrator")]
WeightBitsFlag = Annotated[int | None, field_option(QuantizeConfig, "weight_bits")]
ResumeFlag = Annotated[
    bool, typer.Option("--resume", help="Continue an interrupted --qat, bit for bit.")
]


def quantize(
    checkpoint: CheckpointArgument,
    data: DataFlag = None,
    int8: Int8Flag = True,
    qat: QatFlag = False,
    epochs: EpochsFlag = None,
    max_drop: MaxDropFlag = None,
    pick: PickFlag = None,
    target: TargetFlag = None,
    images: ImagesFlag = None,
    calibrator: CalibratorFlag = None,
    weight_bits: WeightBitsFlag = None,
    resume: ResumeFlag = False,
    out: Out = None,
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
    """Make a checkpoint INT8, its loss of AP measured; prints the path of the new file.

    By default NAME.int8.safetensors is written, with its report beside it; it is used like any
    checkpoint. AP and time are those of the exported graph on the engine. Groups of convolutions
    that INT8 turns into noise stay in float (least_sqnr). With --max-drop more return to float
    until the bound holds; exit 3 if none does. --qat trains in the folder NAME.int8.qat.
    """
    given = locals()
    console.setup(quiet, verbose)
    _check_resume(resume, force, qat=qat)
    path = _output_path(out, checkpoint, data, force=force or resume)
    if pick is not None and data is None:
        from detkit.quantize.result import pick_again

        _print_report(pick_again(checkpoint, path, pick), json=json)
        return
    from detkit.config import resolve
    from detkit.quantize.request import QuantizeRequest

    flags = settings_given(QuantizeConfig, given)
    all_sets = [*(sets or ()), *([f"qat.epochs={epochs}"] if epochs else ())]
    settings = resolve(QuantizeConfig, file=config, sets=all_sets, flags=flags)
    request = QuantizeRequest(
        checkpoint=checkpoint,
        out=path,
        data=_named(data),
        config=settings,
        max_drop=max_drop,
        pick=pick,
        qat=qat,
        resume=resume,
        force=force,
    )
    _run(request, dry_run=dry_run, json=json)


def _check_resume(resume: bool, force: bool, *, qat: bool) -> None:
    check_resume(resume, force)
    if resume and not qat:
        raise UsageError("--resume continues a training: --qat is missing")


def _output_path(out: Path | None, checkpoint: Path, data: Path | None, *, force: bool) -> Path:
    """See `output_path`; the report beside it is written, too."""
    from detkit.quantize.result import report_path

    path = output_path(out, checkpoint, ".int8.safetensors", force=force, read=data)
    check_report_file(report_path(path), force=force)
    return path


def _named(data: Path | None) -> Path:
    """The folder; UsageError where none was named."""
    if data is None:
        raise UsageError("no images to calibrate on", hint="--data a COCO folder")
    return data


def _run(request: QuantizeRequest, *, dry_run: bool, json: bool) -> None:
    """Quantizes and prints the result, or says what would be done."""
    from detkit.quantize.run import planned_steps, quantize_checkpoint

    if dry_run:
        for line in planned_steps(request):
            console.log(line)
        return
    with shared_run() as stop, training_progress() as on_progress:
        report = quantize_checkpoint(request, console.log, on_progress, stop, console.warn)
    if report is None and stop.signal:
        console.warn("interrupted; continue with the same command and --resume")
        raise typer.Exit(128 + stop.signal)
    if report is None:  # another process of the same run has it
        return
    _print_report(report, json=json)
    if not report.ap_float:
        console.warn("the float model has AP 0 on these images: that INT8 loses none says nothing")
    if request.max_drop is None and request.pick is None and (text := advice(report.drop)):
        console.warn(text)


def advice(drop: float) -> str:
    """What to do about a drop of so many points of AP; nothing where it is small.

    >>> advice(0.9)
    ''
    >>> advice(8.0)
    'INT8 loses 8.00 points of AP; --max-drop 1 returns groups to float until it loses at most 1'
    """
    if drop <= MUCH:
        return ""
    return (
        f"INT8 loses {drop:.2f} points of AP; --max-drop {MUCH:g} returns groups to float until it"
        f" loses at most {MUCH:g}"
    )


def _print_report(report: QuantReport, *, json: bool) -> None:
    """Tables on stderr, the path (or the report) on stdout."""
    for line in _lines(report):
        console.log(line)
    console.emit(report, json=json, lines=[report.file])


def _lines(report: QuantReport) -> list[str]:
    kept = ", ".join(report.kept_float) or "only the predictors"
    in_torch = "" if report.ap_fake_quant is None else f"; in torch {report.ap_fake_quant:.4f}"
    return [
        f"{report.method.upper()}: AP {report.ap_float:.4f} -> {report.ap_int8:.4f} on"
        f" {report.images} images of {report.split} ({change_text(report.drop)}{in_torch})",
        f"{report.coverage:.0%} of the convolutions in INT8; kept in float: {kept}",
        *([f"licence of the weights: {report.licence}"] if report.licence else []),
        *(_engine_lines(report.engines) if report.engines else ()),
        *(_point_lines(report) if len(report.pareto) > 1 else ()),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def change_text(drop: float) -> str:
    """A drop in points of AP as a drop or a gain.

    >>> change_text(0.28), change_text(-0.17)
    ('drop 0.28 points', 'gain 0.17 points')
    """
    return f"{'drop' if drop >= 0 else 'gain'} {abs(drop):.2f} points"


def _engine_lines(engines: tuple[EngineFigures, ...]) -> list[str]:
    from detkit.timing.side_by_side import CLOCKS

    header = ("engine", "AP float", "AP INT8", "drop", "float ms", "INT8 ms", "faster",
              "INT8 convolutions", "MB", "of float")  # fmt: skip
    rows = [
        (
            engine.runtime,
            f"{engine.ap_float:.4f}",
            f"{engine.ap_int8:.4f}",
            f"{100 * (engine.ap_float - engine.ap_int8):+.2f}",
            _number(engine.float_latency_ms),
            _number(engine.latency_ms),
            "-" if engine.latency_ratio is None else f"{1 / engine.latency_ratio:.2f}x",
            f"{engine.int8_convolutions}/{engine.convolutions}",
            f"{engine.bytes / 1e6:.2f}",
            f"{engine.bytes / engine.float_bytes:.3f}",
        )
        for engine in engines
    ]
    notes = [f"{engine.runtime}: speed {CLOCKS[engine.clock]}" for engine in engines]
    told = [note for note, engine in zip(notes, engines, strict=True) if CLOCKS[engine.clock]]
    return ["", *console.table(header, rows), *told]


def _point_lines(report: QuantReport) -> list[str]:
    rows = [
        (
            f"{index}{' <' if index == report.picked else ''}",
            f"{len(point.float_groups)}",
            f"{point.ap:.4f}",
            f"{point.drop:+.2f}",
            _number(point.latency_ms),
            f"{point.megabytes:.2f}",
            point.float_groups[-1] if point.float_groups else "-",
        )
        for index, point in enumerate(report.pareto)
    ]
    header = ("point", "float groups", "AP", "drop", "ms", "MB", "last returned")
    return ["", *console.table(header, rows)]
