"""How unreliable times are reported: as warnings, or as an error with `--strict`."""

from __future__ import annotations

from detkit.cli import console
from detkit.core.errors import MeasurementError


def print_warnings(warnings: tuple[str, ...], remedies: tuple[str, ...]) -> None:
    """Prints each warning, and each command that would help as a hint."""
    for warning in warnings:
        console.warn(f"unreliable: {warning}")
    for remedy in remedies:
        console.log(f"hint: {remedy}")


def check_reliable(warnings: tuple[str, ...], remedies: tuple[str, ...]) -> None:
    """Raises MeasurementError if there are warnings."""
    if warnings:
        raise MeasurementError(
            "the times are unreliable: " + "; ".join(warnings), hint="; ".join(remedies)
        )
