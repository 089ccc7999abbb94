"""The part of YAML that data.yaml files use: class names and paths. Nothing else is looked at.

Understood: `key: text`, `key: [a, b]`, `key: {0: a, 1: b}`, and blocks of `- a` or `0: a` rows,
with quotes and comments. No anchors, tags or multi-line text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco.layout import SPLIT_OF_WORD
from detkit.data.converters.labels import read_text

QUOTES = "\"'"
KEY = re.compile(r"(\w+)\s*:(?:\s+|$)(.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Class number -> name; split -> folders or lists of images, relative to `path`."""

    names: dict[int, str]
    splits: dict[str, list[str]] = field(default_factory=dict)
    path: str = ""


def read_settings(path: Path) -> Settings:
    """Reads data.yaml.

    Raises:
        DataError: unreadable, or without class names that can be understood.
    """
    values = dict(_entries(read_text(path), path))
    names = values.get("names", {})
    if not names or not all(key.isdecimal() for key in names):
        raise DataError(f"{path}: no list of class names under 'names:'")
    return Settings(
        names={int(number): name for number, name in names.items()},
        splits={
            SPLIT_OF_WORD[key]: list(value.values())
            for key, value in values.items()
            if key in SPLIT_OF_WORD and any(value.values())
        },
        path=values.get("path", {}).get("0", ""),
    )


def _entries(text: str, path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Top-level keys; a text or a list counts as a mapping from "0", "1", ..."""
    lines = [line for line in map(_uncommented, text.splitlines()) if line.strip()]
    blocks: list[list[str]] = []
    for line in lines:
        continues = line[0] in " \t-]}" or (blocks and _is_open(blocks[-1]))
        if continues and blocks:
            blocks[-1].append(line.strip())
        else:
            blocks.append([line.strip()])
    for first, *rest in blocks:
        if match := KEY.fullmatch(first):
            yield match[1], _values(match[2].strip(), rest, path)


def _is_open(block: list[str]) -> bool:
    text = " ".join(block)
    return text.count("[") + text.count("{") > text.count("]") + text.count("}")


def _values(inline: str, rows: list[str], path: Path) -> dict[str, str]:
    if inline[:1] in ("[", "{"):
        flow = " ".join([inline, *rows])
        return _flow(flow[1:].rstrip()[:-1], path)
    if inline:
        return {"0": _unquoted(inline)}
    values: dict[str, str] = {}
    for row in rows:
        key, colon, value = row.partition(":")
        if row.startswith("- "):
            values[str(len(values))] = _unquoted(row[2:])
        elif colon:
            values[_unquoted(key)] = _unquoted(value)
    return values


def _flow(text: str, path: Path) -> dict[str, str]:
    """`a, b` or `0: a, 1: b` between brackets."""
    values: dict[str, str] = {}
    key = ""
    for piece, separator in _pieces(text):
        if any(bracket in piece and piece[0] not in QUOTES for bracket in "[]{}"):
            raise DataError(f"{path}: cannot read '{piece:.40}'")
        if separator == ":":
            key = _unquoted(piece)
        elif piece:
            values[key or str(len(values))] = _unquoted(piece)
            key = ""
    return values


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """The text between commas and colons, each with the separator behind it."""
    piece, quote = "", ""
    for char in text:
        if not quote and char in ",:":
            yield piece.strip(), char
            piece = ""
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in QUOTES and (not piece.strip() or piece.endswith(char)):  # '' within '...'
            quote = char
        piece += char
    yield piece.strip(), ""


def _uncommented(line: str) -> str:
    quote, before = "", " "
    for at, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char == "#" and before in " \t":
            return line[:at].rstrip()
        elif char in QUOTES and before in " \t[{,:":
            quote = char
        before = char
    return line.rstrip()


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in QUOTES:
        return text[1:-1].replace("''", "'") if text[0] == "'" else text[1:-1].replace('\\"', '"')
    return text
