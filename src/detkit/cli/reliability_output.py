"""How unreliable times are told: as warnings, or as an error with `--strict`."""

from __future__ import annotations

from detkit.cli import console
from detkit.core.errors import MeasurementError


def tell_doubts(reasons: tuple[str, ...], cures: tuple[str, ...]) -> None:
    """Warns of each reason, and gives each command that would help as a hint."""
    for reason in reasons:
        console.warn(f"unreliable: {reason}")
    for cure in cures:
        console.log(f"hint: {cure}")


def check_trust(reasons: tuple[str, ...], cures: tuple[str, ...]) -> None:
    """Raises MeasurementError if there are reasons not to trust the times."""
    if reasons:
        raise MeasurementError(
            "the times are unreliable: " + "; ".join(reasons), hint="; ".join(cures)
        )
