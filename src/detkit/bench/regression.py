"""The models of this run against those of a baseline, by the best way that each one allows.

What may be compared, and what the figures say, is in `bench.baseline`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from detkit.bench import baseline as earlier
from detkit.bench.ab_test import ABTest, ab_test, ab_test_of_throughput
from detkit.bench.baseline import Baseline, MeasurementKey
from detkit.bench.candidate import Candidate, Setting, open_sessions
from detkit.report import BaselineComparison, BenchReport, Change, ModelLatency
from detkit.timing.measure import Clocks, TimedCall, warm_up
from detkit.timing.throughput import ThroughputRunner
from detkit.timing.throughput import warm_up as warm_up_flow
from detkit.timing.validity import cpu_use, load_warnings


def match_to_baseline(
    baseline: Baseline, models: Sequence[Candidate], setting: Setting
) -> list[ModelLatency]:
    """The earlier model of each; see `baseline.match`."""
    subjects = [
        MeasurementKey(
            name=model.path.name,
            engine=model.session.engine,
            precision=model.session.manifest.precision,
            device=setting.session_options.device,
            image_size=model.session.manifest.preprocess.size,
            batch=model.batch,
            threads=setting.session_options.threads,
            scenario=setting.scenario,
        )
        for model in models
    ]
    return earlier.match(baseline, subjects)


def compare(
    baseline: Baseline,
    old_models: Sequence[ModelLatency],
    models: Sequence[Candidate],
    report: BenchReport,
    setting: Setting,
) -> BaselineComparison:
    """Decides on every model.

    Args:
        old_models: the partner of each model.
        report: what this run measured of them.
    """
    limit, changes = baseline.max_regress, []
    for old, new, model in zip(old_models, report.models, models, strict=True):
        path = earlier.file_to_time_again(old, model.path)
        if path is not None:
            changes.append(_change_in_turns(path, old, new, model, limit, setting))
        else:
            changes.append(earlier.change_of_runs((baseline.report, report), (old, new), limit))
    return BaselineComparison(
        file=str(baseline.path),
        max_regress=limit,
        reference_change=earlier.reference_change(baseline.report, report),
        changes=tuple(changes),
    )


def _change_in_turns(
    path: Path,
    old: ModelLatency,
    new: ModelLatency,
    model: Candidate,
    limit: float,
    setting: Setting,
) -> Change:
    sessions = open_sessions(path, model.session.engine, setting.session_options, model.foreign)
    opponent = replace(model, path=path, sessions=sessions)
    found = _ab_test(opponent.runs(), model.runs(), limit, setting)
    return earlier.change_of_ab_test(old, new, found, limit)


def _ab_test(
    old: Sequence[TimedCall], new: Sequence[TimedCall], limit: float, setting: Setting
) -> ABTest:
    plan, clock = setting.plan, setting.clock
    if setting.scenario == "throughput":
        with ThroughputRunner(old, clock) as first, ThroughputRunner(new, clock) as second:
            for flow in (first, second):
                warm_up_flow(flow, plan)
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
        clocks=Clocks(clock, setting.cpu_clock),
        is_disturbed=lambda: any(load_warnings(before, cpu_use())),
    )
