"""What each setting of a training is worth on small sets: one changed at a time, over four sets.

    python benchmarks/recipe.py run DATA WORK --starter FILE [--factors lr ema] [--seeds 0 1 2]
    python benchmarks/recipe.py plan DATA WORK --starter FILE
    python benchmarks/recipe.py table [--readme benchmarks/README.md]

The queue of `field.py` (the same sets, splits and figures), results in results/recipe.jsonl. Every
variant is compared with the base on the same set and seed, so that what the two share cancels; the
first seed of all variants comes first. Without --starter trainings are from scratch. Once a change
has won, `--base optim.lr=5e-4` makes it part of the base of what is run next.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from field_jobs import SETS, Init, Training, detkit_job
from field_table import TABLE_HELP, add_table_arguments, row_line, show_table
from training_queue import (
    Job,
    Record,
    add_queue_arguments,
    chosen,
    read_records,
    run_or_show,
)

RESULTS = Path(__file__).parent / "results" / "recipe.jsonl"
MARK = "recipe"
BATCH = 8
BASE = "base"
FACTORS = {  # settings tried, one at a time; those of the base are the defaults
    "lr": ("optim.lr=2.5e-4", "optim.lr=5e-4", "optim.lr=2e-3", "optim.lr=4e-3"),
    "schedule": (
        "optim.final_lr=0.01",
        "optim.final_lr=0.3",
        "optim.warmup_epochs=0.2",
        "optim.warmup_epochs=3",
    ),
    "batch": ("batch=4", "batch=16", "batch=32"),
    "ema": ("optim.ema=0.99", "optim.ema=0.998", "optim.ema=0.9999"),
    "decay": ("optim.weight_decay=0.002", "optim.weight_decay=0.1"),
    "mosaic": ("augment.close_epochs=0", "augment.close_epochs=6", "augment.mosaic=0.5"),
    "loss": (
        "loss.cls=0.5",
        "loss.cls=2",
        "loss.iou=1.25",
        "loss.iou=5",
        "loss.dfl=0.25",
        "loss.dfl=1",
    ),
    "freeze": ("freeze=early", "freeze=backbone"),
    "rare": (
        "augment.repeat_threshold=0.1",
        "augment.repeat_threshold=0.3",
        "loss.class_weight_power=0.25",
        "loss.class_weight_power=0.5",
    ),
}


def training_of(
    args: argparse.Namespace, name: str, settings: Sequence[str], seed: int
) -> Training:
    """One training with `key=value` settings; the batch is a flag of its own."""
    values = dict(setting.split("=", 1) for setting in settings)
    batch = int(values.pop("batch", BATCH))
    return Training(
        data=args.data,
        set=name,
        epochs=args.epochs,
        seed=seed,
        init=Init(name="starter", file=args.starter) if args.starter else Init(),
        batch=batch,
        device=args.device,
        settings=tuple(f"{key}={value}" for key, value in values.items()),
        label="+".join(settings) or BASE,
    )


def plan(args: argparse.Namespace) -> list[Job]:
    """The base and every variant on all sets, seed after seed."""
    variants = [(), *((setting,) for factor in args.factors for setting in FACTORS[factor])]
    jobs = [
        detkit_job(training_of(args, name, (*args.base, *variant), seed))
        for seed in args.seeds
        for variant in variants
        for name in args.sets
    ]
    return chosen(jobs, args.only)


def table_lines(records: Iterable[Record]) -> list[str]:
    """A table for each start and number of epochs: differences from the base, in points of AP."""
    groups: dict[tuple[str, str, int], list[Record]] = {}
    for record in records:
        group = (record["init"], record["init_digest"], record["epochs"])
        groups.setdefault(group, []).append(record)
    lines = []
    for (init, digest, epochs), members in sorted(groups.items()):
        start = "from scratch" if not digest else f"from {init} ({digest})"
        lines += [f"{epochs} epochs {start}:", "", *group_lines(members), ""]
    return lines[:-1]


def group_lines(records: Sequence[Record]) -> list[str]:
    """The base's AP, then each variant's difference from it with its standard error."""
    ap = {(r["label"], r["set"], r["seed"]): 100 * float(r["ap"]) for r in records}
    labels = list(dict.fromkeys(record["label"] for record in records))
    lines = [row_line(["settings", "AP in points, mean", *SETS, "runs"])]
    lines.append(row_line(["---"] * (len(SETS) + 3)))
    for label in labels:
        base = base_of(label, labels)
        values = {
            name: [
                value - ap[(base, name, seed)] if base else value
                for (found, at, seed), value in ap.items()
                if (found, at) == (label, name) and (not base or (base, name, seed) in ap)
            ]
            for name in SETS
        }
        lines.append(row_line([f"`{label}`", *value_cells(values, sign="+" if base else "")]))
    return lines


def base_of(label: str, labels: Sequence[str]) -> str:
    """What a variant is compared with: its settings without the last one; a first base has none."""
    if label == BASE:
        return ""
    base = label.rpartition("+")[0] or BASE
    return base if base in labels else BASE


def value_cells(values: dict[str, list[float]], *, sign: str) -> list[str]:
    """The mean of the sets' means, with its standard error over the runs, and the means."""
    measured = [mean(found) for found in values.values() if found]
    if not measured:
        return ["-"] * (len(values) + 1) + ["0"]
    runs = sum(map(len, values.values()))
    # Runs of a set differ by their seed alone: the error is that of a mean of sets of runs.
    spreads = [stdev(found) ** 2 / len(found) for found in values.values() if len(found) > 1]
    error = f" +- {sqrt(sum(spreads)) / len(spreads):.1f}" if spreads else ""
    means = [format(mean(found), f"{sign}.1f") if found else "-" for found in values.values()]
    return [f"{format(mean(measured), f'{sign}.1f')}{error}", *means, str(runs)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("run", "plan"):
        queue = verbs.add_parser(verb)
        add_queue_arguments(queue, RESULTS)
        queue.add_argument("--factors", nargs="+", choices=FACTORS, default=list(FACTORS))
        queue.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
        queue.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
        queue.add_argument("--epochs", type=int, default=10)
        queue.add_argument("--base", action="append", default=[], help="key=value of the base")
    add_table_arguments(verbs.add_parser("table", help=TABLE_HELP), RESULTS)
    args = parser.parse_args()
    if args.verb != "table":
        run_or_show(plan(args), args)
        return
    show_table(table_lines(read_records(args.results)), MARK, args.readme)


if __name__ == "__main__":
    main()
