"""Makes the folder that the starter weights are trained on: real sets, machine labels, drawings.

    python benchmarks/starter_prepare.py DATA OUT --teacher yolox_nano.onnx [--everything]

DATA holds `pool/` and, for --everything, `vegetables/` and `orchard/`, of which only the train
splits are taken. The parts are made one by one below OUT and kept, so that the ingredients can be
trained on apart: `drawn`, `pool`, `pool-drawn`, `pool-taught`, `all` (pool, drawn and taught).
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from field_jobs import detkit_command
from starter_union import SPLITS, Union, canonical, read_split

from detkit.spec.coco_names import COCO_NAMES

POOL = ("highway", "caltech3", "otonom-road", "micro", "indoor85", "openimages72")
MORE = ("vegetables", "orchard")
DRAWN_IMAGES, DRAWN_VAL, DRAWN_SIDE, DRAWN_SEED = 6000, 100, 256, 11
SCORE = 0.3  # of the machine labels that are kept


def detkit(*args: object) -> None:
    """Runs a verb; ends where it fails."""
    subprocess.run(detkit_command(*args), check=True)


def is_whole(folder: Path) -> bool:
    """Whether a verb has ended that makes a folder: annotations are what it writes last."""
    return any(folder.glob("annotations/instances_*.json"))


def own_names(folder: Path) -> dict[str, str]:
    """What a set calls the classes of the teacher's that it has itself by another name."""
    documents = (read_split(folder, split) for split in SPLITS)
    names = {item["name"] for found in documents if found for item in found["categories"]}
    return {
        canonical(name): name
        for name in sorted(names)
        if canonical(name) != name and canonical(name) in COCO_NAMES
    }


def draw(out: Path) -> Path:
    """The drawn scenes, made once."""
    if not is_whole(out):
        counts = ("--train", DRAWN_IMAGES, "--val", DRAWN_VAL, "--test", 0)
        more = ("--size", DRAWN_SIDE, "--seed", DRAWN_SEED, "-q", "--force")
        detkit("data", "synth", "--kind", "objects", *counts, *more, "-o", out)
    return out


def label(folder: Path, teacher: Path, out: Path) -> Path:
    """A set with the teacher's boxes among its labels, made once."""
    if is_whole(out):
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    renamed: tuple[object, ...] = ()
    if names := own_names(folder):
        path = out.parent / f"{folder.name}-classes.json"
        path.write_text(json.dumps(names), encoding="utf-8")
        renamed = ("--classes", path)
    by = ("--model", teacher, "--outputs", "yolox", "--score", SCORE, *renamed)
    detkit("data", "label", folder, *by, "--link", "--sheets", 1, "-q", "--force", "-o", out)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--everything", action="store_true", help="vegetables and orchard too")
    args = parser.parse_args()
    drawn = draw(args.out / "drawn")
    plain = {args.data / "pool" / name: SPLITS for name in POOL}
    if args.everything:
        plain |= {args.data / name: ("train",) for name in MORE}
    taught = {
        label(root, args.teacher, args.out / "taught" / root.name): splits
        for root, splits in plain.items()
    }
    suffix = "-everything" if args.everything else ""
    for name, sets, with_drawn in (
        ("pool", plain, False),
        ("pool-drawn", plain, True),
        ("pool-taught", taught, False),
        ("all", taught, True),
    ):
        union = Union(args.out / f"{name}{suffix}")
        for root, splits in sets.items():
            union.add(root, drawn=False, only=splits)
        if with_drawn:
            union.add(drawn, drawn=True)
        print(union.out)
        union.write()


if __name__ == "__main__":
    main()
