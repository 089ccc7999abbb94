"""What classes weigh where some are rare."""

from pathlib import Path

import torch

from detkit.config import LossConfig
from detkit.data.coco.folder import open_folder
from detkit.data.training.labels import certain
from detkit.train.class_weights import class_weights
from detkit.train.loss import DetectionLoss


def test_power_1_gives_every_class_with_boxes_the_same_sum(shapes: Path) -> None:
    train = open_folder(shapes).split("train")
    num_classes = len(train.class_names)
    counts = torch.zeros(num_classes + 1)
    for record in train.records:
        counts += torch.from_numpy(record.classes).bincount(minlength=num_classes + 1)
    weights = class_weights(train.records, num_classes + 1, power=1.0)
    sums = (weights * counts)[:num_classes]
    assert torch.allclose(sums, counts.sum() / num_classes * torch.ones(num_classes))
    assert weights[-1] == 1  # a class without boxes
    assert class_weights(train.records, num_classes, power=0.0).tolist() == [1.0] * num_classes


def test_a_weight_scales_the_class_loss_of_its_class_alone() -> None:
    torch.manual_seed(0)
    logits, distances = torch.randn(1, 84, 2), torch.randn(1, 84, 68)
    labels = certain(torch.tensor([[0, 1, 8, 8, 40, 40.0]]))

    def parts(*weights: float) -> torch.Tensor:
        loss = DetectionLoss(LossConfig(), (64, 64), torch.tensor(weights))
        found = loss(logits, distances, labels)
        return torch.stack([found.cls, found.iou, found.dfl])

    alike, first, second = parts(1, 1), parts(1, 0), parts(0, 1)
    assert torch.allclose(first[0] + 3 * second[0], parts(1, 3)[0])
    assert torch.allclose(first[0] + second[0], alike[0])
    assert torch.equal(first[1:], alike[1:])
    plain = DetectionLoss(LossConfig(), (64, 64))(logits, distances, labels)
    assert torch.equal(plain.cls, alike[0])
