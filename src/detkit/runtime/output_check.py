"""Whether the values that a graph of another tool gives can be what its description says they are.

A description that is wrong still gives numbers, and an AP of 0 without a word. So values are held
against what they are said to be, and the error names the change that would make sense of them.

What is an error, and what is not:

- Scores are 0..1 (within `ROUNDING`), once activated; -1 marks a row of padding. Raw logits without
  an activation, and an activation of what are probabilities already, are errors at once.
- Labels of rows that are no padding are whole numbers. One that is not is an error at once.
- Boxes of negative width or height, and negative labels, are dropped: they are never detections.
  They are an error where they have, of all the score seen so far, more than `MOST_WRONG`, and
  `LEAST_MASS` in sum: so a few rows of padding or of low score end nothing, and a `box_format`
  that is wrong ends the first image with an object.
- Boxes that all lie within 0..1 where pixels are described are an error, and the reverse.
- NaN and Inf are found where detections are made (see `runtime.session`).

Final detections are checked in every batch, for they are few; raw predictions, all of which say how
they are meant, in the first `CHECKED_BATCHES`. Only rows of `LEAST_SCORE` say anything of boxes.

Legend: B batch, A anchor points, queries or detections, C classes.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from detkit.core.boxes import Array
from detkit.core.errors import ArtifactError
from detkit.onnx_signature.shapes import hint_at_presets
from detkit.runtime.box_decoding import to_xyxy
from detkit.spec.onnx_description import CELL_FORMATS, OutputSpec

Values = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
ROUNDING = 0.01
PADDING = -1.0  # the score of a row that is none
LEAST_SCORE = 0.05
MOST_WRONG, LEAST_MASS = 0.1, 0.25
CHECKED_BATCHES = 8
UNIT = 1.5  # boxes in parts of the image reach a little beyond it
PIXELS = 4.0  # and boxes in pixels are larger
MARGIN = 0.1  # of the image, that sensible boxes reach beyond it at most
SENSIBLE = 0.9  # share of boxes that a format must make sense of to be proposed
_ignoring_infinity = np.errstate(invalid="ignore", over="ignore")  # it is told of elsewhere
PLAIN_FORMATS = ("xyxy", "cxcywh", "xywh", "yxyx")


class OutputCheck:
    """The values of one model, batch after batch; it keeps how much score was seen with what."""

    def __init__(self, path: Path, spec: OutputSpec, size: tuple[int, int]) -> None:
        """Begins with nothing seen; `size` is the (height, width) of the input."""
        self.path, self.spec, self.size = path, spec, size
        self._left = CHECKED_BATCHES
        self._seen: dict[str, float] = {}
        self._wrong: dict[str, float] = {}

    @_ignoring_infinity
    def check_raw(self, raw_scores: Values, scores: Array, raw_boxes: Values, boxes: Array) -> None:
        """Checks raw predictions, of the first batches.

        Args:
            raw_scores, scores: (B, A, C) before and after activation and objectness.
            raw_boxes, boxes: as the graph gives them, and (B, A, 4) xyxy pixels.

        Raises:
            ArtifactError: they cannot be what is described.
        """
        if not self._left or not scores.size:
            return
        self._left -= 1
        self._check_activation(raw_scores)
        self._check_range(scores)
        best: Array = scores.max(axis=-1)
        self.check_boxes(raw_boxes, boxes, best)

    @_ignoring_infinity
    def check_final(self, labels: Values, scores: Values, is_there: Mask) -> None:
        """Checks scores and labels (B, A) of final detections, where `is_there`.

        Raises:
            ArtifactError: they cannot be what is described.
        """
        is_there = is_there & (scores != PADDING)
        fractions = ~(np.abs(labels - np.rint(labels)) <= ROUNDING / 10) & is_there
        if fractions.any():
            value = labels[fractions].flat[0]
            raise ArtifactError(
                f"{self.path}: labels such as {value:.3g} are no whole numbers",
                hint=self._exchanged_hint(),
            )
        found = scores[is_there]
        if found.size and found.max() > 1 + ROUNDING:
            raise ArtifactError(
                f"{self.path}: scores up to {found.max():g} are not within 0..1",
                hint=self._exchanged_hint(),
            )
        negative = is_there & (labels < 0)
        if self._is_systematic("labels", negative, np.where(is_there, scores, 0)):
            raise ArtifactError(
                f"{self.path}: labels such as {labels[negative].flat[0]:g} are of no class",
                hint=self._exchanged_hint(),
            )

    def check_images(self, images: Values, scores: Values, num_images: int) -> None:
        """Checks the image (N,) that each row of a batch is of; none is that of padding.

        Raises:
            ArtifactError: numbers that are none of the batch, in rows with a score.
        """
        lost = ~np.isin(images, np.arange(num_images)) & (images >= 0) & (scores > 0)
        if lost.any():
            raise ArtifactError(
                f"{self.path}: rows are of image {images[lost][0]:.3g}, in a batch of {num_images}",
                hint=_file_hint('"columns": [...]') + ' names them, as "image", "box", "score"',
            )

    @_ignoring_infinity
    def check_boxes(self, raw_boxes: Values, boxes: Array, best: Values) -> None:
        """Checks boxes by rows of score `best` (B, A), 0 where there is none.

        Raises:
            ArtifactError: they cannot be what is described.
        """
        is_sure = best >= LEAST_SCORE
        if not is_sure.any():
            return
        inverted = is_sure & ((boxes[..., 2:] - boxes[..., :2]).min(axis=-1) < -1)
        if self._is_systematic("boxes", inverted, best):
            share = f"{self._wrong['boxes'] / self._seen['boxes']:.0%}"
            raise ArtifactError(
                f"{self.path}: boxes read as {self.spec.box_format} have negative width or height"
                f" ({share} of them by score)",
                hint=self._format_hint(raw_boxes[is_sure]),
            )
        if self.spec.box_format not in CELL_FORMATS and best[is_sure].sum() >= LEAST_MASS:
            self._check_unit(raw_boxes[is_sure])

    def _check_unit(self, sure: Values) -> None:
        """Raises ArtifactError for boxes (N, 4) in the other unit than described."""
        reach = np.abs(sure).max(axis=-1)
        if not self.spec.normalised and reach.max() <= UNIT:
            said, found, cure = "pixels", "all of them lie within 0..1", "true"
        elif self.spec.normalised and np.median(reach) > PIXELS:
            said, found, cure = "0..1 of the input", f"reach {np.median(reach):.0f}", "false"
        else:
            return
        raise ArtifactError(
            f"{self.path}: boxes are described as {said}, and {found}",
            hint=_file_hint(f'"normalised": {cure}'),
        )

    def _check_activation(self, raw: Values) -> None:
        """Raises ArtifactError for logits that are not activated, and for the reverse."""
        low, high, activation = raw.min(), raw.max(), self.spec.activation
        if activation == "none":
            if low < -ROUNDING and low != PADDING:
                columns = raw.shape[-1] - 1
                raise ArtifactError(
                    f"{self.path}: scores from {low:.3g} to {high:.3g} are logits, not within 0..1",
                    hint=_file_hint('"activation": "sigmoid"')
                    + f', or "softmax", "background": "last" with {columns} classes',
                )
            return
        is_probability = low >= 0 and high <= 1
        if activation == "softmax":
            is_probability = is_probability and bool((np.abs(raw.sum(-1) - 1) < ROUNDING).all())
        if is_probability:
            raise ArtifactError(
                f"{self.path}: scores from {low:.3g} to {high:.3g} are probabilities already",
                hint=_file_hint('"activation": "none"'),
            )

    def _check_range(self, scores: Array) -> None:
        """Raises ArtifactError for scores above 1."""
        if scores.max() > 1 + ROUNDING:
            raise ArtifactError(
                f"{self.path}: scores up to {scores.max():g} are not within 0..1",
                hint=hint_at_presets(str(self.path)),
            )

    def _is_systematic(self, what: str, wrong: Mask, scores: Values) -> bool:
        """Whether more of the score seen so far is of wrong rows than a few can have."""
        sure = scores * (scores >= LEAST_SCORE)
        self._seen[what] = self._seen.get(what, 0.0) + float(sure.sum())
        self._wrong[what] = self._wrong.get(what, 0.0) + float(sure[wrong].sum())
        share = self._wrong[what] / max(self._seen[what], LEAST_MASS)
        return self._wrong[what] >= LEAST_MASS and share > MOST_WRONG

    # --- cures -----------------------------------------------------------------------------------

    def _exchanged_hint(self) -> str:
        """How to exchange scores and labels, the usual mistake."""
        if "rows" in self.spec.roles:
            other = {"score": "label", "label": "score"}
            columns = ", ".join(f'"{other.get(name, name)}"' for name in self.spec.columns)
            return _file_hint(f'"columns": [{columns}]')
        if "scores" not in self.spec.roles:
            return hint_at_presets(str(self.path))
        other = {"scores": "labels", "labels": "scores"}
        roles = ", ".join(f'"{other.get(role, role)}"' for role in self.spec.roles)
        return _file_hint(f'"roles": [{roles}]')

    def _format_hint(self, sure: Values) -> str:
        """Which formats would make sense of boxes (N, 4), the best first."""
        if self.spec.box_format in CELL_FORMATS:
            return hint_at_presets(str(self.path))
        shares: dict[str, float] = {}
        for box_format in PLAIN_FORMATS:
            spec = dataclasses.replace(self.spec, box_format=box_format)
            shares[box_format] = _sensible_share(to_xyxy(sure, spec, self.size), self.size)
        best = max(shares.values())
        fit = [name for name, share in shares.items() if share == best >= SENSIBLE]
        if not fit:
            return hint_at_presets(str(self.path))
        return " or ".join([_file_hint(f'"box_format": "{fit[0]}"'), *(f'"{n}"' for n in fit[1:])])


def _file_hint(change: str) -> str:
    return f'in a FILE.json: {{"preset": ..., "outputs": {{{change}}}}}'


def _sensible_share(boxes: Array, size: tuple[int, int]) -> float:
    """The share of boxes (N, 4) in pixels that have a size and lie in the image, or nearly so."""
    sides = np.array([size[1], size[0]] * 2, np.float32)
    inside = ((boxes >= -MARGIN * sides) & (boxes <= (1 + MARGIN) * sides)).all(axis=-1)
    has_size = (boxes[..., 2:] > boxes[..., :2]).all(axis=-1)
    return float((inside & has_size).mean())


def without_inverted(boxes: Array, scores: Array) -> Array:
    """The scores (B, A) or (B, A, C), 0 where boxes (B, A, 4) have negative width or height."""
    inverted: Mask = (boxes[..., 2] < boxes[..., 0]) | (boxes[..., 3] < boxes[..., 1])
    if not inverted.any():
        return scores
    kept = ~inverted if scores.ndim == inverted.ndim else ~inverted[..., None]
    return scores * kept
