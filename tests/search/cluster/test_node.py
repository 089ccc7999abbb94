"""What nodes do, without a cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from detkit.config import AugmentConfig, OptimConfig, SearchConfig, SupernetConfig, TrainConfig
from detkit.nn.detector import cost_of
from detkit.search.cluster.node import SharedWeights, score, serialize_weights, sharing_of
from detkit.search.scoring.evaluators import SupernetEvaluator
from detkit.spec.space import SPACES
from detkit.train.stop import StopSignal

SPACE = SPACES["tiny"].for_task(3, (64, 64))
SPECS = [
    SPACE.to_arch(point)
    for point in (SPACE.smallest_point(), SPACE.zoo_points()["yolo-nas-p"], SPACE.largest_point())
]


@pytest.fixture
def evaluator(settled: Callable[..., Path], labelled: Path, tmp_path: Path) -> SupernetEvaluator:
    """Its weights start from a network that sees what is in the images, and hardly move."""
    train = TrainConfig(
        workers=0,
        threads=1,
        device="cpu",
        optim=OptimConfig(lr=1e-12),
        augment=AugmentConfig(mosaic=0),
    )
    config = SearchConfig(
        data=str(labelled),
        space="tiny",
        imgsz="64",
        evaluator="supernet",
        supernet=SupernetConfig(epochs=1, init=str(settled()), random_nets=0),
        train=train,
    )
    found = SupernetEvaluator(config, tmp_path / "study", StopSignal())
    assert found.prepare(SPACE, lambda _: None)
    return found


def test_packed_weights_score_as_they_do_in_the_study(
    evaluator: SupernetEvaluator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dump_weights = serialize_weights(evaluator)
    here = {spec: evaluator(spec, cost_of(spec)).value for spec in SPECS}
    there = {}
    for spec in SPECS:
        answer = score(evaluator.config, dump_weights, spec, cost_of(spec))
        assert (answer.failure, answer.checkpoint) == ("", b"")
        there[spec] = answer.figures["score"]
        assert answer.figures["ap"] == there[spec]
    assert max(here.values()) > 0.05
    assert len(set(here.values())) == 3
    assert there == pytest.approx(here, abs=1e-6)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["study"]


def test_same_weights_are_opened_once_a_worker(evaluator: SupernetEvaluator) -> None:
    first = serialize_weights(evaluator)
    again = SharedWeights(digest=first.digest, content=first.content.copy())
    assert sharing_of(evaluator.config, first) is sharing_of(evaluator.config, again)
