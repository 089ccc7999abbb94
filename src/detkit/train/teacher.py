"""What a run learns from beside its labels: a checkpoint's raw outputs, or any detector's boxes.

A detkit checkpoint whose heads have the student's form teaches densely: every anchor point's class
scores and distance distributions, on the very images of each batch; one of any family and classes
by its features, where these are given weight. Any other detector, and every detector where the
folder has no labels, teaches by the boxes that it draws once on each image; they become labels that
are as sure as their scores (see `data.training.labels`). Classes are the same thing where they have
the same name.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detkit.artifact.artifact import read_manifest, sha256_of
from detkit.artifact.cache import FileCache, FileStamp
from detkit.artifact.embedded import embedded_text
from detkit.artifact.licence import LICENCE_KEY, teacher_note
from detkit.config import TrainConfig
from detkit.core.boxes import Detections, NmsConfig, area_xyxy, iou_matrix
from detkit.core.errors import NoManifestError, UsageError, did_you_mean
from detkit.core.serialization import to_json
from detkit.data.coco.classes import with_class_names
from detkit.data.coco.folder import CocoFolder, CocoSplit
from detkit.data.coco.split_reader import ImageRecord
from detkit.engines.opening import open_session
from detkit.engines.torch.session import find_device
from detkit.evaluation.evaluate import detect
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.detector import Detector
from detkit.runtime.session import Session, SessionOptions
from detkit.spec.arch import TRAINED_AS
from detkit.spec.onnx_presets import read_description
from detkit.train.distill import Distillation
from detkit.train.precision import half_type

FLOOR = NmsConfig(score_threshold=0.05, iou_threshold=0.6, max_detections=100)  # of what is kept
SAME_OBJECT = 0.5  # IoU with a label of the same class from which a box says nothing new
NO_LABELS = 1.0  # `distill.score` at which a dense teacher is not asked for boxes
CACHE_SCHEMA = 2


@dataclass(frozen=True, kw_only=True)
class DenseTeacher:
    """A network to learn from on every batch.

    Attributes:
        network: gives features, and outputs.
        classes: indices of the student's classes and of its own for the same thing; empty where
            its outputs are not learned from.
        labels_too: whether its boxes teach what its outputs cannot.
    """

    network: Detector
    classes: tuple[list[int], list[int]]
    labels_too: bool = False

    @property
    def by_outputs(self) -> bool:
        """Whether it teaches by its outputs, too."""
        return bool(self.classes[0])

    def as_loss(self, config: TrainConfig) -> Distillation:
        """The auxiliary loss of a run, on its device."""
        device = find_device(config.device)
        return Distillation(
            self.network.to(device, memory_format=torch.channels_last).eval(),  # type: ignore[call-overload]
            cls=config.distill.cls if self.by_outputs else 0.0,
            box=config.distill.box if self.by_outputs else 0.0,
            features=config.distill.features,
            classes=self.classes,
            half=half_type(config.amp, device),
        )


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the teacher adds: labels in the folder, a dense teacher, and what to say of them."""

    folder: CocoFolder
    dense: DenseTeacher | None = None
    notes: tuple[str, ...] = ()


def prepare_lesson(
    config: TrainConfig,
    folder: CocoFolder,
    student: Detector,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Lesson:
    """What the teacher of `config` has to say about the folder; nothing where there is none.

    Args:
        on_progress: called with the number of images just looked at.

    Raises:
        UsageError: a teacher that knows none of the classes, or whose outputs are not described.
        ArtifactError: one that cannot be read.
    """
    if not config.teacher:
        return Lesson(folder=folder)
    names = folder.splits["train"].class_names
    dense = _dense_teacher(config, student, names)
    name = Path(config.teacher).name
    notes = [note] if (note := teacher_note(name, _licence_of(config.teacher))) else []
    if dense is not None:
        notes.append(f"teacher {name}: {_subjects(config, dense, names)}")
    by_boxes = dense is None or dense.labels_too
    to_label = [
        split
        for split in folder.splits.values()
        if not _has_boxes(split) or (by_boxes and split.name == "train")
    ]
    if not to_label:
        return Lesson(folder=folder, dense=dense, notes=tuple(notes))
    labelled, more = _labelled(config, to_label, on_progress)
    splits = {**folder.splits, **{split.name: split for split in labelled}}
    return Lesson(
        folder=dataclasses.replace(folder, splits=splits), dense=dense, notes=(*notes, *more)
    )


def _licence_of(teacher: str) -> str:
    """What a teacher's weights are under; of another tool's file what its metadata says, if any."""
    path = Path(teacher)
    try:
        return read_manifest(path).licence
    except NoManifestError:
        with contextlib.suppress(NoManifestError):
            return embedded_text(path, LICENCE_KEY)
    return ""


def _has_boxes(split: CocoSplit) -> bool:
    return any(len(record.classes) for record in split.records)


# --- dense ---------------------------------------------------------------------------------------


def _dense_teacher(
    config: TrainConfig, student: Detector, names: Sequence[str]
) -> DenseTeacher | None:
    """The teacher as a network, where it is a detkit checkpoint with something to compare."""
    path = Path(config.teacher)
    try:
        if read_manifest(path).kind != "checkpoint":
            return None
    except NoManifestError:
        return None
    network, manifest = load_checkpoint(path)
    comparable = same_outputs(network, student)
    if not (comparable or config.distill.features):
        return None
    classes = common_classes(names, manifest.class_names)
    if not config.distill.features:
        _require_common(classes, names, manifest.class_names, path)
    return DenseTeacher(
        network=network,
        classes=classes if comparable else ([], []),
        labels_too=not comparable and bool(classes[0]) and config.distill.score < NO_LABELS,
    )


def _subjects(config: TrainConfig, dense: DenseTeacher, names: Sequence[str]) -> str:
    """What a dense teacher teaches, in words."""
    of_classes = f"scores and distances of {len(dense.classes[0])} of {len(names)} classes"
    if not config.distill.features:
        return of_classes
    if dense.by_outputs:
        return f"features, {of_classes}"
    if dense.labels_too:
        return "features"
    without_labels = config.distill.score >= NO_LABELS
    return "features only" if without_labels else "features only, as it has none of the classes"


def same_outputs(a: Detector, b: Detector) -> bool:
    """Whether both have the same anchor points and distance bins at the same image size."""
    if {a.spec.family, b.spec.family} & set(TRAINED_AS):
        return False
    return a.spec.reg_max == b.spec.reg_max and len(a.spec.head_widths) == len(b.spec.head_widths)


def common_classes(mine: Sequence[str], theirs: Sequence[str]) -> tuple[list[int], list[int]]:
    """Indices among `mine` and among `theirs` of the classes of the same name."""
    pairs = [(i, theirs.index(name)) for i, name in enumerate(mine) if name in theirs]
    return [i for i, _ in pairs], [j for _, j in pairs]


def _require_common(
    classes: tuple[list[int], list[int]], mine: Sequence[str], theirs: Sequence[str], teacher: Path
) -> None:
    """Raises UsageError where there is no class of the same name."""
    if not classes[0]:
        known = ", ".join(theirs[:5]) + (", ..." if len(theirs) > 5 else "")
        raise UsageError(
            f"the teacher {teacher.name} knows none of the classes, only {known}",
            hint=did_you_mean(mine[0], theirs),
        )


# --- by boxes ------------------------------------------------------------------------------------


def _open_teacher(config: TrainConfig) -> Session:
    path = Path(config.teacher)
    description = None
    if config.teacher_outputs:
        description = with_class_names(read_description(config.teacher_outputs), None)
    options = SessionOptions(device=config.device, threads=config.threads)
    return open_session(path, session_options=options, description=description)


def _labelled(
    config: TrainConfig, splits: Sequence[CocoSplit], on_progress: Callable[[int], None]
) -> tuple[list[CocoSplit], list[str]]:
    """The splits with the teacher's boxes among their labels, and what to say of them."""
    session, name = _open_teacher(config), Path(config.teacher).name
    labelled, notes = [], []
    for split in splits:
        with_boxes, added = _with_boxes(split, session, config, on_progress)
        labelled.append(with_boxes)
        notes.append(
            f"teacher {name}: {added} boxes of score {config.distill.score:g} and above"
            f" as labels of '{split.name}'"
        )
        if split.name == "val":
            notes.append("the val split has no labels: AP says how far the teacher is agreed with")
    return labelled, notes


def _with_boxes(
    split: CocoSplit, session: Session, config: TrainConfig, on_progress: Callable[[int], None]
) -> tuple[CocoSplit, int]:
    """The split with the teacher's boxes among its labels, and how many they are."""
    names = session.manifest.class_names
    common = common_classes(split.class_names, names)
    _require_common(common, split.class_names, names, Path(config.teacher))
    class_of = np.full(len(names), -1, np.int64)
    class_of[common[1]] = common[0]
    records = []
    for record, found in zip(
        split.records, _drawn_boxes(split.records, session, config, on_progress), strict=True
    ):
        classes = class_of[found.classes]
        keep = (classes >= 0) & (found.scores >= config.distill.score)
        kept = Detections(found.boxes_xyxy[keep], found.scores[keep], classes[keep])
        records.append(with_soft_labels(record, kept))
    count = sum(map(_count, records)) - sum(map(_count, split.records))
    return dataclasses.replace(split, records=tuple(records)), count


def _count(record: ImageRecord) -> int:
    return len(record.classes)


def with_soft_labels(record: ImageRecord, found: Detections) -> ImageRecord:
    """The record with further boxes, as sure as their scores.

    Left out are those of classes that the record's own labels are said to be complete for, and
    those on an object that is labelled as that class already.
    """
    keep = np.ones(len(found), np.bool_)
    if record.known is not None:
        keep &= ~record.known[found.classes]
    if len(record.classes):
        same = found.classes[:, None] == record.classes
        keep &= ~(same & (iou_matrix(found.boxes_xyxy, record.boxes_xyxy) >= SAME_OBJECT)).any(1)
    boxes = found.boxes_xyxy[keep]
    return dataclasses.replace(
        record,
        boxes_xyxy=np.concatenate([record.boxes_xyxy, boxes]),
        classes=np.concatenate([record.classes, found.classes[keep]]),
        crowd=np.concatenate([record.crowd, np.zeros(len(boxes), np.bool_)]),
        area=np.concatenate([record.area, area_xyxy(boxes).astype(np.float64)]),
        scores=np.concatenate([record.scores, found.scores[keep].astype(np.float32)]),
    )


def _drawn_boxes(
    records: Sequence[ImageRecord],
    session: Session,
    config: TrainConfig,
    on_progress: Callable[[int], None],
) -> list[Detections]:
    """The teacher's boxes on each image, remembered between runs.

    The size that an image is annotated with decides which way up it is (see `read_image`).
    """
    outputs = to_json(read_description(config.teacher_outputs)) if config.teacher_outputs else ""
    head = {"schema": CACHE_SCHEMA, "nms": dataclasses.asdict(FLOOR), "outputs": outputs}
    key = f"{sha256_of(Path(config.teacher))} {config.teacher_outputs}"
    cache = FileCache(kind="teachers", key=key, head=head)
    remembered = cache.read()
    keys = [f"{r.width}x{r.height}:{FileStamp.of(r.path).key}" for r in records]
    drawn = [_detections_of(remembered.get(key), session) for key in keys]
    todo = [i for i, one in enumerate(drawn) if one is None]
    found = detect(
        session, [records[i] for i in todo], batch_size=1, nms=FLOOR, on_progress=on_progress
    )
    for i, one in zip(todo, found, strict=True):
        rows = np.column_stack([one.classes, one.scores, one.boxes_xyxy]).tolist()
        drawn[i], remembered[keys[i]] = one, [[int(row[0]), *row[1:]] for row in rows]
    if todo:
        cache.write(remembered)
    return [one for one in drawn if one is not None]


def _detections_of(rows: object, session: Session) -> Detections | None:
    """The boxes that a row of the cache stands for; None where there is none, or a damaged one."""
    try:
        table = np.array(rows, np.float64).reshape(-1, 6)
    except (TypeError, ValueError):
        return None
    classes = table[:, 0].astype(np.int64)
    known = np.isin(classes, np.arange(len(session.manifest.class_names)))
    if not (np.isfinite(table).all() and known.all()):
        return None
    return Detections(table[:, 2:].astype(np.float32), table[:, 1].astype(np.float32), classes)
