from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import pytest

from detkit.core.errors import UsageError
from detkit.core.serialization import from_json, to_json
from detkit.nn.detector import cost_of
from detkit.spec.arch import BLOCK_KINDS, ArchSpec
from detkit.spec.space import SPACES, SearchSpace, Value, find_space
from detkit.spec.zoo import ZOO

SPACE = SPACES["yolo-nas"]


def random_point(space: SearchSpace, seed: int) -> dict[str, Value]:
    rng = random.Random(seed)
    return {path: rng.choice(values) for path, values in space.knobs.items()}


@pytest.mark.parametrize("space", ["yolo-nas", "full"])
@pytest.mark.parametrize("name", ["yolo-nas-n", "yolo-nas-s", "yolo-nas-m", "yolo-nas-l"])
def test_named_architectures_are_points_of_the_space(space: str, name: str) -> None:
    assert SPACES[space].to_arch(SPACES[space].to_point(ZOO[name])) == ZOO[name]


@pytest.mark.parametrize("name", SPACES)
def test_point_and_architecture_are_the_same_thing(name: str) -> None:
    space = SPACES[name]
    for seed in range(20):
        point = random_point(space, seed)
        spec = space.to_arch(point)
        assert space.to_point(spec) == point
        assert from_json(ArchSpec, to_json(spec)) == spec


@pytest.mark.parametrize("name", SPACES)
def test_space_survives_json(name: str) -> None:
    copy = from_json(SearchSpace, to_json(SPACES[name]))
    assert (copy, copy.digest) == (SPACES[name], SPACES[name].digest)


def test_largest_architecture_has_every_field_at_its_largest() -> None:
    """Lists entry by entry, so that it need not be a point of the space."""
    space = SearchSpace(
        name="crossed",
        base=ZOO["yolo-nas-n"],
        knobs={
            "head_widths": ((16, 64, 32), (32, 48, 96)),
            "stages.*.out": ((32, 48, 64, 96), (24, 64, 32, 192)),
            "stages.1.concat": (False, True),
            "image_size": ((96, 160), (128, 128)),
            "activation": ("relu", "silu"),
        },
    )
    largest = space.largest_arch()
    assert largest.head_widths == (32, 64, 96)
    assert [stage.out for stage in largest.stages] == [32, 64, 64, 192]
    assert largest.stages[1].concat
    assert largest.image_size == (128, 160)
    assert largest.activation == "relu"


def test_digest_is_of_the_points_and_not_of_the_name() -> None:
    tiny = SPACES["tiny"]
    assert dataclasses.replace(tiny, name="mine").digest == tiny.digest
    assert dataclasses.replace(tiny, knobs={**tiny.knobs, "stem": (8,)}).digest != tiny.digest
    assert dataclasses.replace(tiny, base=ZOO["yolo-nas-n"]).digest != tiny.digest


def test_size_is_the_product_of_the_choices() -> None:
    assert SPACES["tiny"].size == 2 * 3 * 3 * 2 * 2 * 2
    assert SPACE.size > 1e15


def test_smallest_point_of_the_full_space_has_the_block_of_least_cost() -> None:
    spec = SPACES["full"].to_arch(SPACES["full"].smallest_point())
    kinds = SPACES["full"].knobs["block"]
    costs = {kind: cost_of(dataclasses.replace(spec, block=str(kind))) for kind in kinds}
    assert set(BLOCK_KINDS) - set(kinds) == {"depthwise"}
    assert min(costs.values(), key=lambda cost: cost.macs) == costs[spec.block]
    assert min(costs.values(), key=lambda cost: cost.parameters) == costs[spec.block]


def test_task_fixes_classes_and_an_image_size_that_was_given() -> None:
    space = SPACE.for_task(3, (320, 320))
    assert "image_size" not in space.knobs
    spec = space.to_arch(random_point(space, 0))
    assert (spec.num_classes, spec.image_size) == (3, (320, 320))
    assert set(space.zoo_points()) == {"yolo-nas-n", "yolo-nas-s", "yolo-nas-m", "yolo-nas-l"}
    assert "image_size" in SPACE.for_task(3, None).knobs


def test_architecture_of_another_space_is_refused() -> None:
    with pytest.raises(UsageError, match=r"yolo-nas-p is not in space yolo-nas: stages\.0\.out"):
        SPACE.to_point(ZOO["yolo-nas-p"])
    with pytest.raises(UsageError, match="differs from the base"):
        SPACE.to_point(dataclasses.replace(ZOO["yolo-nas-s"], activation="silu"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem": 17}, "stem cannot be 17"),
        ({"stam": 16}, "no knob 'stam'"),
        ({"stem": None}, "stem cannot be None"),
    ],
)
def test_point_outside_the_space_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SPACE.to_arch({**random_point(SPACE, 0), **change})


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({}, "nothing to search"),
        ({"stem": ()}, "stem has no values"),
        ({"stem": (16, 16)}, "stem has a value twice"),
        ({"stem": (0,)}, "a width is 1 to "),
        ({"stem": ("wide",)}, "expected int"),
        ({"stam": (16,)}, "no field 'stam'"),
        ({"stages.4.out": (16,)}, "no field '4'"),
        ({"stages.0.depth": (1,)}, "no field 'depth'"),
        ({"num_classes": (3,)}, "no field 'num_classes'"),
        ({"neck.*.out": ((1, 2),)}, "expected 4 numbers"),
        ({"neck.*.out": ((8, 8, 9, 8),)}, "even `out`"),
        ({"block": ("cps",)}, "unknown block"),
        ({"stem": tuple(range(1, 2000))}, "stem has 1999 values"),
        ({"stages.00.out": (16,)}, "no field '00'"),
        ({"stages.2.hidden.concat": (False, True)}, "no field 'concat'"),
        ({"family.x": ("a",)}, "no field 'x'"),
        ({"neck.*.out": ((8, 8, 8, 8),), "neck.1.out": (8,)}, "both vary neck.1.out"),
    ],
)
def test_impossible_space_is_refused(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SearchSpace(name="mine", base=ZOO["yolo-nas-p"], knobs=knobs)


def test_space_of_ones_own_is_a_json_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(to_json(SPACES["tiny"]), encoding="utf-8")
    assert find_space(str(path)) == SPACES["tiny"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("yolonas", None, "unknown space 'yolonas'"),
        ("none.json", None, "no such space file"),
        ("bad.json", b"\xff", "not UTF-8"),
        ("bad.json", b"[]", "expected a table"),
        ("bad.json", b'{"name": "x", "base": 3, "knobs": {}}', "expected a table"),
    ],
)
def test_file_that_is_no_space_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        find_space(name)
