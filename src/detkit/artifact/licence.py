"""The licence of weights: what they are under and where they come from, from parent to child.

Weights trained from others stay bound by what those are under, whatever else is stated of them: a
child's licence names its own and all inherited ones, joined by AND as in an SPDX expression.
Nothing here judges what a licence allows; PERMISSIVE only decides what is worth a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LICENCE_KEY = "license"  # in the metadata of exported files; the spelling that tools look for
AND = " AND "
FROM_SCRATCH = "trained from scratch"
PERMISSIVE = (  # SPDX identifiers under which a derived model may be anything
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC-BY-4.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unlicense",
    "Zlib",
)


@dataclass(frozen=True, kw_only=True)
class WeightsOrigin:
    """What weights are under, and where the first of their line come from; "" is not stated."""

    licence: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Inherited:
    """The origin of a child's weights, with what its maker should read of it.

    `notes` are of the ordinary kind; `warnings` are for what is easily overlooked and costly.
    """

    origin: WeightsOrigin
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def join_licences(*licences: str) -> str:
    """All that hold at once, each named once, in the order given.

    >>> join_licences("MIT", "", "Apache-2.0 AND MIT")
    'MIT AND Apache-2.0'
    """
    return AND.join(dict.fromkeys(part for text in licences for part in _parts(text)))


def is_permissive(licence: str) -> bool:
    """Whether every part of it is known to leave derived models free; False where not stated."""
    parts = list(_parts(licence))
    return bool(parts) and all(part in PERMISSIVE for part in parts)


def inherit(parent: WeightsOrigin, *, name: str, stated: str = "") -> Inherited:
    """The origin of weights that start from those of the file `name`.

    A licence that is stated of the child stands first and replaces none of the parent's.
    """
    licence = join_licences(stated, parent.licence)
    kept = [part for part in _parts(parent.licence) if part not in _parts(stated)]
    notes: list[str] = []
    warnings: list[str] = []
    if not parent.source:
        notes.append(
            f"{name} does not say where its weights come from: if they were trained from published"
            " ones, the licence of those holds"
        )
    elif not stated and parent.licence:
        notes.append(f"licence of the weights: {licence}, inherited from {name}")
    elif stated and kept:
        text = (
            f"weights that start from {name} stay under '{AND.join(kept)}' too; recorded:"
            f" '{licence}'"
        )
        (notes if all(part in PERMISSIVE for part in kept) else warnings).append(text)
    source = parent.source or f"{name}, which does not say where its weights come from"
    return Inherited(
        origin=WeightsOrigin(licence=licence, source=source),
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def teacher_note(name: str, licence: str) -> str:
    """What to say of a teacher, whose outputs are learned from and whose weights are not copied.

    Empty where its licence is permissive.
    """
    if is_permissive(licence):
        return ""
    under = f"is under '{licence}'" if licence else "does not say its licence"
    return (
        f"the teacher {name} {under}: no weights of it are in the new ones, but some hold that a"
        " licence covers what is distilled too"
    )


def _parts(licence: str) -> Iterator[str]:
    return filter(None, (part.strip() for part in licence.split(AND)))
