"""YOLOX's ONNX files, known by the order of their convolutions."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from detkit.core.errors import ArtifactError
from detkit.importing.onnx_weights import read_convolutions
from detkit.importing.yolox_onnx import _order, parse_yolox_onnx
from detkit.nn.checkpoint import assign_strictly
from detkit.nn.decode import Predictor
from detkit.nn.detector import build_detector
from detkit.spec.zoo import ZOO
from fixtures.yolox import Published, image


class Folded(Published):
    """The same network, whose convolutions are noted in the order they run, norms folded."""

    order: list[tuple[Tensor, Tensor]]
    noted: list[tuple[Tensor, Tensor]]

    def conv(self, name: str, x: Tensor, out: int, k: int, stride: int = 1, g: int = 1) -> Tensor:
        y = super().conv(name, x, out, k, stride, g)
        read = self.state.__getitem__
        scale = read(f"{name}.bn.weight") / (read(f"{name}.bn.running_var") + 1e-3).sqrt()
        shift = read(f"{name}.bn.bias") - read(f"{name}.bn.running_mean") * scale
        weight = read(f"{name}.conv.weight") * scale[:, None, None, None]
        self.order.append((weight.float(), shift.float()))
        return y

    def predictor(self, name: str, x: Tensor, out: int, *, mean: float, std: float) -> Tensor:
        y = super().predictor(name, x, out, mean=mean, std=std)
        self.order.append(
            (self.state[f"{name}.weight"].float(), self.state[f"{name}.bias"].float())
        )
        return y


@pytest.fixture(scope="module")
def network() -> Folded:
    made = Folded("nano", 3)
    made.order = []
    with torch.no_grad():
        made.settle(image(64, 96).flip(1))
    made.noted = made.order[:]
    return made


def published_order(made: Folded) -> list[tuple[Tensor, Tensor]]:
    """The heads in the order of the published network: all of the classes, then of the boxes."""
    per_level = 12  # a 1x1, two depthwise pairs each, three predictors; see `Published.level`
    order = list(made.noted[: -3 * per_level])
    for _ in range(3):
        head = made.noted[len(order) :][:per_level]
        cls = [head[i] for i in (1, 2, 5, 6)]
        reg = [head[i] for i in (3, 4, 7, 8)]
        order += [head[0], *cls, head[9], *reg, head[10], head[11]]
    return order


def write_onnx(path: Path, convolutions: list[tuple[Tensor, Tensor]]) -> Path:
    """A file with these convolutions in a row, which is read and never run."""
    nodes, tensors = [], []
    for index, (weight, bias) in enumerate(convolutions):
        names = [f"x{index}", f"w{index}", f"b{index}"]
        nodes.append(helper.make_node("Conv", names, [f"x{index + 1}"]))
        for name, tensor in zip(names[1:], (weight, bias), strict=True):
            tensors.append(numpy_helper.from_array(tensor.numpy(), name))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in ("x0", f"x{len(convolutions)}")
    ]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)), path)
    return path


def test_the_network_of_a_file_without_batch_norms_is_the_one_it_was(
    network: Folded, tmp_path: Path
) -> None:
    convolutions = published_order(network)
    found = parse_yolox_onnx(read_convolutions(write_onnx(tmp_path / "n.onnx", convolutions)))
    model = build_detector(found.spec, "training")
    assign_strictly(model, found.tensors, where="here")
    rgb = image(64, 96)
    with torch.no_grad():
        boxes, scores = network(rgb.flip(1))
        (found_boxes,), (found_scores,) = Predictor(model.eval(), (64, 96))(rgb.float() / 255)
    assert (found.spec.num_classes, found.licence) == (3, "Apache-2.0")
    assert torch.allclose(found_scores.double(), scores, atol=2e-3)
    assert torch.allclose(found_boxes.double(), boxes, rtol=1e-2, atol=0.1)
    norm = found.tensors["backbone.stage2.blocks.conv1.bn.running_var"]
    assert float(norm.std()) > 0  # statistics, not ones


def test_other_convolutions_are_refused(network: Folded, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="its 3 convolutions are not those of yolox-nano"):
        parse_yolox_onnx(published_order(network)[:3])
    path = tmp_path / "cut.onnx"
    whole = write_onnx(tmp_path / "n.onnx", published_order(network)[:2]).read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ArtifactError, match="not an ONNX file, or is cut short"):
        read_convolutions(path)
    bare = helper.make_node("Conv", ["x", "w"], ["y"])
    graph = helper.make_graph([bare], "g", [], [])
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(ArtifactError, match="without a bias"):
        read_convolutions(path)


def test_every_convolution_has_its_place() -> None:
    for name, spec in ZOO.items():
        if spec.family == "yolox":
            model = build_detector(spec, "training")
            convs = {n for n, p in model.named_parameters() if p.ndim == 4}
            assert {f"{path}.weight" for path in _order(model)} == convs, name
