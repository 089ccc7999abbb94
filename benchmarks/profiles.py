"""How well a HardwareProfile predicts networks it has not seen, and what measuring them again does.

    OMP_NUM_THREADS=1 python benchmarks/profiles.py WORK [--precisions fp32 int8] [--samples 48]
        [--held-out 24] [--imgsz 320] [--runtime onnxruntime] [-o FILE.json]

For each precision WORK gets a profile, and twice the measurements of the held-out networks: points
of the space drawn uniformly, none of them in the fit. What is in WORK is gone on with, so the
script may be killed and run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from detkit.core.serialization import from_plain
from detkit.engines import engine_packages
from detkit.machine.fingerprint import fingerprint
from detkit.profile.fit import spearman
from detkit.profile.predict import predict_ms
from detkit.profile.run import measure_profile
from detkit.profile.sampling import choose_networks
from detkit.report import HardwareProfile
from detkit.runtime.session import SessionOptions
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace, find_space
from detkit.untrained import EngineSetup

Profile = Callable[..., HardwareProfile]
FIT_SEED, HELD_OUT_SEED = 0, 100


def uniform(space: SearchSpace, count: int, seed: int) -> list[ArchSpec]:
    """Each value of a knob equally likely, as a random search asks."""
    rng = np.random.default_rng(seed)
    return [
        space.to_arch({path: vs[rng.integers(len(vs))] for path, vs in space.knobs.items()})
        for _ in range(count)
    ]


def agreement(said: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """How well `said` ranks what was measured, and its mean relative error."""
    return {
        "spearman": spearman(said, measured),
        "mape": float(np.abs(said / measured - 1).mean()),
    }


def assess(
    work: Path, precision: str, profile: Profile, args: argparse.Namespace
) -> dict[str, Any]:
    """Measures, or takes from `work`, and compares four ways to say the held-out latencies."""

    def of(name: str, **options: object) -> HardwareProfile:
        path = work / f"{precision}{name}.json"
        return profile(out=path, resume=path.is_file(), **options)

    drawn = {"samples": args.held_out, "seed": HELD_OUT_SEED, "choose": uniform}
    fitted = of("", samples=args.samples, seed=FIT_SEED, choose=choose_networks)
    held_out, again = of("-held-out", **drawn), of("-again", **drawn)
    assert not {s.digest for s in fitted.samples} & {s.digest for s in held_out.samples}
    assert fitted.fit is not None
    measured = np.array([sample.latency_ms for sample in held_out.samples])
    macs = np.array([sample.macs for sample in held_out.samples], float)
    specs = [from_plain(ArchSpec, sample.arch) for sample in held_out.samples]
    rate = np.exp(np.mean([np.log(s.latency_ms / s.macs) for s in fitted.samples]))
    visits = [v for p in (fitted, held_out, again) for s in p.samples for v in s.measurements]
    return {
        "predicted": agreement(np.array([predict_ms(fitted.fit, s) for s in specs]), measured),
        "measured again": agreement(np.array([s.latency_ms for s in again.samples]), measured),
        "MACs at one rate": agreement(macs * rate, measured),
        "left one out": {"spearman": fitted.fit.spearman, "mape": fitted.fit.mape},
        "wall_over_cpu": float(np.mean([visit.wall_over_cpu for visit in visits])),
        "held_out_ms": [float(measured.min()), float(measured.max())],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"])
    parser.add_argument("--samples", type=int, default=48)
    parser.add_argument("--held-out", type=int, default=24)
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    space = find_space("yolo-nas").for_task(80, (args.imgsz, args.imgsz))
    found = {}
    for precision in args.precisions:
        session_options = SessionOptions(threads=1)
        setup = EngineSetup(
            engine=args.runtime, precision=precision, session_options=session_options
        )
        profile = partial(measure_profile, space, setup, log=lambda line: print(line, flush=True))
        found[precision] = assess(args.work, precision, profile, args)
    print(f"\n{'':6}{'':18}{'Spearman':>10}{'MAPE':>8}")
    for precision, rows in found.items():
        for name, row in rows.items():
            if isinstance(row, dict):
                print(f"{precision:6}{name:18}{row['spearman']:>10.3f}{row['mape']:>8.1%}")
        low, high = rows["held_out_ms"]
        print(f"{precision:6}{low:.1f} to {high:.1f} ms, wall/CPU {rows['wall_over_cpu']:.2f}")
    if args.out:
        options = {k: str(v) for k, v in vars(args).items() if k not in ("work", "out")}
        result = {"options": options, "found": found, "fingerprint": fingerprint(engine_packages())}
        args.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
