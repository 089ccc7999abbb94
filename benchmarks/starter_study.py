"""What each ingredient of the starter weights is worth: one pretraining each, then fine-tuned.

    python benchmarks/starter_study.py run DATA WORK --mixes DIR --teacher FILE [--images 50000]
    python benchmarks/starter_study.py table [--readme benchmarks/README.md]

DATA holds the small sets, DIR the folders that `starter_prepare.py` makes, FILE is a checkpoint
whose features the last pretraining learns from. Every pretraining sees the same number of images
(whole epochs, rounded), from scratch; then 10 epochs on sets that none of them holds, three seeds,
on the queue of `field.py`. Results in results/starter-study.jsonl.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from field_jobs import Init, Training, commit, detkit_job, run_detkit, scratch_flags
from field_table import TABLE_HELP, add_table_arguments, figure, row_line, show_table
from training_queue import (
    Job,
    Queue,
    Record,
    Workplace,
    add_queue_arguments,
    chosen,
    read_records,
    run_or_show,
)

RESULTS = Path(__file__).parent / "results" / "starter-study.jsonl"
MARK = "starter-study"
FEATURES = "-features"  # of a folder: taught by the teacher's features, too
INGREDIENTS = {  # folder -> how the table calls it
    "drawn": "drawn",
    "pool": "pool",
    "pool-drawn": "pool + drawn",
    "pool-taught": "pool + teacher's labels",
    "all": "pool + drawn + teacher's labels",
    f"all{FEATURES}": "pool + drawn + teacher's labels and features",
}
SETS = ("bccd", "raccoon")
SEEDS = (0, 1, 2)
EPOCHS = 10
SIDE, BATCH = 224, 32
SETTINGS = ("optim.lr=1.5e-3", "optim.ema=0.999")


def pretraining_key(name: str, images: int) -> str:
    return f"pretrain-{name}-{images}"


def pretraining(args: argparse.Namespace, name: str) -> Job:
    """A training from scratch over one folder that sees about `args.images` images."""
    folder = args.mixes / name.removesuffix(FEATURES)

    def measure(place: Workplace) -> Record:
        run = place.folder / "run"
        annotations = json.loads((folder / "annotations/instances_train.json").read_text())
        in_set = len(annotations["images"])
        epochs = max(1, round(args.images / in_set))
        flags: list[object] = ["-o", run, "--resume"]
        if not (run / "state" / "state.safetensors").is_file():
            flags = [folder, "--model", "yolo-nas-n", *scratch_flags(), "-o", run, "--force"]
            flags += ["--imgsz", SIDE, "--batch", BATCH, "--epochs", epochs]
            flags += ["--device", args.device]
            flags += [word for setting in SETTINGS for word in ("--set", setting)]
            if name.endswith(FEATURES):
                flags += ["--teacher", args.teacher]
                flags += ["--set", "distill.score=1", "--set", "distill.features=1"]
        threads = ("--threads", place.queue.threads)
        report = run_detkit(place, "train", *flags, *threads)
        return {
            "kind": "pretraining",
            "ingredient": name,
            "images": in_set,
            "epochs": epochs,
            "images_seen": in_set * epochs,
            "val_ap": report["ap"],
            "seconds": report["seconds"],
            "commit": commit(),
        }

    return Job(pretraining_key(name, args.images), measure)


def fine_tunings(args: argparse.Namespace, name: str) -> list[Job]:
    """The trainings on small sets from one pretraining; none before it is done."""
    place = args.work / pretraining_key(name, args.images) / "run"
    init = Init(name=name, file=place / "last.safetensors")
    if not (place / "report.json").is_file():
        return []
    return [
        detkit_job(
            Training(
                data=args.data, set=small, epochs=EPOCHS, seed=seed, init=init, device=args.device
            )
        )
        for seed in SEEDS
        for small in SETS
    ]


def table_lines(records: Sequence[Record]) -> list[str]:
    """A row for each ingredient: AP on each small set, mean and spread over the seeds."""
    lines = [row_line(["pretrained on", "images seen", *SETS]), row_line(["---"] * 4)]
    for name, called in {"none": "nothing (from scratch)", **INGREDIENTS}.items():
        trained = [r for r in records if r.get("ingredient") == name]
        tuned = [r for r in records if r.get("init") == name]
        seen = f"{max(r['images_seen'] for r in trained):,}" if trained else "-"
        cells = [figure([r for r in tuned if r["set"] == small], "ap") for small in SETS]
        lines.append(row_line([called, seen, *cells]))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("run", "plan"):
        queue = verbs.add_parser(verb)
        add_queue_arguments(queue, RESULTS)
        queue.add_argument("--mixes", type=Path, required=True)
        queue.add_argument("--teacher", type=Path, required=True)
        queue.add_argument("--images", type=int, default=50_000, help="seen by a pretraining")
        queue.add_argument("--ingredients", nargs="+", choices=INGREDIENTS, default=[*INGREDIENTS])
    add_table_arguments(verbs.add_parser("table", help=TABLE_HELP), RESULTS)
    args = parser.parse_args()
    if args.verb == "table":
        show_table(table_lines(read_records(args.results)), MARK, args.readme)
        return
    first = [pretraining(args, name) for name in args.ingredients]
    if args.verb == "run":
        Queue(args.work, args.results, parallel=args.parallel, threads=args.threads).run(first)
    scratch = [
        detkit_job(Training(data=args.data, set=small, epochs=EPOCHS, seed=seed))
        for seed in SEEDS
        for small in SETS
    ]
    then = [job for name in args.ingredients for job in fine_tunings(args, name)]
    run_or_show(chosen([*first, *scratch, *then], args.only), args)


if __name__ == "__main__":
    main()
