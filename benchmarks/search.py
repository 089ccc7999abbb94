"""How much of the exact front the searchers find, and what asking and telling costs.

    OMP_NUM_THREADS=1 python benchmarks/search.py [--seeds 10] [--ruggedness X] [-o FILE.json]

Every seed is another instance of the landscape and another run of the searcher. The searchers'
settings were chosen on instances 100 to 115 of ruggedness 0.004, none of which is printed.
`gradient` is left out: the landscape has no slopes to offer.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from landscape import KNOBS, RUGGEDNESS, Landscape

from detkit.bench.fingerprint import fingerprint
from detkit.search import make_searcher

SEARCHERS = ("random", "evolution", "rl", "surrogate")
BUDGETS = (128, 512)
BATCH = 8
NUM_KNOBS, VALUES, OVERHEAD_TRIALS = 24, 5, 512


def shares(name: str, landscape: Landscape, seed: int) -> list[float]:
    """The share of the exact front's hypervolume at each budget."""
    searcher = make_searcher(
        name, knobs=KNOBS, maximize=("accuracy",), minimize=("latency_ms",), seed=seed
    )
    told: list[dict[str, float]] = []
    while len(told) < max(BUDGETS):
        for point in searcher.ask(BATCH):
            told.append(landscape.figures(point))
            searcher.tell(point, told[-1])
    return [landscape.share(told[:budget]) for budget in BUDGETS]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--ruggedness", type=float, default=RUGGEDNESS)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    found: dict[str, list[list[float]]] = {name: [] for name in SEARCHERS}
    fronts, points = [], 0
    for seed in range(args.seeds):
        landscape = Landscape(seed, ruggedness=args.ruggedness)
        fronts.append(len(landscape.front))
        points = len(landscape.accuracy)
        for name in SEARCHERS:
            found[name].append(shares(name, landscape, seed))
    print(f"{points} points, exact fronts of {min(fronts)} to {max(fronts)}, {args.seeds} seeds")
    print(
        f"{'searcher':<10}" + "".join(f"{budget:>12}" for budget in BUDGETS) + "   CPU ms a trial"
    )
    rows = {}
    for name in SEARCHERS:
        columns = [[row[i] * 100 for row in found[name]] for i in range(len(BUDGETS))]
        cost = overhead_ms(name)
        shown = "".join(f"{mean(c):>6.1f} +-{stdev(c):>4.1f}" for c in columns)
        print(f"{name:<10}{shown}   {cost:.2f}")
        rows[name] = {
            "hypervolume_percent": dict(zip(map(str, BUDGETS), columns, strict=True)),
            "mean_percent": dict(zip(map(str, BUDGETS), map(mean, columns), strict=True)),
            "overhead_cpu_ms": cost,
        }
    if args.out:
        report = {
            "points": points,
            "front_sizes": fronts,
            "ruggedness": args.ruggedness,
            "batch": BATCH,
            "searchers": rows,
            "fingerprint": fingerprint(),
            "date": time.strftime("%Y-%m-%d"),
        }
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
