"""What `detkit search` makes of input that cannot be searched: an exit code and a sentence."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.core.serialization import to_json, to_plain
from detkit.data.synthetic.synth import synthesize
from detkit.report import HardwareProfile, LatencyFit
from detkit.spec.space import SPACES
from detkit.spec.zoo import ZOO
from fixtures.command_line import Detkit

TINY = ("--space", "tiny", "--imgsz", "64", "--set", "classes=3")
NEVER_TOLD = """
from detkit.search.strategies import SEARCHERS, make_searcher
knobs = {"a": (1, 2, 3), "b": (1, 2), "only": (1,)}
def flat(mixture, step):
    return {"x": (0.0, {knob: 0.0 * part for knob, part in mixture.items()})}
def never(point): pass
def nan(point): searcher.tell(point, {"x": float("nan")})
for name in SEARCHERS:
    for told in (never, nan):
        searcher = make_searcher(name, knobs=knobs, minimize=("x",), relaxation=flat)
        asked = 0
        while points := searcher.ask(4):
            asked += len(points)
            for point in points:
                told(point)
        print(name, asked, len(searcher.front()))
"""


def space_file(tmp_path: Path, **knobs: object) -> str:
    path = tmp_path / "mine.json"
    plain = {"name": "mine", "base": to_plain(ZOO["yolo-nas-p"]), "knobs": knobs}
    path.write_text(json.dumps(plain))
    return str(path)


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_budget_that_nothing_keeps_is_refused_before_weights_are_trained(
    detkit: Detkit, tmp_path: Path
) -> None:
    synthesize(tmp_path / "coco", images={"train": 2, "val": 1}, size=64, seed=1)
    out = tmp_path / "out"
    supernet = (str(tmp_path / "coco"), "--evaluator", "supernet", "--max-latency-ms", "0.001")
    done = detkit("search", *supernet, *TINY[:4], "-o", str(out))
    refused(done, 2, "max_latency_ms 0.001: no architecture of space tiny keeps it")
    assert "the smallest one takes" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "s"}, "its latencies are in 's', not ms"),
        ({"precision": "int8"}, "is of precision int8, the search is for fp32"),
        ({"space_digest": "0" * 16}, "(digest 0000000000000000), not of this one"),
    ],
)
def test_profile_of_something_else_is_refused(
    detkit: Detkit,
    tmp_path: Path,
    sample: Callable[..., Any],
    changes: dict[str, str],
    message: str,
) -> None:
    given = {
        "unit": "ms",
        "space_digest": SPACES["tiny"].for_task(3, (64, 64)).digest,
        "runtime": "onnxruntime",
        "precision": "fp32",
        "threads": 1,
        "fit": sample(LatencyFit, features=("macs",), weights_ms=(1.0,)),
    }
    path = tmp_path / "device.json"
    path.write_text(to_json(sample(HardwareProfile, **{**given, **changes})))
    out = tmp_path / "out"
    done = detkit("search", *TINY, "--latency-profile", str(path), "-o", str(out))
    refused(done, 2, message)
    assert not out.exists()


@pytest.mark.parametrize(
    ("knobs", "message"),
    [({}, "no knobs"), ({"stem": ()}, "stem has no values")],
)
def test_space_with_nothing_to_choose_from_is_refused(
    detkit: Detkit, tmp_path: Path, knobs: dict[str, Any], message: str
) -> None:
    out = tmp_path / "out"
    done = detkit("search", "--space", space_file(tmp_path, **knobs), "-o", str(out))
    refused(done, 2, message)
    assert not out.exists()


def test_knob_with_one_value_is_no_choice_and_no_error(detkit: Detkit, tmp_path: Path) -> None:
    space, out = space_file(tmp_path, stem=(8,), head_widths=((16, 24, 32),)), tmp_path / "out"
    done = detkit("search", "--space", space, "--imgsz", "64", "--trials", "9", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert "the space holds no more architectures: 1 of 9 trials" in done.stderr
    assert json.loads((out / "report.json").read_text())["trials"] == 1


def test_search_whose_every_score_is_nan_ends_with_an_error(detkit: Detkit, tmp_path: Path) -> None:
    synthesize(tmp_path / "coco", images={"train": 8, "val": 1}, size=64, seed=1)
    train = ("--evaluator", "train", "--epochs", "12", "--set", "train.workers=0")
    wild = ("--set", "train.optim.lr=10", "--set", "train.optim.weight_decay=1")
    few = ("--set", "train.batch=2", "--trials", "1")
    done = detkit(
        *("search", str(tmp_path / "coco"), *TINY[:4], *train, *wild, *few),
        *("-o", str(tmp_path / "out")),
    )
    refused(done, 1, "; recorded as failed", "not one of 1 architectures could be scored")
    assert "give NaN or Inf" in done.stderr or "is not finite" in done.stderr


def test_searchers_that_are_never_told_or_told_nan_ask_for_every_point_once(detkit: Detkit) -> None:
    done = detkit(script=NEVER_TOLD)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 10
    assert {(asked, front) for _, asked, front in lines} == {("6", "0")}
