"""A COCO folder that detkit draws itself: something to try every verb on, with no download."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from detkit.artifact.outputs import begin_folder, check_output_folder, seal
from detkit.artifact.writing import write_bytes
from detkit.core.errors import UsageError, did_you_mean
from detkit.data.coco.write import LabelledImage, annotations_name, write_split
from detkit.data.draw import encoded
from detkit.data.image import Pixels
from detkit.data.synthetic.objects import NUM_KINDS, draw_objects
from detkit.data.synthetic.scene import SHAPES, Rng, Scene, draw_scene

VERB = "data synth"
DrawScene = Callable[[Rng, int, int], Scene]  # generator, side in pixels, classes


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What scenes of one kind are made of: the classes there are, and what draws a scene."""

    class_names: tuple[str, ...]
    draw: DrawScene


PICTURES = {
    "shapes": Picture(class_names=tuple(SHAPES), draw=draw_scene),
    "objects": Picture(
        class_names=tuple(f"object {number:02}" for number in range(1, NUM_KINDS + 1)),
        draw=draw_objects,
    ),
}
DEFAULT_COUNTS = {"train": 320, "val": 80, "test": 40}


def synthesize(
    out: Path,
    *,
    images: Mapping[str, int] | None = None,
    size: int = 192,
    seed: int = 0,
    kind: str = "shapes",
    classes: int | None = None,
    force: bool = False,
) -> Path:
    """Draws `images[split]` square images of `size` pixels for each split into the folder `out`.

    `kind` is shapes (six classes, a few to an image) or objects (sixty made-up classes, sparse and
    crowded scenes, to pretrain on); `classes` takes only the first of them. The same arguments give
    the same bytes with the same Pillow and numpy.

    Raises:
        UsageError: `out` already holds something and is not forced, or a number out of range.
    """
    counts = DEFAULT_COUNTS if images is None else dict(images)
    if not 32 <= size <= 4096:
        raise UsageError(f"size: {size} is not within 32..4096")
    if kind not in PICTURES:
        raise UsageError(f"kind: unknown '{kind}'", hint=did_you_mean(kind, PICTURES))
    names = PICTURES[kind].class_names
    if classes is not None and not 1 <= classes <= len(names):
        raise UsageError(f"classes: {classes} is not within 1..{len(names)}")
    picture = replace(PICTURES[kind], class_names=names[:classes])
    if seed < 0 or min(counts.values(), default=0) < 0:
        raise UsageError("seed and the numbers of images must not be negative")
    check_output_folder(out, VERB, force=force)
    files = {s: [f"{s}/{i:06d}.jpg" for i in range(1, n + 1)] for s, n in counts.items() if n}
    labels = [annotations_name(split) for split in files]
    begin_folder(out, VERB, [*(f"images/{name}" for s in files for name in files[s]), *labels])
    for number, split in enumerate(counts):
        drawn = [
            _draw_file(out, name, (seed, number, i), size, picture)
            for i, name in enumerate(files.get(split, ()), start=1)
        ]
        if drawn:
            write_split(out, split, drawn, picture.class_names)
    seal(out, VERB, *labels)
    return out


def draw_images(count: int, *, size: int) -> list[Pixels]:
    """`count` scenes of `size` pixels a side, the same at every call."""
    return [draw_scene(np.random.default_rng((0, i)), size).image_hwc for i in range(count)]


def _draw_file(
    out: Path, file_name: str, key: tuple[int, ...], size: int, picture: Picture
) -> LabelledImage:
    scene = picture.draw(np.random.default_rng(key), size, len(picture.class_names))
    path = out / "images" / file_name
    write_bytes(path, encoded(scene.image_hwc, "JPEG"), durable=False)
    return LabelledImage(
        file_name=file_name,
        width=size,
        height=size,
        boxes_xyxy=scene.boxes_xyxy,
        classes=scene.classes,
    )
