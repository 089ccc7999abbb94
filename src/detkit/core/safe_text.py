"""Text from outside, made harmless for terminals and for the files that are read on them."""

from __future__ import annotations

import re
import unicodedata

BEYOND_ASCII = re.compile(r"[\x7f-\U0010ffff]")


def safe(text: str) -> str:
    """One printable line: control, format and separator characters become visible escapes.

    So that a class name or a file name can neither move the cursor, nor colour or forge lines,
    nor turn the text around. Lone surrogates stay: they are the bytes of a file name.
    """
    if text.isprintable():
        return text
    return "".join(
        char if _is_harmless(char) or unicodedata.category(char) == "Cs" else _escape(char)
        for char in text
    )


def safe_json(text: str) -> str:
    """JSON text of the same value, with its unprintable characters escaped as JSON does.

    Lone surrogates too, which are the bytes of a file name and cannot be written as UTF-8.
    """
    return BEYOND_ASCII.sub(_escape_json, text)


def _is_harmless(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _escape_json(found: re.Match[str]) -> str:
    char = found.group()
    if _is_harmless(char):
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
