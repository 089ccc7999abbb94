"""What a split holds, as a digest: the same wherever the folder lies and whatever its files say."""

from __future__ import annotations

import hashlib

import numpy as np

from detkit.data.coco.folder import CocoSplit


def content_digest(split: CocoSplit) -> str:
    """16 hex digits over the images in order, byte for byte, and their boxes, classes by name.

    Names of files, ids, and the order of the classes do not count; images whose pixels were not
    read count by their size alone.
    """
    names = np.array(split.class_names)
    total = hashlib.sha256()
    for record in split.records:
        size = f"{record.sha256} {record.width}x{record.height}"
        known = "all" if record.known is None else "\n".join(sorted(names[record.known].tolist()))
        for text in (size, "\n".join(names[record.classes].tolist()), known):
            total.update(f"{len(text)} {text}".encode())
        for array in (record.boxes_xyxy, record.crowd, record.area, record.scores):
            total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]
