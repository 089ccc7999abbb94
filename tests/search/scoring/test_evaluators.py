from __future__ import annotations

from pathlib import Path

import pytest

from detkit.config import SearchConfig, TrainConfig
from detkit.data.synthetic.synth import synthesize
from detkit.nn.detector import Cost
from detkit.search.scoring.evaluators import make_evaluator
from detkit.spec.space import SPACES
from detkit.train.stop import StopSignal

COST = Cost(parameters=1, macs=1)
SPACE = SPACES["tiny"].for_task(6, (64, 64))
SPEC = SPACE.to_arch(SPACE.smallest_point())


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SearchConfig:
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    synthesize(folder, images={"train": 8, "val": 4}, size=64, seed=1)
    train = TrainConfig(batch=4, workers=0, threads=1, device="cpu")
    return SearchConfig(data=str(folder), evaluator="train", epochs=1, train=train)


def test_training_scores_by_its_best_ap_and_keeps_its_checkpoint(
    config: SearchConfig, tmp_path: Path
) -> None:
    score = make_evaluator(config, tmp_path, StopSignal())(SPEC, COST)
    assert score is not None
    assert score.value == score.ap
    assert Path(score.checkpoint).parent == tmp_path / "runs" / SPEC.digest
    assert Path(score.checkpoint).is_file()


def test_training_cut_short_has_no_score_and_is_resumed_to_the_same(
    config: SearchConfig, tmp_path: Path
) -> None:
    whole = make_evaluator(config, tmp_path / "whole", StopSignal())(SPEC, COST)
    stopped = make_evaluator(config, tmp_path / "cut", StopSignal(signal=15))(SPEC, COST)
    assert stopped is None
    resumed = make_evaluator(config, tmp_path / "cut", StopSignal())(SPEC, COST)
    assert resumed is not None
    assert whole is not None
    assert (resumed.value, resumed.ap) == (whole.value, whole.ap)
