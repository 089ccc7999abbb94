from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.core.errors import ArtifactError, UsageError
from detkit.core.serialization import to_json
from detkit.profile.predict import ProfileQuery, open_profile
from detkit.report import HardwareProfile, LatencyFit
from detkit.spec.space import SPACES

TINY = SPACES["tiny"].for_task(3, (64, 64))
FIT = LatencyFit(
    features=("macs", "network"),
    weights_ms=(100.0, 0.5),
    penalty=1.0,
    samples=8,
    mape=0.09,
    spearman=0.97,
)
WANTED = ProfileQuery(space=TINY, engine="onnxruntime", precision="int8", threads=1)


@pytest.fixture
def profile(sample: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """`profile(field=value)`: the file of a profile that fits WANTED, but for these fields."""
    good = sample(
        HardwareProfile,
        unit="ms",
        space_digest=TINY.digest,
        runtime="onnxruntime",
        precision="int8",
        threads=1,
        fit=FIT,
    )

    def write(**changes: Any) -> Path:
        path = tmp_path / "profile.json"
        path.write_text(to_json(dataclasses.replace(good, **changes)))
        return path

    return write


def test_profile_of_what_is_searched_gives_its_fit(profile: Callable[..., Path]) -> None:
    assert open_profile(profile(), WANTED) == FIT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space_digest": "0123"}, r"digest 0123\), not of this one"),
        ({"runtime": "openvino"}, "of runtime openvino, the search is for onnxruntime"),
        ({"precision": "fp32"}, "of precision fp32, the search is for int8"),
        ({"threads": 4}, "of threads 4, the search is for 1"),
        ({"unit": "s"}, "in 's', not ms"),
        ({"fit": None}, "is not finished"),
    ],
)
def test_profile_of_something_else_is_refused(
    profile: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_profile(profile(**changes), WANTED)


def test_profile_of_another_space_says_how_to_make_one(profile: Callable[..., Path]) -> None:
    with pytest.raises(UsageError) as refused:
        open_profile(profile(space_digest="0123"), WANTED)
    assert refused.value.hint.endswith("--space tiny --imgsz 64x64 --classes 3")


def test_newer_schema_and_other_files_are_refused(
    profile: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="another version"):
        open_profile(profile(schema_version=2), WANTED)
    with pytest.raises(ArtifactError, match="no such file"):
        open_profile(tmp_path / "nothing.json", WANTED)
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(ArtifactError, match="not a detkit JSON file"):
        open_profile(tmp_path / "list.json", WANTED)
