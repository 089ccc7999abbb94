"""Detectors trained on four small sets, from scratch and from knowledge, beside the peer's.

    python benchmarks/field.py run DATA WORK [--starter FILE] [--parallel 2] [--only 'bccd-*']
    python benchmarks/field.py plan DATA WORK [--starter FILE]
    python benchmarks/field.py speed DATA WORK
    python benchmarks/field.py table [--readme README.md]

DATA holds the folders bccd, raccoon, orchard and vegetables. Each run trains at 320 px, in batches
of 8 (the peer in 16; both are defaults), is scored (see `field_jobs`: the checkpoint that was best
on the validation split, on the test split; raccoon has no test split: the last checkpoint, on the
validation split) and becomes one line of results/field.jsonl. Stop it whenever you like: it goes on
where it was, each training from its last saved state. A run of 10 epochs is a run of its own with
its own schedule, not the tenth epoch of a longer one. Peers are run where PEERS names their
environment (see `peers`).

AP does not mind a busy machine; minutes do. `speed` takes them apart, from short trainings on all
cores, one at a time (the peer leaves a core idle by itself); they only count in lines with `quiet`:
no other program took more than a twentieth of the CPUs. Run from sources that stay as they are,
such as a worktree: each job starts Python anew. The commit is in each line.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from field_jobs import SETS, Init, Training, detkit_job, int8_job, peer_job
from field_table import (
    CATCH_UP,
    FULL,
    LONG,
    SHORT,
    SPEED_LABEL,
    TABLE_HELP,
    add_table_arguments,
    show_table,
    table_lines,
)
from training_queue import Job, add_queue_arguments, chosen, read_records, run_or_show

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "field.jsonl"
SEEDS = (0, 1, 2)
PEERS = ("yolov8n", "yolo11n", "yolo26n")
PEER_BATCH = 16  # the default of each: ours is 8
FIRST_PEER, FIRST_SET = "yolov8n", "bccd"
# Epochs of the peers in the minutes of LONG epochs of yolo-nas-n, by images a second of the step,
# measured in turns on two quiet cores: 26.9 of yolo-nas-n; 19.7, 19.3 and 18.4.
SAME_MINUTES = {"yolov8n": 22, "yolo11n": 22, "yolo26n": 21}
SPEED_EPOCHS = 3
MARK = "field"


def scratch_jobs(data: Path, device: str) -> Iterator[Job]:
    """All sets after SHORT and LONG epochs, sets that are needed first coming first."""
    for name in SETS:
        for epochs in (SHORT, LONG):
            for seed in SEEDS:
                training = Training(data=data, set=name, epochs=epochs, seed=seed, device=device)
                yield detkit_job(training)


def peer_jobs(data: Path, home: Path, device: str) -> Iterator[Job]:
    """LONG epochs of each peer on each set, the other seeds of one, then the same minutes."""

    def job(model: str, name: str, epochs: int, seed: int = 0) -> Job:
        training = Training(
            data=data,
            set=name,
            tool="ultralytics",
            model=model,
            batch=PEER_BATCH,
            epochs=epochs,
            seed=seed,
            device=device,
        )
        return peer_job(training, home)

    for model in PEERS:
        for name in SETS:
            yield job(model, name, LONG)
    for seed in SEEDS[1:]:
        yield job(FIRST_PEER, FIRST_SET, LONG, seed)
    for model, epochs in SAME_MINUTES.items():
        for name in SETS:
            yield job(model, name, epochs)


def starter_jobs(data: Path, starter: Path, device: str) -> Iterator[Job]:
    """All sets from the starter after SHORT and LONG epochs; a few longer and shorter."""
    init = Init(name="starter", file=starter)

    def job(name: str, epochs: int, seed: int = 0) -> Job:
        training = Training(data=data, set=name, epochs=epochs, seed=seed, init=init, device=device)
        return detkit_job(training)

    for epochs in (SHORT, LONG):
        for name in SETS:
            for seed in SEEDS:
                yield job(name, epochs, seed)
    for name in SETS:
        yield job(name, CATCH_UP)
    yield job(FIRST_SET, FULL)


def int8_jobs(data: Path, starter: Path | None, device: str) -> Iterator[Job]:
    """INT8 of the first seed's LONG run on each set, from scratch and from the starter."""
    inits = [Init(), *([Init(name="starter", file=starter)] if starter else [])]
    for name in SETS:
        for init in inits:
            training = Training(data=data, set=name, epochs=LONG, init=init, device=device)
            yield int8_job(training, detkit_job(training))


def speed_jobs(data: Path, home: Path | None, device: str) -> Iterator[Job]:
    """Short trainings of all networks on all sets, for the minutes of longer ones."""
    for name in SETS:
        fixed = Training(data=data, set=name, epochs=SPEED_EPOCHS, device=device, label=SPEED_LABEL)
        yield detkit_job(fixed)
        if home:
            for model in PEERS:
                yield peer_job(
                    replace(fixed, tool="ultralytics", model=model, batch=PEER_BATCH), home
                )


def plan(args: argparse.Namespace) -> list[Job]:
    """All jobs that can be run here, the most valuable ones first."""
    home = Path(os.environ["PEERS"]) if os.environ.get("PEERS") else None
    if args.verb == "speed":
        return chosen(speed_jobs(args.data, home, args.device), args.only)
    jobs = list(scratch_jobs(args.data, args.device))
    if home:
        jobs += peer_jobs(args.data, home, args.device)
    if args.starter:
        jobs += starter_jobs(args.data, args.starter, args.device)
    jobs += int8_jobs(args.data, args.starter, args.device)
    return chosen(jobs, args.only)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("run", "plan", "speed"):
        add_queue_arguments(verbs.add_parser(verb), RESULTS)
    verbs.choices["speed"].set_defaults(threads=os.cpu_count())
    add_table_arguments(verbs.add_parser("table", help=TABLE_HELP), RESULTS)
    args = parser.parse_args()
    if args.verb != "table":
        run_or_show(plan(args), args)
        return
    show_table(table_lines(read_records(args.results)), MARK, args.readme)


if __name__ == "__main__":
    main()
