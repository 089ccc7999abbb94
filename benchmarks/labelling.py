"""Labels of a model as detections: their AP against people's labels, and precision by least score.

    python benchmarks/labelling.py MODEL DATA [--outputs PRESET] [--split val] -o results/NAME.json

The images of a split are labelled with the least score and the NMS of `detkit eval`, without their
labels, so AP must be that of `detkit eval`: writing boxes and scores loses nothing. Then labels are
what a least score leaves: how many of them are right (one of the class at IoU 0.5), and how much of
what people labelled they find. Last, at the settings' own defaults, whether looking at the doubtful
images first pays: the share of all corrections (wrong labels and missing ones) in the first fifth.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detkit.artifact.artifact import parent_of
from detkit.artifact.writing import write_text
from detkit.cli.descriptions import open_model
from detkit.config import LabelConfig
from detkit.core.boxes import EVAL_NMS, Detections, iou_matrix
from detkit.core.serialization import to_plain
from detkit.data.coco.classes import match_classes
from detkit.data.coco.folder import CocoSplit, open_folder
from detkit.data.coco.split_reader import ImageRecord
from detkit.evaluation.evaluate import coco_figures, score_split
from detkit.labelling.images import find_label_images
from detkit.labelling.review import LIST_FILE
from detkit.labelling.run import label_images
from detkit.runtime.session import Session

LEAST_SCORES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
AS_EVAL = LabelConfig(
    score=EVAL_NMS.score_threshold,
    iou=EVAL_NMS.iou_threshold,
    max_boxes=EVAL_NMS.max_detections,
    sheets=0,
)


def labelled_as_detections(
    session: Session, truth: CocoSplit, model: Path, config: LabelConfig = AS_EVAL
) -> tuple[list[Detections], list[float]]:
    """Labels the images of a split; gives for each record its labels and their doubt."""
    paths = [record.path for record in truth.records]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "labelled"
        source = find_label_images(paths, out, config)
        label_images(session, source, out, model=parent_of(model), config=config)
        (labelled,) = open_folder(out).splits.values()
        with (out / LIST_FILE).open(encoding="utf-8", newline="") as file:
            doubts = {row["image"]: float(row["doubt"]) for row in csv.DictReader(file)}
    class_of = match_classes(labelled.class_names, truth.class_names)
    name_of = {item.path: item.name for item in source.items}
    by_name = {record.file_name: record for record in labelled.records}
    found = [by_name[name_of[path]] for path in paths]
    detections = [Detections(r.boxes_xyxy, r.scores, class_of[r.classes]) for r in found]
    return detections, [doubts[f"images/{name_of[path]}"] for path in paths]


def right_labels(found: Detections, record: ImageRecord, iou: float = 0.5) -> int:
    """How many detections, best first, are of an object of their class that no other has taken."""
    overlap = np.where(
        found.classes[:, None] == record.classes, iou_matrix(found.boxes_xyxy, record.boxes_xyxy), 0
    )
    count = 0
    for row in range(len(found)):
        if overlap.shape[1] and overlap[row].max() >= iou:
            overlap[:, overlap[row].argmax()] = 0
            count += 1
    return count


def precision_table(
    records: Sequence[ImageRecord], labels: Sequence[Detections]
) -> list[dict[str, float]]:
    """Precision and recall over all boxes of what each least score leaves."""
    rows = []
    boxes = sum(len(record.classes) for record in records)
    for least in LEAST_SCORES:
        kept = [found.at(found.scores >= least) for found in labels]
        right = sum(map(right_labels, kept, records))
        labelled = sum(map(len, kept))
        rows.append(
            {
                "score": least,
                "labels": labelled,
                "precision": round(right / max(1, labelled), 4),
                "recall": round(right / max(1, boxes), 4),
            }
        )
    return rows


def review_figures(
    records: Sequence[ImageRecord], labels: Sequence[Detections], doubts: Sequence[float]
) -> dict[str, float]:
    """The share of all corrections in the fifth of the images that each order puts first."""
    right = np.array(list(map(right_labels, labels, records)))
    labelled = np.array(list(map(len, labels)))
    corrections = labelled + np.array([len(r.classes) for r in records]) - 2 * right
    orders = {
        "by_doubt": np.array(doubts),
        "by_number_of_labels": labelled,
        "at_best": corrections,
    }
    first = max(1, len(records) // 5)
    shares = {
        name: round(float(corrections[np.argsort(-key, kind="stable")[:first]].sum() / total), 4)
        for name, key in orders.items()
        if (total := corrections.sum())
    }
    return {"corrections": int(corrections.sum()), "images_first": first, **shares}


def measure(model: Path, data: Path, *, outputs: str, split: str) -> dict[str, Any]:
    """Scores a model by `eval` and by its labels."""
    session = open_model(
        model, outputs=outputs, engine="", device="cpu", threads=0, data=data, split=split
    )
    truth = open_folder(data, splits=(split,)).split(split)
    scored = score_split(session, truth, model=parent_of(model), data=str(data))
    labels, _ = labelled_as_detections(session, truth, model)
    figures = coco_figures(truth.records, truth.class_names, labels)
    review = labelled_as_detections(session, truth, model, LabelConfig(sheets=0))
    return {
        "model": to_plain(parent_of(model)),
        "data": str(data),
        "split": split,
        "images": len(truth.records),
        "settings": to_plain(AS_EVAL),
        "eval": {"ap": scored.ap, "ap50": scored.ap50},
        "labels": {"ap": figures.ap, "ap50": figures.ap50},
        "by_least_score": precision_table(truth.records, labels),
        "review": review_figures(truth.records, *review),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--outputs", default="", help="preset of another tool's ONNX file")
    parser.add_argument("--split", default="val")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    result = measure(args.model, args.data, outputs=args.outputs, split=args.split)
    write_text(args.out, json.dumps(result, indent=2) + "\n")
    for name in ("eval", "labels"):
        print(f"{name:7} AP {result[name]['ap']:.4f}  AP50 {result[name]['ap50']:.4f}")
    for row in result["by_least_score"]:
        print("  ".join(f"{key} {value:g}" for key, value in row.items()))
    print("corrections in the first fifth:", result["review"])


if __name__ == "__main__":
    main()
