"""What is shipped scores what was trained: AP of every export by every engine that runs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from detkit.artifact import parent_of
from detkit.boxes import PREDICT_NMS
from detkit.data.coco import CocoSplit, open_folder
from detkit.data.draw import save_picture
from detkit.data.synth import draw_pictures
from detkit.data.write import LabelledImage, write_split
from detkit.evaluate import evaluate
from detkit.export import EXPORTERS, ExportOptions, load_exporter
from detkit.predict import Prediction, predict
from detkit.runtime import RUNTIMES_OF, open_session

FORMS = [(target, runtime) for target in EXPORTERS for runtime in RUNTIMES_OF[target]]
NUM_PICTURES = 12


def ap_of(path: Path, split: CocoSplit, *, runtime: str = "") -> float:
    session = open_session(path, runtime=runtime)
    found = evaluate(session, split, model=parent_of(path), data="labelled")
    assert found.ap is not None
    return found.ap


@pytest.fixture(scope="module")
def split(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    """Pictures labelled with some of the boxes that the checkpoint sees, moved a little.

    So it is neither right nor wrong everywhere, and its AP depends on every score and box.
    """
    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    for number, picture in enumerate(draw_pictures(NUM_PICTURES, size=96)):
        save_picture(folder / "images" / f"{number}.png", picture)
    images = []
    for seen in predict(open_session(checkpoint), sorted(folder.rglob("*.png")), PREDICT_NMS):
        assert isinstance(seen, Prediction)
        kept = rng.random(len(seen.detections)) < 0.3
        boxes = seen.detections.boxes_xyxy[kept]
        moved = np.clip(boxes + rng.normal(0, 3, boxes.shape), 0, 96).astype(np.float32)
        real = (moved[:, 2:] - moved[:, :2] > 2).all(axis=1)
        classes = seen.detections.classes[kept][real]
        name = seen.path.name
        images.append(
            LabelledImage(
                file_name=name, width=96, height=96, boxes_xyxy=moved[real], classes=classes
            )
        )
    write_split(folder, "val", images, ("a", "b", "c"))
    return open_folder(folder, splits=("val",)).split("val")


@pytest.mark.parametrize(("target", "runtime"), FORMS)
def test_ap_stays_within_a_thousandth_of_torch(checkpoint, split, tmp_path, target, runtime):
    if importlib.util.find_spec(runtime) is None or importlib.util.find_spec(target) is None:
        pytest.skip(f"{target} or {runtime} is not installed here")
    path = tmp_path / f"m{EXPORTERS[target].suffix}"
    load_exporter(target)(checkpoint, path, ExportOptions())
    wanted = ap_of(checkpoint, split)
    assert 0.1 < wanted < 0.9
    assert abs(ap_of(path, split, runtime=runtime) - wanted) <= 1e-3
