"""Task-aligned assignment on hand-worked cases, and against the formula written out densely."""

from __future__ import annotations

import torch

from detkit.config import LossConfig
from detkit.data.training.labels import Labels, certain
from detkit.nn.decode import anchor_points
from detkit.train.assign import Assignment, assign, paired_iou

POINTS = torch.tensor([[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]])  # stride 8, 16 px
HALF = torch.zeros(1, 4, 2)  # logits of scores 0.5
NESTED = torch.tensor([[[0, 0, 16, 16], [0, 0, 8, 8], [0, 0, 16, 12], [0, 0, 4, 4.0]]])


def test_no_targets_at_all_assign_nothing() -> None:
    labels = certain(torch.zeros(0, 6))
    found = assign(torch.rand(2, 4, 3), torch.rand(2, 4, 4), POINTS, labels, LossConfig())
    assert len(found.anchor_p) == len(found.strength_p) == len(found.boxes_p4) == 0


def test_only_points_strictly_inside_are_candidates() -> None:
    labels = certain(torch.tensor([[0, 0, 0, 0, 12, 8.0]]))  # (12, 4) on its edge
    boxes = torch.tensor([[[0, 0, 12, 8.0]] * 4])
    found = assign(HALF, boxes, POINTS, labels, LossConfig())
    assert found.anchor_p.tolist() == [0]
    assert torch.allclose(found.strength_p, torch.tensor([1.0]))  # best metric, IoU 1


def test_topk_keeps_the_best_aligned() -> None:
    labels = certain(torch.tensor([[0, 0, 0, 0, 16, 16.0]]))
    found = assign(HALF, NESTED, POINTS, labels, LossConfig(topk=2))
    assert found.anchor_p.tolist() == [0, 2]
    assert found.strength_p[1] < found.strength_p[0]


def test_a_contested_point_goes_to_the_larger_iou() -> None:
    rows = torch.tensor([[0, 0, 0, 0, 16, 16], [0, 1, 0, 0, 8, 8.0]])
    boxes = torch.tensor([[[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16.0]]])
    found = assign(HALF, boxes, POINTS, certain(rows), LossConfig())
    assert found.anchor_p.tolist() == [0, 1, 2, 3]
    assert found.class_p.tolist() == [1, 0, 0, 0]
    assert found.boxes_p4[0].tolist() == [0, 0, 8, 8]


def test_a_contested_point_of_twins_goes_to_the_first() -> None:
    rows = torch.tensor([[0, 1, 0, 0, 16, 16], [0, 0, 0, 0, 16, 16.0]])
    found = assign(HALF, NESTED, POINTS, certain(rows), LossConfig())
    assert found.class_p.tolist() == [1, 1, 1, 1]


def test_an_uncertain_truth_asks_for_less() -> None:
    rows = torch.tensor([[0, 0, 0, 0, 16, 16.0]])
    sure, unsure = (
        assign(
            HALF,
            NESTED,
            POINTS,
            Labels(boxes=rows, scores=torch.tensor([score])),
            LossConfig(),
        )
        for score in (1.0, 0.25)
    )
    assert torch.equal(unsure.anchor_p, sure.anchor_p)
    assert torch.allclose(unsure.strength_p, 0.25 * sure.strength_p)


def test_iou_of_pairs_is_that_of_squares() -> None:
    a = torch.tensor([[0, 0, 2, 2.0]] * 3)
    b = torch.tensor([[1, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6.0]])
    assert torch.allclose(paired_iou(a, b), torch.tensor([1 / 7, 1, 0]))


# --- against the formula -------------------------------------------------------------------------


def crowded(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Labels]:
    """Logits, boxes and points of three images at 64 px, with 0, 3 and 9 overlapping truths."""
    points, strides = anchor_points((64, 64))
    points = points * strides
    corners = torch.rand(12, 2, generator=generator) * 40
    sides = torch.rand(12, 2, generator=generator) * 40 + 2
    image = torch.tensor([2.0] * 3 + [1.0] * 3 + [2.0] * 6)
    classes = torch.randint(0, 3, (12,), generator=generator).float()
    truths = torch.cat([corners, corners + sides], dim=1)
    labels = Labels(
        boxes=torch.cat([image[:, None], classes[:, None], truths], dim=1),
        scores=torch.rand(12, generator=generator),
    )
    reach = torch.rand(3, len(points), 4, generator=generator) * 24
    boxes = torch.cat([points - reach[..., :2], points + reach[..., 2:]], dim=-1)
    return torch.randn(3, len(points), 3, generator=generator), boxes, points, labels


def densely(
    logits: torch.Tensor, boxes: torch.Tensor, points: torch.Tensor, labels: Labels, topk: int
) -> list[tuple[int, int, int, float]]:
    """Image, point, class and strength of each positive, of every pair of an image in turn."""
    rows = []
    for image in range(len(logits)):
        mine = (labels.boxes[:, 0] == image).nonzero()[:, 0]
        truths, classes = labels.boxes[mine, 2:], labels.boxes[mine, 1].long()
        if not len(mine):
            continue
        pairs = [(g, a) for g in range(len(mine)) for a in range(len(points))]
        left, right = (torch.tensor(part) for part in zip(*pairs, strict=True))
        iou = paired_iou(truths[left], boxes[image, right]).reshape(len(mine), -1)
        metric = logits[image].sigmoid()[:, classes].T * iou**6
        low, high = (points > truths[:, None, :2]), (points < truths[:, None, 2:])
        inside = (low & high).all(-1)
        marked = torch.zeros_like(inside)
        for g, row in enumerate(metric * inside):
            marked[g, row.topk(topk).indices] = True
        marked &= inside
        contested = marked.sum(0) > 1
        marked[:, contested] = False
        marked[iou.argmax(0)[contested], contested.nonzero()[:, 0]] = True
        metric, iou = metric * marked, iou * marked
        strength = metric / (metric.amax(1, keepdim=True) + 1e-9) * iou.amax(1, keepdim=True)
        strength = strength * labels.scores[mine, None]
        for a in range(len(points)):
            rows += [
                (image, a, int(classes[g]), float(strength[g, a])) for g in marked[:, a].nonzero()
            ]
    return rows


def test_it_is_the_formula() -> None:
    for seed in range(5):
        logits, boxes, points, labels = crowded(torch.Generator().manual_seed(seed))
        found = assign(logits, boxes, points, labels, LossConfig(topk=13))
        expected = densely(logits, boxes, points, labels, 13)
        assert rows_of(found) == [row[:3] for row in expected]
        torch.testing.assert_close(found.strength_p, torch.tensor([row[3] for row in expected]))


def rows_of(found: Assignment) -> list[tuple[int, ...]]:
    columns = (found.image_p, found.anchor_p, found.class_p)
    return [tuple(row) for row in torch.stack(columns, dim=1).tolist()]
