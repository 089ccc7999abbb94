"""What a large teacher is worth to a small student: trained with and without, on two sets.

    python benchmarks/teaching.py run DATA WORK [--starter FILE] [--teacher yolo-nas-m]
    python benchmarks/teaching.py plan DATA WORK
    python benchmarks/teaching.py table [--readme benchmarks/README.md]

The teacher trains first, from the starter weights where there are some, then the student with each
seed with it and without. All on the queue of `field.py`: the same sets, splits and figures.
Results in results/teaching.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from field_jobs import Init, Training, detkit_job
from field_table import TABLE_HELP, add_table_arguments, figure, row_line, show_table
from training_queue import Job, Record, add_queue_arguments, chosen, read_records, run_or_show

RESULTS = Path(__file__).parent / "results" / "teaching.jsonl"
MARK = "teaching"
SETS = ("bccd", "vegetables")
SEEDS = (0, 1, 2)
STUDENT = "yolo-nas-n"
TAUGHT = "taught"
SCRATCH = Init()


def jobs(args: argparse.Namespace) -> Iterator[Job]:
    """The teachers, then all students of the first seed, then those of the next."""
    init = Init(name="starter", file=args.starter) if args.starter else SCRATCH
    teachers: dict[str, Training] = {}
    for name in SETS:
        teachers[name] = Training(
            data=args.data,
            set=name,
            model=args.teacher,
            init=init,
            epochs=args.teacher_epochs,
            device=args.device,
        )
        yield detkit_job(teachers[name])
    for seed in SEEDS:
        for name in SETS:
            alone = Training(
                data=args.data,
                set=name,
                model=STUDENT,
                init=init if args.from_starter else SCRATCH,
                epochs=args.epochs,
                seed=seed,
                device=args.device,
            )
            yield detkit_job(alone)
            yield detkit_job(replace(alone, teacher=teachers[name].key, label=TAUGHT))


def table_lines(records: Sequence[Record]) -> list[str]:
    """A row for each set and number of epochs: AP alone and taught, and the gain seed by seed."""
    heading = ["set", "first weights", "epochs", "teacher", "its AP", "alone", "taught", "gain"]
    lines = [row_line(heading), row_line(["---"] * len(heading))]
    by_key = {record["key"]: record for record in records}
    taught = [record for record in records if record["label"] == TAUGHT]
    groups = sorted({tuple(r[k] for k in ("set", "init", "epochs", "teacher")) for r in taught})
    for name, init, epochs, teacher in groups:
        mine = [r for r in taught if (r["set"], r["init"], r["epochs"]) == (name, init, epochs)]
        alone = [by_key[key] for r in mine if (key := r["key"].replace(f"{TAUGHT}-", "")) in by_key]
        aps = {r["seed"]: r["ap"] for r in alone}
        gains = [100 * (r["ap"] - aps[r["seed"]]) for r in mine if r["seed"] in aps]
        teachers = [by_key[teacher]] if teacher in by_key else []
        row = [name, init, str(epochs), teachers[0]["model"] if teachers else teacher]
        row += [figure(runs, "ap") for runs in (teachers, alone, mine)]
        lines.append(row_line([*row, f"{mean(gains):+.1f}" if gains else "-"]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("run", "plan"):
        queue = verbs.add_parser(verb)
        add_queue_arguments(queue, RESULTS)
        queue.add_argument("--teacher", default="yolo-nas-m", help="its architecture")
        queue.add_argument("--teacher-epochs", type=int, default=30)
        queue.add_argument("--epochs", type=int, default=30, help="of the student")
        queue.add_argument("--from-starter", action="store_true", help="the student, too")
    add_table_arguments(verbs.add_parser("table", help=TABLE_HELP), RESULTS)
    args = parser.parse_args()
    if args.verb == "table":
        show_table(table_lines(read_records(args.results)), MARK, args.readme)
        return
    run_or_show(chosen(jobs(args), args.only), args)


if __name__ == "__main__":
    main()
