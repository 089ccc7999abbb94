"""Sessions of graphs that other tools made: their outputs become what detkit's own graphs give.

The meaning of the outputs is data (see `spec.onnx_description`); how boxes and scores are computed
from it is here, in numpy, the same for every engine.

Legend: B batch, A anchor points or queries, C classes, L labels or columns of scores, M detections.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detkit.artifact.artifact import TensorInfo
from detkit.core.boxes import EVAL_NMS, Array
from detkit.core.errors import ArtifactError
from detkit.onnx_signature.shapes import check_grid, check_shapes
from detkit.onnx_signature.signature import DescribedSignature
from detkit.runtime.graph_session import GraphRunner, GraphSession, to_pixels
from detkit.runtime.session import Pixels, SuppressedOutputs, takes_pixels
from detkit.spec.onnx_description import OutputSpec

Tensors = Mapping[str, npt.NDArray[Any]]  # by role
MAX_DETECTIONS = EVAL_NMS.max_detections  # of a set of predictions that needs no NMS


class DescribedSession(GraphSession):
    """A graph whose raw predictions are left to detkit's NMS; see `runtime.session.Session`."""

    manifest: DescribedSignature

    def __init__(self, runner: GraphRunner, path: Path, manifest: DescribedSignature) -> None:
        self.outputs = tuple(manifest.tensors.values())
        super().__init__(runner, path, manifest)
        kept = [label for label, index in enumerate(manifest.class_of) if index >= 0]
        self._kept = None if len(kept) == len(manifest.class_of) else kept

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        """Runs a batch as `Session.run` does; it may be fed as `GraphSession.run` says."""
        tensors = self.run_roles(images_bchw)
        spec = self.manifest.spec
        boxes, scores = _split(tensors["joint"], spec) if "joint" in tensors else _pair(tensors)
        scores = _activated(scores, spec.activation)
        if spec.objectness:
            scores = scores * _activated(_objectness(tensors["joint"], spec), spec.activation)
        scores = scores if self._kept is None else scores[..., self._kept]
        boxes = to_xyxy(boxes, spec, self.manifest.preprocess.size)
        return boxes, scores.astype(np.float32, copy=False)

    def run_roles(self, images: Array | Pixels) -> Tensors:
        """Runs a batch; gives the outputs by role.

        Raises:
            ArtifactError: the graph refuses this batch, or gives shapes that do not fit.
        """
        tensors = dict(zip(self.manifest.tensors, self.run_graph(images), strict=True))
        infos = {
            role: TensorInfo(name=self.manifest.tensors[role], dtype="", shape=tensor.shape)
            for role, tensor in tensors.items()
        }
        labels, known = check_shapes(str(self.path), self.manifest.spec, infos), self.manifest
        check_grid(str(self.path), known.spec, infos, known.preprocess.size)
        if labels and known.class_of and labels != len(known.class_of):
            raise ArtifactError(
                f"{self.path}: {labels} columns of scores for {len(known.class_of)} names"
            )
        return tensors

    def feed(self, images: Array | Pixels) -> npt.NDArray[Any]:
        """Converts the batch to layout and type of the graph's input, which may have no batch."""
        (tensor,) = self.manifest.inputs
        pixels = takes_pixels(self.manifest)
        batch: npt.NDArray[Any] = to_pixels(images) if pixels else images.astype(tensor.dtype)
        if self.manifest.layout == "nchw" and pixels:
            batch = batch.transpose(0, 3, 1, 2)
        elif self.manifest.layout == "nhwc" and not pixels:
            batch = batch.transpose(0, 2, 3, 1)
        if len(tensor.shape) == 3:
            (batch,) = batch
        return np.ascontiguousarray(batch)


class SuppressingDescribedSession(DescribedSession):
    """A graph whose predictions are final; see `runtime.session.SuppressingSession`."""

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        raise ArtifactError(f"{self.path} gives final detections, so there are no raw scores")

    def run_suppressed(self, images_bchw: Array) -> SuppressedOutputs:
        if self.manifest.spec.is_raw:
            return _best(*super().run(images_bchw))
        tensors, spec = self.run_roles(images_bchw), self.manifest.spec
        if "rows" in tensors:
            tensors = _columns(tensors["rows"], spec, len(images_bchw))
        boxes, scores, labels = (
            _batched(tensors[role], rank)
            for role, rank in (("boxes", 3), ("scores", 2), ("labels", 2))
        )
        counts = tensors.get("counts", np.full(len(scores), scores.shape[1]))
        classes = self._classes(labels, scores)
        return SuppressedOutputs(
            counts.reshape(-1).astype(np.int64),
            to_xyxy(boxes, spec, self.manifest.preprocess.size),
            np.where(classes >= 0, scores, -1).astype(np.float32),  # below any threshold
            classes,
        )

    def _classes(self, labels: npt.NDArray[Any], scores: Array) -> npt.NDArray[np.int64]:
        """Maps labels to classes; -1 for the background and for numbers that no class has.

        Raises:
            ArtifactError: a label beyond the names.
        """
        found = labels.astype(np.int64)
        table = np.array(self.manifest.class_of, np.int64)
        if not len(table):
            return found - (self.manifest.spec.background == "first")
        if ((found >= len(table)) & (scores > 0)).any():
            raise ArtifactError(
                f"{self.path}: label {found.max()} in '{self.manifest.tensors.get('labels')}',"
                f" and there are {len(self.manifest.class_names)} class names"
            )
        inside = (found >= 0) & (found < len(table))
        return np.where(inside, table[np.where(inside, found, 0)], -1)


# --- raw predictions -----------------------------------------------------------------------------


def _split(joint: npt.NDArray[Any], spec: OutputSpec) -> tuple[npt.NDArray[Any], ...]:
    """Splits joint rows into boxes (B, A, 4) and scores (B, A, L)."""
    rows = joint.swapaxes(1, 2) if spec.anchors_last else joint
    return rows[..., :4], rows[..., 4 + spec.objectness :]


def _objectness(joint: npt.NDArray[Any], spec: OutputSpec) -> npt.NDArray[Any]:
    """The column of objectness, (B, A, 1), of joint rows."""
    rows = joint.swapaxes(1, 2) if spec.anchors_last else joint
    return rows[..., 4:5]


def _pair(tensors: Tensors) -> tuple[npt.NDArray[Any], ...]:
    return tensors["boxes"], tensors["scores"]


def _activated(raw: npt.NDArray[Any], activation: str) -> npt.NDArray[Any]:
    if activation == "none":
        return raw
    raw = raw.astype(np.float32)
    if activation == "sigmoid":
        return 0.5 * (1 + np.tanh(raw / 2))  # 1 / (1 + exp(-raw)) without its overflow
    powers = np.exp(raw - raw.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _best(boxes: Array, scores: Array) -> SuppressedOutputs:
    """Keeps the best (query, class) pairs of each image."""
    num_images, _, num_classes = scores.shape
    flat = scores.reshape(num_images, -1)
    pairs = np.argsort(-flat, axis=1, kind="stable")[:, :MAX_DETECTIONS]
    queries, classes = np.divmod(pairs, num_classes)
    return SuppressedOutputs(
        np.full(num_images, pairs.shape[1]),
        np.take_along_axis(boxes, queries[..., None], axis=1),
        np.take_along_axis(flat, pairs, axis=1),
        classes,
    )


# --- final detections ----------------------------------------------------------------------------


def _batched(tensor: npt.NDArray[Any], rank: int) -> npt.NDArray[Any]:
    """Adds the dimension of the batch, which graphs of one image leave out."""
    return tensor[None] if tensor.ndim == rank - 1 else tensor


def _columns(rows: npt.NDArray[Any], spec: OutputSpec, num_images: int) -> Tensors:
    """Groups rows by image, padded with score -1, and splits them into columns."""
    slices = _column_slices(spec)
    if "image" in slices and rows.ndim == 2:
        images = rows[:, slices["image"]][:, 0].astype(np.int64)
        rows = _grouped(rows, images, num_images, slices["score"])
    rows = _batched(rows, 3)
    return {
        "boxes": rows[..., slices["box"]],
        "scores": rows[..., slices["score"]][..., 0],
        "labels": rows[..., slices["label"]][..., 0],
    }


def _column_slices(spec: OutputSpec) -> dict[str, slice]:
    slices, start = {}, 0
    for column in spec.columns:
        end = start + (4 if column == "box" else 1)
        slices[column], start = slice(start, end), end
    return slices


def _grouped(
    rows: npt.NDArray[Any], images: npt.NDArray[np.int64], num_images: int, score: slice
) -> npt.NDArray[Any]:
    """Groups (N, width) rows of any image to (B, M, width)."""
    most = int(np.bincount(images, minlength=1).max())
    groups = np.zeros((num_images, most, rows.shape[1]), np.float32)
    groups[..., score] = -1
    for index in range(num_images):
        mine = rows[images == index]
        groups[index, : len(mine)] = mine
    return groups


# --- boxes ---------------------------------------------------------------------------------------


def to_xyxy(boxes: npt.NDArray[Any], spec: OutputSpec, size: tuple[int, int]) -> Array:
    """Converts boxes (..., 4), as described, to float32 corners in input pixels.

    Args:
        size: (height, width) of the input.
    """
    out: Array = boxes.astype(np.float32, copy=False)
    if spec.box_format == "grid":
        out = _from_cells(out, *_cells(spec.strides, size))
    if spec.box_format == "yxyx":
        out = out[..., [1, 0, 3, 2]]
    elif spec.box_format != "xyxy":
        start, sides = out[..., :2], out[..., 2:]
        if spec.box_format in ("cxcywh", "grid"):
            start = start - sides * np.float32(0.5)
        out = np.concatenate([start, start + sides], axis=-1)
    if spec.normalised:
        height, width = size
        out = out * np.array([width, height, width, height], np.float32)
    return out


@functools.lru_cache(maxsize=4)
def _cells(strides: tuple[int, ...], size: tuple[int, int]) -> tuple[Array, Array]:
    """The corner (A, 2) as x, y in pixels of each cell, and its stride (A, 1)."""
    corners, sides = [], []
    for stride in strides:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        corners.append(np.stack([x, y], axis=-1).reshape(-1, 2) * stride)
        sides.append(np.full((x.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(sides).astype(np.float32)


def _from_cells(boxes: Array, corners_a2: Array, strides_a1: Array) -> Array:
    """Centre and size in pixels of boxes (B, A, 4) relative to cells (YOLOX: arXiv 2107.08430)."""
    centres = boxes[..., :2] * strides_a1 + corners_a2
    with np.errstate(over="ignore"):  # what is not finite is refused with the other outputs
        sides = np.exp(boxes[..., 2:]) * strides_a1
    return np.concatenate([centres, sides], axis=-1)
