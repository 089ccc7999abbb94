"""What a network's latency is explained by: its convolutions, summed up by where they are.

Features are physical: multiply-adds, values moved, weights read, calls. A rate is fitted for each;
the rates of a kernel size and of a resolution differ from the network's own by what `fit` allows.
"""

from __future__ import annotations

from collections import defaultdict

from detkit.nn.conv_statistics import ConvLayer, conv_layers
from detkit.spec.arch import ArchSpec

LANES = 16  # channels that a vector unit takes at a time
FREE = ("network", "macs", "moved")  # the rates that hardly feel the penalty


def features_of(spec: ArchSpec) -> dict[str, float]:
    """Sums up the features of a network: multiply-adds in billions, values in millions."""
    found: dict[str, float] = defaultdict(float)
    for layer in conv_layers(spec):
        for name, value in _of_layer(layer):
            found[name] += value
    return {"network": 1.0, **found}


def _of_layer(layer: ConvLayer) -> list[tuple[str, float]]:
    giga, mega = layer.macs / 1e9, layer.moved / 1e6
    kind = "wide" if layer.kernel_area > 1 else "point"
    padded = -(-layer.c_in // LANES) * -(-layer.c_out // LANES) * LANES**2
    return [
        ("macs", giga),
        ("moved", mega),
        ("weights", layer.weights / 1e6),
        ("padding", giga * (padded / (layer.c_in * layer.c_out) - 1)),
        ("calls", 0.01),
        (f"macs_{kind}_{layer.level}", giga),
        (f"moved_{layer.level}", mega),
    ]
