"""How the classes of a model stand to those of the data that it learned from."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.core.errors import UsageError

KINDS = ("all", "some", "one")


@dataclass(frozen=True, kw_only=True)
class ClassScope:
    """All classes of the data, some of them, or one that all became, or those of `names` alone."""

    kind: str = "all"
    names: tuple[str, ...] = ()  # of the data, that became the one class; all where there are none

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"class_scope: unknown kind '{self.kind}'")

    def __str__(self) -> str:
        if self.kind == "some":
            return "some of the classes of its data"
        if self.kind == "one":
            return f"{', '.join(self.names) or 'all classes of its data'} as one"
        return ""


ALL_CLASSES = ClassScope()
