"""JSON from files that anyone may have made: bounded in depth, no key twice."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 40  # levels; reports have 8 at most


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: not JSON, nested too deeply to be any file of ours, or an object with a key
            twice, of which Python's parser would keep the last in silence.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    _check_depth(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"'{next(key for key in keys if keys.count(key) > 1)[:40]}' stands twice")
    return found


def _check_depth(value: Any) -> None:
    """Goes down level by level: recursion is what a hostile file would exhaust."""
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, (dict, list))]
        if not containers:
            return
        level = [
            item
            for inner in containers
            for item in (inner.values() if isinstance(inner, dict) else inner)
        ]
    raise ValueError("nested too deeply")
