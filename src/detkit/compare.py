"""Architectures -> a CompareReport: size and latency of each on this machine, none of them trained.

Every network becomes the files that an engine would run, and all files are timed in one session of
`bench`, in turns. AP is not measured here: weights are fresh.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import size_of
from detkit.artifact.writing import temporary_folder
from detkit.bench.run import time_models
from detkit.core.errors import UsageError, did_you_mean
from detkit.data.coco.folder import synthetic_images
from detkit.engines import default_engine, measuring_engines
from detkit.engines.opening import open_session
from detkit.nn.detector import Cost, cost_of
from detkit.report import ComparedFile, ComparedModel, CompareReport, ModelLatency
from detkit.runtime.session import SessionOptions
from detkit.spec.arch import ArchSpec
from detkit.spec.published import published_ap
from detkit.spec.zoo import find_arch
from detkit.timing.measure import warm_up
from detkit.timing.plan import PROBE_PLAN, TimingPlan
from detkit.untrained import PRECISIONS, check_untrained, write_untrained_model

INT8_SHARE = 0.5  # of the time of float, for the estimate alone
UNTIMED_RUNS = 20  # of warming up and of taking turns
Log = Callable[[str], None]


@dataclass(frozen=True)
class UntrainedModel:
    """An untrained model written to a file, to be timed."""

    spec: ArchSpec
    precision: str
    path: Path
    macs: int


def compare_architectures(
    names: Sequence[str],
    *,
    image_size: tuple[int, int] | None = None,
    precisions: Sequence[str] = PRECISIONS,
    engine: str = "",
    session_options: SessionOptions | None = None,
    plan: TimingPlan | None = None,
    batch: int = 1,
    data: Path | None = None,
    log: Log = lambda _: None,
) -> CompareReport:
    """Sets networks side by side; ratios are to the first.

    Args:
        names: of architectures, or their JSON files.
        image_size: for all; by default that of the first.
        data: a folder of images to time on; by default drawn ones.
        log: called with a line on what happens next, and how long it will take.

    Raises:
        UsageError: an unknown architecture or precision, one named twice, or an engine that no
            untrained model can be made for.
        BackendError: the engine is not here.
    """
    specs = [find_arch(name) for name in names]
    image_size = image_size or specs[0].image_size
    engine = engine or default_engine().name
    specs = [dataclasses.replace(spec, image_size=image_size) for spec in specs]
    _check(specs, precisions, engine)
    plan, session_options = plan or TimingPlan(), session_options or SessionOptions()
    with temporary_folder() as folder:
        files = _write(specs, precisions, folder, engine, log)
        log(_estimate(files, plan, engine, session_options))
        paths = [file.path for file in files]
        report = time_models(
            paths,
            engine=engine,
            session_options=session_options,
            batch=batch,
            plan=plan,
            data=data,
            log=log,
        )
    measured = {
        Path(latency.file).name: dataclasses.replace(latency, file=Path(latency.file).name)
        for latency in report.models
    }
    return CompareReport(
        image_size=image_size,
        models=tuple(_compared(spec, specs[0], precisions, measured) for spec in specs),
        images=report.images,
        fingerprint=report.fingerprint,
        valid=report.valid,
        warnings=report.warnings,
        remedies=report.remedies,
    )


def _check(specs: Sequence[ArchSpec], precisions: Sequence[str], engine: str) -> None:
    engines = measuring_engines()
    if engine not in engines:
        raise UsageError(f"no untrained model for '{engine}'", hint=did_you_mean(engine, engines))
    for precision in precisions:
        check_untrained(engine, precision)
    files = [_file_name(spec, precision) for spec in specs for precision in precisions]
    twice = [file for file in files if files.count(file) > 1]
    if twice:
        raise UsageError(f"{twice[0]} would be timed twice", hint="give every network its own name")


def _write(
    specs: Sequence[ArchSpec], precisions: Sequence[str], folder: Path, engine: str, log: Log
) -> list[UntrainedModel]:
    files = []
    for spec in specs:
        cost = cost_of(spec)
        for precision in precisions:
            path = folder / _file_name(spec, precision)
            write_untrained_model(spec, path, engine=engine, precision=precision)
            log(f"{path.name}: {cost.macs / 1e9:.1f} GMACs, {size_of(path) / 1e6:.1f} MB")
            files.append(UntrainedModel(spec, precision, path, cost.macs))
    return files


def _file_name(spec: ArchSpec, precision: str) -> str:
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', spec.name)}.{precision}.onnx"


def _estimate(
    files: Sequence[UntrainedModel], plan: TimingPlan, engine: str, session_options: SessionOptions
) -> str:
    """Estimates how long the measurement will take, by the speed of the first file."""
    first = files[0]
    session = open_session(first.path, engine=engine, session_options=session_options)
    images = synthetic_images(session.manifest.preprocess, 1)
    probe = warm_up(lambda _: session.run(images), PROBE_PLAN, time.perf_counter)
    shares = {"fp32": 1.0, "fp16": 1.0, "int8": INT8_SHARE}
    seconds_per_mac = probe.seconds_per_run / (first.macs * shares[first.precision])
    runs, total = plan.min_runs_per_block * plan.blocks, 0.0
    for file in files:
        run = file.macs * seconds_per_mac * shares[file.precision]
        total += max(plan.min_seconds, runs * run)
        total += max(plan.warmup_seconds, (UNTIMED_RUNS + plan.chain_runs) * run)
    duration = f"{total / 60:.0f} min" if total > 100 else f"{total:.0f} s"
    return f"timing {len(files)} files will take about {duration}"


def _compared(
    spec: ArchSpec,
    first: ArchSpec,
    precisions: Sequence[str],
    measured: dict[str, ModelLatency],
) -> ComparedModel:
    cost: Cost = cost_of(spec)

    def ratio(precision: str, other: ArchSpec, other_precision: str) -> float:
        mine = measured[_file_name(spec, precision)].ratio_to_first
        return mine / measured[_file_name(other, other_precision)].ratio_to_first

    has_fp32 = "fp32" in precisions
    return ComparedModel(
        name=spec.name,
        digest=spec.digest,
        family=spec.family,
        parameters=cost.parameters,
        macs=cost.macs,
        flops=cost.flops,
        ap_published=published_ap(spec),
        files=tuple(
            ComparedFile(
                measured=measured[_file_name(spec, precision)],
                ratio_to_first=ratio(precision, first, precision),
                ratio_to_fp32=ratio(precision, spec, "fp32") if has_fp32 else None,
            )
            for precision in precisions
        ),
    )
