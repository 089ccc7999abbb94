"""How much of the exact front the searchers find, and what asking and telling costs.

    OMP_NUM_THREADS=1 python benchmarks/search.py [--seeds 10] [--ruggedness X] [-o FILE.json]
    OMP_NUM_THREADS=1 python benchmarks/search.py tables [--seeds 10] [-o FILE.json]

Every seed is another instance of the problem and another run of the searcher. The searchers'
settings were chosen on instances 100 to 123, of the landscape with a ruggedness of 0.004; none of
those is printed. `gradient` is left out: the problems have no slopes to offer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from landscape import RUGGEDNESS, Table, landscape
from tables import COUNTS, table

from detkit.engines import engine_packages
from detkit.machine.fingerprint import fingerprint
from detkit.search.strategies import make_searcher

SEARCHERS = ("random", "evolution", "rl", "surrogate")
BATCH = 8
NUM_KNOBS, VALUES, OVERHEAD_TRIALS = 24, 5, 512
NAME_WIDTH, COLUMN_WIDTH = 10, 18


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A family of instances, and after how many evaluations to look."""

    draw: Callable[[int], Table]
    budgets: tuple[int, ...]


def shares(name: str, instance: Table, seed: int, budgets: tuple[int, ...]) -> list[float]:
    """The percentage of the exact front's hypervolume at each budget."""
    searcher = make_searcher(
        name, knobs=instance.knobs, maximize=("accuracy",), minimize=("latency_ms",), seed=seed
    )
    told: list[dict[str, float]] = []
    while len(told) < max(budgets):
        for point in searcher.ask(BATCH):
            told.append(instance.figures(point))
            searcher.tell(point, told[-1])
    return [100 * instance.share(told[:budget]) for budget in budgets]


def overhead_ms(name: str) -> float:
    """CPU milliseconds of asking and telling a trial, averaged; 24 knobs of 5 values.

    CPU time is that of all threads: run it with OMP_NUM_THREADS=1.
    """
    knobs = {f"knob{i}": tuple(range(VALUES)) for i in range(NUM_KNOBS)}
    searcher = make_searcher(name, knobs=knobs, maximize=("a",), minimize=("b",), seed=0)
    gains = np.random.default_rng(0).normal(size=(2, NUM_KNOBS))
    began, told = time.process_time(), 0
    while told < OVERHEAD_TRIALS:
        for point in searcher.ask(BATCH):
            a, b = gains @ np.sqrt(np.array(list(point.values()), float))
            searcher.tell(point, {"a": float(a), "b": float(np.exp(b / 4))})
            told += 1
    return (time.process_time() - began) / told * 1e3


def measure(name: str, problem: Problem, num_seeds: int) -> dict[str, Any]:
    """Sizes of the problem, and each searcher's percentages: budget -> one a seed."""
    found: dict[str, list[list[float]]] = {searcher: [] for searcher in SEARCHERS}
    fronts, points = [], 0
    for seed in range(num_seeds):
        instance = problem.draw(seed)
        fronts.append(len(instance.front))
        points = len(instance.accuracy)
        for searcher, rows in found.items():
            rows.append(shares(searcher, instance, seed, problem.budgets))
    print(f"{name}: {points} points, exact fronts of {min(fronts)} to {max(fronts)}")
    percent = {
        searcher: dict(zip(map(str, problem.budgets), zip(*rows, strict=True), strict=True))
        for searcher, rows in found.items()
    }
    return {"points": points, "front_sizes": fronts, "hypervolume_percent": percent}


def show(measured: dict[str, dict[str, Any]], overheads: dict[str, float]) -> None:
    heads = [
        f"{problem} {budget}"
        for problem, result in measured.items()
        for budget in result["hypervolume_percent"][SEARCHERS[0]]
    ]
    heads += ["CPU ms a trial"] * bool(overheads)
    print(f"{'searcher':<{NAME_WIDTH}}" + "".join(f"{head:>{COLUMN_WIDTH}}" for head in heads))
    for name in SEARCHERS:
        columns = [
            f"{mean(column):.1f} +- {stdev(column):.1f}"
            for result in measured.values()
            for column in result["hypervolume_percent"][name].values()
        ]
        columns += [f"{overheads[name]:.2f}"] if overheads else []
        print(f"{name:<{NAME_WIDTH}}" + "".join(f"{c:>{COLUMN_WIDTH}}" for c in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("landscape", "tables"), default="landscape")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--ruggedness", type=float, default=RUGGEDNESS)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    hills = Problem(draw=partial(landscape, ruggedness=args.ruggedness), budgets=(128, 512))
    drawn = {kind: Problem(draw=partial(table, kind), budgets=(256,)) for kind in COUNTS}
    problems = {"landscape": hills} if args.what == "landscape" else drawn
    measured = {name: measure(name, problem, args.seeds) for name, problem in problems.items()}
    overheads = {name: overhead_ms(name) for name in SEARCHERS if args.what == "landscape"}
    show(measured, overheads)
    if args.out:
        report = {
            "problems": measured,
            "ruggedness": args.ruggedness,
            "batch": BATCH,
            "overhead_cpu_ms": overheads,
            "fingerprint": fingerprint(engine_packages()),
            "date": time.strftime("%Y-%m-%d"),
        }
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
