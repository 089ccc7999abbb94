"""The Markdown table of `field.py`: means and spreads of what was measured, '-' elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from field_jobs import SCRATCH, SETS
from training_queue import Record

Trained = tuple[str, str, int]  # model, first weights, epochs
EPOCHS = SHORT, LONG = 10, 30
CATCH_UP = 6  # epochs from the starter that should do for what scratch has after LONG
FULL = 80
SPEED_LABEL = "speed"  # of short trainings on a quiet machine, for the minutes
MISSING = "-"
TABLE_HELP = "print the table of what is measured"
ROWS = (  # model, first weights, how the row is called
    ("yolo-nas-n", SCRATCH, "yolo-nas-n, from scratch"),
    ("yolo-nas-n", "starter", "**yolo-nas-n, from the starter**"),
    ("yolov8n", SCRATCH, "YOLOv8n, from scratch"),
    ("yolo11n", SCRATCH, "YOLO11n, from scratch"),
    ("yolo26n", SCRATCH, "YOLO26n, from scratch"),
)
PEERS = tuple(row for row in ROWS if row[0] != "yolo-nas-n")
HEADING = (
    "set",
    "model",
    "AP, 10 epochs",
    "AP, 30 epochs",
    "AP50",
    "in the minutes of our 30",
    "INT8 AP",
    "INT8 / FP32 ms",
    "minutes of 30",
)


def table_lines(records: Sequence[Record]) -> list[str]:
    """The table, and below it what it says on average."""
    timed = [record for record in records if record["label"] == SPEED_LABEL and record["quiet"]]
    records = newest_weights([record for record in records if not record["label"]])
    lines = [row_line(HEADING), row_line(["---"] * len(HEADING))]
    for name, (split, checkpoint) in SETS.items():
        for model, init, called in ROWS:
            mine = [r for r in records if (r["set"], r["model"], r["init"]) == (name, model, init)]
            speed = [r for r in timed if (r["set"], r["model"]) == (name, model)]
            row = [f"{name}, {split}, {checkpoint}", called, *cells(mine), minutes(speed)]
            lines.append(row_line(row))
    return [*lines, "", *claims(records)]


def newest_weights(records: Iterable[Record]) -> list[Record]:
    """Leaves out what was started on the same set from earlier weights of the same name."""
    ordered = sorted(records, key=lambda record: str(record["date"]))
    newest = {(r["init"], r["set"]): r["init_digest"] for r in ordered}
    return [r for r in ordered if r["init_digest"] == newest[r["init"], r["set"]]]


def cells(records: Sequence[Record]) -> list[str]:
    """The figures of one model on one set."""
    runs = [record for record in records if record["kind"] == "training"]
    long = [record for record in runs if record["epochs"] == LONG]
    between = [record for record in runs if SHORT < record["epochs"] < LONG]
    int8 = [record for record in records if record["kind"] == "int8"]
    valid = [record for record in int8 if record["valid"]]
    same_minutes = (
        f"{figure(between, 'ap')} ({between[0]['epochs']} epochs)" if between else MISSING
    )
    return [
        *(figure([r for r in runs if r["epochs"] == epochs], "ap") for epochs in EPOCHS),
        figure(long, "ap50"),
        same_minutes,
        figure(int8, "ap"),
        f"{valid[0]['ms']:.1f} / {valid[0]['ms_float']:.1f}" if valid else MISSING,
    ]


def minutes(records: Sequence[Record]) -> str:
    """The minutes of the longer training, validation included, from those of a short one."""
    found = [LONG * record["seconds"] / record["epochs"] / 60 for record in records]
    return f"{mean(found):.1f}" if found else MISSING


def figure(records: Sequence[Record], name: str) -> str:
    """Mean and standard deviation over the seeds; one seed has no spread."""
    values = [record[name] for record in records]
    if not values:
        return MISSING
    spread = f" +- {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{spread}"


def claims(records: Sequence[Record]) -> list[str]:
    """What the table says on average, in points of AP, over the sets that have both sides."""
    scratch = {epochs: ("yolo-nas-n", SCRATCH, epochs) for epochs in EPOCHS}
    starter = {epochs: ("yolo-nas-n", "starter", epochs) for epochs in (CATCH_UP, *EPOCHS, FULL)}
    lines = []
    for epochs in EPOCHS:
        text = f"From the starter against from scratch, {epochs} epochs"
        lines += claim(text, gains(records, starter[epochs], scratch[epochs]))
    text = f"{CATCH_UP} epochs from the starter against {LONG} from scratch"
    lines += claim(text, gains(records, starter[CATCH_UP], scratch[LONG]))
    full = {name: mean_ap(records, name, starter[FULL]) for name in SETS}
    known = ", ".join(f"{name} {ap:.3f}" for name, ap in full.items() if ap is not None)
    lines += [f"- AP after {FULL} epochs from the starter: {known}."] if known else []
    for model, init, called in PEERS:
        text = f"yolo-nas-n against {called}, {LONG} epochs"
        lines += claim(text, gains(records, scratch[LONG], (model, init, LONG)))
    return lines


def claim(text: str, gain_by_set: Mapping[str, float]) -> list[str]:
    """One line of the gains by set, or none where nothing can be compared."""
    if not gain_by_set:
        return []
    by_set = ", ".join(f"{name} {gain:+.1f}" for name, gain in gain_by_set.items())
    average = f"{mean(gain_by_set.values()):+.1f} points on average of {len(gain_by_set)} sets"
    return [f"- {text}: {average} ({by_set})."]


def gains(records: Sequence[Record], ours: Trained, theirs: Trained) -> dict[str, float]:
    """Points of mean AP by set that one training is ahead of another, where both are known."""
    pairs = {name: (mean_ap(records, name, ours), mean_ap(records, name, theirs)) for name in SETS}
    return {
        name: 100 * (left - right)
        for name, (left, right) in pairs.items()
        if left is not None and right is not None
    }


def mean_ap(records: Sequence[Record], name: str, trained: Trained) -> float | None:
    """Mean AP over the seeds, None where nothing was measured."""
    wanted = ("training", name, *trained)
    found = [
        record["ap"]
        for record in records
        if tuple(record[k] for k in ("kind", "set", "model", "init", "epochs")) == wanted
    ]
    return mean(found) if found else None


def row_line(words: Iterable[str]) -> str:
    return f"| {' | '.join(words)} |"


def add_table_arguments(parser: argparse.ArgumentParser, results: Path) -> None:
    """Adds the arguments of scripts that print a table of their results."""
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--readme", type=Path, default=None, help="write it between its marks")


def show_table(lines: Sequence[str], mark: str, readme: Path | None) -> None:
    """Prints a table; writes it between its marks too where a file is named."""
    print("\n".join(lines))
    if readme:
        write_between(readme, mark, lines)


def write_between(path: Path, mark: str, lines: Sequence[str]) -> None:
    """Replaces what stands between `<!-- MARK: begin -->` and its end in a Markdown file."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    text = path.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise SystemExit(f"{path} has no {begin} ... {end}")
    before, after = text.partition(begin)[0], text.partition(end)[2]
    new = "\n".join([f"{before}{begin}", *lines, f"{end}{after}"])
    path.write_text(new, encoding="utf-8")
