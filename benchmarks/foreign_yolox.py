"""AP of `detkit eval` for a YOLOX file, beside that of a decoding written here from the paper.

    python benchmarks/foreign_yolox.py yolox_nano.onnx DATA [--split val] -o results/NAME.json

YOLOX (arXiv 2107.08430): a cell at column x, row y of stride s gives (dx, dy, log w, log h) in
cells, an objectness and a probability for each class; the centre is (x + dx, y + dy) s, a side is
exp(.) s, a score is objectness times probability. The image stands at the top left, BGR 0..255,
padded by 114. Nothing of detkit is used on this side but its thresholds and the names of COCO's
classes; pycocotools scores it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from peers import CocoScores, coco_figures, read_truth
from PIL import Image
from rows import Row, add_out_argument, show_rows

from detkit.core.boxes import EVAL_NMS
from detkit.spec.coco_names import COCO_NAMES

STRIDES, PADDING = (8, 16, 32), 114
Floats = npt.NDArray[np.float32]


def fed(image: Image.Image, size: int) -> tuple[Floats, float]:
    """The input (1, 3, size, size) of an image, and the scale that it was resized by."""
    scale = min(size / image.width, size / image.height)
    resized = image.resize(
        (int(image.width * scale), int(image.height * scale)), Image.Resampling.BILINEAR
    )
    canvas = np.full((size, size, 3), PADDING, np.float32)
    canvas[: resized.height, : resized.width] = np.asarray(resized)[..., ::-1]
    return canvas.transpose(2, 0, 1)[None], scale


def decoded(raw: Floats, size: int) -> tuple[Floats, Floats]:
    """Corners (A, 4) in input pixels and scores (A, C) of an image's output (A, 5 + C)."""
    columns, rows, strides = [], [], []
    for stride in STRIDES:
        cells = size // stride
        columns += list(range(cells)) * cells
        rows += [row for row in range(cells) for _ in range(cells)]
        strides += [stride] * cells**2
    s = np.array(strides)
    x, y = (raw[:, 0] + columns) * s, (raw[:, 1] + rows) * s
    w, h = np.exp(raw[:, 2]) * s, np.exp(raw[:, 3]) * s
    corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
    return corners, raw[:, 4:5] * raw[:, 5:]


def kept(boxes: Floats, scores: Floats, iou: float) -> list[int]:
    """Greedy NMS of one class: indices, best first."""
    order = list(np.argsort(-scores, kind="stable"))
    chosen = []
    while order:
        best = order.pop(0)
        chosen.append(int(best))
        rest = boxes[order]
        sides = np.minimum(boxes[best, 2:], rest[:, 2:]) - np.maximum(boxes[best, :2], rest[:, :2])
        overlap = np.clip(sides, 0, None).prod(axis=1)
        areas = (rest[:, 2:] - rest[:, :2]).prod(axis=1)
        union = (boxes[best, 2:] - boxes[best, :2]).prod() + areas - overlap
        order = [index for index, far in zip(order, overlap <= iou * union, strict=True) if far]
    return chosen


def detections(model: Path, data: Path, split: str) -> Iterator[dict[str, Any]]:
    """Every detection of a split as COCO results."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,), truth = session.get_inputs(), read_truth(data, split)
    ids = {category["name"]: category["id"] for category in truth["categories"]}
    categories = [ids[name] for name in COCO_NAMES]
    for entry in truth["images"]:
        image = Image.open(data / "images" / entry["file_name"]).convert("RGB")
        pixels, scale = fed(image, given.shape[2])
        boxes, scores = decoded(session.run(None, {given.name: pixels})[0][0], given.shape[2])
        found = []
        for label, category in enumerate(categories):
            able = np.flatnonzero(scores[:, label] > EVAL_NMS.score_threshold)
            for index in able[kept(boxes[able], scores[able, label], EVAL_NMS.iou_threshold)]:
                found.append((float(scores[index, label]), category, boxes[index] / scale))
        found.sort(key=lambda one: -one[0])
        for score, category, box in found[: EVAL_NMS.max_detections]:
            x1, y1, x2, y2 = np.clip(box, 0, [image.width, image.height] * 2).tolist()
            shown = {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": score, "category_id": category}
            yield {"image_id": entry["id"], **shown}


def of_detkit(model: Path, data: Path, split: str) -> CocoScores:
    """The figures that `detkit eval` prints."""
    command = [sys.executable, "-m", "detkit", "eval", str(model), str(data), "--outputs", "yolox"]
    more = ["--split", split, "--threads", "1", "--json"]
    done = subprocess.run([*command, *more], check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    return CocoScores(report["ap"], report["ap50"], {})


def rows(model: Path, data: Path, split: str) -> Iterator[Row]:
    """The figures of either side, and their difference."""
    ours = of_detkit(model, data, split)
    theirs = coco_figures(data, split, list(detections(model, data, split)))
    facts = {"model": model.name, "split": split}
    yield facts | {"by": "detkit eval", "ap": round(ours.ap, 5), "ap50": round(ours.ap50, 5)}
    yield facts | {"by": "the paper", "ap": round(theirs.ap, 5), "ap50": round(theirs.ap50, 5)}
    yield facts | {"by": "difference", "ap": round(abs(ours.ap - theirs.ap), 5)}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="val")
    add_out_argument(parser)
    asked = parser.parse_args()
    found = rows(asked.model, asked.data, asked.split)
    show_rows(found, "YOLOX decoded by detkit and from the paper", asked.out)


if __name__ == "__main__":
    main()
