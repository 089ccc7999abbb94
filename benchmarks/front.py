"""Detectors that a search found against YOLO-NAS scaled by width, each as fast as the other.

    OMP_NUM_THREADS=1 python benchmarks/front.py DATA -o FOLDER [--trained SUPERNET]

The targets are the latencies of yolo-nas-n with its widths scaled, at one input size. The space is
that of `supernet.py`, which holds such networks and others. At every target stands the network with
the highest inherited AP that is no slower. It and the scaled one are trained alone, from nothing,
by the same recipe; and it is fine-tuned from what it inherited, as a search delivers it, against
the scaled one trained alone for --long-epochs. All are timed in turns. AP is on the validation
split, which the search has seen too, and on the test split, which nothing has. All of it is resumed
where it was stopped; FOLDER/front.json has the result.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from supernet import bench_space, settings

from detkit.artifact.artifact import parent_of
from detkit.artifact.writing import write_text
from detkit.config import SearchConfig, TrainConfig
from detkit.core.serialization import from_plain, to_json
from detkit.data.coco.folder import CocoSplit, open_folder
from detkit.engines import engine_packages
from detkit.engines.opening import open_session
from detkit.evaluation.evaluate import score_split
from detkit.machine.fingerprint import fingerprint
from detkit.nn.detector import cost_of
from detkit.report import ParetoPoint, SearchReport
from detkit.runtime.session import SessionOptions
from detkit.search.scoring.evaluators import train_one
from detkit.search.scoring.latency import LatencyMeter, timing_setup
from detkit.search.study.progress import SearchCallbacks
from detkit.search.study.study import run_search
from detkit.spec.arch import ArchSpec
from detkit.spec.zoo import ZOO, with_task
from detkit.timing.cpu_time import least_cpu_ms
from detkit.train.stop import StopSignal

WIDTHS = (0.5, 0.75, 1.0)
MULTIPLE = 8  # of channels


def scaled(width: float, classes: int, size: int) -> ArchSpec:
    """yolo-nas-n with every width times `width`."""
    base = ZOO["yolo-nas-n"]

    def times(channels: int) -> int:
        return max(round(channels * width / MULTIPLE), 1) * MULTIPLE

    spec = dataclasses.replace(
        base,
        name=f"yolo-nas-n x {width:g}",
        stem=times(base.stem),
        stages=tuple(
            dataclasses.replace(stage, out=times(stage.out), hidden=times(stage.hidden))
            for stage in base.stages
        ),
        neck=tuple(
            dataclasses.replace(stage, out=times(stage.out), hidden=times(stage.hidden))
            for stage in base.neck
        ),
        head_widths=tuple(times(channels) for channels in base.head_widths),
    )
    return with_task(spec, classes, (size, size))


def found(config: SearchConfig, out: Path) -> SearchReport:
    """The search, or what it reported when it had run before."""
    resume = (out / "journal.sqlite").is_file()
    callbacks = SearchCallbacks(
        log=lambda line: print(line, flush=True),
        on_progress=lambda status: print(status.line(), flush=True),
    )
    report = run_search(config, out, resume=resume, force=False, callbacks=callbacks)
    assert report is not None  # this is the one process that searches
    return report


def best_within(front: Sequence[ParetoPoint], limit_ms: float) -> ParetoPoint:
    return max((p for p in front if p.latency_ms <= limit_ms), key=lambda point: point.score)


class Trainings:
    """Networks trained alone, each in a folder of its own, and scored on both splits."""

    def __init__(self, args: argparse.Namespace, test: CocoSplit) -> None:
        self.args, self.test = args, test

    def scratch(self, spec: ArchSpec) -> dict[str, Any]:
        """Scores of each seed, trained from nothing."""
        seeds, epochs = self.args.seeds, self.args.epochs
        return self._alone(f"scratch-{spec.digest}", spec, epochs=epochs, seeds=seeds)

    def long(self, spec: ArchSpec) -> dict[str, Any]:
        """The same for one seed and more epochs."""
        return self._alone(f"long-{spec.digest}", spec, epochs=self.args.long_epochs, seeds=1)

    def tuned(self, spec: ArchSpec, checkpoint: str) -> dict[str, Any]:
        """Scores of each seed, from the weights in a checkpoint."""
        config = self._config(spec, init=checkpoint, epochs=self.args.epochs)
        return self._over_seeds(f"tuned-{spec.digest}", config, self.args.seeds)

    def _alone(self, name: str, spec: ArchSpec, *, epochs: int, seeds: int) -> dict[str, Any]:
        path = self.args.out / "specs" / f"{spec.digest}.json"
        write_text(path, to_json(spec) + "\n")
        return self._over_seeds(name, self._config(spec, model=str(path), epochs=epochs), seeds)

    def _config(self, spec: ArchSpec, **chosen: Any) -> TrainConfig:
        height, width = spec.image_size
        plain = settings(self.args, "train").train
        data = str(self.args.data.resolve())
        return dataclasses.replace(plain, data=data, imgsz=f"{height}x{width}", **chosen)

    def _over_seeds(self, name: str, config: TrainConfig, seeds: int) -> dict[str, Any]:
        scores = [
            self._trained(f"{name}-{seed}", dataclasses.replace(config, seed=seed))
            for seed in range(seeds)
        ]
        val, test = ([score[split] for score in scores] for split in ("val", "test"))
        print(f"{name}: val {mean(val):.4f} {val}, test {mean(test):.4f}", flush=True)
        return {"val": val, "test": test}

    def _trained(self, name: str, config: TrainConfig) -> dict[str, float]:
        run = self.args.out / "runs" / name
        if not (run / "scores.json").is_file():
            score = train_one(config, run, StopSignal())
            assert score is not None
            path = Path(score.checkpoint)
            session = open_session(path, engine="torch", session_options=SessionOptions(threads=1))
            report = score_split(
                session, self.test, model=parent_of(path), data=str(self.args.data)
            )
            write_text(run / "scores.json", json.dumps({"val": score.ap, "test": report.ap}))
        scores: dict[str, float] = json.loads((run / "scores.json").read_text(encoding="utf-8"))
        return scores


def front(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One entry a target: the scaled network and the searched one."""
    splits = open_folder(args.data, files={}, splits=("train", "val", "test")).splits
    classes = len(splits["train"].class_names)
    base = settings(args, "supernet")
    meter = LatencyMeter(timing_setup(base))
    plain = [scaled(width, classes, args.imgsz) for width in WIDTHS]
    path = args.out / "targets.json"
    if not path.is_file():
        write_text(path, json.dumps([meter(spec)["latency_ms"] for spec in plain]) + "\n")
    targets = json.loads(path.read_text(encoding="utf-8"))
    space = args.out / "space.json"
    write_text(space, to_json(bench_space(classes)) + "\n")
    config = dataclasses.replace(
        base,
        space=str(space),
        trials=args.trials,
        max_latency_ms=round(max(targets) * 1.02, 2),
        supernet=dataclasses.replace(base.supernet, trained=args.trained),
    )
    report = found(config, args.out / "search")
    points = [best_within(report.pareto, target) for target in targets]
    ours = [from_plain(ArchSpec, point.arch) for point in points]
    setup = timing_setup(config)
    timed = least_cpu_ms(
        [setup.open(spec) for spec in [*plain, *ours]], session_options=setup.session_options
    )
    trainings = Trainings(args, splits["test"])
    return [
        {
            "target_ms": target,
            "scaled": {
                "name": one.name,
                "macs": cost_of(one).macs,
                "latency_ms": scaled_ms,
                "scratch": trainings.scratch(one),
                "long": trainings.long(one),
            },
            "searched": {
                "digest": other.digest,
                "image_size": other.image_size[0],
                "macs": point.macs,
                "latency_ms": searched_ms,
                "inherited": point.score,
                "scratch": trainings.scratch(other),
                "tuned": trainings.tuned(other, point.checkpoint),
            },
        }
        for target, one, other, point, scaled_ms, searched_ms in zip(
            targets, plain, ours, points, timed[: len(plain)], timed[len(plain) :], strict=True
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--trained", default="", help="a supernet of the space, taken as it is")
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--imgsz", type=int, default=128, help="input size of the scaled networks")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each network")
    parser.add_argument("--epochs", type=int, default=24, help="of each training")
    parser.add_argument("--long-epochs", type=int, default=100, help="of a scaled network, once")
    parser.add_argument("--supernet-epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    targets = front(args)
    for entry in targets:
        plain, ours = entry["scaled"], entry["searched"]
        print(
            f"{plain['name']}: {plain['latency_ms']:.2f} ms,"
            f" val {mean(plain['scratch']['val']):.4f}, test {mean(plain['scratch']['test']):.4f};"
            f" for long, val {plain['long']['val'][0]:.4f}, test {plain['long']['test'][0]:.4f}"
            f" | searched, {ours['image_size']} px: {ours['latency_ms']:.2f} ms,"
            f" val {mean(ours['scratch']['val']):.4f}, test {mean(ours['scratch']['test']):.4f};"
            f" fine-tuned, val {mean(ours['tuned']['val']):.4f},"
            f" test {mean(ours['tuned']['test']):.4f}"
        )
    result = {
        "targets": targets,
        "epochs": args.epochs,
        "long_epochs": args.long_epochs,
        "trials": args.trials,
        "fingerprint": fingerprint(engine_packages()),
        "date": time.strftime("%Y-%m-%d"),
    }
    write_text(args.out / "front.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
