"""What a search wants: which objectives to raise, which to lower, and limits that must hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from detkit.core.errors import UsageError, did_you_mean

Limit = tuple[str, float]  # "<=" or ">=", and the bound


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """What a search seeks; inside it every objective is a loss, those to maximise negated.

    Raises:
        UsageError: no objective, one in both lists, or a limit that is none.
    """

    maximize: tuple[str, ...] = ()
    minimize: tuple[str, ...] = ()
    constraints: Mapping[str, Limit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = self.names
        if not names:
            raise UsageError("a search needs at least one objective to maximize or minimize")
        if len(set(names)) < len(names):
            raise UsageError(f"an objective is named twice: {', '.join(names)}")
        for name, (sense, bound) in self.constraints.items():
            if sense not in ("<=", ">=") or not math.isfinite(bound):
                raise UsageError(
                    f"constraint on {name}: {sense} {bound}",
                    hint='write ("<=", 8.0) or (">=", 8.0)',
                )

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.maximize, *self.minimize)

    def check(self, figures: Mapping[str, float]) -> None:
        """Raises UsageError for a figure that is missing, or that nobody asked for."""
        wanted = {*self.names, *self.constraints}
        missing = sorted(wanted - figures.keys())
        if missing:
            raise UsageError(
                f"told without {', '.join(missing)}",
                hint="pass NaN for a figure that is unknown",
            )
        for name in figures.keys() - wanted:
            raise UsageError(f"no objective '{name}'", hint=did_you_mean(name, wanted))

    def losses(self, figures: Mapping[str, float]) -> tuple[float, ...]:
        """The losses in the order of `names`; NaN where a figure is not finite."""
        signed = [-figures[name] for name in self.maximize] + [figures[n] for n in self.minimize]
        return tuple(loss if math.isfinite(loss) else math.nan for loss in signed)

    def violation(self, figures: Mapping[str, float]) -> float:
        """The shares of the bounds by which limits are passed, summed; 0 where every limit holds.

        A figure that is not finite counts as passing its limit by all of it.
        """
        return sum(_excess(figures[name], limit) for name, limit in self.constraints.items())


def _excess(value: float, limit: Limit) -> float:
    sense, bound = limit
    if not math.isfinite(value):
        return 1.0
    over = value - bound if sense == "<=" else bound - value
    return max(over, 0.0) / (abs(bound) or 1.0)


def make_objectives(
    maximize: Sequence[str], minimize: Sequence[str], constraints: Mapping[str, Limit] | None
) -> Objectives:
    """Objectives made of plain sequences.

    Raises:
        UsageError: see `Objectives`; or a string where a list of names belongs.
    """
    for names in (maximize, minimize):
        if isinstance(names, str):
            raise UsageError(f"'{names}': write a list of names", hint=f"('{names}',)")
    return Objectives(
        maximize=tuple(maximize), minimize=tuple(minimize), constraints=dict(constraints or {})
    )
