#!/usr/bin/env python
"""detkit from Python: look at images with a model and score it. A few seconds.

    python examples/python_api.py MODEL DATA

MODEL is any checkpoint or export, DATA a COCO folder with a split val. Writes detections.jpg.
"""

from __future__ import annotations

import sys

import numpy as np

import detkit


def main(path: str, data: str) -> None:
    model = detkit.load(path, threads=1)
    print(f"{path}: {len(model.classes)} classes at {model.image_size}, run by {model.engine}")

    folder = detkit.open_folder(data, splits=("val",))
    first = folder.split("val").records[0].path
    found = model.predict(first, conf=0.25)
    for box, score, name in found:
        print(f"{name} {score:.2f} {np.round(box, 1).tolist()}")
    found.save("detections.jpg")

    several = model.predict([first, found.image, np.zeros((480, 640, 3), np.uint8)])
    print("detections in three images:", [len(result) for result in several])

    report = detkit.evaluate(model, folder)
    print(f"AP {report.ap:.4f} on {report.images} images")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except detkit.DetkitError as error:
        sys.exit(f"error: {error}")
