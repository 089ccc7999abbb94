"""Several COCO folders -> one to pretrain on, in which no set is punished for what it lacks.

Classes are joined by name, whatever its case or spaces, and by the synonyms below. The labels of a
set are complete for its own classes only, so every image lists those in `neg_category_ids`, as LVIS
does, and training leaves the others alone. A drawn set shows nothing but its own classes: its
images are complete for all.

    python benchmarks/starter_union.py OUT --set DIR --set DIR --drawn DIR
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

Json = dict[str, Any]

SYNONYMS = {
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "tvmonitor": "tv",
    "diningtable": "dining table",
    "sofa": "couch",
    "pottedplant": "potted plant",
}
FEDERATED = {"neg_category_ids", "not_exhaustive_category_ids"}
KEPT = {"bbox", "area", "iscrowd", "score"}  # of an annotation
SPLITS = ("train", "val", "test")


def canonical(name: str) -> str:
    """The name that classes are joined by."""
    plain = re.sub(r"[\s_-]+", " ", name.strip().lower())
    return SYNONYMS.get(plain, plain)


def read_split(root: Path, split: str) -> Json | None:
    """The annotations of a split; None where the folder does not have it."""
    path = root / "annotations" / f"instances_{split}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def image_path(root: Path, split: str, name: str) -> Path:
    """Where an image of a split lies."""
    places = (root / "images" / name, root / "images" / split / name, root / name)
    return next(path for path in places if path.is_file())


class Union:
    """The folder under construction. What is not val in a set is trained on."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.ids: dict[str, int] = {}
        self.roots: dict[str, Path] = {}
        self.parts: dict[str, Json] = {
            split: {"images": [], "annotations": []} for split in ("train", "val")
        }

    def add(self, root: Path, *, drawn: bool, only: tuple[str, ...] = SPLITS) -> None:
        """Adds the splits of a folder.

        Raises:
            SystemExit: another folder of this name is in already: their images would be mixed.
        """
        if self.roots.setdefault(root.name, root) != root:
            raise SystemExit(f"{root} has the name of {self.roots[root.name]}")
        for split in only:
            document = read_split(root, split)
            if document is not None:
                self._add_split(root, split, document, drawn=drawn)

    def write(self) -> None:
        """Writes the annotations and says how many there are."""
        categories = [{"id": number, "name": name} for name, number in self.ids.items()]
        (self.out / "annotations").mkdir(parents=True, exist_ok=True)
        for split, part in self.parts.items():
            path = self.out / "annotations" / f"instances_{split}.json"
            path.write_text(json.dumps({**part, "categories": categories}), encoding="utf-8")
            print(f"{split}: {len(part['images'])} images, {len(part['annotations'])} boxes")
        print(f"{len(categories)} classes")

    def _add_split(self, root: Path, split: str, document: Json, *, drawn: bool) -> None:
        part = self.parts["val" if split == "val" else "train"]
        ids = {
            item["id"]: self.ids.setdefault(canonical(item["name"]), len(self.ids) + 1)
            for item in document["categories"]
        }
        boxes: defaultdict[int, list[Json]] = defaultdict(list)
        for item in document["annotations"]:
            boxes[item["image_id"]].append(item)
        for image in document["images"]:
            number = 1 + sum(len(other["images"]) for other in self.parts.values())
            name = self._copy(root, split, image["file_name"])
            entry: Json = {"id": number, "file_name": name}
            entry |= {key: image[key] for key in ("width", "height")}
            if not drawn:
                entry["neg_category_ids"] = sorted(set(ids.values()))
                for key in FEDERATED & image.keys():
                    entry[key] = sorted({ids[old] for old in image[key]})
            part["images"].append(entry)
            for item in boxes[image["id"]]:
                kept: Json = {key: item[key] for key in KEPT & item.keys()}
                kept["id"], kept["image_id"] = len(part["annotations"]) + 1, number
                kept["category_id"] = ids[item["category_id"]]
                part["annotations"].append(kept)

    def _copy(self, root: Path, split: str, file_name: str) -> str:
        """Copies an image below the name of its set; its name in the union."""
        name = f"{root.name}/{split}/{file_name}"
        target = self.out / "images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            partial = target.with_name(f".{target.name}.part")  # one cut off is not taken for whole
            shutil.copyfile(image_path(root, split, file_name), partial)
            partial.replace(target)
        return name


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", type=Path, action="append", default=[], dest="sets")
    parser.add_argument("--drawn", type=Path, action="append", default=[])
    args = parser.parse_args()
    union = Union(args.out)
    for root in args.sets:
        union.add(root, drawn=False)
    for root in args.drawn:
        union.add(root, drawn=True)
    union.write()


if __name__ == "__main__":
    main()
