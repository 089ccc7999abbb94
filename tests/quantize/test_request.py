"""What is opened to be quantized."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from detkit.config import QuantizeConfig
from detkit.core.errors import DataError
from detkit.data.coco.folder import open_folder
from detkit.data.synthetic.synth import synthesize
from detkit.engines import default_engine
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.quantize.request import QuantizeRequest, open_parent
from detkit.spec.class_scope import ClassScope


def test_a_model_of_some_classes_is_calibrated_on_data_with_more(
    checkpoint: Path, tmp_path: Path
) -> None:
    synthesize(tmp_path / "coco", images={"train": 8, "val": 4}, size=64, seed=1)
    names = open_folder(tmp_path / "coco", verify_pixels=False).split("val").class_names
    model, manifest = load_checkpoint(checkpoint)

    def opened(kind: str) -> tuple[str, ...]:
        told = dataclasses.replace(
            manifest, class_names=names[1:4], class_scope=ClassScope(kind=kind)
        )
        save_checkpoint(tmp_path / "m.safetensors", model, told)
        request = QuantizeRequest(
            checkpoint=tmp_path / "m.safetensors",
            out=tmp_path / "int8.safetensors",
            data=tmp_path / "coco",
            config=QuantizeConfig(target=default_engine().name, device="cpu"),
        )
        return open_parent(request).folder.split("val").class_names

    assert opened("some") == names[1:4]
    with pytest.raises(DataError, match="does not know the class"):
        opened("all")
