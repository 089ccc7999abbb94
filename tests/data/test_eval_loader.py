from __future__ import annotations

from pathlib import Path

import numpy as np

from detkit.data.coco.folder import open_folder
from detkit.data.eval_loader import eval_batches
from detkit.data.image import letterbox, read_image
from detkit.spec.preprocess import Preprocess

PREPROCESS = Preprocess(size=(64, 96), fit=(64, 96))


def test_batches_hold_every_record_in_order(shapes: Path) -> None:
    records = open_folder(shapes).split("val").records
    batches = list(eval_batches(records, PREPROCESS, 2))
    assert [batch.images.shape for batch in batches] == [(n, 3, 64, 96) for n in (2, 2, 1)]
    assert [record for batch in batches for record in batch.records] == list(records)
    last, place = letterbox(read_image(records[4].path), PREPROCESS)
    assert batches[2].letterboxes == (place,)
    assert np.allclose(batches[2].images[0], last.transpose(2, 0, 1) / 255)


def test_no_records_are_no_batches() -> None:
    assert list(eval_batches([], PREPROCESS, 4)) == []
