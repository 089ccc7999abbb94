"""The numbers of the original implementation, reproduced."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from detkit.config import LossConfig
from detkit.core.boxes import NmsConfig, nms
from detkit.data.training.labels import certain
from detkit.importing.unpickle import read_checkpoint
from detkit.importing.yolo_nas import parse_yolo_nas
from detkit.nn.checkpoint import assign_strictly
from detkit.nn.decode import Predictor
from detkit.nn.detector import Detector, build_detector, fuse
from detkit.train.loss import DetectionLoss

SCORE_TOLERANCE, BOX_TOLERANCE_PX, RELATIVE = 2e-5, 5e-3, 1e-3
EVAL = NmsConfig()
PREDICT = NmsConfig(score_threshold=0.25, max_candidates=1024)
NMS = {
    "nms_eval": EVAL,
    "nms_predict": PREDICT,
    "nms_single_label": NmsConfig(score_threshold=0.25, max_candidates=1024, multi_label=False),
    "nms_agnostic": NmsConfig(score_threshold=0.25, max_candidates=1024, class_agnostic=True),
}
# image, class, centre x, centre y, width, height in pixels (README of the fixtures)
TARGETS = [
    (0, 3, 60, 80, 70, 90),
    (0, 17, 200, 150, 120, 64),
    (0, 0, 250, 260, 40, 48),
    (0, 45, 100, 240, 160, 100),
    (0, 3, 70, 85, 60, 100),
    (1, 79, 160, 160, 300, 300),
    (1, 22, 40, 280, 24, 30),
]


@pytest.fixture(scope="module")
def fill(parity: Path) -> Iterator[ModuleType]:
    sys.path.insert(0, str(parity))
    yield importlib.import_module("fill")
    sys.path.remove(str(parity))


@pytest.fixture(scope="module")
def model(make_pth: Callable[[str], Path]) -> Detector:
    found = parse_yolo_nas(read_checkpoint(make_pth("plain")))
    model = build_detector(found.spec, "training")
    assign_strictly(model, found.tensors, where="fixture")
    return model.eval()


@pytest.fixture(scope="module")
def expected(parity: Path) -> dict[str, dict[str, dict[str, float]]]:
    text = (parity / "yolo_nas_s_seed1_expected.json").read_text()
    losses: dict[str, dict[str, dict[str, float]]] = json.loads(text)
    return losses


@pytest.fixture
def two_threads() -> Iterator[None]:
    """The fixtures' sums were done on two threads; the training step feels the order."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("form", ["training", "deployed"])
@pytest.mark.parametrize("size", [(320, 320), (256, 384)])
def test_boxes_scores_and_nms_sets_agree(
    model: Detector, fill: ModuleType, parity: Path, size: tuple[int, int], form: str
) -> None:
    stored = np.load(parity / f"yolo_nas_s_seed1_{size[0]}x{size[1]}.npz")
    network = fuse(model) if form == "deployed" else model
    with torch.no_grad():
        boxes, scores = Predictor(network, size)(torch.from_numpy(fill.image(1, *size)))
    assert np.abs(scores.numpy() - stored["scores"]).max() <= SCORE_TOLERANCE
    assert np.abs(boxes.numpy() - stored["boxes"]).max() <= BOX_TOLERANCE_PX
    for name, config in NMS.items():
        found = nms(boxes[0].numpy(), scores[0].numpy(), config)
        rows = np.column_stack([found.boxes_xyxy, found.scores, found.classes])
        assert_same_set(rows, stored[name], name)


def assert_same_set(rows: np.ndarray, wanted: np.ndarray, name: str) -> None:
    """Row for row by class and score; near-ties may swap."""
    assert rows.shape == wanted.shape, name
    for row in wanted:
        near = np.abs(rows[:, 4] - row[4]) <= SCORE_TOLERANCE
        near &= (rows[:, 5] == row[5]) & (np.abs(rows[:, :4] - row[:4]).max(1) <= BOX_TOLERANCE_PX)
        assert near.any(), (name, row)


def xyxy(rows: Sequence[Sequence[float]]) -> Tensor:
    """image, class, cx, cy, w, h -> image, class, x1, y1, x2, y2."""
    t = torch.tensor(rows)
    return torch.cat([t[:, :2], t[:, 2:4] - t[:, 4:] / 2, t[:, 2:4] + t[:, 4:] / 2], dim=1)


def images(fill: ModuleType) -> Tensor:
    return torch.from_numpy(np.concatenate([fill.image(1, 320, 320), fill.image(1001, 320, 320)]))


@pytest.mark.parametrize("case", ["tal_varifocal", "tal_varifocal_matched"])
def test_losses_and_their_gradients_agree(
    model: Detector,
    fill: ModuleType,
    expected: dict[str, dict[str, dict[str, float]]],
    case: str,
) -> None:
    stored = expected["loss_320x320_batch2"]
    matched = stored["matched_targets"]
    targets = xyxy(matched if case.endswith("matched") else TARGETS)  # type: ignore[arg-type]
    with torch.no_grad():
        logits, distances = model(images(fill))
    logits.requires_grad_()
    distances.requires_grad_()
    parts = DetectionLoss(LossConfig(), (320, 320))(logits, distances, certain(targets))
    parts.total.backward()
    assert logits.grad is not None
    assert distances.grad is not None
    measured = {
        "cls": parts.cls,
        "iou": parts.iou,
        "dfl": parts.dfl,
        "total": parts.total,
        "grad_logits_l2": logits.grad.norm(),
        "grad_dist_l2": distances.grad.norm(),
    }
    for name, value in measured.items():
        assert value.item() == pytest.approx(stored[case][name], rel=RELATIVE), name


@pytest.mark.usefixtures("two_threads")
def test_a_training_step_agrees(
    model: Detector, fill: ModuleType, expected: dict[str, dict[str, dict[str, float]]]
) -> None:
    stored = expected["train_mode_320x320_batch2"]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    logits, distances = model(images(fill))
    parts = DetectionLoss(LossConfig(), (320, 320))(logits, distances, certain(xyxy(TARGETS)))
    parts.total.backward()
    losses = [part.item() for part in (parts.cls, parts.iou, parts.dfl, parts.total)]
    assert losses == pytest.approx(stored["loss"], rel=RELATIVE)
    gradients = {n: p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    for name, norm in stored["grad_l2"].items():
        assert gradients[name] == pytest.approx(norm, rel=RELATIVE, abs=1e-10), name
    total = float(np.sqrt(sum(norm**2 for norm in gradients.values())))
    assert total == pytest.approx(stored["total_grad_l2"], rel=RELATIVE)
    after = model.state_dict()
    for name, values in {**stored["running_mean_after"], **stored["running_var_after"]}.items():
        assert after[name][:4].tolist() == pytest.approx(values, rel=1e-5)
    model.load_state_dict(state)
    model.zero_grad()
    model.eval()
