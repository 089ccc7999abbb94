"""An image file -> uint8 RGB -> the network's input. The one frozen preprocessing of every verb.

What lives here: decoding (Pillow is the arbiter of what is readable), EXIF orientation, letterbox
and its inverse on boxes. What does not: training augmentation (see `augment`).
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from detkit.core.boxes import Array, Detections, area_xyxy, clip_xyxy
from detkit.core.errors import DataError
from detkit.core.reading import open_file
from detkit.spec.preprocess import Preprocess

Pixels = npt.NDArray[np.uint8]
PillowImage = Image.Image

# No EPS, PDF or other format whose reader starts another program.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
# Images too, which folders are searched for so that they are told as unreadable, not passed over.
FOREIGN_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".tga", ".exr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
)
SMALL_DEPTH = 1 << 14  # values of a 16-bit image below this leave it a quarter as bright, or less
MAX_MEGAPIXELS = 100.0
NATIVE = Preprocess()
ORIENTATION_TAG = 0x0112  # EXIF
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raises on damaged files; anything else is a bug.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# Damage is reported here as errors and faults; Pillow's own remarks would only repeat it.
warnings.filterwarnings("ignore", module=r"PIL\.")


def is_image_name(name: str) -> bool:
    """A file name with an image's suffix, read or not, that is not hidden."""
    suffixes = (*IMAGE_SUFFIXES, *FOREIGN_SUFFIXES)
    return name.lower().endswith(suffixes) and not name.startswith(".")


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What an image file says of itself: stored size (before EXIF), orientation 1..8, frames.

    `deep` is whether it has 16 bits a value.
    """

    width: int
    height: int
    orientation: int
    frames: int
    deep: bool = False

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) once the EXIF orientation is applied."""
        swapped = self.orientation >= 5
        return (self.height, self.width) if swapped else (self.width, self.height)

    @property
    def turn_is_ambiguous(self) -> bool:
        """An orientation other than upright that does not change the size."""
        return self.orientation != 1 and self.upright_size == (self.width, self.height)

    def turns_for(self, size_hint: tuple[int, int] | None) -> bool | None:
        """Whether to apply the orientation so that the image has `size_hint` (width, height).

        The boxes belong to whichever size the annotations state. Orientations that keep the size
        are applied, as viewers and annotation tools do. None: neither size is the one asked for.
        """
        if size_hint in (None, self.upright_size):
            return self.orientation != 1
        return False if size_hint == (self.width, self.height) else None


def read_image(
    source: Path | bytes,
    *,
    name: str = "",
    size_hint: tuple[int, int] | None = None,
    limit_megapixels: float = MAX_MEGAPIXELS,
) -> Pixels:
    """The first frame as (H, W, 3) uint8 RGB, fully decoded.

    Args:
        source: an image file, or what is in one.
        name: what messages call it; by default its path.
        size_hint: (width, height) as the annotations state it; it decides whether the EXIF
            orientation is applied. Without it the orientation is applied.

    Raises:
        DataError: missing, not an image, damaged, cut short, larger than the limit, or of
            another size than `size_hint`.
    """
    return read_told(source, name=name, size_hint=size_hint, limit_megapixels=limit_megapixels)[0]


def read_told(
    source: Path | bytes,
    *,
    name: str = "",
    size_hint: tuple[int, int] | None = None,
    limit_megapixels: float = MAX_MEGAPIXELS,
) -> tuple[Pixels, str]:
    """Reads an image as `read_image` does, with a remark on its values (see `to_rgb`)."""
    name = name or _name_of(source)
    with open_image(source, name=name, limit_megapixels=limit_megapixels) as (image, facts):
        turn = facts.turns_for(size_hint)
        if turn is None and size_hint is not None:
            raise DataError(
                f"{name}: is {facts.width}x{facts.height}, annotated as "
                f"{size_hint[0]}x{size_hint[1]}"
            )
        rgb, remark = to_rgb(image, deep=facts.deep)
        return _upright(rgb, facts.orientation if turn else 1), remark


def upright_pixels(image: Image.Image) -> Pixels:
    """An opened image as `read_image` gives a file: its EXIF orientation applied, 8 bits a channel.

    Raises:
        DataError: damaged, or cut short.
    """
    with _damage_as_error("image"):
        return _upright(to_rgb(image)[0], _orientation(image))


@contextlib.contextmanager
def open_image(
    source: Path | bytes, *, name: str = "", limit_megapixels: float = MAX_MEGAPIXELS
) -> Iterator[tuple[Image.Image, ImageFacts]]:
    """The opened, not yet decoded image and its facts; damage within the block is a DataError.

    `name` is what messages call it: its path where it has one.
    """
    name = name or _name_of(source)
    with (
        _damage_as_error(name),
        io.BytesIO(source) if isinstance(source, bytes) else open_file(source) as file,
        Image.open(file, formats=FORMATS) as image,
    ):
        if image.width * image.height > limit_megapixels * 1e6:
            raise DataError(
                f"{name}: {image.width}x{image.height} is more than {limit_megapixels:g} megapixels"
            )
        yield image, _facts(image)


def _name_of(source: Path | bytes) -> str:
    return "image" if isinstance(source, bytes) else str(source)


@contextlib.contextmanager
def _damage_as_error(name: str) -> Iterator[None]:
    """Turns what Pillow raises on a damaged image within the block into a DataError."""
    try:
        yield
    except ValuesError as error:
        raise DataError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        foreign = name.lower().endswith(FOREIGN_SUFFIXES)
        cure = "; convert it to JPEG or PNG" if foreign else ""
        raise DataError(f"{name}: not an image ({', '.join(FORMATS)}){cure}") from error
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{name}: {reason}") from error


def _facts(image: Image.Image) -> ImageFacts:
    deep = any(
        "16" in str(tile[3]) for tile in getattr(image, "tile", ())
    )  # gone once it is loaded
    several = getattr(image, "is_animated", False) and image.format != "MPO"
    return ImageFacts(
        width=image.width,
        height=image.height,
        orientation=_orientation(image),
        frames=getattr(image, "n_frames", 1) if several else 1,
        deep=deep,
    )


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns TIFF upright by itself
        return 1
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except _DAMAGE:  # damaged EXIF says nothing about the pixels
        return 1
    return value if value in UPRIGHT else 1


def _upright(rgb: Image.Image, orientation: int) -> Pixels:
    """All pixels (H, W, 3) uint8, turned upright from an EXIF orientation 1..8."""
    return np.array(rgb.transpose(UPRIGHT[orientation]) if orientation != 1 else rgb)


def to_rgb(image: Image.Image, *, deep: bool = False) -> tuple[Image.Image, str]:
    """RGB without loss of range: Pillow saturates 16-bit gray to white when it converts.

    Returns a remark, too, where an image of 16 bits a value (`deep`, where its mode does not say
    so) holds only small ones and is dark as it is read.

    Raises:
        ValuesError: float or integer values of no known range.
    """
    image.load()
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        rgb = Image.fromarray(_to_8_bit(values)).convert("RGB")
        return rgb, _depth_remark(int(values.max())) if image.mode != "F" else ""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return rgb, _depth_remark(int(np.asarray(rgb).max()) * 257) if deep else ""


def _depth_remark(high: int) -> str:
    if not 0 < high < SMALL_DEPTH:
        return ""
    return f"16 bits a value, of which {high.bit_length()} are used (at most {high} of 65535)"


class ValuesError(ValueError):
    """Pixel values of a range that stands for nothing known."""


def _to_8_bit(values: npt.NDArray[np.generic]) -> Pixels:
    """16-bit integers by 1/257; floats in 0..1 by 255, in 0..255 as they are."""
    levels = values.astype(np.float64)
    low, high = levels.min(), levels.max()
    integers = np.issubdtype(values.dtype, np.integer)
    limit = 65535 if integers else 255
    if not (low >= 0 and high <= limit):
        raise ValuesError(f"pixel values {low:g}..{high:g} are neither 16-bit nor 0..1 nor 0..255")
    scale = 1 / 257 if integers else 255 if high <= 1 else 1
    return np.rint(levels * scale).astype(np.uint8)


# --- letterbox -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Letterbox:
    """Where an image of (`height`, `width`) pixels lies in the network's input."""

    scale_x: float
    scale_y: float
    left: int
    top: int
    height: int
    width: int

    def to_network(self, boxes_xyxy: Array) -> Array:
        """(N, 4) image pixels -> input pixels."""
        return (boxes_xyxy * self._scales + self._shifts).astype(np.float32)

    def to_image(self, boxes_xyxy: Array) -> Array:
        """(N, 4) input pixels -> image pixels, not clipped."""
        return ((boxes_xyxy - self._shifts) / self._scales).astype(np.float32)

    @property
    def _scales(self) -> npt.NDArray[np.float64]:
        return np.array([self.scale_x, self.scale_y] * 2)

    @property
    def _shifts(self) -> npt.NDArray[np.float64]:
        return np.array([self.left, self.top] * 2, np.float64)


def fitted_size(
    size: tuple[int, int], within: tuple[int, int], *, to_whole: Callable[[float], int] = round
) -> tuple[int, int]:
    """(height, width) scaled, aspect kept, to touch `within`; at least 1 pixel a side."""
    scale = min(within[0] / size[0], within[1] / size[1])
    return max(1, to_whole(size[0] * scale)), max(1, to_whole(size[1] * scale))


def resize(image_hwc: Pixels, size: tuple[int, int]) -> Pixels:
    """Resizes to (height, width) by Pillow's antialiased bilinear filter."""
    if image_hwc.shape[:2] == size:
        return image_hwc
    resized = Image.fromarray(image_hwc).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def letterbox(image_hwc: Pixels, preprocess: Preprocess) -> tuple[Pixels, Letterbox]:
    """The padded (H, W, 3) RGB input image and the map of its boxes.

    With `pad_place` center, an odd pixel of padding goes to the bottom or the right.
    """
    height, width = image_hwc.shape[:2]
    fitted_height, fitted_width = _fitted((height, width), preprocess)
    centred = preprocess.pad_place == "center"
    top = (preprocess.size[0] - fitted_height) // 2 if centred else 0
    left = (preprocess.size[1] - fitted_width) // 2 if centred else 0
    padded = np.full((*preprocess.size, 3), preprocess.pad_value, np.uint8)
    padded[top : top + fitted_height, left : left + fitted_width] = resize(
        image_hwc, (fitted_height, fitted_width)
    )
    if preprocess.resize == "letterbox-floor":
        scale = min(preprocess.fit[0] / height, preprocess.fit[1] / width)
        return padded, Letterbox(scale, scale, left, top, height, width)
    shift = Letterbox(fitted_width / width, fitted_height / height, left, top, height, width)
    return padded, shift


def _fitted(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """The (height, width) that an image of this size is resized to."""
    if preprocess.resize == "stretch":
        return preprocess.fit
    floored = preprocess.resize == "letterbox-floor"
    return fitted_size(size, preprocess.fit, to_whole=int if floored else round)


def network_input(images: Sequence[Pixels] | Pixels, preprocess: Preprocess = NATIVE) -> Array:
    """Equal (H, W, 3) uint8 RGB images -> (B, 3, H, W) float32 as `preprocess` scales them.

    Contiguous; 0..1 RGB where that is native.
    """
    batch = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
    backwards = preprocess.channel_order == "bgr"
    for planes_chw, image_hwc in zip(batch, images, strict=True):
        ordered = image_hwc[..., ::-1] if backwards else image_hwc
        np.multiply(ordered.transpose(2, 0, 1), np.float32(preprocess.scale), out=planes_chw)
    if preprocess.is_normalised:
        batch -= np.array(preprocess.mean, np.float32)[:, None, None]
        batch /= np.array(preprocess.std, np.float32)[:, None, None]
    return batch


def network_pixels(images: Sequence[Pixels], preprocess: Preprocess) -> Pixels:
    """Equal images as a graph takes them that scales by itself: (B, H, W, 3) uint8."""
    batch = np.stack(images)
    return batch[..., ::-1].copy() if preprocess.channel_order == "bgr" else batch


def in_image(found: Detections, letterbox: Letterbox) -> Detections:
    """Detections from the network's pixels to the image's, cut to it; those beside it are left out.

    Ground truth lies within the image, so cutting leaves every intersection as it is and can
    only shrink the union: no IoU falls. YOLO-NAS itself does not cut.
    """
    boxes = clip_xyxy(letterbox.to_image(found.boxes_xyxy), letterbox.height, letterbox.width)
    return Detections(boxes, found.scores, found.classes).at(area_xyxy(boxes) > 0)
