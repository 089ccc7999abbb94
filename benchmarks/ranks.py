"""Two training processes of one thread against one process of two, in images a second.

    python benchmarks/ranks.py [--model yolo-nas-n] [--imgsz 320] [--batch 16] [--processes 2]

Both train the same batches of drawn images, in turns, so that a drift of the machine hits both
alike; while one does, the other waits. The median of the ratios is printed, and returned by
`measure_ranks`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from detkit.config import TrainConfig
from detkit.data.synthetic.synth import synthesize
from detkit.train import ranks
from detkit.train.loop import Trainer
from detkit.train.setup import build_setup
from detkit.train.stop import StopSignal

ROUNDS, STEPS = 5, 3  # in turns, of so many steps each


def trainer(args: argparse.Namespace) -> Trainer:
    """A run on the drawn images of `args.data`, of one process or of this one's share."""
    config = TrainConfig(
        data=args.data,
        model=args.model,
        init="none",
        imgsz=str(args.imgsz),
        epochs=1000,
        batch=args.batch,
        workers=0,
        threads=args.processes // ranks.world(),
        device="cpu",
        amp=args.amp,
        sync_bn=args.sync_bn,
    )
    return Trainer(
        config,
        build_setup(config),
        Path(args.data) / "run",
        on_progress=lambda _: None,
        stop=StopSignal(),
        warn=lambda _: None,
    )


def serve(args: argparse.Namespace) -> None:
    """Trains as many steps as each line of stdin says; the first rank answers with seconds."""
    with ranks.joined():
        run = trainer(args)
        run.model.train()
        batches = [batch for _, batch in zip(range(2), run.loader.epoch(0), strict=False)]
        for line in sys.stdin:
            began = time.perf_counter()
            for number in range(int(line)):
                run._step(batches[number % len(batches)])
                run.state = dataclasses.replace(run.state, batch=0)
                run._agree()
            if ranks.is_first():
                print(json.dumps(time.perf_counter() - began), flush=True)


class Ranks:
    """Processes of one run that wait to be told how many steps to make."""

    def __init__(self, args: argparse.Namespace, world: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        words = [f"--{name.replace('_', '-')}={value}" for name, value in vars(args).items()]
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__, *words, "--serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **environment(rank, world, port)},
            )
            for rank in range(world)
        ]

    def seconds(self, steps: int) -> float:
        """Has all make so many steps; the seconds that the first one took."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{steps}\n")
            process.stdin.flush()
        assert self.processes[0].stdout is not None
        return float(json.loads(self.processes[0].stdout.readline()))

    def close(self) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            process.wait()


def environment(rank: int, world: int, port: str) -> dict[str, str]:
    """What torchrun sets; of one process nothing."""
    if world == 1:
        return {}
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {**{name: str(value) for name, value in places.items()}, **address}


def measure_ranks(args: argparse.Namespace) -> float:
    """Prints images a second of both, and returns the ratio: several processes / one."""
    alone, several = Ranks(args, 1), Ranks(args, args.processes)
    try:
        for ran in (alone, several):
            ran.seconds(2)  # the first steps make buffers
        pairs = [(alone.seconds(STEPS), several.seconds(STEPS)) for _ in range(ROUNDS)]
    finally:
        alone.close()
        several.close()
    ratio = statistics.median(one / many for one, many in pairs)
    one, many = (
        STEPS * args.batch / statistics.median(column) for column in zip(*pairs, strict=True)
    )
    print(
        f"{args.model} {args.imgsz} px, batch {args.batch}, sync_bn {args.sync_bn}:"
        f" one process of {args.processes} threads {one:.1f} images/s,"
        f" {args.processes} processes of one {many:.1f} images/s, ratio {ratio:.2f}"
    )
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="yolo-nas-n")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sync-bn", default="auto")
    parser.add_argument("--amp", default="off")
    parser.add_argument("--data", default="")
    parser.add_argument("--serve", action="store_true")
    args = parser.parse_args()
    serving = args.serve
    del args.serve
    if serving:
        serve(args)
        return
    with tempfile.TemporaryDirectory(prefix="detkit-ranks-") as folder:
        images = {"train": 2 * args.batch, "val": 2}
        synthesize(Path(folder) / "coco", images=images, size=args.imgsz, seed=0)
        args.data = str(Path(folder) / "coco")
        measure_ranks(args)


if __name__ == "__main__":
    main()
