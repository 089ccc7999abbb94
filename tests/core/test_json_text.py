from __future__ import annotations

import pytest

from detkit.core.errors import UsageError
from detkit.core.json_text import MAX_DEPTH, parse_json
from detkit.core.serialization import coerce


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 200_000])
def test_deep_nesting_is_refused_at_any_depth(opening: str, depth: int) -> None:
    closing = "]" if opening == "[" else "}"
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(opening * depth + "1" + closing * depth)


def test_as_deep_as_reports_go_is_read() -> None:
    assert parse_json("[" * 20 + "]" * 20)


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' stands twice"):
        parse_json('{"a": 1, "b": 2, "a": 3}')


def test_an_error_shows_the_beginning_of_a_value_alone() -> None:
    with pytest.raises(UsageError) as caught:
        coerce(int, [["x" * 10_000] * 1000], "here")
    assert len(str(caught.value)) < 300
