"""Models, images and a plan -> a BenchReport: the order of the steps.

Engine time is measured on inputs already in the engine's form, and copies to and from its device
are part of it, unless the engine times its computation itself; end-to-end time goes from an image
file to detections, stage by stage. What is timed of a model is in `bench.timed_model`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from detkit.bench.baseline import Baseline, check_same_machine
from detkit.bench.reference import NAME, open_reference
from detkit.bench.regression import compare_with_baseline, match_to_baseline
from detkit.bench.summary import headline, measure_end_to_end, model_latency, reference_times
from detkit.bench.timed_model import (
    BenchSettings,
    TimedModel,
    cpu_clock_for,
    fill_options,
    image_files,
    open_sessions,
    trained_on,
)
from detkit.engines import engine_packages
from detkit.machine.fingerprint import fingerprint
from detkit.machine.nvml import read_gpu
from detkit.machine.power import measure_joules
from detkit.machine.state import read_state
from detkit.report import BenchReport, MachineState, ReferenceTimes
from detkit.runtime.session import SessionOptions
from detkit.spec.onnx_description import OnnxDescription
from detkit.timing.measure import Clock, TimedCall, Timing, measure
from detkit.timing.plan import TimingPlan
from detkit.timing.throughput import ThroughputRunner, measure_throughput
from detkit.timing.validity import (
    TimingWarning,
    cpu_use,
    load_warnings,
    state_warnings,
    timing_warnings,
)

REFERENCE_SHARE = 0.2  # of the time of a model
ENERGY_SECONDS = 2.0
Log = Callable[[str], None]


def time_models(
    paths: Sequence[Path],
    *,
    engine: str = "",
    session_options: SessionOptions | None = None,
    batch: int = 1,
    plan: TimingPlan | None = None,
    data: Path | None = None,
    descriptions: Mapping[Path, OnnxDescription] | None = None,
    scenario: str = "latency",
    baseline: Baseline | None = None,
    clock: Clock = time.perf_counter,
    log: Log = lambda _: None,
) -> BenchReport:
    """Times the models side by side.

    Args:
        session_options: with `threads` 0 every engine gets all usable CPUs, so that they are
            comparable; in the throughput scenario each batch in flight gets one.
        data: a folder of images; by default the one the first model was trained on, if it is
            still there, else synthetic images.
        descriptions: what each model that another tool made takes and gives.
        baseline: an earlier report to compare with.
        log: called with a line on what happens next.

    Raises:
        ArtifactError: a file that cannot be opened, or not be run at this batch size.
        BackendError: an engine or device that is not here.
        DataError: no images.
        MeasurementError: the baseline is of another machine or other models.
    """
    settings = BenchSettings(
        engine=engine,
        session_options=fill_options(session_options or SessionOptions(), scenario),
        batch=batch,
        plan=plan or TimingPlan(),
        scenario=scenario,
        clock=clock,
    )
    machine = fingerprint(engine_packages())
    if baseline is not None:
        check_same_machine(baseline, machine)
    specs = [(descriptions or {}).get(path) for path in paths]
    opened = [
        open_sessions(path, engine, settings.session_options, spec)
        for path, spec in zip(paths, specs, strict=True)
    ]
    with image_files(data or trained_on(opened[0][0])) as (files, source):
        log(f"{len(files)} images from {source}")
        rows = zip(paths, opened, specs, strict=True)
        models = [TimedModel(path, own, files, batch, spec) for path, own, spec in rows]
        settings = replace(settings, cpu_clock=cpu_clock_for(models, settings.session_options))
        if baseline is None:
            return _measure_all(models, settings, machine, source, log)
        old_models = match_to_baseline(baseline, models, settings)
        report = _measure_all(models, settings, machine, source, log)
        log(f"against {baseline.path}")
        comparison = compare_with_baseline(baseline, old_models, models, report, settings)
        return replace(report, baseline=comparison)


def _measure_all(
    models: Sequence[TimedModel],
    settings: BenchSettings,
    machine: dict[str, str],
    source: str,
    log: Log,
) -> BenchReport:
    for model in models:
        model.check_batch()
    plan = settings.plan
    states = [read_state(gpu_index=settings.gpu)]
    before = cpu_use()
    log(f"engines: warm-up, then at least {plan.min_seconds:g} s and {plan.min_runs} runs")
    with open_reference(models[0].session.engine, settings.session_options) as make_reference:
        timings, reference = _measure_engines(models, make_reference, settings, states)
    log(f"end to end: {plan.chain_runs} runs")
    chains = [measure_end_to_end(model, plan.chain_runs, settings.clock) for model in models]
    after = cpu_use()
    states.append(read_state(gpu_index=settings.gpu))
    energies = [_energy_mj_per_image(model, settings) for model in models]
    warnings = [
        *(warning for pair in zip(models, timings, strict=True) for warning in _warnings_of(*pair)),
        *load_warnings(before, after),
        *state_warnings(states, machine),
    ]
    rows = zip(models, timings, chains, energies, strict=True)
    return BenchReport(
        scenario=settings.scenario,
        models=tuple(
            model_latency(model, settings.session_options, timing, timings[0], chain, energy)
            for model, timing, chain, energy in rows
        ),
        reference=reference,
        images=source,
        states=tuple(states),
        fingerprint=machine,
        valid=not warnings,
        cpu_time_valid=all(warning.of_others for warning in warnings),
        warnings=tuple(warning.message for warning in warnings),
        remedies=tuple(dict.fromkeys(warning.remedy for warning in warnings)),
    )


def _measure_engines(
    models: Sequence[TimedModel],
    make_reference: Callable[[], TimedCall] | None,
    settings: BenchSettings,
    states: list[MachineState],
) -> tuple[list[Timing], ReferenceTimes | None]:
    """Times the models, and the reference work in turns with them."""
    plan, clock = settings.plan, settings.clock
    runs = [model.runs() for model in models]
    if make_reference is not None:
        runs.append([make_reference() for _ in range(settings.session_options.in_flight)])

    def record_state() -> None:
        states.append(read_state(gpu_index=settings.gpu))

    timings: list[Timing]
    if settings.scenario == "throughput":
        with ExitStack() as stack:
            runners = [stack.enter_context(ThroughputRunner(own, clock)) for own in runs]
            timings = [*measure_throughput(runners, plan, record_state)]
    else:
        short = replace(plan, min_seconds=plan.min_seconds * REFERENCE_SHARE)
        plans = [plan] * len(models) + [short] * (len(runs) - len(models))
        timings = measure([own[0] for own in runs], plans, clock, record_state, settings.cpu_clock)
    if make_reference is None:
        return timings, None
    return timings[:-1], reference_times(NAME, timings[-1])


def _warnings_of(model: TimedModel, timing: Timing) -> Iterator[TimingWarning]:
    return timing_warnings(
        model.path.name,
        steady=timing.warmup.steady,
        warmup_runs=timing.warmup.runs,
        block_spread=headline(timing).block_spread,
        runs=len(timing.samples_ms),
    )


def _energy_mj_per_image(model: TimedModel, settings: BenchSettings) -> float | None:
    """Measures the energy of batches one after the other; None where nothing measures it."""
    run, clock, done = model.runs()[0], settings.clock, [0]

    def work() -> None:
        end = clock() + min(ENERGY_SECONDS, settings.plan.min_seconds)
        while not done[0] or clock() < end:
            run(done[0])
            done[0] += 1

    def gpu_w() -> float | None:
        return None if settings.gpu is None else read_gpu(settings.gpu).power_w

    joules = measure_joules(work, gpu_w=gpu_w, clock=clock)
    return None if joules is None else joules * 1e3 / (done[0] * model.batch)
