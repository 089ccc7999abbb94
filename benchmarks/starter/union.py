"""Several COCO folders -> one to pretrain on, in which no set is punished for what it lacks.

Classes are joined by name, whatever its case or spaces, and by the synonyms below. An image is
labelled completely for the classes of its own set only: it lists them in `neg_category_ids`, so
that training leaves the others alone. A drawn set shows nothing but its own classes, so it is
complete for all. Machine labels (`--soft`) add boxes with a score for classes that the image's own
set does not have; a class with a doubtful box is left open on that image.

    python benchmarks/starter/union.py OUT --set DIR --set DIR --drawn DIR --soft FILE.json

FILE.json is {"file name": [[class name, x1, y1, x2, y2, score], ...]} per set, by folder name.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
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
SURE = 0.3  # a machine label's score from which it is a box to learn; below, its class is left open


def canonical(name: str) -> str:
    """The name that classes are joined by."""
    plain = re.sub(r"[\s_-]+", " ", name.strip().lower())
    return SYNONYMS.get(plain, plain)


def read_split(root: Path, split: str) -> Json | None:
    path = root / "annotations" / f"instances_{split}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def image_path(root: Path, split: str, name: str) -> Path:
    places = (root / "images" / name, root / "images" / split / name, root / name)
    return next(path for path in places if path.is_file())


class Union:
    """The folder under construction."""

    def __init__(self, out: Path, soft_classes: list[str]) -> None:
        self.out = out
        self.ids: dict[str, int] = {}
        self.soft_ids = {self.category(name) for name in soft_classes}
        self.parts: dict[str, Json] = {
            split: {"images": [], "annotations": []} for split in ("train", "val")
        }

    def category(self, name: str) -> int:
        return self.ids.setdefault(canonical(name), len(self.ids) + 1)

    def add_split(self, root: Path, split: str, *, drawn: bool, soft: Json) -> None:
        """Adds one split; what is not val is trained on."""
        document = read_split(root, split)
        if document is None:
            return
        part = self.parts["val" if split == "val" else "train"]
        category = {item["id"]: self.category(item["name"]) for item in document["categories"]}
        own = set(category.values())
        boxes: dict[int, list[Json]] = {}
        for item in document["annotations"]:
            boxes.setdefault(item["image_id"], []).append(item)
        for image in document["images"]:
            source = image_path(root, split, image["file_name"])
            name = f"{root.name}/{split}/{source.name}"
            target = self.out / "images" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.copyfile(source, target)
            number = sum(len(p["images"]) for p in self.parts.values()) + 1
            entry = {
                "id": number,
                "file_name": name,
                "width": image["width"],
                "height": image["height"],
            }
            found = [
                {
                    "category_id": category[item["category_id"]],
                    "bbox": item["bbox"],
                    "iscrowd": item.get("iscrowd", 0),
                    "area": item["area"],
                }
                for item in boxes.get(image["id"], [])
            ]
            if not drawn:
                found += self.soft_boxes(soft.get(image["file_name"]), own, entry)
            for item in found:
                item.update(id=len(part["annotations"]) + 1, image_id=number)
                part["annotations"].append(item)
            part["images"].append(entry)

    def soft_boxes(self, rows: list[Any] | None, own: set[int], entry: Json) -> list[Json]:
        """Boxes with scores of classes that the set does not have; notes what is known."""
        if rows is None:
            entry["neg_category_ids"] = sorted(own)
            return []
        found, doubtful = [], set()
        for name, x1, y1, x2, y2, score in rows:
            number = self.category(name)
            if number in own:
                continue
            if score < SURE:
                doubtful.add(number)
                continue
            box = [x1, y1, x2 - x1, y2 - y1]
            found.append(
                {
                    "category_id": number,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "score": score,
                }
            )
        entry["neg_category_ids"] = sorted(own | self.soft_ids)
        entry["not_exhaustive_category_ids"] = sorted(doubtful)
        return found

    def write(self) -> None:
        categories = [{"id": number, "name": name} for name, number in self.ids.items()]
        (self.out / "annotations").mkdir(parents=True, exist_ok=True)
        for split, part in self.parts.items():
            path = self.out / "annotations" / f"instances_{split}.json"
            path.write_text(json.dumps({**part, "categories": categories}))
            print(split, len(part["images"]), "images", len(part["annotations"]), "boxes")
        print(len(categories), "classes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", type=Path, action="append", default=[], dest="sets")
    parser.add_argument("--drawn", type=Path, action="append", default=[])
    parser.add_argument("--soft", type=Path, help="machine labels of all sets")
    args = parser.parse_args()
    soft = json.loads(args.soft.read_text()) if args.soft else {}
    union = Union(args.out, soft.get("classes", []))
    for roots, drawn in ((args.sets, False), (args.drawn, True)):
        for root in roots:
            for split in ("train", "val", "test"):
                union.add_split(root, split, drawn=drawn, soft=soft.get(root.name, {}))
    union.write()


if __name__ == "__main__":
    main()
