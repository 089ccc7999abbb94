"""Reformatting JSON leaves it whole; every other change is noticed."""

from __future__ import annotations

import contextlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from detkit.core.content_digest import (
    KEY,
    DamagedError,
    Sealed,
    check_seal,
    reading,
    seal,
    seal_again,
    unsealed,
)
from detkit.core.errors import UsageError
from detkit.core.serialization import from_json, to_json


@dataclass(frozen=True, kw_only=True)
class Point(Sealed):
    x: float


@dataclass(frozen=True, kw_only=True)
class Line(Sealed):
    name: str
    points: tuple[Point, ...]


LINE = Line(name="\u732b \u202e", points=(Point(x=1.0), Point(x=0.1)))


def test_a_record_reads_back_as_it_was_written() -> None:
    assert from_json(Line, to_json(LINE)) == LINE
    assert list(json.loads(to_json(LINE)))[-1] == KEY


@pytest.mark.parametrize(
    "dump",
    [
        lambda value: json.dumps(value),
        lambda value: json.dumps(value, indent=7, sort_keys=True, ensure_ascii=False),
        lambda value: json.dumps(value).replace("1.0", "1"),
        lambda value: json.dumps(value).replace("1.0", "1e0").replace("0.1", "0.100"),
        lambda value: json.dumps(value).replace("0.1", "0.10000000000000001"),
    ],
)
def test_a_file_that_is_written_in_another_way_is_whole(dump: Any) -> None:
    assert from_json(Line, dump(json.loads(to_json(LINE)))) == LINE


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("0.1", "0.3", r"points\[1\] is damaged or was edited|here is damaged"),
        ('"name"', '"nome"', "does not match"),
        (f'"{KEY}"', '"content_digesu"', "unknown key|carries no"),
    ],
)
def test_an_edit_is_noticed(before: str, after: str, message: str) -> None:
    with pytest.raises((DamagedError, UsageError), match=message):
        from_json(Line, to_json(LINE).replace(before, after), where="here")


def test_no_flipped_bit_gives_another_value() -> None:
    data = to_json(LINE).encode()
    draw = random.Random(0)
    for at in draw.choices(range(8 * len(data)), k=500):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        with contextlib.suppress(DamagedError, UsageError, UnicodeDecodeError):
            assert from_json(Line, flipped.decode()) == LINE


def test_sealing_again_accepts_what_a_person_changed_inside_too() -> None:
    plain = json.loads(to_json(LINE))
    plain["points"][0]["x"] = 5
    again = seal_again(plain)
    assert from_json(Line, json.dumps(again)).points[0].x == 5
    assert seal_again({"no": "digest"}) == {"no": "digest"}


def test_files_that_people_write_may_have_no_digest_but_no_wrong_one() -> None:
    assert unsealed({"a": 1}, "here") == {"a": 1}
    assert unsealed(seal({"a": 1}), "here") == {"a": 1}
    with pytest.raises(DamagedError, match="here is damaged or was edited"):
        unsealed({**seal({"a": 1}), "a": 2}, "here")


def test_the_hint_is_a_command_with_the_path_quoted() -> None:
    with pytest.raises(DamagedError) as caught, reading(Path("my runs/base.json")):
        check_seal({}, "base.json")
    assert caught.value.hint.endswith("detkit info 'my runs/base.json' --accept-edits")
