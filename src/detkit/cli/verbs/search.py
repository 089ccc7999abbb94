"""`detkit search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.command_flags import SettingsHelp
from detkit.cli.options import (
    Config,
    DeviceSetting,
    Force,
    Json,
    Out,
    Quiet,
    RuntimeSetting,
    SeedSetting,
    Sets,
    ThreadsSetting,
    Verbose,
    field_option,
    settings_given,
)
from detkit.cli.training_output import check_resume, line_printer, shared_run
from detkit.config import SearchConfig
from detkit.search.strategies import SEARCHERS
from detkit.spec.space import SPACES

if TYPE_CHECKING:
    from detkit.report import SearchReport
    from detkit.search.study.progress import SearchProgress

EXAMPLES = {
    "search": (
        "detkit search coco/ --evaluator supernet --max-latency-ms 20 -o searched",
        "detkit search --space yolo-nas --imgsz 320 --precision int8 -o searched",
        "detkit search --imgsz 320 --precision int8 --latency-profile device.json -o searched",
        "detkit search -o searched --resume --measured measured.json",
    ),
}


SETTINGS = SettingsHelp(
    config="SearchConfig",
    hidden="train.",
    more=("train.KEY=...                     any setting of detkit train, for train and supernet",),
)
DataArgument = Annotated[Path | None, typer.Argument(help="COCO folder; a proxy needs none.")]
SpaceFlag = Annotated[str | None, field_option(SearchConfig, "space", words=SPACES)]
SearcherFlag = Annotated[str | None, field_option(SearchConfig, "searcher", words=SEARCHERS)]
EvaluatorFlag = Annotated[str | None, field_option(SearchConfig, "evaluator")]
ObjectiveFlag = Annotated[str | None, field_option(SearchConfig, "objective")]
TrialsFlag = Annotated[int | None, field_option(SearchConfig, "trials")]
MaxLatencyMsFlag = Annotated[float | None, field_option(SearchConfig, "max_latency_ms")]
MaxParamsFlag = Annotated[float | None, field_option(SearchConfig, "max_params")]
MaxMacsFlag = Annotated[float | None, field_option(SearchConfig, "max_macs")]
ImgszFlag = Annotated[str | None, field_option(SearchConfig, "imgsz")]
EpochsFlag = Annotated[int | None, field_option(SearchConfig, "epochs")]
PrecisionFlag = Annotated[str | None, field_option(SearchConfig, "precision")]
LatencyProfileFlag = Annotated[
    Path | None,
    typer.Option("--latency-profile", help="Predict latency from this file of profile."),
]
MeasuredFlag = Annotated[
    Path | None,
    typer.Option("--measured", help="With --resume: what profile made of pareto.json."),
]
RayFlag = Annotated[
    str | None,
    typer.Option("--ray", help="Evaluate on this Ray cluster: HOST:PORT, or auto."),
]
ResumeFlag = Annotated[
    bool, typer.Option("--resume", help="Continue the search in -o; no finished trial is lost.")
]


def search(
    data: DataArgument = None,
    space: SpaceFlag = None,
    searcher: SearcherFlag = None,
    evaluator: EvaluatorFlag = None,
    objective: ObjectiveFlag = None,
    trials: TrialsFlag = None,
    max_latency_ms: MaxLatencyMsFlag = None,
    max_params: MaxParamsFlag = None,
    max_macs: MaxMacsFlag = None,
    imgsz: ImgszFlag = None,
    epochs: EpochsFlag = None,
    runtime: RuntimeSetting = None,
    precision: PrecisionFlag = None,
    device: DeviceSetting = None,
    latency_profile: LatencyProfileFlag = None,
    measured: MeasuredFlag = None,
    ray: RayFlag = None,
    out: Out = None,
    resume: ResumeFlag = False,
    config: Config = None,
    sets: Sets = None,
    seed: SeedSetting = None,
    threads: ThreadsSetting = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Search architectures for this machine.

    What is sought is the best score at every latency. Every candidate is exported in --precision
    and timed here, in the least CPU time of an image, or its latency is predicted from the profile
    of another device. The folder -o (by default runs/search-SPACE) gets
    pareto.json, pareto.html, an ArchSpec for every point of the front (front/DIGEST.json, for
    detkit train --model), report.json and the journal to resume from.
    """
    given = locals()
    console.setup(quiet, verbose)
    check_resume(resume, force)
    from detkit.search.study.progress import SearchCallbacks
    from detkit.search.study.settings import resolve_search
    from detkit.search.study.study import run_search

    flags = settings_given(SearchConfig, given)
    sets = [*(sets or []), *([f"ray.address={ray}"] if ray else [])]
    with shared_run() as stop:
        settings = resolve_search(flags, file=config, sets=sets, resume=resume, out=out)
        folder = out or Path("runs") / f"search-{Path(settings.space).stem}"
        callbacks = SearchCallbacks(
            log=console.log, on_progress=line_printer(_is_last, first=True), stop=stop
        )
        report = run_search(
            settings, folder, resume=resume, force=force, callbacks=callbacks, measured=measured
        )
    if report is not None:
        _print_front(report, folder, json=json)
    if stop.signal:
        console.warn(f"interrupted; continue with: detkit search -o {folder} --resume")
        raise typer.Exit(128 + stop.signal)


def _print_front(report: SearchReport, folder: Path, *, json: bool) -> None:
    """Prints the path of the front, and what should be known of its latencies."""
    console.emit(report, json=json, lines=[str(folder / "pareto.json")])
    if not all(point.measured for point in report.pareto):
        console.log(_hint(report, folder))
    slow, fast = max(report.reference_ms, default=0.0), min(report.reference_ms, default=0.0)
    if slow > 1.1 * fast:
        console.warn(f"the machine was not steady: one network took {fast:.2f} to {slow:.2f} ms")


def _hint(report: SearchReport, folder: Path) -> str:
    """How the front is measured on the device and taken back."""
    engine = f"--runtime {report.runtime} --precision {report.precision} --threads {report.threads}"
    return (
        f"latencies are predicted; on the device: detkit profile {folder}/pareto.json {engine}"
        f" -o measured.json\nthen: detkit search -o {folder} --resume --measured measured.json"
    )


def _is_last(progress: SearchProgress) -> bool:
    return progress.trials == progress.total
