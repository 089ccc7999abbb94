"""How well weights inherited from a supernet rank networks that were trained alone.

    OMP_NUM_THREADS=1 python benchmarks/supernet.py ranking DATA -o FOLDER [--levels 8]

Networks of one small space, from its smallest to its largest at even levels of the logarithm of
multiply-adds and of every input size at each, are trained alone, and scored with the weights of one
supernet. Both by the evaluators of `detkit search`; all of it is resumed where it was stopped.
Kendall's tau of the inherited AP, and of multiply-adds alone, with the AP of the networks trained
alone goes to FOLDER/ranking.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detkit.artifact.writing import write_text
from detkit.config import (
    NO_INIT,
    AugmentConfig,
    OptimConfig,
    SearchConfig,
    SupernetConfig,
    TrainConfig,
)
from detkit.core.serialization import from_plain, to_plain
from detkit.data.coco.folder import open_folder
from detkit.engines import engine_packages
from detkit.machine.fingerprint import fingerprint
from detkit.nn.detector import cost_of
from detkit.search.scoring.evaluators import Evaluator, SupernetEvaluator, make_evaluator
from detkit.search.scoring.sandwich import image_sizes
from detkit.search.strategies.discrete_space import DiscreteSpace
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace, Value
from detkit.spec.zoo import ZOO
from detkit.train.stop import StopSignal

KNOBS: dict[str, tuple[Value, ...]] = {
    "stem": (8, 16),
    "stages.0.out": (16, 24, 32),
    "stages.0.hidden": (8, 16),
    "stages.1.out": (32, 48, 64),
    "stages.1.hidden": (16, 24, 32),
    "stages.2.out": (64, 96, 112),
    "stages.2.hidden": (24, 32, 48),
    "stages.2.blocks": (1, 2),
    "stages.2.concat": (False, True),
    "stages.3.out": (96, 192, 320),
    "stages.3.hidden": (48, 96, 128),
    "stages.3.blocks": (1, 2),
    "neck.*.out": ((32, 16, 32, 64), (48, 32, 48, 64), (64, 32, 64, 160)),
    "neck.1.hidden": (16, 32),
    "neck.2.hidden": (24, 48),
    "neck.3.hidden": (32, 64, 96),
    "head_widths": ((16, 24, 32), (32, 48, 64), (32, 64, 96)),
    "image_size": ((96, 96), (128, 128), (160, 160)),
}
SAMPLES = 240  # random networks among which those nearest to the levels are chosen
STEP = 0.06  # of log MACs: a network this near to a level is of it


def bench_space(num_classes: int) -> SearchSpace:
    """Around yolo-nas-p and n."""
    return SearchSpace(name="bench", base=ZOO["yolo-nas-n"], knobs=KNOBS).for_task(
        num_classes, None
    )


def stratified(space: SearchSpace, levels: int) -> list[ArchSpec]:
    """At even levels of log MACs from one end of the space to the other, one of every input size.

    Of every size that can cost so much, that is. Otherwise large networks would be those of large
    inputs, and multiply-adds alone would rank them.
    """
    discrete = DiscreteSpace(space.knobs)
    rng = np.random.default_rng(0)
    free = np.array([name == "image_size" for name in space.knobs])
    mixed = [discrete.sample(SAMPLES // 2, rng)]
    for share in np.linspace(0, 1, SAMPLES // 2):  # uniform samples crowd in the middle
        lean = (rng.random(len(discrete.counts)) < abs(2 * share - 1)) & ~free
        end = (discrete.counts - 1) * (share > 0.5)
        mixed.append(np.where(lean, end, discrete.sample(1, rng)[0])[None])
    ends = np.stack([np.zeros_like(discrete.counts), discrete.counts - 1])
    rows = np.unique(np.concatenate([ends, *mixed]), axis=0)
    specs = [space.to_arch(discrete.to_point(row)) for row in rows]
    logs = {spec.digest: np.log(cost_of(spec).macs) for spec in specs}
    picked = []
    for level in np.linspace(min(logs.values()), max(logs.values()), levels):
        for size in image_sizes(space):
            of_size = [spec for spec in specs if spec.image_size == size]
            nearest = min(of_size, key=lambda spec: abs(logs[spec.digest] - level))
            if abs(logs[nearest.digest] - level) < STEP:
                picked.append(nearest)
    return picked


def chosen(path: Path, space: SearchSpace, levels: int) -> list[ArchSpec]:
    """The networks as first chosen: counting the multiply-adds of hundreds takes a minute."""
    if not path.is_file():
        specs = [to_plain(spec) for spec in stratified(space, levels)]
        write_text(path, json.dumps(specs, indent=1) + "\n")
    return [from_plain(ArchSpec, item) for item in json.loads(path.read_text(encoding="utf-8"))]


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Tau-b, which allows for ties."""
    signs = [np.sign(np.subtract.outer(x, x))[np.triu_indices(len(x), 1)] for x in (a, b)]
    norm = np.sqrt(np.abs(signs[0]).sum() * np.abs(signs[1]).sum())
    return float((signs[0] * signs[1]).sum() / max(norm, 1.0))


def settings(args: argparse.Namespace, evaluator: str, seed: int = 0) -> SearchConfig:
    train = TrainConfig(
        init=NO_INIT,
        batch=args.batch,
        workers=0,
        threads=1,
        device="cpu",
        augment=AugmentConfig(close_epochs=args.epochs // 4),
        optim=OptimConfig(lr=args.lr),
    )
    return SearchConfig(
        data=str(args.data.resolve()),
        evaluator=evaluator,
        epochs=args.epochs,
        seed=seed,
        train=train,
        supernet=SupernetConfig(epochs=args.supernet_epochs),
    )


def score_all(evaluate: Evaluator, specs: Sequence[ArchSpec], what: str) -> list[float]:
    """AP of every network."""
    scores = []
    for number, spec in enumerate(specs, 1):
        began, cost = time.monotonic(), cost_of(spec)
        score = evaluate(spec, cost)
        assert score is not None
        scores.append(score.value)
        print(
            f"{what} {number}/{len(specs)}: {cost.macs / 1e6:.1f} MMACs, {spec.image_size[0]} px:"
            f" AP {score.value:.4f}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    return scores


def ranking(args: argparse.Namespace) -> dict[str, Any]:
    """Taus of inherited AP and of multiply-adds with the mean AP over the seeds trained alone."""
    classes = open_folder(args.data, files={}, splits=("train",)).splits["train"].class_names
    space = bench_space(len(classes))
    specs = chosen(args.out / "networks.json", space, args.levels)
    sharing = SupernetEvaluator(settings(args, "supernet"), args.out, StopSignal())
    sharing.prepare(space, lambda line: print(line, flush=True))
    inherited = score_all(sharing, specs, "inherited")
    alone = []
    for seed in range(args.seeds):
        folder = args.out / f"alone-{seed}"
        trained = make_evaluator(settings(args, "train", seed), folder, StopSignal())
        alone.append(score_all(trained, specs, f"alone, seed {seed},"))
    means = np.mean(alone, axis=0).tolist()
    macs = [cost_of(spec).macs for spec in specs]
    found = {
        "tau_inherited": kendall(inherited, means),
        "tau_macs": kendall(macs, means),
        "tau_seeds": kendall(alone[0], alone[1]) if len(alone) > 1 else None,
    }
    print("\n".join(f"{name}: {value:.3f}" for name, value in found.items() if value is not None))
    return {
        **found,
        "digests": [spec.digest for spec in specs],
        "macs": macs,
        "inherited": inherited,
        "alone": alone,
        "epochs": args.epochs,
        "supernet_epochs": args.supernet_epochs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("ranking",))
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--levels", type=int, default=8, help="of multiply-adds")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each network alone")
    parser.add_argument("--epochs", type=int, default=24, help="of each training alone")
    parser.add_argument("--supernet-epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    result = ranking(args) | {
        "fingerprint": fingerprint(engine_packages()),
        "date": time.strftime("%Y-%m-%d"),
    }
    write_text(args.out / "ranking.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
