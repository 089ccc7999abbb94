"""Q/DQ graphs in the form of each engine: what is in them, and that their values are torch's."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import GraphProto, ModelProto, NodeProto, numpy_helper
from torch import Tensor, nn

from detkit.artifact.artifact import read_manifest
from detkit.core.errors import UsageError
from detkit.data.synthetic.synth import draw_images
from detkit.engines import int8_engines
from detkit.engines.coverage import coverage
from detkit.engines.int8_graph import for_engine
from detkit.engines.torch.session import TorchSession
from detkit.export.graph import build_graph, simplify, trace, write_onnx
from detkit.nn.blocks import ACTIVATIONS, FusedConv
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.quantization.fake_quant import (
    QuantConv,
    Quantizer,
    ShuffledConv,
    quantize_weight,
    weight_scale,
)
from detkit.nn.quantization.quantized import QuantizedDetector, float_twin
from detkit.runtime.session import SessionOptions

TARGETS = int8_engines()


def run(model: ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    """By ONNX Runtime without any optimisation: node by node, as the file says."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    engine = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    found: list[np.ndarray] = engine.run(None, feed)
    return found


def constants(graph: GraphProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def of_type(model: ModelProto, *op_types: str) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type in op_types]


def makers(model: ModelProto) -> dict[str, NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


# --- one layer -----------------------------------------------------------------------------------


class Layer(nn.Module):
    """Rounded input -> convolution -> rounded output, and a view of it as second output."""

    def __init__(
        self, activation: str = "relu", *, kernel: int = 3, stride: int = 1, bits: int = 8
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(8, 6, kernel, kernel, generator=generator) / kernel
        act = ACTIVATIONS[activation]()
        source = FusedConv(weight, torch.randn(8, generator=generator), stride=stride, act=act)
        self.before, self.after = Quantizer(), Quantizer()
        self.conv = QuantConv(source, bits=bits)
        self.before.set_range(-1.0, 2.0)
        self.after.set_range(0.0, 6.0)
        if activation != "relu":
            self.after.set_range(-0.3, 6.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.after(self.conv(self.before(x)))
        return y, y.flatten(1)


def traced(network: nn.Module, images: Tensor) -> ModelProto:
    with torch.no_grad():
        return simplify(trace(network.eval(), images, "torchscript"))


def images(count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 6, 9, 9, generator=generator) * 3.4 - 1.2


KINDS = [(3, 1), (3, 2), (1, 1)]


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("kernel", "stride"), KINDS)
def test_a_layer_is_that_of_torch_within_one_level(target: str, kernel: int, stride: int) -> None:
    layer, x = Layer(kernel=kernel, stride=stride), images()
    with torch.no_grad():
        wanted = layer(x)[0].numpy()
    found = run(for_engine(traced(layer, x), target), images=x.numpy())[0]
    level = 6 / 255
    off = np.abs(found - wanted) / level
    assert off.max() < 1.01
    assert (off > 0.01).mean() < 0.01  # sums that lie just between two levels


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("kernel", "stride"), KINDS)
def test_a_layer_for_tensorrt_differs_by_its_coarser_levels_alone(
    kernel: int, stride: int, activation: str
) -> None:
    layer, x = Layer(activation, kernel=kernel, stride=stride), images()
    found = run(for_engine(traced(layer, x), "tensorrt"), images=x.numpy())[0]
    with torch.no_grad():
        rounded = (x / (2 / 127)).round().clamp(-128, 127) * (2 / 127)
        wanted = layer.conv(rounded).clamp(max=6.0).numpy()
    assert np.abs(found - wanted).max() <= 0.5 * 6 / 127 * 1.001


@pytest.mark.parametrize("activation", ["silu", "hardswish"])
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_a_layer_with_a_smooth_activation_stays_within_a_few_levels(
    activation: str, target: str
) -> None:
    layer, x = Layer(activation), images()
    with torch.no_grad():
        wanted = layer(x)[0].numpy()
    found = run(for_engine(traced(layer, x), target), images=x.numpy())[0]
    off = np.abs(found - wanted) / (6.3 / 255)
    assert off.max() < (4 if target == "onnxruntime" else 1.01)  # which rounds before and after
    assert off.mean() < (1 if target == "onnxruntime" else 0.01)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("bits", "last"), [(8, 127), (7, 63)])
def test_weights_become_int8_with_the_codes_of_torch(target: str, bits: int, last: int) -> None:
    layer = Layer(bits=bits)
    model = for_engine(traced(layer, images()), target)
    (conv,) = of_type(model, "Conv")
    dequantize, held = makers(model)[conv.input[1]], constants(model.graph)
    assert dequantize.op_type == "DequantizeLinear"
    codes, scale, zero = (held[name] for name in dequantize.input)
    assert codes.dtype == zero.dtype == np.int8
    assert not zero.any()
    axes = [a.i for a in dequantize.attribute if a.name == "axis"]
    assert axes == [0]
    assert np.abs(codes).max(axis=(1, 2, 3)).tolist() == [last] * 8
    weight = layer.conv.conv.weight.detach()
    wanted = quantize_weight(weight, bits) / weight_scale(weight, bits)[:, None, None, None]
    assert np.array_equal(codes, wanted.round().numpy().astype(np.int8))
    assert scale == pytest.approx(weight_scale(weight, bits).numpy())


def test_biases_are_integers_in_steps_of_input_times_weight() -> None:
    """As engines add them; ONNX Runtime 1.18, 1.20 and 1.22 fuse no convolution with float ones."""
    layer = Layer()
    model = for_engine(traced(layer, images()), "onnxruntime")
    (conv,) = of_type(model, "Conv")
    held, made_by = constants(model.graph), makers(model)
    source, weight, bias = (made_by[name] for name in conv.input)
    codes, scale = (held[name] for name in bias.input)
    assert bias.op_type == "DequantizeLinear"
    assert codes.dtype == np.int32
    assert scale == pytest.approx(held[source.input[1]] * held[weight.input[1]])
    assert layer.conv.conv.bias is not None
    off = codes * scale - layer.conv.conv.bias.detach().numpy()
    assert np.abs(off / scale).max() <= 0.51


def test_a_bias_that_no_integer_holds_stays_a_float() -> None:
    layer = Layer()
    with torch.no_grad():
        assert layer.conv.conv.bias is not None
        layer.conv.conv.bias[0] = 1e9
    model = for_engine(traced(layer, images()), "onnxruntime")
    (conv,) = of_type(model, "Conv")
    assert constants(model.graph)[conv.input[2]].dtype == np.float32


class Upsampling(nn.Module):
    """A transposed convolution as INT8 engines run it, its tensors rounded."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.after = Quantizer(), Quantizer()
        self.up = ShuffledConv(nn.ConvTranspose2d(6, 5, 2, 2))
        assert isinstance(self.up.point, FusedConv)
        self.up.point = QuantConv(self.up.point, bits=8)
        self.before.set_range(-1.0, 2.0)
        self.after.set_range(-2.0, 2.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        point = self.after(self.up.point(self.before(x)))
        y = nn.functional.pixel_shuffle(point, 2)
        return y, y.flatten(1)


@pytest.mark.parametrize("in_float", [False, True])
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_an_upsampling_is_that_of_torch_within_one_level(target: str, in_float: bool) -> None:
    layer, x = Upsampling(), images()
    assert isinstance(layer.up.point, QuantConv)
    layer.up.point.in_float = in_float
    with torch.no_grad():
        wanted = layer(x)[0].numpy()
    off = np.abs(run(for_engine(traced(layer, x), target), images=x.numpy())[0] - wanted) / (
        4 / 255
    )
    assert off.max() < 1.01
    assert (off > 0.01).mean() < 0.01


def test_no_graph_is_changed_in_place() -> None:
    raw = traced(Layer(), images())
    before = raw.SerializeToString()
    for target in TARGETS:
        for_engine(raw, target)
    assert raw.SerializeToString() == before


def test_an_unknown_target_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="unknown target 'onnxruntim'"):
        for_engine(ModelProto(), "onnxruntim")


# --- graphs made by hand -------------------------------------------------------------------------


def parsed(body: str, *, constants: str = "") -> ModelProto:
    """A graph from x (1,4,4,4) to y; s, z and t are the scale, zero point and another scale."""
    model = onnx.parser.parse_model(f"""
<ir_version: 8, opset_import: ["" : 17]>
hand (float[1,4,4,4] x) => (float[a,b,c,d] y)
<float s = {{0.02}}, uint8 z = {{50}}, float t = {{0.01}}, uint8 zero = {{0}} {constants}>
{{
  x_codes = QuantizeLinear (x, s, z)
  x_rounded = DequantizeLinear (x_codes, s, z)
  {body}
}}
""")
    onnx.checker.check_model(model)
    return model


def some() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1.2, 4.5, (1, 4, 4, 4)).astype(np.float32)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("order", ["x_rounded, alpha", "alpha, x_rounded"])
def test_a_learned_shortcut_scale_is_a_scale_of_the_same_integers(target: str, order: str) -> None:
    model = parsed(
        f"""scaled = Mul ({order})
        y = Add (scaled, x_rounded)""",
        constants=", float[1] alpha = {0.7}",
    )
    folded = for_engine(model, target)
    assert Counter(node.op_type for node in folded.graph.node) == {
        "QuantizeLinear": 1,
        "DequantizeLinear": 2,
        "Add": 1,
    }
    scales = [constants(folded.graph)[n.input[1]] for n in of_type(folded, "DequantizeLinear")]
    assert all(scale.shape == () for scale in scales)
    assert min(scales) / max(scales) == pytest.approx(0.7)
    if target != "tensorrt":
        assert np.allclose(run(folded, x=some())[0], run(model, x=some())[0], atol=1e-6)


@pytest.mark.parametrize("alpha", [-0.5, 0.0])
def test_a_scale_that_is_not_positive_stays_a_product(alpha: float) -> None:
    model = parsed("y = Mul (x_rounded, alpha)", constants=f", float[1] alpha = {{{alpha}}}")
    for target in TARGETS:
        assert len(of_type(for_engine(model, target), "Mul")) == 1


def test_a_product_with_a_tensor_of_numbers_stays() -> None:
    model = parsed("y = Mul (x_rounded, v)", constants=", float[4] v = {1.0, 2.0, 3.0, 4.0}")
    assert len(of_type(for_engine(model, "openvino"), "Mul")) == 1


MOVERS = {
    "Concat": "moved = Concat <axis = 1> (x_rounded, x_rounded)",
    "MaxPool": "moved = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x_rounded)",
    "DepthToSpace": 'moved = DepthToSpace <blocksize = 2, mode = "CRD"> (x_rounded)',
}


@pytest.mark.parametrize("mover", MOVERS)
def test_what_moves_values_is_followed_by_a_pair_that_changes_nothing(mover: str) -> None:
    model = parsed(f"{MOVERS[mover]}\n y = Relu (moved)")
    changed = for_engine(model, "openvino")
    (node,) = of_type(changed, mover)
    after = [n for n in changed.graph.node if node.output[0] in n.input]
    assert [n.op_type for n in after] == ["QuantizeLinear"]
    assert list(after[0].input[1:]) == list(of_type(changed, "QuantizeLinear")[0].input[1:])
    assert np.array_equal(run(changed, x=some())[0], run(model, x=some())[0])


def test_nothing_is_rounded_behind_a_concatenation_of_two_ranges() -> None:
    model = parsed("""
  other_codes = QuantizeLinear (x, t, zero)
  other = DequantizeLinear (other_codes, t, zero)
  moved = Concat <axis = 1> (x_rounded, other)
  y = Relu (moved)""")
    assert len(of_type(for_engine(model, "openvino"), "QuantizeLinear")) == 2


def test_a_relu_in_a_signed_group_gets_zero_point_0_for_onnxruntime() -> None:
    model = parsed("""
  positive = Relu (x)
  codes = QuantizeLinear (positive, s, z)
  rounded = DequantizeLinear (codes, s, z)
  y = Concat <axis = 1> (x_rounded, rounded)""")
    changed = for_engine(model, "onnxruntime")
    held = constants(changed.graph)
    (relu,) = of_type(changed, "Relu")
    (quantize,) = [n for n in of_type(changed, "QuantizeLinear") if n.input[0] == relu.output[0]]
    scale, zero = (held[name] for name in quantize.input[1:])
    assert zero == 0
    assert float(scale) * 255 == pytest.approx(205 * 0.02)  # the upper bound is the same
    unchanged = [n for n in of_type(changed, "QuantizeLinear") if n is not quantize]
    assert {int(held[n.input[2]]) for n in unchanged} == {50}
    assert np.abs(run(changed, x=some())[0] - run(model, x=some())[0]).max() <= 0.02
    kept = for_engine(model, "openvino")
    assert {int(constants(kept.graph)[n.input[2]]) for n in of_type(kept, "QuantizeLinear")} == {50}


# --- a whole detector ----------------------------------------------------------------------------

Graphs = Callable[..., ModelProto]


@pytest.fixture(scope="module")
def raw(int8: Callable[..., Path]) -> Graphs:
    """`raw(activation, uint8=...)`: the traced network before it is made for a target."""

    @functools.cache
    def build(activation: str = "relu", *, uint8: bool = False) -> ModelProto:
        model, manifest = load_checkpoint(int8(activation))
        return build_graph(model.eval(), manifest, uint8=uint8)

    return build


def written(model: ModelProto, int8: Callable[..., Path], path: Path) -> Path:
    write_onnx(model, dataclasses.replace(read_manifest(int8()), kind="onnx"), path)
    return path


def random_images(count: int = 6) -> np.ndarray:
    pixels = np.stack(draw_images(count, size=64)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels).astype(np.float32) / 255


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_onnxruntime_runs_all_convolutions_but_the_predictors_in_int8(
    int8: Callable[..., Path], raw: Graphs, tmp_path: Path, activation: str
) -> None:
    path = written(for_engine(raw(activation), "onnxruntime"), int8, tmp_path / "m.onnx")
    found = coverage(path, "onnxruntime")
    assert (found.int8, found.total) == (70, 76)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_openvino_does_too(
    int8: Callable[..., Path], raw: Graphs, tmp_path: Path, activation: str
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed here")
    path = written(for_engine(raw(activation), "openvino"), int8, tmp_path / "m.onnx")
    found = coverage(path, "openvino")
    assert (found.int8, found.total) == (70, 76)


def test_every_weight_but_those_of_predictors_is_int8_and_the_file_a_quarter(
    int8: Callable[..., Path], raw: Graphs, tmp_path: Path
) -> None:
    model = for_engine(raw(), "onnxruntime")
    held, made = constants(model.graph), makers(model)
    in_float = [conv for conv in of_type(model, "Conv") if conv.input[1] in held]
    assert len(in_float) == 6
    codes = [held[made[c.input[1]].input[0]] for c in of_type(model, "Conv") if c not in in_float]
    assert {array.dtype for array in codes} == {np.dtype(np.int8)}
    assert min(int(array.min()) for array in codes) == -127
    raw_size = sum(len(tensor.raw_data) for tensor in raw().graph.initializer)
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    assert size < 0.35 * raw_size


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_tensorrt_finds_what_its_rules_want(raw: Graphs, activation: str) -> None:
    """TensorRT 10 and 11: int8, symmetric, constant scales; where a weight is, so is the input."""
    model = for_engine(raw(activation), "tensorrt")
    held, made = constants(model.graph), makers(model)
    for node in of_type(model, "QuantizeLinear", "DequantizeLinear"):
        scale, zero = held[node.input[1]], held[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        assert np.isfinite(scale).all()
        assert (scale > 0).all()
        assert scale.dtype == np.float32
        is_weight = node.input[0] in held
        assert scale.ndim == (1 if is_weight else 0)
    assert not any(array.dtype in (np.uint8, np.int32) for array in held.values())
    for conv in of_type(model, "Conv"):
        sources = [made.get(name) for name in conv.input[:2]]
        rounded = [
            source is not None and source.op_type == "DequantizeLinear" for source in sources
        ]
        assert rounded[1] <= rounded[0]
        assert held[conv.input[2]].dtype == np.float32
    for concat in of_type(model, "Concat"):
        parts = [made[name] for name in concat.input if name not in held]
        scales = {s.input[1] for s in parts if s.op_type == "DequantizeLinear"}
        assert len(scales) <= 1, concat.name


@pytest.mark.parametrize("target", TARGETS)
def test_no_product_and_no_transposed_convolution_is_left_between_roundings(
    raw: Graphs, target: str
) -> None:
    model = for_engine(raw(), target)
    assert of_type(model, "ConvTranspose") == []
    made = makers(model)
    for node in of_type(model, "Mul"):
        assert not any(
            name in made and made[name].op_type == "DequantizeLinear" for name in node.input
        )


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_outputs_stray_from_torch_by_less_than_int8_from_float(
    int8: Callable[..., Path], raw: Graphs, target: str, activation: str
) -> None:
    model, manifest = load_checkpoint(int8(activation))
    assert isinstance(model, QuantizedDetector)
    rounded = TorchSession(model.eval(), manifest, SessionOptions()).run(random_images())
    exact = TorchSession(float_twin(model), manifest, SessionOptions()).run(random_images())
    found = run(for_engine(raw(activation), target), images=random_images())
    for ours, theirs, unrounded in zip(rounded, found, exact, strict=True):
        strays = np.sqrt(np.mean((theirs - ours) ** 2))
        noise = np.sqrt(np.mean((unrounded - ours) ** 2))
        assert strays < (noise if activation == "relu" else 2 * noise)


def test_for_tensorrt_outputs_stay_near_float(int8: Callable[..., Path], raw: Graphs) -> None:
    model, manifest = load_checkpoint(int8())
    assert isinstance(model, QuantizedDetector)
    exact = TorchSession(float_twin(model), manifest, SessionOptions()).run(random_images())[1]
    found = run(for_engine(raw(), "tensorrt"), images=random_images())[1]
    assert np.sqrt(np.mean((found - exact) ** 2)) < 0.15 * exact.std()


def test_bytes_go_into_the_first_convolution_as_they_are(raw: Graphs) -> None:
    model = for_engine(raw(uint8=True), "onnxruntime")
    made = makers(model)
    first = of_type(model, "Conv")[0]
    dequantize = made[first.input[0]]
    transpose = made[dequantize.input[0]]
    assert (dequantize.op_type, transpose.op_type) == ("DequantizeLinear", "Transpose")
    assert list(transpose.input) == ["images"]
    pixels = np.ascontiguousarray(
        (random_images() * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    )
    from_bytes = run(model, images=pixels)
    from_floats = run(for_engine(raw(), "onnxruntime"), images=random_images())
    for ours, theirs in zip(from_bytes, from_floats, strict=True):
        assert np.array_equal(ours, theirs)


def test_the_batch_may_be_of_any_size(raw: Graphs) -> None:
    model = for_engine(raw(), "onnxruntime")
    boxes, scores = run(model, images=random_images(3))
    last_boxes, last_scores = run(model, images=random_images(3)[2:])
    assert np.abs(boxes[2:] - last_boxes).mean() < 0.05
    assert np.abs(scores[2:] - last_scores).mean() < 1e-3
