from pathlib import Path

import pytest

from detkit.cli.verbs.bench.bench_flags import COMMON, DEFAULTS, TAKES, BenchFlags, mode_of
from detkit.core.errors import UsageError

MODEL = (Path("m.onnx"),)


@pytest.mark.parametrize(
    ("flags", "mode"),
    [
        (BenchFlags(models=MODEL), "files"),
        (BenchFlags(models=MODEL, compare=True), "compare"),
        (BenchFlags(models=MODEL, advise=True, max_drop=0.1), "advise"),
        (BenchFlags(profile=True, samples=8), "profile"),
    ],
)
def test_mode_is_the_one_asked_for(flags, mode):
    assert mode_of(flags) == mode


def test_list_in_json_is_the_front_of_a_search(tmp_path):
    front, other = tmp_path / "pareto.json", tmp_path / "other.json"
    front.write_text("[]")
    other.write_text("{}")
    assert mode_of(BenchFlags(models=(front,))) == "front"
    assert mode_of(BenchFlags(models=(other,))) == "files"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (BenchFlags(models=MODEL, samples=8), "--samples is not for timing files"),
        (BenchFlags(models=MODEL, compare=True, max_ms=3.0), "--max-ms is not for --compare"),
        (BenchFlags(models=MODEL, compare=True, profile=True), "--profile is not for --compare"),
        (BenchFlags(models=MODEL, profile=True), "--profile draws its networks itself"),
        (BenchFlags(), "no MODEL to time"),
    ],
)
def test_flag_of_another_mode_is_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        mode_of(flags)


def test_every_flag_has_a_mode():
    taken = {name for names in TAKES.values() for name in names}
    assert set(vars(DEFAULTS)) == taken | set(COMMON)
