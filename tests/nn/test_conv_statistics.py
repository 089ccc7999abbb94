from __future__ import annotations

import dataclasses

import pytest

from detkit.nn.conv_statistics import conv_layers
from detkit.nn.detector import cost_of
from detkit.spec.zoo import ZOO, with_task


@pytest.mark.parametrize("name", ["yolo-nas-p", "yolo-nas-m"])
def test_layers_add_up_to_the_macs_of_the_network(name: str) -> None:
    spec = with_task(ZOO[name], 3, (64, 96))
    assert sum(layer.macs for layer in conv_layers(spec)) == cost_of(spec).macs


def test_levels_are_those_of_the_output_strides() -> None:
    spec = with_task(ZOO["yolo-nas-p"], 3, (64, 64))
    cells = {layer.level: layer.cells for layer in conv_layers(spec)}
    assert cells == {1: 32**2, 2: 16**2, 3: 8**2, 4: 4**2, 5: 2**2}


def test_deeper_stage_adds_layers_at_its_own_level_only() -> None:
    spec = with_task(ZOO["yolo-nas-p"], 3, (64, 64))
    stage = dataclasses.replace(spec.stages[2], blocks=3)
    deeper = dataclasses.replace(spec, stages=(*spec.stages[:2], stage, spec.stages[3]))
    known = {layer.path for layer in conv_layers(spec)}
    added = [layer for layer in conv_layers(deeper) if layer.path not in known]
    assert len(added) == 4  # two bottlenecks of two convolutions
    assert {layer.level for layer in added} == {4}
