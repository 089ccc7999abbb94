"""Task-aligned assignment on hand-worked cases."""

from __future__ import annotations

import torch

from detkit.config import LossConfig
from detkit.data.training.labels import Labels, certain
from detkit.train.assign import assign, pad_targets, pairwise_iou

POINTS = torch.tensor([[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]])  # stride 8, 16 px


def test_targets_are_padded_in_their_order() -> None:
    rows = torch.tensor([[1, 2, 0, 0, 4, 4], [0, 1, 0, 0, 8, 8], [1, 0, 2, 2, 6, 6.0]])
    targets = pad_targets(certain(rows), batch=3)
    assert targets.valid_bg.tolist() == [[True, False], [True, True], [False, False]]
    assert targets.classes_bg[1].tolist() == [2, 0]
    assert targets.boxes_bg4[1, 1].tolist() == [2, 2, 6, 6]


def test_no_targets_at_all_assign_nothing() -> None:
    targets = pad_targets(certain(torch.zeros(0, 6)), batch=2)
    found = assign(torch.rand(2, 4, 3), torch.rand(2, 4, 4), POINTS, targets, LossConfig())
    assert not found.positive_ba.any()
    assert found.scores_bac.sum() == 0


def test_only_points_strictly_inside_are_candidates() -> None:
    targets = pad_targets(
        certain(torch.tensor([[0, 0, 0, 0, 12, 8.0]])), batch=1
    )  # (12, 4) on its edge
    boxes = torch.tensor([[[0, 0, 12, 8.0]] * 4])
    found = assign(torch.full((1, 4, 1), 0.5), boxes, POINTS, targets, LossConfig())
    assert found.positive_ba.tolist() == [[True, False, False, False]]
    assert torch.allclose(found.scores_bac[0, 0], torch.tensor([1.0]))  # best metric, IoU 1


def test_topk_keeps_the_best_aligned() -> None:
    targets = pad_targets(certain(torch.tensor([[0, 0, 0, 0, 16, 16.0]])), batch=1)
    boxes = torch.tensor([[[0, 0, 16, 16], [0, 0, 8, 8], [0, 0, 16, 12], [0, 0, 4, 4.0]]])
    found = assign(torch.full((1, 4, 1), 0.5), boxes, POINTS, targets, LossConfig(topk=2))
    assert found.positive_ba.tolist() == [[True, False, True, False]]
    assert found.scores_bac[0, 2, 0] < found.scores_bac[0, 0, 0]


def test_a_contested_point_goes_to_the_larger_iou() -> None:
    rows = torch.tensor([[0, 0, 0, 0, 16, 16], [0, 1, 0, 0, 8, 8.0]])
    boxes = torch.tensor([[[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16.0]]])
    found = assign(
        torch.full((1, 4, 2), 0.5), boxes, POINTS, pad_targets(certain(rows), 1), LossConfig()
    )
    assert found.classes_ba.tolist() == [[1, 0, 0, 0]]
    assert found.boxes_ba4[0, 0].tolist() == [0, 0, 8, 8]


def test_an_uncertain_truth_asks_for_less() -> None:
    boxes = torch.tensor([[[0, 0, 16, 16], [0, 0, 8, 8], [0, 0, 16, 12], [0, 0, 4, 4.0]]])
    rows = torch.tensor([[0, 0, 0, 0, 16, 16.0]])
    sure, unsure = (
        assign(
            torch.full((1, 4, 1), 0.5),
            boxes,
            POINTS,
            pad_targets(Labels(boxes=rows, scores=torch.tensor([score])), 1),
            LossConfig(),
        )
        for score in (1.0, 0.25)
    )
    assert torch.equal(unsure.positive_ba, sure.positive_ba)
    assert torch.allclose(unsure.scores_bac, 0.25 * sure.scores_bac)


def test_pairwise_iou_is_that_of_squares() -> None:
    a = torch.tensor([[[0, 0, 2, 2.0]]])
    b = torch.tensor([[[1, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6.0]]])
    assert torch.allclose(pairwise_iou(a, b), torch.tensor([[[1 / 7, 1, 0]]]))
