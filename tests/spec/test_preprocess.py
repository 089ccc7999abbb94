from __future__ import annotations

from typing import Any

import pytest

from detkit.core.errors import UsageError
from detkit.core.serialization import from_json, to_json
from detkit.spec.preprocess import Preprocess


def test_recipe_survives_json_with_its_scale_exact() -> None:
    recipe = Preprocess(size=(320, 640), fit=(316, 636), pad_place="corner", pad_value=0)
    assert from_json(Preprocess, to_json(recipe)) == recipe


@pytest.mark.parametrize(
    "change",
    [
        {"size": (0, 640)},
        {"fit": (641, 640)},
        {"fit": (0, 640)},
        {"pad_place": "left"},
        {"pad_value": 256},
        {"pad_value": -1},
        {"channel_order": "gbr"},
        {"resize": "crop"},
        {"scale": 0.0},
        {"std": (1.0, 0.0, 1.0)},
    ],
)
def test_recipe_that_no_runtime_follows_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Preprocess(**change)


@pytest.mark.parametrize(
    "change",
    [{"channel_order": "bgr"}, {"scale": 1.0}, {"mean": (0.5, 0.0, 0.0)}, {"resize": "stretch"}],
)
def test_what_only_graphs_of_other_tools_take_is_not_native(change: dict[str, Any]) -> None:
    assert Preprocess(pad_place="corner", pad_value=0, resize="letterbox-floor").is_native
    assert not Preprocess(**change).is_native


def test_resized_keeps_the_margin_and_the_padding() -> None:
    recipe = Preprocess(size=(640, 640), fit=(636, 636), pad_value=7, pad_place="corner")
    small = recipe.resized((320, 416))
    assert (small.size, small.fit) == ((320, 416), (316, 412))
    assert (small.pad_value, small.pad_place) == (7, "corner")
    assert small.resized((640, 640)) == recipe
