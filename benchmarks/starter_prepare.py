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
import sys
from pathlib import Path

from starter_union import Union

POOL = ("highway", "caltech3", "otonom-road", "micro", "indoor85", "openimages72")
MORE = ("vegetables", "orchard")
DRAWN_IMAGES, DRAWN_VAL, DRAWN_SIDE, DRAWN_SEED = 6000, 100, 256, 11
SCORE = 0.3  # of the machine labels that are kept
# What a set calls the classes of the teacher's that it has itself.
OWN_NAMES = {
    "highway": {"motorcycle": "motorbike"},
    "indoor85": {
        "tv": "tvmonitor",
        "couch": "sofa",
        "dining table": "diningtable",
        "potted plant": "pottedplant",
    },
}


def detkit(*args: object) -> None:
    """Runs a verb; ends where it fails."""
    subprocess.run([sys.executable, "-m", "detkit", *map(str, args)], check=True)


def draw(out: Path) -> Path:
    """The drawn scenes, made once."""
    if not (out / "annotations").is_dir():
        counts = ("--train", DRAWN_IMAGES, "--val", DRAWN_VAL, "--test", 0)
        more = ("--size", DRAWN_SIDE, "--seed", DRAWN_SEED, "-q")
        detkit("data", "synth", "--kind", "objects", *counts, *more, "-o", out)
    return out


def label(folder: Path, split: str, teacher: Path, out: Path) -> None:
    """Adds the teacher's boxes to one split of a set, made once."""
    annotations = folder / "annotations" / f"instances_{split}.json"
    if (out / "annotations" / f"instances_{split}.json").is_file() or not annotations.is_file():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    names = out.parent / f"{folder.name}-classes.json"
    names.write_text(json.dumps(OWN_NAMES.get(folder.name, {})), encoding="utf-8")
    source = ("data", "label", folder / "images", "--annotations", annotations)
    by = ("--model", teacher, "--outputs", "yolox", "--score", SCORE, "--classes", names)
    detkit(*source, *by, "--split", split, "--link", "-q", "-o", out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--everything", action="store_true", help="vegetables and orchard too")
    args = parser.parse_args()
    drawn = draw(args.out / "drawn")
    sets = [args.data / "pool" / name for name in POOL]
    more = [args.data / name for name in MORE] if args.everything else []
    taught: list[tuple[Path, tuple[str, ...]]] = []
    for root in (*sets, *more):
        for split in ("train",) if root in more else ("train", "val", "test"):
            folder = args.out / "taught" / split / root.name
            label(root, split, args.teacher, folder)
            taught.append((folder, (split,)))
    plain: list[tuple[Path, tuple[str, ...]]] = [(root, ("train", "val", "test")) for root in sets]
    plain += [(root, ("train",)) for root in more]
    suffix = "-everything" if args.everything else ""
    for name, real, with_drawn in (
        ("pool", plain, False),
        ("pool-drawn", plain, True),
        ("pool-taught", taught, False),
        ("all", taught, True),
    ):
        union = Union(args.out / f"{name}{suffix}")
        for root, splits in real:
            union.add(root, drawn=False, only=splits)
        if with_drawn:
            union.add(drawn, drawn=True)
        print(union.out)
        union.write()


if __name__ == "__main__":
    main()
