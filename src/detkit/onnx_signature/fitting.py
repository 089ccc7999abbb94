"""Which presets fit an ONNX file of another tool, by everything that the file says of itself.

First what cannot be is left out: other shapes, types, inputs or numbers of classes than the file
has. Then each of `RULES` keeps what is likely of what is left, where anything is.
"""

from __future__ import annotations

from dataclasses import dataclass

from detkit.artifact.artifact import TensorInfo
from detkit.core.errors import ArtifactError, UsageError
from detkit.onnx_signature.image_input import constant_inputs, image_input, input_size
from detkit.onnx_signature.onnx_graph import OnnxGraph
from detkit.onnx_signature.outputs import laid_out, tensors_of
from detkit.onnx_signature.shapes import check_grid, check_shapes, num_cells
from detkit.spec.onnx_description import OnnxDescription, OutputSpec
from detkit.spec.onnx_presets import PRESETS

USUAL_GRIDS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))  # strides
MOST_ANCHORS = 9  # of a cell
LEAST_QUERIES, MOST_QUERIES = 10, 1000
ULTRALYTICS = ("yolov8", "yolov10", "rt-detr-ultralytics", "rt-detr-ultralytics-raw")
USUAL_CLASSES = (20, 80, 90, 91, 365)  # of Pascal VOC, COCO without and with its gaps, Objects365


@dataclass(frozen=True)
class Candidate:
    """A preset that may be meant; `labels` and `rows` are 0 where the shapes do not say.

    `size` is the (height, width) of the input, (0, 0) where the graph leaves it free.
    """

    name: str
    spec: OutputSpec
    graph: OnnxGraph
    labels: int
    rows: int
    size: tuple[int, int]


def fitting_presets(graph: OnnxGraph) -> tuple[str, ...]:
    """Names of the presets that fit; none where the file says too little to tell."""
    found = [_candidate(name, graph, spec) for name, spec in PRESETS.items()]
    left = [candidate for candidate in found if candidate]
    for rule in RULES:
        left = [candidate for candidate in left if rule(candidate)] or left
    return tuple(candidate.name for candidate in left)


def _candidate(name: str, graph: OnnxGraph, spec: OnnxDescription) -> Candidate | None:
    """Gives None where the preset cannot be meant."""
    outputs = spec.outputs
    try:
        image = image_input("", graph, spec.input)
        constant_inputs("", graph, spec.input)
        tensors = laid_out(outputs, tensors_of("", graph, outputs))
        labels = check_shapes("", outputs, tensors)
        if outputs.strides:
            check_grid("", outputs, tensors, input_size("", graph, image, spec.input))
    except (ArtifactError, UsageError):
        return None
    num_rows = _num_rows(next(iter(tensors.values())), outputs)
    names = graph.class_names
    if not labels and names and num_rows:
        labels = len(names) + outputs.has_background
    has_width = all(isinstance((t.shape or ("?",))[-1], int) for t in tensors.values())
    says_little = (outputs.is_raw and not labels) or ("rows" in tensors and not has_width)
    if says_little and not (_is_of_ultralytics(graph) and name in ULTRALYTICS):
        return None
    if names and labels and labels != len(names) + outputs.has_background:
        return None
    if graph.operators and not _can_sample(name, "GridSample" in graph.operators):
        return None
    try:
        size = input_size("", graph, image, spec.input)
    except UsageError:
        size = (0, 0)
    return Candidate(name, outputs, graph, labels, num_rows, size)


def _num_rows(tensor: TensorInfo, outputs: OutputSpec) -> int:
    """How many anchors or queries it holds for an image, 0 where the shape does not say."""
    sizes = tensor.shape[1:]
    rows = next(iter(sizes[::-1] if outputs.anchors_last else sizes), 0)
    return rows if isinstance(rows, int) else 0


def _can_sample(name: str, samples: bool) -> bool:
    """Whether the preset's networks sample grids, or do not, as this one.

    The deformable attention of RT-DETR and its like does, and no other's layer.
    """
    if samples:
        return name.startswith(("rt-detr", "rf-detr", "deformable"))
    return not name.startswith("rt-detr-ultralytics")


def _is_of_ultralytics(graph: OnnxGraph) -> bool:
    """Whether that exporter wrote the file, which with free sizes leaves all its shapes open."""
    return graph.metadata.get("author") == "Ultralytics"


# --- what is likely ------------------------------------------------------------------------------


def _uses_all_outputs(candidate: Candidate) -> bool:
    return len(candidate.spec.roles) == len(candidate.graph.outputs)


def _has_likely_rows(candidate: Candidate) -> bool:
    """Whether raw rows are cells of grids where they are dense, and few where they are a set."""
    if not candidate.spec.is_raw:
        return True
    if not candidate.rows:  # cells are as many as the size of the input says
        return not (candidate.spec.is_dense and all(candidate.size))
    if not candidate.spec.is_dense:
        return LEAST_QUERIES <= candidate.rows <= MOST_QUERIES
    if "NonMaxSuppression" in candidate.graph.operators:
        return False
    if not all(candidate.size):
        return candidate.rows > MOST_QUERIES
    cells = [num_cells(strides, candidate.size) for strides in USUAL_GRIDS]
    return any(
        candidate.rows % count == 0 and candidate.rows // count <= MOST_ANCHORS for count in cells
    )


def _is_of_its_exporter(candidate: Candidate) -> bool:
    """Whether a file of ultralytics is read by one of its presets: final rows, or all of them."""
    if not _is_of_ultralytics(candidate.graph):
        return True
    is_final = not {"TopK", "NonMaxSuppression"}.isdisjoint(candidate.graph.operators)
    return candidate.name in ULTRALYTICS and (candidate.name == "yolov8") != is_final


def _has_the_operators(candidate: Candidate) -> bool:
    """Whether the graph decodes what the preset says is decoded, and no more.

    YOLOX takes the exponentials of sizes, and subtracts nothing; YOLOv6 subtracts distances.
    """
    operators, spec = candidate.graph.operators, candidate.spec
    if candidate.name == "effdet" and candidate.graph.class_names:
        return False  # its files have no metadata
    if not operators:
        return True
    if spec.box_format == "dfl":
        return "Exp" not in operators
    if spec.box_format == "grid":
        return "Exp" not in operators and "Sub" not in operators
    if candidate.name == "yolox-decoded":
        return "Exp" in operators
    if candidate.name == "yolov6":
        return "Exp" not in operators and "Sub" in operators
    return True


def _has_usual_classes(candidate: Candidate) -> bool:
    return candidate.labels - candidate.spec.has_background in USUAL_CLASSES


def _is_of_a_grid(candidate: Candidate) -> bool:
    """Whether it says which cells the rows are of, as it can where they are just as many."""
    return bool(candidate.spec.strides)


RULES = (
    _uses_all_outputs,
    _is_of_its_exporter,
    _has_likely_rows,
    _has_usual_classes,
    _is_of_a_grid,
    _has_the_operators,
)
