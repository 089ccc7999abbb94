from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from detkit import report
from detkit.config import TrainConfig
from detkit.core.errors import UsageError
from detkit.core.serialization import digest_of, from_json, from_plain, to_json, to_plain
from detkit.report import Report
from detkit.spec.arch import ArchSpec
from detkit.spec.zoo import ZOO

RECORDS = [
    cls
    for cls in vars(report).values()
    if dataclasses.is_dataclass(cls) and cls.__module__.startswith(report.__name__)
]


@dataclass(frozen=True, kw_only=True)
class Leaf:
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class Tree:
    name: str
    share: float = 0.5
    on: bool = False
    pair: tuple[int, int] = (1, 2)
    leaves: tuple[Leaf, ...] = ()
    table: dict[str, float] = field(default_factory=dict)
    note: str | None = None
    shape: tuple[int | str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


TREE = Tree(
    name='\u6587 "quoted"\n',
    share=1 / 3,
    on=True,
    pair=(3, 4),
    leaves=(Leaf(size=2), Leaf()),
    table={"a b": 1.0},
    note="",
    shape=("batch", 3),
    extra={"deep": [1, {"x": None}]},
)


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_every_report_survives_the_round_trip(
    cls: type[Report], sample: Callable[..., Any]
) -> None:
    record = sample(cls)
    assert from_json(cls, to_json(record)) == record


@pytest.mark.parametrize("value", [TREE, TrainConfig(), *ZOO.values()])
@pytest.mark.parametrize("indent", [None, 2])
def test_from_json_inverts_to_json(
    value: ArchSpec | TrainConfig | Tree, indent: int | None
) -> None:
    assert from_json(type(value), to_json(value, indent=indent)) == value


def test_json_keeps_field_order_and_unicode() -> None:
    assert to_json(TREE, indent=None).startswith('{"name": "\u6587 \\"quoted\\"\\n", "share": 0.33')


def test_whole_numbers_may_stand_for_floats_but_not_the_other_way() -> None:
    assert from_plain(Tree, {"name": "x", "share": 1}).share == 1.0
    with pytest.raises(UsageError, match=r"Leaf.size: expected int, got 1.0"):
        from_plain(Leaf, {"size": 1.0})


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ([], "Tree: expected a table of settings, got []"),
        ({}, "Tree: missing name"),
        ({"name": 3}, "Tree.name: expected str, got 3"),
        ({"name": None}, "Tree.name: expected str, got None"),
        ({"name": "x", "on": 1}, "Tree.on: expected bool, got 1"),
        ({"name": "x", "share": True}, "Tree.share: expected float, got True"),
        ({"name": "x", "pair": [1]}, "Tree.pair: expected a list of 2, got [1]"),
        ({"name": "x", "pair": "12"}, "Tree.pair: expected a list, got '12'"),
        ({"name": "x", "pair": [1, "2"]}, "Tree.pair[1]: expected int, got '2'"),
        (
            {"name": "x", "leaves": [{}, {"size": "1"}]},
            "Tree.leaves[1].size: expected int, got '1'",
        ),
        ({"name": "x", "table": [1]}, "Tree.table: expected a table, got [1]"),
        ({"name": "x", "table": {"a": "1"}}, "Tree.table.a: expected float, got '1'"),
        ({"name": "x", "shape": [1.5]}, "Tree.shape[0]: expected str, got 1.5"),
    ],
)
def test_wrong_value_is_refused_with_its_place(plain: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        from_plain(Tree, plain)
    assert str(caught.value) == message


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "1" + "0" * 400])
def test_number_that_is_not_finite_is_refused(number: str) -> None:
    with pytest.raises(UsageError, match=r"^Tree.share: expected a finite number, got "):
        from_json(Tree, f'{{"name": "x", "share": {number}}}')


def test_unknown_key_suggests_the_near_one() -> None:
    with pytest.raises(UsageError, match=r"Tree: unknown key 'nmae'") as caught:
        from_plain(Tree, {"nmae": "x"})
    assert caught.value.hint == "did you mean 'name'?"


@pytest.mark.parametrize("text", ["", "{", "nonsense", "[" * 100_000, "9" * 5000])
def test_text_that_is_no_json_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"^here: not valid JSON: "):
        from_json(Tree, text, where="here")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_without_a_place_in_json_are_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="has no place in JSON"):
        to_json(Tree(name="x", share=value))


def test_plain_values_are_lists_and_dicts_only() -> None:
    assert to_plain((Leaf(), {1: (2,)})) == [{"size": 1}, {"1": [2]}]


def test_digest_ignores_the_order_of_keys_and_sees_every_value() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of(TREE) != digest_of(dataclasses.replace(TREE, pair=(3, 5)))
    assert len(digest_of(TREE)) == 16
