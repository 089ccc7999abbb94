"""A COCO folder -> records that training and evaluation can rely on, and the report of its faults.

The user's folder is only read. Every image and box is kept, fixed, dropped or rejected, and
counted; nothing is lost silently. Crowd regions stay in the records, marked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.core.boxes import Array
from detkit.core.errors import DataError
from detkit.core.paths import StrPath
from detkit.data.coco import faults
from detkit.data.coco.coco_json import read_categories, read_document
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.layout import Layout, SplitFiles, find_layout
from detkit.data.coco.split_reader import ImageRecord, SplitReader, folder_report, label_of
from detkit.data.coco.verify import Progress
from detkit.data.image import letterbox, network_input, read_image
from detkit.data.synthetic.synth import draw_images
from detkit.report import DataReport
from detkit.spec.preprocess import Preprocess

__all__ = [
    "CocoFolder",
    "CocoSplit",
    "ImageRecord",
    "has_boxes",
    "inspect_folder",
    "open_folder",
    "require_boxes",
    "require_usable",
    "sample_images",
    "synthetic_images",
]


@dataclass(frozen=True, kw_only=True)
class CocoSplit:
    """The usable images of a split; `category_ids[c]` is what its JSON calls class c."""

    name: str
    records: tuple[ImageRecord, ...]
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]

    @property
    def is_scorable(self) -> bool:
        """Whether AP is defined on it: some image has a box that is no crowd."""
        return has_boxes(self.records)


@dataclass(frozen=True, kw_only=True)
class CocoFolder:
    """The splits by their normalised names (train, val, test), and what was found on the way."""

    root: Path
    layout: str
    splits: dict[str, CocoSplit]
    report: DataReport

    def split(self, name: str) -> CocoSplit:
        """Raises DataError, naming the splits there are, when this one is not."""
        if name not in self.splits:
            raise _no_split(self.root, name, self.splits)
        return self.splits[name]


def open_folder(
    root: StrPath,
    *,
    files: Mapping[str, tuple[Path, Path]] | None = None,
    splits: Sequence[str] | None = None,
    verify_pixels: bool = True,
    on_progress: Progress | None = None,
) -> CocoFolder:
    """The folder's usable images and boxes.

    Args:
        files: split -> (annotation file, image folder), instead of a known layout.
        splits: only these; all there are by default.
        verify_pixels: decode every image once; otherwise only headers are read, and images
            that occur in two splits go unnoticed.
        on_progress: called with how many of a split's images are decoded, and how many there are.

    >>> folder = open_folder("coco")
    >>> folder.split("val").class_names
    ('red', 'green')

    Raises:
        DataError: no COCO folder, a split that is not there, or a fault that makes the folder
            unusable (see `faults`).
    """
    folder = inspect_folder(
        Path(root), files=files, splits=splits, verify_pixels=verify_pixels, on_progress=on_progress
    )
    rejected = [fault for fault in folder.report.faults if fault.action == "rejected"]
    if rejected:
        lines = [f"{fault.file}: {fault.reason}: {fault.detail}" for fault in rejected[:5]]
        if len(rejected) > 5:
            lines.append(f"and {len(rejected) - 5} more")
        hint = f"detkit data check {root}"
        raise DataError(f"{root} cannot be used: {'; '.join(lines)}", hint=hint)
    return folder


def inspect_folder(
    root: Path,
    *,
    files: Mapping[str, tuple[Path, Path]] | None = None,
    splits: Sequence[str] | None = None,
    verify_pixels: bool = True,
    on_progress: Progress | None = None,
) -> CocoFolder:
    """Reads a folder as `open_folder` does, but reports what makes it unusable, raising nothing."""
    layout = find_layout(root, files)
    chosen = _chosen(root, layout, splits)
    log = FaultLog()
    documents = {
        name: document
        for name, there in chosen.items()
        if (document := read_document(there.json_path, label_of(root, there.json_path), log))
    }
    categories = read_categories(list(documents.values()), log)
    reader = SplitReader(
        root=root, categories=categories, pixels=verify_pixels, on_progress=on_progress
    )
    readings = {name: reader.read(name, chosen[name], doc) for name, doc in documents.items()}
    return CocoFolder(
        root=root,
        layout=layout.name,
        splits={
            name: CocoSplit(
                name=name,
                records=reading.records,
                class_names=categories.names,
                category_ids=categories.ids,
            )
            for name, reading in readings.items()
        },
        report=folder_report(root, layout.name, categories, list(readings.values()), log),
    )


def _chosen(root: Path, layout: Layout, splits: Sequence[str] | None) -> dict[str, SplitFiles]:
    for name in splits or ():
        if name not in layout.splits:
            raise _no_split(root, name, layout.splits)
    return {name: layout.splits[name] for name in splits or layout.splits}


def _no_split(root: Path, name: str, there: Mapping[str, object]) -> DataError:
    return DataError(f"{root} has no split '{name}'", hint=f"it has: {', '.join(there)}")


def require_usable(folder: CocoFolder, *, max_dropped_share: float = 0.01) -> None:
    """Raises DataError when a split is empty, or lost more of its images or boxes than that."""
    hint = f"detkit data check {folder.root} lists them; --set max_dropped=0.2 skips them"
    for split in folder.report.splits:
        if not split.images:
            raise DataError(f"{folder.root}: no usable images in '{split.split}'", hint=hint)
        for thing, used, lost in (
            ("images", split.images, split.dropped_images),
            ("boxes", split.boxes, split.dropped_boxes),
        ):
            if lost > max_dropped_share * (used + lost):
                why = _top_reasons(folder.report)
                raise DataError(
                    f"{folder.root}: {lost} of {used + lost} {thing} of '{split.split}' "
                    f"cannot be used: {why}",
                    hint=hint,
                )


def has_boxes(records: Sequence[ImageRecord]) -> bool:
    """Whether there is a box to find; crowds are not, which scorers ignore."""
    return any(not record.crowd.all() for record in records)


def require_boxes(records: Sequence[ImageRecord], where: str) -> None:
    """Raises DataError where AP is undefined on these images, as there is nothing to be found."""
    if not has_boxes(records):
        raise DataError(
            f"{where}: no boxes in {len(records)} images, so AP cannot be measured",
            hint="label some of them by hand, or by a detector: detkit data label",
        )


def _top_reasons(report: DataReport) -> str:
    dropped = [(report.counts.get(text, 0), text) for text in faults.REASONS_OF["dropped"]]
    return "; ".join(f"{text}: {n}" for n, text in sorted(dropped, reverse=True)[:3] if n)


# --- images to compare models on ---------------------------------------------------------------


def sample_images(
    folder: CocoFolder | Path,
    preprocess: Preprocess,
    count: int,
    *,
    splits: Sequence[str] = ("val", "test", "train"),
) -> tuple[Array, str]:
    """(B, 3, H, W) float32 of up to `count` images, evenly spread over the first split there is.

    Also returns where they come from.

    Raises:
        DataError: no usable COCO folder, or no image in it.
    """
    if isinstance(folder, Path):
        there = find_layout(folder).splits
        name = next(split for split in splits if split in there)
        folder = open_folder(folder, splits=(name,), verify_pixels=False)
    split = next(folder.splits[name] for name in splits if name in folder.splits)
    step = max(1, len(split.records) // max(1, count))
    chosen = split.records[::step][:count]
    if not chosen:
        raise DataError(f"{folder.root}: no usable images in '{split.name}'")
    images = [read_image(r.path, size_hint=(r.width, r.height)) for r in chosen]
    padded = [letterbox(image, preprocess)[0] for image in images]
    return network_input(padded, preprocess), f"{folder.root} ({split.name})"


def synthetic_images(preprocess: Preprocess, count: int) -> Array:
    """(count, 3, H, W) float32 of drawn scenes, the same at every call."""
    images = draw_images(count, size=max(preprocess.fit))
    return network_input([letterbox(p, preprocess)[0] for p in images], preprocess)
