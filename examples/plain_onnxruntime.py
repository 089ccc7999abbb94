"""Detects with a file of `detkit export` by onnxruntime, numpy and Pillow alone, as `predict` does.

    python examples/plain_onnxruntime.py MODEL.onnx IMAGE... [--conf 0.25]

Prints a line for each detection: image, class, score, and left, top, right, bottom in its pixels.
Takes files with raw outputs and float input, as `detkit export` writes them by default: letterbox,
then boxes and scores, then NMS of each class.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

MOST_CANDIDATES, MOST_DETECTIONS, MOST_IOU = 1024, 300, 0.7
GRAY = (114, 114, 114)


def letterboxed(image: Image.Image, size: list[int], fit: list[int]) -> tuple[Any, Any, Any]:
    """The network's input (1, 3, H, W), and scale and shift (x, y, x, y) from image to input."""
    height, width = size
    factor = min(fit[0] / image.height, fit[1] / image.width)
    inner = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    padded = Image.new("RGB", (width, height), GRAY)
    padded.paste(image.resize(inner, Image.Resampling.BILINEAR), (left, top))
    pixels = np.asarray(padded, np.float32).transpose(2, 0, 1)[None] / 255
    scale = np.array([inner[0] / image.width, inner[1] / image.height] * 2)
    return pixels, scale, np.array([left, top] * 2)


def kept(boxes: Any, scores: Any, conf: float) -> Iterator[tuple[int, int]]:
    """The (anchor, class) pairs that NMS of each class leaves, the best first."""
    pairs = np.argwhere(scores > conf)
    pairs = pairs[np.argsort(-scores[tuple(pairs.T)], kind="stable")][:MOST_CANDIDATES]
    found: list[tuple[int, int]] = []
    for anchor, label in pairs:
        others = boxes[[a for a, other in found if other == label]]
        sides = np.minimum(boxes[anchor, 2:], others[:, 2:]) - np.maximum(
            boxes[anchor, :2], others[:, :2]
        )
        shared = sides.clip(0).prod(axis=1)
        area = (boxes[anchor, 2:] - boxes[anchor, :2]).prod()
        areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
        if len(found) < MOST_DETECTIONS and (shared <= MOST_IOU * (area + areas - shared)).all():
            found.append((anchor, label))
            yield anchor, label


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--conf", type=float, default=0.25, help="least score")
    args = parser.parse_args()
    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    names, size = (ast.literal_eval(metadata[key]) for key in ("names", "imgsz"))
    fit = json.loads(metadata["detkit"])["preprocess"]["fit"]  # of networks made here it is `size`
    for path in args.images:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        pixels, scale, shift = letterboxed(image, size, fit)
        (boxes,), (scores,) = session.run(["boxes", "scores"], {"images": pixels})
        limits = [image.width, image.height] * 2
        for anchor, label in kept(boxes, scores, args.conf):
            corners = np.clip((boxes[anchor] - shift) / scale, 0, limits)
            if (corners[:2] == corners[2:]).any():  # beside the image
                continue
            score, place = scores[anchor, label], " ".join(f"{side:.2f}" for side in corners)
            print(f"{path}\t{names[label]}\t{score:.4f}\t{place}")


if __name__ == "__main__":
    main()
