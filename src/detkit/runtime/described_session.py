"""Sessions of graphs that other tools made: their outputs become what detkit's own graphs give.

The meaning of the outputs is data (see `spec.onnx_description`); how boxes and scores are computed
from it is here, in numpy, the same for every engine.

Legend: B batch, A anchor points or queries, C classes, L labels or columns of scores, M detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detkit.artifact.artifact import TensorInfo
from detkit.core.boxes import EVAL_NMS, Array
from detkit.core.errors import ArtifactError
from detkit.onnx_signature.outputs import MAP, ROWS_LAST, layout_of
from detkit.onnx_signature.shapes import check_grid, check_shapes
from detkit.onnx_signature.signature import DescribedSignature
from detkit.runtime.box_decoding import to_xyxy
from detkit.runtime.graph_session import FeedingRunner, GraphRunner, GraphSession, to_pixels
from detkit.runtime.output_check import OutputCheck, without_inverted
from detkit.runtime.session import Pixels, SuppressedOutputs, takes_pixels
from detkit.spec.onnx_description import OutputSpec

Tensors = Mapping[str, npt.NDArray[Any]]  # by role
MAX_DETECTIONS = EVAL_NMS.max_detections  # of a set of predictions that needs no NMS


class DescribedSession(GraphSession):
    """A graph whose raw predictions are left to detkit's NMS; see `runtime.session.Session`."""

    manifest: DescribedSignature
    is_right_in_batch: bool | None = None  # see `runtime.batches`

    def __init__(self, runner: GraphRunner, path: Path, manifest: DescribedSignature) -> None:
        self.outputs = tuple(name for names in manifest.tensors.values() for name in names)
        super().__init__(runner, path, manifest)
        self.check = OutputCheck(path, manifest.spec, manifest.preprocess.size)
        kept = [label for label, index in enumerate(manifest.class_of) if index >= 0]
        self._kept = None if len(kept) == len(manifest.class_of) else kept

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        """Runs a batch as `Session.run` does; it may be fed as `GraphSession.run` says."""
        tensors = self.run_roles(images_bchw)
        spec = self.manifest.spec
        joint = _split(tensors["joint"], spec) if "joint" in tensors else tensors
        scores = _activated(joint["scores"], spec.activation)
        if spec.objectness:
            scores = scores * _activated(joint["objectness"], spec.activation)
        scores = scores if self._kept is None else scores[..., self._kept]
        if spec.one_class:
            scores = np.where(scores == scores.max(axis=-1, keepdims=True), scores, 0)
        scores = scores.astype(np.float32, copy=False)
        boxes = to_xyxy(joint["boxes"], spec, self.manifest.preprocess.size)
        self.check.check_raw(joint["scores"], scores, joint["boxes"], boxes)
        return boxes, without_inverted(boxes, scores)

    def run_roles(self, images: Array | Pixels) -> Tensors:
        """Runs a batch; gives the outputs by role.

        Raises:
            ArtifactError: the graph refuses this batch, or gives shapes that do not fit.
        """
        found, known = iter(self.run_graph(images)), self.manifest
        tensors = {
            role: _laid_out(known.spec, role, [next(found) for _ in names])
            for role, names in known.tensors.items()
        }
        infos = {
            role: TensorInfo(name=", ".join(known.tensors[role]), dtype="", shape=tensor.shape)
            for role, tensor in tensors.items()
        }
        labels = check_shapes(str(self.path), known.spec, infos)
        check_grid(str(self.path), known.spec, infos, known.preprocess.size)
        if labels and known.class_of and labels != len(known.class_of):
            raise ArtifactError(
                f"{self.path}: {labels} columns of scores for {len(known.class_of)} names",
                hint='"class_names": one for each class, "" for a number that no class has',
            )
        return tensors

    def run_feed(self, feed: npt.NDArray[Any]) -> list[Any]:
        """Runs the graph on a batch as it takes it, with the constants beside it."""
        if not self.manifest.constants:
            return super().run_feed(feed)
        if not isinstance(self.runner, FeedingRunner):
            raise ArtifactError(
                f"{self.path} has inputs beside the image, which {self.engine} is not fed with",
                hint="--runtime onnxruntime",
            )
        image, *others = self.manifest.inputs
        feeds = {image.name: feed}
        for tensor in others:
            numbers = np.array(self.manifest.constants[tensor.name], np.dtype(tensor.dtype))
            is_row = len(tensor.shape) == 1
            feeds[tensor.name] = numbers if is_row else np.tile(numbers, (len(feed), 1))
        return self.runner.run_feeds(feeds, self.outputs)

    def feed(self, images: Array | Pixels) -> npt.NDArray[Any]:
        """Converts the batch to layout and type of the graph's input, which may have no batch."""
        tensor = self.manifest.inputs[0]
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
        raise ArtifactError(
            f"{self.path} gives final detections, so there are no raw scores",
            hint="export it again without its NMS",
        )

    def run_suppressed(self, images_bchw: Array) -> SuppressedOutputs:
        if self.manifest.spec.is_raw:
            return _best(*super().run(images_bchw))
        tensors, spec = self.run_roles(images_bchw), self.manifest.spec
        if "rows" in tensors:
            tensors = self._columns(tensors["rows"], len(images_bchw))
        elif "detections" in tensors:
            detections = tensors["detections"]
            tensors = {**tensors, "boxes": detections[..., :4], "scores": detections[..., 4]}
        boxes, scores, labels = (
            _batched(tensors[role], rank)
            for role, rank in (("boxes", 3), ("scores", 2), ("labels", 2))
        )
        counts = tensors.get("counts", np.full(len(scores), scores.shape[1]))
        counts = counts.reshape(-1).astype(np.int64)
        is_there = np.arange(scores.shape[1]) < counts[:, None]
        self.check.check_final(labels, scores, is_there)
        corners = to_xyxy(boxes, spec, self.manifest.preprocess.size)
        self.check.check_boxes(boxes, corners, np.where(is_there, scores, 0))
        classes = self._classes(
            labels, np.where(is_there, scores, 0)
        )  # of none: a score below any threshold
        kept = without_inverted(corners, np.where(classes >= 0, scores, -1).astype(np.float32))
        return SuppressedOutputs(counts, corners, kept, classes)

    def _classes(self, labels: npt.NDArray[Any], scores: Array) -> npt.NDArray[np.int64]:
        """Maps labels to classes; -1 for the background and for numbers that no class has.

        Raises:
            ArtifactError: a label beyond the names.
        """
        found = labels.astype(np.int64)
        table = np.array(self.manifest.class_of, np.int64)
        if not len(table):
            return found - (self.manifest.spec.background == "first")
        beyond = found[(found >= len(table)) & (scores > 0)]
        if beyond.size:
            names = len(self.manifest.class_names)
            first = '; "background": "first" where labels count from 1'
            raise ArtifactError(
                f"{self.path}: label {beyond.max()}, and there are {names} class names",
                hint='in a FILE.json: "class_names": one for each label, "" for one without'
                + (first if beyond.max() == names else ""),
            )
        inside = (found >= 0) & (found < len(table))
        return np.where(inside, table[np.where(inside, found, 0)], -1)

    def _columns(self, rows: npt.NDArray[Any], num_images: int) -> Tensors:
        """Groups rows by image, padded with score -1, and splits them into columns."""
        slices = _column_slices(self.manifest.spec)
        if "image" in slices and rows.ndim == 2:
            images = rows[:, slices["image"]][:, 0]
            self.check.check_images(images, rows[:, slices["score"]][:, 0], num_images)
            rows = _grouped(rows, images, num_images, slices["score"])
        rows = _batched(rows, 3)
        return {
            "boxes": rows[..., slices["box"]],
            "scores": rows[..., slices["score"]][..., 0],
            "labels": rows[..., slices["label"]][..., 0],
        }


# --- raw predictions -----------------------------------------------------------------------------


def _laid_out(spec: OutputSpec, role: str, parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """The tensor of a role as `onnx_signature.outputs.laid_out` describes it."""
    rows = [_rows_first(part, layout_of(spec, role, part.shape)) for part in parts]
    return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)


def _rows_first(tensor: npt.NDArray[Any], layout: str) -> npt.NDArray[Any]:
    if layout == MAP:
        tensor = tensor.reshape(*tensor.shape[:2], -1)
    return tensor.swapaxes(1, 2) if layout in (MAP, ROWS_LAST) else tensor


def _split(joint: npt.NDArray[Any], spec: OutputSpec) -> Tensors:
    """Splits joint rows into boxes (B, A, 4), scores (B, A, L) and perhaps objectness (B, A, 1)."""
    rows = joint.swapaxes(1, 2) if spec.anchors_last else joint
    width, num_scores = spec.box_width, rows.shape[-1] - spec.box_width - spec.objectness
    if spec.scores_first:
        scores, boxes, objectness = np.split(rows, [num_scores, num_scores + width], axis=-1)
    else:
        boxes, objectness, scores = np.split(rows, [width, width + spec.objectness], axis=-1)
    return {"boxes": boxes, "scores": scores, "objectness": objectness}


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


def _column_slices(spec: OutputSpec) -> dict[str, slice]:
    slices, start = {}, 0
    for column in spec.columns:
        end = start + (4 if column == "box" else 1)
        slices[column], start = slice(start, end), end
    return slices


def _grouped(
    rows: npt.NDArray[Any], images: npt.NDArray[Any], num_images: int, score: slice
) -> npt.NDArray[Any]:
    """Groups (N, width) rows to (B, M, width); those of no image are padding, and dropped."""
    own = [rows[images == index] for index in range(num_images)]
    groups = np.zeros((num_images, max(map(len, own)), rows.shape[1]), np.float32)
    groups[..., score] = -1
    for group, mine in zip(groups, own, strict=True):
        group[: len(mine)] = mine
    return groups
