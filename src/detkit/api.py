"""The front door for Python: open a model, look at images with it, score it.

    >>> import detkit
    >>> model = detkit.load("best.onnx")
    >>> model.classes
    ('red', 'green')
    >>> found = model.predict("coco/images/a.png")
    >>> [(box.astype(int).tolist(), name) for box, name in zip(found.boxes_xyxy, found.names)]
    [([0, 0, 32, 32], 'red'), ([32, 32, 64, 64], 'green')]

It is for models as files, so it needs no torch unless the file is a checkpoint.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt

from detkit.artifact.artifact import Signature, parent_of
from detkit.core.boxes import EVAL_NMS, Array, Detections, Indices, NmsConfig
from detkit.core.errors import DataError, UsageError
from detkit.core.paths import PATH_TYPES, StrPath
from detkit.data.coco.classes import with_class_names
from detkit.data.coco.folder import CocoFolder, open_folder
from detkit.data.draw import draw_detections, save_image
from detkit.data.image import PillowImage, Pixels, read_image, upright_pixels
from detkit.engines.opening import open_session
from detkit.evaluation.evaluate import score_split
from detkit.predict import detect_in_images, nms_of
from detkit.report import EvalReport
from detkit.runtime.session import Session, SessionOptions, SuppressingSession
from detkit.spec.onnx_description import OnnxDescription
from detkit.spec.onnx_presets import read_description

ImageLike: TypeAlias = str | os.PathLike[str] | bytes | npt.NDArray[np.uint8] | PillowImage
EXPECTED = "expected a path, a file's bytes, an array (H, W, 3) uint8 RGB, or a PIL image"
ONE_IMAGE = (*PATH_TYPES, bytes, np.ndarray, PillowImage)  # of ImageLike, for isinstance


@dataclass(frozen=True)
class Result:
    """What a model found in one image, best first.

    Attributes:
        image: (H, W, 3) uint8 RGB, as it was given or read.
        boxes_xyxy: (N, 4) float32 corners in the pixels of `image`.
        scores: (N,) float32, 0..1.
        classes: (N,) int64, indices in the model's `classes`.
        names: the name of each detection's class.
    """

    image: Pixels
    boxes_xyxy: Array
    scores: Array
    classes: Indices
    names: tuple[str, ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[tuple[Array, float, str]]:
        """Each detection as box (4,), score, name."""
        return zip(self.boxes_xyxy, map(float, self.scores), self.names, strict=True)

    def draw(self) -> Pixels:
        """The image (H, W, 3) uint8 RGB with each box, its class and its score drawn on it."""
        found = Detections(self.boxes_xyxy, self.scores, self.classes)
        return draw_detections(self.image, found, self.class_names)

    def save(self, path: StrPath) -> Path:
        """Writes what `draw` gives as JPEG or PNG, by the suffix; returns where."""
        save_image(Path(path), self.draw())
        return Path(path)


@dataclass(frozen=True)
class Model:
    """An opened model; made by `load`.

    >>> model = load("best.onnx")
    >>> model.image_size
    (64, 64)
    >>> model.engine
    'onnxruntime'
    """

    path: Path
    session: Session

    @property
    def facts(self) -> Signature:
        """What the file says of itself: classes, preprocessing, inputs, outputs, precision."""
        return self.session.manifest

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their indices."""
        return self.facts.class_names

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels that images are letterboxed to."""
        return self.facts.preprocess.size

    @property
    def engine(self) -> str:
        """The name of the engine that runs it."""
        return self.session.engine

    @overload  # a str is an iterable of str, too: this one is meant
    def predict(  # type: ignore[overload-overlap]
        self,
        images: ImageLike,
        *,
        conf: float | None = ...,
        iou: float | None = ...,
        batch: int = ...,
    ) -> Result: ...

    @overload
    def predict(
        self,
        images: Iterable[ImageLike],
        *,
        conf: float | None = ...,
        iou: float | None = ...,
        batch: int = ...,
    ) -> list[Result]: ...

    def predict(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        conf: float | None = None,
        iou: float | None = None,
        batch: int = 8,
    ) -> Result | list[Result]:
        """Finds objects, exactly as `detkit predict` does.

        Args:
            images: a path, the bytes of an image file, an array (H, W, 3) uint8 RGB, a PIL image,
                or several of these in a list, tuple or any other iterable.
            conf: least score of a detection, 0..1; by default the model's own of each class
                (`facts.score_thresholds`), and 0.25 where it has none.
            iou: overlap with a better box of the same class from which on a box is dropped; by
                default 0.7, or what is in the graph.
            batch: of several images, how many the engine runs at once.

        Returns:
            A `Result`; for several images a list of them, in their order.

        Raises:
            DataError: an image that cannot be read, or an array of another form.
            UsageError: `conf` or `iou` outside 0..1, `batch` below 1, or an `iou` for a model that
                has its NMS in the graph.
            NonFiniteError: the model gives NaN or Inf.

        >>> model = load("best.onnx")
        >>> len(model.predict(["coco/images/a.png"] * 3, conf=0.5))
        3
        >>> import numpy as np
        >>> gray = np.full((48, 80, 3), 128, np.uint8)
        >>> len(model.predict(gray))
        0
        """
        nms = self._nms(conf, iou)
        if batch < 1:
            raise UsageError(f"batch {batch}: expected 1 or more")
        if isinstance(images, ONE_IMAGE):
            return self._look_at([images], nms)[0]
        if not isinstance(images, Iterable):
            raise DataError(f"{type(images).__name__} is no image: {EXPECTED}")
        results: list[Result] = []
        rest = iter(images)
        while chosen := list(itertools.islice(rest, batch)):
            results += self._look_at(chosen, nms)
        return results

    def _nms(self, conf: float | None, iou: float | None) -> NmsConfig:
        """Raises UsageError where `predict` says so."""
        for name, value in (("conf", conf), ("iou", iou)):
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name} {value}: expected a number from 0 to 1")
        if iou is not None and isinstance(self.session, SuppressingSession):
            raise UsageError(f"iou: {self.path} has its NMS in the graph, where the IoU is fixed")
        return nms_of(self.facts, conf=conf, iou=iou)

    def _look_at(self, images: Sequence[ImageLike], nms: NmsConfig) -> list[Result]:
        pixels = [pixels_of(image) for image in images]
        return list(map(self._result, pixels, detect_in_images(self.session, pixels, nms)))

    def _result(self, image: Pixels, found: Detections) -> Result:
        names = tuple(self.classes[index] for index in found.classes)
        return Result(image, found.boxes_xyxy, found.scores, found.classes, names, self.classes)


def load(
    path: StrPath,
    *,
    device: str = "cpu",
    threads: int = 0,
    engine: str = "",
    outputs: StrPath | OnnxDescription | None = None,
) -> Model:
    """Opens a checkpoint, an exported file, or the ONNX file of another tool.

    Args:
        device: cpu, cuda or cuda:N.
        threads: CPU threads; 0 leaves it to the engine.
        engine: its name; by default the one that the file is for.
        outputs: of another tool's file, what it takes and gives: the name of a preset, or a JSON
            file.

    Raises:
        ArtifactError: missing, damaged, or another tool's and not described.
        BackendError: the engine or the device is not here.
        DataError: `outputs` takes its class names from a file without any.
        UsageError: an unknown engine, or one that cannot run this file; neither the file nor
            `outputs` names the classes.

    >>> load("nothing.onnx")
    Traceback (most recent call last):
    detkit.core.errors.ArtifactError: no such file: nothing.onnx
    """
    spec = read_description(os.fspath(outputs)) if isinstance(outputs, PATH_TYPES) else outputs
    session = open_session(
        path,
        engine=engine,
        session_options=SessionOptions(device=device, threads=threads),
        description=with_class_names(spec) if spec else None,
    )
    if not session.manifest.class_names:
        raise UsageError(
            f"{path} does not name its classes",
            hint='outputs=FILE.json: {"preset": ..., "class_names": [...]}',
        )
    return Model(Path(path), session)


def evaluate(
    model: Model | StrPath,
    data: CocoFolder | StrPath,
    *,
    split: str = "val",
    batch: int = 8,
    nms: NmsConfig = EVAL_NMS,
) -> EvalReport:
    """Scores a model on a split of a COCO folder: the 12 figures, and AP of each class.

    Args:
        batch: images that the engine runs at once.
        nms: thresholds that `detkit eval` uses by default.

    Raises:
        DataError: no such folder or split, or a class that the model does not know.
        DetkitError: as `load`, where `model` is a path.

    >>> report = evaluate("best.onnx", "coco")
    >>> report.ap, report.images
    (1.0, 4)
    """
    opened = model if isinstance(model, Model) else load(model)
    folder = data if isinstance(data, CocoFolder) else open_folder(data, splits=(split,))
    return score_split(
        opened.session,
        folder.split(split),
        model=parent_of(opened.path),
        data=os.fspath(folder.root),
        batch_size=batch,
        nms=nms,
    )


def pixels_of(image: ImageLike) -> Pixels:
    """The image as (H, W, 3) uint8 RGB; a file, or its bytes, is read and turned upright.

    Raises:
        DataError: an image that cannot be read, or an array of another form.

    >>> pixels_of("coco/images/a.png").shape
    (64, 64, 3)
    """
    if isinstance(image, PATH_TYPES):
        return read_image(Path(image))
    if isinstance(image, bytes):
        return read_image(image)
    if isinstance(image, PillowImage):
        return upright_pixels(image)
    if not isinstance(image, np.ndarray):
        raise DataError(f"{type(image).__name__} is no image: {EXPECTED}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(
            f"an image of shape {image.shape} and type {image.dtype}: expected (H, W, 3) uint8, RGB"
        )
    return image
