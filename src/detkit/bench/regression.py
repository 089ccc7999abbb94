"""The regression check: each model against its baseline, by the best way that it allows.

What may be compared, and what the figures say, is in `bench.baseline`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from detkit.bench.ab_test import ABTest, ab_test, ab_test_of_throughput
from detkit.bench.baseline import (
    Baseline,
    MeasurementKey,
    change_of_ab_test,
    change_of_runs,
    file_to_time_again,
    match_models,
    reference_change,
)
from detkit.bench.timed_model import BenchSettings, TimedModel, open_sessions
from detkit.report import BaselineComparison, BenchReport, Change, ModelLatency
from detkit.timing.measure import Clocks, TimedCall, warm_up
from detkit.timing.throughput import ThroughputRunner, warm_up_throughput
from detkit.timing.validity import cpu_use, load_warnings


def match_to_baseline(
    baseline: Baseline, models: Sequence[TimedModel], settings: BenchSettings
) -> list[ModelLatency]:
    """Finds the earlier model of each; see `match_models`."""
    keys = [
        MeasurementKey(
            name=model.path.name,
            engine=model.session.engine,
            precision=model.session.manifest.precision,
            device=settings.session_options.device,
            image_size=model.session.manifest.preprocess.size,
            batch=model.batch,
            threads=settings.session_options.threads,
            scenario=settings.scenario,
        )
        for model in models
    ]
    return match_models(baseline, keys)


def compare_with_baseline(
    baseline: Baseline,
    old_models: Sequence[ModelLatency],
    models: Sequence[TimedModel],
    report: BenchReport,
    settings: BenchSettings,
) -> BaselineComparison:
    """Decides for every model whether it became slower.

    Args:
        old_models: the earlier row of each model.
        report: what this run measured of them.
    """
    limit, changes = baseline.max_regress, []
    for old, new, model in zip(old_models, report.models, models, strict=True):
        path = file_to_time_again(old, model.path)
        if path is not None:
            changes.append(_change_in_turns(path, old, new, model, limit, settings))
        else:
            changes.append(change_of_runs((baseline.report, report), (old, new), limit))
    return BaselineComparison(
        file=str(baseline.path),
        max_regress=limit,
        reference_change=reference_change(baseline.report, report),
        changes=tuple(changes),
    )


def _change_in_turns(
    path: Path,
    old: ModelLatency,
    new: ModelLatency,
    model: TimedModel,
    limit: float,
    settings: BenchSettings,
) -> Change:
    sessions = open_sessions(
        path, model.session.engine, settings.session_options, model.description
    )
    old_model = replace(model, path=path, sessions=sessions)
    found = _ab_test(old_model.runs(), model.runs(), limit, settings)
    return change_of_ab_test(old, new, found, limit)


def _ab_test(
    old: Sequence[TimedCall], new: Sequence[TimedCall], limit: float, settings: BenchSettings
) -> ABTest:
    plan, clock = settings.plan, settings.clock
    if settings.scenario == "throughput":
        with ThroughputRunner(old, clock) as first, ThroughputRunner(new, clock) as second:
            for runner in (first, second):
                warm_up_throughput(runner, plan)
            return ab_test_of_throughput(
                first, second, limit=limit, min_seconds=plan.min_seconds, clock=clock
            )
    for runs in (old, new):
        warm_up(runs[0], plan, clock)
    before = cpu_use()
    return ab_test(
        old[0],
        new[0],
        limit=limit,
        min_seconds=plan.min_seconds,
        clocks=Clocks(clock, settings.cpu_clock),
        is_disturbed=lambda: any(load_warnings(before, cpu_use())),
    )
