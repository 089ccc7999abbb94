"""What can be wrong with a folder, and the log that counts and lists it by file and reason.

Every input is kept (with a remark), fixed, dropped or rejected; a rejected one makes the folder
unusable. Reasons are fixed phrases, so that scripts can count on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from detkit.report import Fault

ANIMATED = "animated image: first frame used"
AMBIGUOUS_TURN = "EXIF orientation that the size cannot confirm: turned upright"
LEAK = "same image in another split"
REPEATED = "image listed twice"
BOX_NARROW = "box narrower than a pixel"
SMALL_DEPTH = "16-bit image of small values: dark as it is read"
NO_LABEL_FILE = "image without a label file: taken as one without objects"
FOREIGN_NAME = "file name of a format that is not read: it holds another, which is"
NO_SPLIT_LIST = "no list of splits: divided 80/10/10"

BOX_CLIPPED = "box reaches outside the image: clipped"
AREA_FILLED = "annotation without area: filled"
CROWD_FILLED = "annotation without iscrowd: filled"
ANNOTATION_IDS = "annotation ids missing, zero or repeated: renumbered"
IMAGE_IDS = "image ids are not integers: renumbered"
SIZE_FILLED = "image without width and height: filled"
NUMBERS_READ = "numbers written as text, or whole ones with a point: read as numbers"
CATEGORIES_FEWER = "category of another split is not in this file: without boxes here"
CATEGORY_NUMBERS = "category numbered otherwise than in another split: matched by name"
CATEGORY_UNUSED = "category without boxes that another split does not have: left out"
POLYGON = "label is a polygon: its envelope taken"
BOX_OF_POLYGON = "annotation without bbox: the envelope of its polygons taken"
ROOT_CLASS = "category that only groups the others: left out"
ABSENT_UNKNOWN = "image speaks of an unknown category: left out"

BOX_EMPTY = "box without area"
BOX_OUTSIDE = "box outside the image"
BOX_MALFORMED = "box is not four numbers"
BOX_CROWD = "iscrowd is neither 0 nor 1"
BOX_SCORE = "score of a box is not between 0 and 1"
BOX_NO_IMAGE = "annotation of an unknown image"
BOX_NO_CATEGORY = "annotation of an unknown category"
BOX_OF_DROPPED = "annotation of a dropped image"
FILE_MISSING = "no such image file"
UNDECODABLE = "image cannot be decoded"
BAD_LABELS = "label file cannot be read"
LABELS_ALONE = "label file without its image"
NOT_LISTED = "labelled image in no split"
UNLABELLED = "image without a label file"

BAD_FILE = "annotation file cannot be read"
BAD_STRUCTURE = "annotation file is not of the expected form"
NOT_FINITE = "NaN or infinite number"
DUPLICATE_IMAGE = "image id used twice"
DUPLICATE_CATEGORY = "category id or name used twice"
CATEGORY_MISMATCH = "categories with boxes that another split does not have"
PATH_ESCAPE = "file name leads out of the folder"
SIZE_MISMATCH = "annotated size is not the image's"
LINKED_OUT = "it links to a file outside the folder"  # a detail of PATH_ESCAPE

DROPPED_BOXES = (
    *(BOX_EMPTY, BOX_OUTSIDE, BOX_MALFORMED, BOX_CROWD, BOX_SCORE),
    *(BOX_NO_IMAGE, BOX_NO_CATEGORY, BOX_OF_DROPPED),
)
REASONS_OF = {
    "kept": (
        BOX_NARROW,
        SMALL_DEPTH,
        ANIMATED,
        AMBIGUOUS_TURN,
        LEAK,
        REPEATED,
        NO_SPLIT_LIST,
        NO_LABEL_FILE,
        FOREIGN_NAME,
    ),
    "fixed": (
        *(BOX_CLIPPED, AREA_FILLED, CROWD_FILLED, ANNOTATION_IDS),
        *(IMAGE_IDS, SIZE_FILLED, ROOT_CLASS, ABSENT_UNKNOWN),
        *(
            NUMBERS_READ,
            CATEGORIES_FEWER,
            CATEGORY_NUMBERS,
            CATEGORY_UNUSED,
            BOX_OF_POLYGON,
            POLYGON,
        ),
    ),
    "dropped": (
        *DROPPED_BOXES,
        *(FILE_MISSING, UNDECODABLE, BAD_LABELS, LABELS_ALONE, NOT_LISTED, UNLABELLED),
    ),
    "rejected": (
        *(BAD_FILE, BAD_STRUCTURE, NOT_FINITE, DUPLICATE_IMAGE),
        *(DUPLICATE_CATEGORY, CATEGORY_MISMATCH, PATH_ESCAPE, SIZE_MISMATCH),
    ),
}
ACTION_OF = {reason: action for action, reasons in REASONS_OF.items() for reason in reasons}


def top_dropped(counts: Mapping[str, int]) -> str:
    """The three commonest reasons why something was dropped, with their counts."""
    dropped = sorted(((counts.get(text, 0), text) for text in REASONS_OF["dropped"]), reverse=True)
    return "; ".join(f"{text}: {count}" for count, text in dropped[:3] if count)


@dataclass
class FaultLog:
    """Faults in the order met, one entry for each file and reason however often it happened."""

    _entries: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)

    def add(self, reason: str, file: str, detail: str = "", *, count: int = 1) -> None:
        """Notes `count` more things wrong in `file`; the first detail is kept."""
        first_detail, so_far = self._entries.get((file, reason), (detail, 0))
        self._entries[file, reason] = (first_detail, so_far + count)

    def extend(self, other: FaultLog) -> None:
        for (file, reason), (detail, count) in other._entries.items():
            self.add(reason, file, detail, count=count)

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(
            Fault(file=file, reason=reason, action=ACTION_OF[reason], detail=_told(detail, count))
            for (file, reason), (detail, count) in self._entries.items()
        )

    @property
    def counts(self) -> Counter[str]:
        """Reason -> how many things (boxes, images, files) it concerns."""
        totals: Counter[str] = Counter()
        for (_, reason), (_, count) in self._entries.items():
            totals[reason] += count
        return totals

    def has(self, *actions: str) -> bool:
        return any(ACTION_OF[reason] in actions for _, reason in self._entries)


def _told(detail: str, count: int) -> str:
    return detail if count == 1 else f"{detail} ({count} times)".lstrip()
