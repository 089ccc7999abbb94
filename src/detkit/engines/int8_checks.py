"""What an INT8 graph must show before it is kept: like the checkpoint, really INT8, and faster.

A Q/DQ graph that an engine does not recognise runs slower than float; such a graph is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from detkit.artifact.artifact import Manifest
from detkit.artifact.writing import temporary_folder
from detkit.core.boxes import Array
from detkit.core.errors import GateError
from detkit.engines import ENGINES
from detkit.engines.coverage import Coverage, coverage
from detkit.engines.opening import open_session
from detkit.engines.torch.session import TorchSession
from detkit.export.graph import build_graph, write_onnx
from detkit.machine.fingerprint import usable_cpus
from detkit.nn.quantization.quantized import QuantizedDetector, float_twin
from detkit.report import Difference
from detkit.runtime.comparison import compare_raw
from detkit.runtime.session import Session, SessionOptions, takes_pixels
from detkit.timing.measure import cycle_inputs
from detkit.timing.side_by_side import SideBySide, time_side_by_side

LEAST_SCORE = 0.25  # of boxes that are compared
FLOOR = Difference(score=0.02, box_px=1.0, images=0, source="")


@dataclass(frozen=True)
class Speed:
    """How an INT8 graph runs here: beside the same network in float, which is timed first."""

    coverage: Coverage
    timed: SideBySide


def check_rounding(
    model: QuantizedDetector,
    manifest: Manifest,
    exported: Session,
    images: Array,
    engine: str,
    *,
    source: str,
) -> Difference:
    """How far the graph differs from the fake-quantized network, on boxes that score enough.

    Engines round sums that lie between two levels either way, so the two never agree exactly. The
    graph may stray as far as INT8 strays from float, times the engine's `int8_noise_share`.

    Raises:
        GateError: it strays farther.
    """
    rounded = TorchSession(model, manifest, SessionOptions())
    exact = TorchSession(float_twin(model), manifest, SessionOptions())
    noise = compare_raw(exact, rounded, images, source=source, least_score=LEAST_SCORE)
    found = compare_raw(rounded, exported, images, source=source, least_score=LEAST_SCORE)
    share = ENGINES[engine].int8_noise_share
    for value, allowed, unit in (
        (found.score, max(noise.score, FLOOR.score) * share, "of a score"),
        (found.box_px, max(noise.box_px, FLOOR.box_px) * share, "px"),
    ):
        if value > allowed:
            raise GateError(
                f"the exported graph differs from the INT8 checkpoint by {value:.3g} {unit} on"
                f" {found.images} images ({found.source}); allowed are {allowed:.3g}"
            )
    return found


def check_speed(
    model: QuantizedDetector,
    manifest: Manifest,
    graph: ModelProto,
    images: Array,
    engine: str,
    *,
    allow_slower: bool,
) -> Speed:
    """Times the graph and the same network in float by turns, on this machine.

    Raises:
        GateError: it is slower, and that is not allowed. What could not be measured is not judged.
    """
    with temporary_folder() as folder:
        write_onnx(graph, manifest, folder / "int8.onnx")
        twin = build_graph(float_twin(model), manifest, uint8=takes_pixels(manifest))
        write_onnx(twin, manifest, folder / "float.onnx")
        covered = coverage(folder / "int8.onnx", engine)
        session_options = SessionOptions(threads=usable_cpus())
        sessions = [
            open_session(folder / f"{form}.onnx", engine=engine, session_options=session_options)
            for form in ("float", "int8")
        ]
        inputs = [image[None] for image in images]
        calls = [cycle_inputs(session.run, inputs) for session in sessions]
        timed = time_side_by_side(calls, threads=session_options.threads)
    ratio = timed.ratio
    if ratio is not None and ratio.low > 1 and not allow_slower:
        raise GateError(
            f"INT8 takes {ratio.value:.2f} times as long as float on {engine} here"
            f" ({covered.int8} of {covered.total} convolutions in INT8)",
            hint="--allow-slower writes it all the same",
        )
    return Speed(covered, timed)
