"""The book-keeping that all searchers share: what was asked, what was told, which are the best.

Where the next points come from is a Strategy, one file each. A strategy sees the History alone, so
telling the same trials in the same order to a new searcher rebuilds an old one.

Legend: N trials, K knobs, M losses.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from detkit.core.errors import UsageError
from detkit.search.strategies.discrete_space import DiscreteSpace, Floats, Point, Row, Rows
from detkit.search.strategies.objectives import Objectives
from detkit.search.strategies.pareto import Flags, nondominated

PROPOSALS = 4  # times a strategy is asked for points that are new, before others are taken


@dataclasses.dataclass(frozen=True)
class Trial:
    """A point that was told and its figures, NaN where one is unknown."""

    point: Point
    objectives: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class History:
    """All trials so far as arrays, in the order told."""

    space: DiscreteSpace
    rows_nk: Rows
    losses_nm: Floats
    violations_n: Floats

    def __len__(self) -> int:
        return len(self.rows_nk)

    @property
    def complete(self) -> Flags:
        """(N,) whether all losses of a trial are known."""
        return np.asarray(np.isfinite(self.losses_nm).all(axis=1))

    @property
    def usable(self) -> Flags:
        """(N,) whether a trial teaches something: all losses, or by how much it passes a limit."""
        return self.complete | (self.violations_n > 0)

    @functools.cached_property
    def scaled_nm(self) -> Floats:
        """(N, M) losses from 0, the best so far, to 1, the worst; 1 where there is none.

        They are of the logarithm where all are positive.
        """
        scaled = np.ones_like(self.losses_nm)
        for column, losses in zip(scaled.T, self.losses_nm.T, strict=True):
            finite = np.isfinite(losses)
            known = losses[finite]
            if len(known):
                values = np.log(known) if known.min() > 0 else known
                column[finite] = (values - values.min()) / (np.ptp(values) or 1.0)
        return scaled

    @property
    def feasible(self) -> Flags:
        return self.complete & (self.violations_n <= 0)


class Relaxation(Protocol):
    """Objectives of a soft point, where each knob has a mixture of its values."""

    def __call__(
        self, mixture: Mapping[str, Floats], step: int
    ) -> Mapping[str, tuple[float, Mapping[str, Floats]]]:
        """Maps knob -> (V,) shares that sum to 1 to objective -> value and slopes by the shares.

        Where the objectives are estimated from samples, `step` says from which: the same arguments
        give the same figures.
        """
        ...


class ArrayCache(Protocol):
    """Keeps arrays that took long to compute, for a later searcher of the same setup."""

    def __call__(self, name: str, make: Callable[[], Floats]) -> Floats:
        """Returns the array kept by that name; makes and keeps it where there is none."""
        ...


class ProgressLog(Protocol):
    """Logs how far a strategy is that works for long."""

    def __call__(self, line: str, *, left: int) -> None:
        """Logs `line`; `left` is the number of steps after this one."""
        ...


def no_cache(name: str, make: Callable[[], Floats]) -> Floats:
    del name
    return make()


def log_nothing(line: str, *, left: int) -> None:
    del line, left


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrategySetup:
    """What a strategy is made from; few need more than the seed."""

    objectives: Objectives
    seed: int
    relaxation: Relaxation | None = None
    cache: ArrayCache = no_cache
    log_progress: ProgressLog = log_nothing


class Strategy(Protocol):
    """The source of new points."""

    def propose(self, history: History, count: int, rng: np.random.Generator) -> Rows:
        """Proposes about `count` rows, better ones first; those seen before are skipped.

        `rng` is the same after the same trials. It may return fewer, and is then asked again.
        """
        ...


class Searcher:
    """Asks for points of a finite space and learns from what it is told of them."""

    def __init__(
        self,
        space: DiscreteSpace,
        objectives: Objectives,
        strategy: Strategy,
        *,
        seed: int,
        start: Sequence[Point] = (),
    ) -> None:
        """Makes a searcher that asks for the points of `start` first."""
        self.space, self.objectives, self.strategy, self.seed = space, objectives, strategy, seed
        self.start = [space.to_row(point) for point in start]
        self.known: set[Row] = set()  # asked or told
        self.trials: dict[Row, Trial] = {}

    def ask(self, count: int = 1) -> list[Point]:
        """Returns up to `count` points never asked or told before; fewer when none are left.

        Raises:
            UsageError: a count below one.
        """
        if count < 1:
            raise UsageError(f"asked for {count} points: at least 1")
        rng = np.random.default_rng([self.seed, len(self.known)])
        count = min(count, self.space.size - len(self.known))
        rows = list(dict.fromkeys(row for row in self.start if row not in self.known))[:count]
        history = self.history()
        for _ in range(PROPOSALS):
            if len(rows) >= count:
                break
            proposed = self.strategy.propose(history, count - len(rows), rng)
            rows += self._new(map(tuple, proposed.tolist()), rows)
        if len(rows) < count:
            first = int(rng.integers(0, min(self.space.size, 2**62)))
            rows += itertools.islice(self._unseen(first, rows), count - len(rows))
        self.known.update(rows[:count])
        return [self.space.to_point(row) for row in rows[:count]]

    def remember(self, points: Iterable[Point]) -> None:
        """Counts points as asked that an earlier searcher asked for and was not told."""
        self.known.update(self.space.to_row(point) for point in points)

    def tell(self, point: Mapping[str, Any], objectives: Mapping[str, float]) -> None:
        """Takes the figures of a point: every objective and every constrained figure.

        The point need not have been asked for. NaN says that a figure is unknown: such a
        trial is never on the front and never asked for again.

        Raises:
            UsageError: no point of this space, one told before, or figures missing or unknown.
        """
        row = self.space.to_row(point)
        if row in self.trials:
            raise UsageError(f"told twice: {dict(point)}")
        self.objectives.check(objectives)
        self.known.add(row)
        self.trials[row] = Trial(self.space.to_point(row), dict(objectives))

    def front(self) -> list[Trial]:
        """Returns the trials that keep every limit and that no other one of them beats."""
        history = self.history()
        at = np.flatnonzero(history.feasible)
        best = set(at[nondominated(history.losses_nm[at])].tolist())
        return [trial for i, trial in enumerate(self.trials.values()) if i in best]

    def history(self) -> History:
        figures = [trial.objectives for trial in self.trials.values()]
        num_knobs, num_losses = len(self.space.counts), len(self.objectives.names)
        losses = np.array([self.objectives.losses(found) for found in figures])
        return History(
            space=self.space,
            rows_nk=np.array(list(self.trials), np.int64).reshape(-1, num_knobs),
            losses_nm=losses.reshape(-1, num_losses),
            violations_n=np.array([self.objectives.violation(f) for f in figures], np.float64),
        )

    def _new(self, rows: Iterable[Row], taken: list[Row]) -> list[Row]:
        """The rows that are neither known nor taken, each once."""
        seen = self.known.union(taken)
        return [row for row in dict.fromkeys(rows) if row not in seen]

    def _unseen(self, first: int, taken: list[Row]) -> Iterator[Row]:
        """Counts through every other point: ends after at most as many steps as are known."""
        seen = self.known.union(taken)
        return (row for row in self.space.rows_from(first) if row not in seen)
