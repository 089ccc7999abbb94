from __future__ import annotations

import json

from detkit.core.safe_text import safe_json
from detkit.core.serialization import to_json


def test_json_is_printable_and_of_the_same_value() -> None:
    value = {
        "names": ["\x1b[2J", "\x7f\x9b", "\u202egnp.exe", "\U000e0041", "\udcff", "\u732b \xe9"]
    }
    text = to_json(value)
    assert json.loads(text) == value
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\u732b \xe9" in text


def test_what_is_printable_stays_as_it_is() -> None:
    assert safe_json("\u732b\xa0\U0001f600") == "\u732b\xa0\U0001f600"
