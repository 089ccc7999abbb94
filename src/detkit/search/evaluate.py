"""What scores an architecture: a proxy of no training, or a short training of its own.

`EVALUATORS` is the plug-in table.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from detkit.artifact import write_text
from detkit.codec import to_json
from detkit.config import SearchConfig
from detkit.errors import TrainingError, UsageError, did_you_mean
from detkit.nn.detector import Cost
from detkit.search.proxy import find_proxy
from detkit.spec.arch import ArchSpec
from detkit.train.loop import Interruption
from detkit.train.run import Request, start


@dataclass(frozen=True, kw_only=True)
class Score:
    """`ap` and `checkpoint` only where a network was trained.

    `value` is NaN where there is none to be had, and `failure` says why.
    """

    value: float
    ap: float | None = None
    checkpoint: str = ""
    failure: str = ""


class Evaluator(Protocol):
    """Scores architectures; higher is better."""

    def __call__(self, spec: ArchSpec, cost: Cost) -> Score | None:
        """None when interrupted before there was a score."""
        ...


class ProxyEvaluator:
    """A figure of the network without training; needs no data."""

    def __init__(self, config: SearchConfig, folder: Path, interruption: Interruption) -> None:
        del folder, interruption
        self.proxy, self.seed = find_proxy(config.proxy), config.seed

    def __call__(self, spec: ArchSpec, cost: Cost) -> Score:
        return Score(value=self.proxy(spec, cost, self.seed))


class TrainEvaluator:
    """The best AP on the validation split in a few epochs from scratch.

    Every architecture has a run folder of its own, named by its digest; one that an earlier kill
    left half done is resumed.
    """

    def __init__(self, config: SearchConfig, folder: Path, interruption: Interruption) -> None:
        """Raises UsageError without data."""
        if not config.data:
            raise UsageError("the evaluator train needs a COCO folder", hint="detkit search DIR")
        self.config, self.folder, self.interruption = config, folder / "runs", interruption

    def __call__(self, spec: ArchSpec, cost: Cost) -> Score | None:
        run = self.folder / spec.digest
        arch = run.with_suffix(".json")
        write_text(arch, to_json(spec) + "\n")
        height, width = spec.image_size
        config = dataclasses.replace(
            self.config.train,
            data=self.config.data,
            model=str(arch),
            imgsz=f"{height}x{width}",
            epochs=self.config.epochs,
            seed=self.config.seed,
        )
        resume = (run / "state" / "state.safetensors").is_file()
        try:
            report = start(
                config,
                run,
                Request(flags={}, resume=resume, force=not resume),
                dry_run=False,
                log=lambda _: None,
                notify=lambda _: None,
                interruption=self.interruption,
            )
        except TrainingError as error:
            return Score(value=math.nan, failure=str(error))
        assert report is not None
        if report.stopped_by == "signal":
            return None
        return Score(value=report.ap, ap=report.ap, checkpoint=report.checkpoint)


EVALUATORS: dict[str, Callable[[SearchConfig, Path, Interruption], Evaluator]] = {
    "proxy": ProxyEvaluator,
    "train": TrainEvaluator,
}


def make_evaluator(config: SearchConfig, folder: Path, interruption: Interruption) -> Evaluator:
    """The evaluator that the settings name.

    Raises:
        UsageError: there is none of this name, or it lacks what it needs.
    """
    if config.evaluator not in EVALUATORS:
        hint = did_you_mean(config.evaluator, EVALUATORS)
        raise UsageError(f"unknown evaluator '{config.evaluator}'", hint=hint)
    return EVALUATORS[config.evaluator](config, folder, interruption)
