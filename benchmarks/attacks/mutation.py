"""Bytes, texts and JSON values made wrong in a few places."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

MOST_EDITS = 4
MOST_COPIED = 64  # bytes that one edit doubles, moves or drops
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, -(2**63), 2**200, 0.5, -0.0, 1e-320, 1e308,
    "", "0", "1e999", "x" * 5000, "\x00", "\x1b[2J\u202e", "\ud800", "../../x", "/etc/passwd",
    [], [[]], [None], {}, {"": 0}, [0] * 300, {"a": {"b": {"c": []}}},
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip


def overwrite(path: Path, data: bytes) -> None:
    """Writes a file in place, which takes a hundredth of the time of making it anew."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.truncate()


def mutated_bytes(data: bytes, draw: random.Random) -> bytes:
    """The bytes after one to `MOST_EDITS` edits: flipped, dropped, doubled, moved, drawn anew."""
    content = bytearray(data)
    for _ in range(_num_edits(draw)):
        if not content:
            break
        at = draw.randrange(len(content))
        piece = content[at : at + draw.randint(1, MOST_COPIED)]
        edit = draw.randrange(5)
        if edit == 0:
            content[at] ^= 1 << draw.randrange(8)
        elif edit == 1:
            content[at] = draw.randrange(256)
        elif edit == 2:
            del content[at : at + len(piece)]
        else:
            to = at if edit == 3 else draw.randrange(len(content))
            content[to:to] = piece
    return bytes(content)


def mutated_value(value: Any, draw: random.Random) -> Any:
    """A copy of a JSON value of which one to `MOST_EDITS` parts are others, gone or twice there."""
    whole = [copy.deepcopy(value)]
    for _ in range(_num_edits(draw)):
        holder, key = draw.choice(_places(whole))
        edit = draw.randrange(6)
        if edit == 0 and holder is not whole:
            del holder[key]
        elif edit == 1 and isinstance(holder, dict):
            holder[draw.choice(["", "name", "kind", "\u202e", f"{key}x"])] = holder[key]
        elif edit == 1:
            holder.append(holder[key])
        elif edit == 2:
            other, place = draw.choice(_places(whole))
            holder[key] = copy.deepcopy(other[place])
        else:
            holder[key] = copy.deepcopy(draw.choice(ODD))
    return whole[0] if whole else None


def _num_edits(draw: random.Random) -> int:
    """One half of the time."""
    return draw.choice([1] * MOST_EDITS + list(range(1, MOST_EDITS + 1)))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """All parts of a JSON value, each as its holder and its key there."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        found += [(holder, key) for key in keys]
        waiting += [holder[key] for key in keys if isinstance(holder[key], (dict, list))]
    return found
