"""The settings of `data label`."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.config.fields import MAX_SEED, Settings, setting
from detkit.core.errors import UsageError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class LabelConfig(Settings):
    """How detections become labels, and images a split."""

    score: float = setting(0.4, "least score of a label", least=0, most=1)
    iou: float = setting(
        0.7, "IoU above which only the better box of a class stays", least=0, most=1
    )
    max_boxes: int = setting(300, "labels of an image at most", least=1, most=1_000_000)
    unmapped: str = setting(
        "keep", "classes that --classes does not name", choices=("keep", "drop")
    )
    human_classes: str = setting(
        "complete",
        "labels that exist: without gaps, or to be filled",
        choices=("complete", "fill"),
    )
    match_iou: float = setting(
        0.5, "IoU from which a box is one that a person drew", least=0, most=1
    )
    split: str = setting(
        "",
        "split; else train, or those of the COCO folder",
        choices=("", *SPLITS),
    )
    val_share: float = setting(0.0, "share of the images that goes to val", least=0, most=1)
    seed: int = setting(0, "seed of the choice of images for val", least=0, most=MAX_SEED)
    link: bool = setting(False, "hard-link images instead of copying them")
    sheets: int = setting(5, "contact sheets of doubtful images at most", least=0, most=1000)
    batch: int = setting(8, "images a batch", least=1, most=65536)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.val_share and self.split not in ("", "train"):
            raise UsageError(f"val_share: takes images from train, and split is {self.split}")
