"""A deployed detector in which an INT8 engine's rounding is computed: where quantizers sit.

One quantizer for each tensor, at the operator that makes it (a convolution with its activation, a
sum, the input), shared by all its consumers. Tensors that are concatenated share one range, and
what only moves or selects values (concatenation, max-pool, upsampling) needs none of its own. A
learned shortcut scale multiplies a tensor that is rounded already, so it is free in an engine.
Predictors, and all that follows them, stay in float.

The operators are read from a trace of the network, by their type. A group of convolutions may stay
in float; a tensor is rounded as long as one convolution that makes or takes it is INT8.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from detkit.core.errors import UsageError, did_you_mean
from detkit.nn.blocks import FusedConv, QuantGroup
from detkit.nn.detector import Detector, RawOutputs
from detkit.nn.quantization.fake_quant import QuantConv, Quantizer, ShuffledConv
from detkit.spec.quant import QuantSpec

MOVING_FUNCTIONS = (torch.cat, F.pixel_shuffle)
MOVING_MODULES = (nn.MaxPool2d, nn.Upsample, nn.Identity)


@dataclass(eq=False)
class Site:
    """A tensor that may be rounded: the node that makes it, and the convolutions around it."""

    node: fx.Node
    owner: str  # path of the module that made it; "" is the input
    convs: set[str] = field(default_factory=set)


class QuantizedDetector(Detector):
    """A deployed `Detector` with fake quantization; parameters keep their names and stay float."""

    def __init__(self, deployed: Detector, quant: QuantSpec) -> None:
        """Copies `deployed`. Ranges are unset: calibrate, or load a state dict."""
        nn.Module.__init__(self)
        self.spec, self.quant = deployed.spec, quant
        for name, part in deployed.named_children():
            setattr(self, name, copy.deepcopy(part))
        _replace(self, quant.weight_bits)
        self.plan = _plan(self)
        device = next(self.parameters()).device
        for owner in self.plan.range_owners:
            quantizer = Quantizer(learned=quant.learned_scales).to(device)
            self.get_submodule(owner).add_module("quantizer", quantizer)
        self.keep_in_float(quant.float_groups)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = fx.Interpreter(self, graph=self._graph).run(images)
        return out

    def outputs(self, images: Tensor) -> RawOutputs:
        """The two of `forward`; its maps are rounded on the way and not given."""
        return RawOutputs(*self(images))

    def in_float(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Runs the network without rounding its activations; what `forward` is made from."""
        return Detector.forward(self, images)

    def keep_in_float(self, groups: Iterable[str]) -> None:
        """Computes these groups in float and all others in INT8.

        Raises:
            UsageError: an unknown group.
        """
        kept = tuple(groups)
        for name in kept:
            if name not in self.plan.groups:
                raise UsageError(f"no group '{name}'", hint=did_you_mean(name, self.plan.groups))
        self.quant = dataclasses.replace(self.quant, float_groups=kept)
        in_float = {path for name in kept for path in self.plan.groups[name]}
        for path, conv in self.convolutions():
            conv.in_float = path in in_float
        self._graph = self.plan.graph(in_float)

    def convolutions(self) -> Iterator[tuple[str, QuantConv]]:
        """The convolutions that may be INT8, by path, in the order of the modules."""
        return ((p, m) for p, m in self.named_modules() if isinstance(m, QuantConv))

    def quantizers(self) -> Iterator[tuple[str, Quantizer]]:
        """All quantizers by path, each range once."""
        return ((p, m) for p, m in self.named_modules() if isinstance(m, Quantizer))


@dataclass(frozen=True)
class QuantPlan:
    """What the architecture fixes of quantization; all copies of a network share it.

    `ranges` maps a site to the first one of those it shares its range with, itself where alone.
    """

    trace: fx.Graph
    ranges: dict[Site, Site]
    groups: dict[str, tuple[str, ...]]  # of convolutions, by the path of their block

    def __deepcopy__(self, memo: object) -> QuantPlan:
        return self

    @property
    def range_owners(self) -> tuple[str, ...]:
        """The modules that own a quantizer; "" is the network itself, for its input."""
        return tuple(dict.fromkeys(first.owner for first in self.ranges.values()))

    def graph(self, in_float: set[str]) -> fx.Graph:
        """The network with a quantizer behind each tensor that an INT8 convolution touches."""
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        active = {site.node: site for site in self.ranges if site.convs - in_float}
        for node in self.trace.nodes:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            if node in active:
                path = f"{self.ranges[active[node]].owner}.quantizer".lstrip(".")
                copies[node] = graph.call_module(path, (copies[node],))
        return graph


def _plan(model: QuantizedDetector) -> QuantPlan:
    trace = _Tracer().trace(model)
    sites = _find_sites(trace, model)
    groups: dict[str, tuple[str, ...]] = {}
    for path, _ in model.convolutions():
        name = group_of(model, path)
        groups[name] = (*groups.get(name, ()), path)
    return QuantPlan(trace, _shared_ranges(trace, sites, model), groups)


@contextlib.contextmanager
def rounding_off(model: QuantizedDetector) -> Iterator[None]:
    """Runs the network in float within the block, to compare the calibrated one with."""
    kept = [conv.in_float for _, conv in model.convolutions()]
    _round(model, [True] * len(kept), passes_through=True)
    try:
        yield
    finally:
        _round(model, kept, passes_through=False)


def float_twin(model: QuantizedDetector) -> QuantizedDetector:
    """A copy of the network that rounds nothing."""
    twin = copy.deepcopy(model)
    _round(twin, [True] * len(list(twin.convolutions())), passes_through=True)
    return twin


def _round(model: QuantizedDetector, in_float: list[bool], *, passes_through: bool) -> None:
    for (_, conv), is_float in zip(model.convolutions(), in_float, strict=True):
        conv.in_float = is_float
    for _, quantizer in model.quantizers():
        quantizer.passes_through = passes_through


def group_of(model: nn.Module, path: str) -> str:
    """The innermost `QuantGroup` that a convolution belongs to."""
    parts = path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if isinstance(model.get_submodule(".".join(parts[:end])), QuantGroup):
            return ".".join(parts[:end])
    raise AssertionError(f"{path} is in no block")


def _replace(module: nn.Module, bits: int) -> None:
    """Replaces fused and transposed convolutions by those that can be quantized."""
    for name, child in module.named_children():
        if isinstance(child, FusedConv):
            setattr(module, name, QuantConv(child, bits=bits))
            continue
        if isinstance(child, nn.ConvTranspose2d):
            child = ShuffledConv(child)
            setattr(module, name, child)
        _replace(child, bits)


# --- reading the trace ---------------------------------------------------------------------------


class _Tracer(fx.Tracer):
    traced_func_name = "in_float"

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, QuantConv) or super().is_leaf_module(m, module_qualified_name)


def _find_sites(trace: fx.Graph, model: nn.Module) -> list[Site]:
    """Finds every tensor that a convolution which may be INT8 makes or takes."""
    sites = []
    for node in trace.nodes:
        if _is_made(node, model):
            site = Site(node, _owner(node))
            site.convs = {*_producers(node, model), *_consumers(node, model)}
            if site.convs:
                sites.append(site)
    return sites


def _is_conv(node: fx.Node, model: nn.Module) -> bool:
    return node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), QuantConv)


def _is_sum(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target is operator.add


def _is_made(node: fx.Node, model: nn.Module) -> bool:
    return node.op == "placeholder" or _is_sum(node) or _is_conv(node, model)


def _is_moved(node: fx.Node, model: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(model.get_submodule(str(node.target)), MOVING_MODULES)
    return node.op == "call_function" and node.target in MOVING_FUNCTIONS


def _is_scaled(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target is operator.mul


def _consumers(node: fx.Node, model: nn.Module) -> Iterator[str]:
    """Yields convolutions that take the tensor, through nodes that move, scale or add it."""
    for user in node.users:
        if _is_conv(user, model):
            yield str(user.target)
        elif _is_moved(user, model) or _is_scaled(user) or _is_sum(user):
            yield from _consumers(user, model)


def _producers(node: fx.Node, model: nn.Module) -> Iterator[str]:
    if _is_conv(node, model):
        yield str(node.target)
    elif _is_moved(node, model) or _is_scaled(node) or _is_sum(node):
        for source in node.all_input_nodes:
            yield from _producers(source, model)


def _owner(node: fx.Node) -> str:
    """The path of the module that makes the tensor: a convolution, or where a sum is computed."""
    if node.op == "placeholder":
        return ""
    if node.op == "call_module":
        return str(node.target)
    return str(list(node.meta["nn_module_stack"])[-1])


def _shared_ranges(trace: fx.Graph, sites: list[Site], model: nn.Module) -> dict[Site, Site]:
    """Maps each site to the first of those it shares its range with, itself where it is alone."""
    first = {site: site for site in sites}
    by_node = {site.node: site for site in sites}
    for node in trace.nodes:
        if node.op == "call_function" and node.target is torch.cat:
            members = [by_node[source] for source in _sources(node, by_node, model)]
            roots = [first[site] for site in members]
            lead = min(roots, key=sites.index, default=None)
            if lead is not None:
                first = {site: lead if root in roots else root for site, root in first.items()}
    return first


def _sources(node: fx.Node, made: dict[fx.Node, Site], model: nn.Module) -> Iterator[fx.Node]:
    """Yields the sites whose values pass through `node` unchanged."""
    for source in node.all_input_nodes:
        if source in made:
            yield source
        elif _is_moved(source, model):
            yield from _sources(source, made, model)
