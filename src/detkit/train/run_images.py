"""Images for the run folder: what the network is shown, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from detkit.core.boxes import Detections
from detkit.data.coco.folder import CocoSplit
from detkit.data.draw import contact_sheet, draw_detections, save_image
from detkit.data.image import read_image
from detkit.data.training.loader import TrainLoader

NUM_IMAGES = 8
COLUMNS = 4
SHOWN_CONFIDENCE = 0.35


def draw_first_batch(out: Path, loader: TrainLoader, class_names: Sequence[str]) -> None:
    """Draws `train_batch.jpg`: the first augmented images with their targets."""
    batch = next(iter(loader.epoch(0, close=False)))
    images = batch.images_on(torch.device("cpu"))[:NUM_IMAGES]
    pixels = (images.permute(0, 2, 3, 1) * 255).byte().numpy()
    rows = batch.labels.boxes.numpy()
    drawn = []
    for index, image in enumerate(pixels):
        mine = rows[rows[:, 0] == index]
        targets = Detections(
            mine[:, 2:], np.ones(len(mine), np.float32), mine[:, 1].astype(np.int64)
        )
        drawn.append(draw_detections(image, targets, class_names))
    save_image(out / "train_batch.jpg", contact_sheet(drawn, columns=COLUMNS))


def draw_validation(out: Path, val: CocoSplit, detections: Sequence[Detections]) -> None:
    """Draws `val_detections.jpg`: what was found in the first validation images."""
    drawn = []
    for record, found in list(zip(val.records, detections, strict=True))[:NUM_IMAGES]:
        sure = found.scores >= SHOWN_CONFIDENCE
        kept = Detections(found.boxes_xyxy[sure], found.scores[sure], found.classes[sure])
        image = read_image(record.path, size_hint=(record.width, record.height))
        drawn.append(draw_detections(image, kept, val.class_names))
    if drawn:
        save_image(out / "val_detections.jpg", contact_sheet(drawn, columns=COLUMNS))
