from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any
from zlib import compress, crc32

import numpy as np
import pytest
from PIL import Image

from detkit.core.boxes import Detections
from detkit.core.errors import DataError
from detkit.data.image import (
    Letterbox,
    in_image,
    is_image_name,
    letterbox,
    network_input,
    network_pixels,
    read_image,
    read_told,
)
from detkit.spec.preprocess import Preprocess

GRADIENT = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


def write(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def with_orientation(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return write(path, Image.fromarray(GRADIENT), exif=exif)


# --- decoding ------------------------------------------------------------------------------------


def test_the_bytes_of_a_file_are_as_good_as_its_path(tmp_path: Path) -> None:
    path = with_orientation(tmp_path / "a.png", 6)
    assert np.array_equal(read_image(path.read_bytes()), read_image(path))
    with pytest.raises(DataError, match="upload: not an image"):
        read_image(b"hello", name="upload")


def test_pixels_come_back_as_written(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.png", Image.fromarray(GRADIENT)))
    assert np.array_equal(image, GRADIENT)
    assert image.dtype == np.uint8
    assert image.flags.writeable


@pytest.mark.parametrize(
    ("suffix", "upright"), [("png", np.rot90(GRADIENT, -1)), ("tif", np.rot90(GRADIENT, -1))]
)
def test_exif_orientation_is_applied_without_a_hint(
    tmp_path: Path, suffix: str, upright: np.ndarray
) -> None:
    path = with_orientation(tmp_path / f"a.{suffix}", 6)
    assert np.array_equal(read_image(path), upright)


def test_size_hint_decides_about_exif_orientation(tmp_path: Path) -> None:
    path = with_orientation(tmp_path / "a.png", 6)
    assert np.array_equal(read_image(path, size_hint=(6, 4)), GRADIENT)
    assert np.array_equal(read_image(path, size_hint=(4, 6)), np.rot90(GRADIENT, -1))
    with pytest.raises(DataError, match="is 6x4, annotated as 5x5"):
        read_image(path, size_hint=(5, 5))


def test_orientation_that_keeps_the_size_is_applied(tmp_path: Path) -> None:
    path = with_orientation(tmp_path / "a.png", 3)
    assert np.array_equal(read_image(path, size_hint=(6, 4)), GRADIENT[::-1, ::-1])


def test_sixteen_bit_gray_keeps_its_range(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    image = read_image(write(tmp_path / "a.png", Image.fromarray(levels)))
    assert image[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(("high", "expected"), [(1.0, 255), (200.0, 200)])
def test_float_images_are_scaled_by_their_range(tmp_path: Path, high: float, expected: int) -> None:
    levels = np.array([[0.0, high]], np.float32)
    image = read_image(write(tmp_path / "a.tif", Image.fromarray(levels)))
    assert image[0, :, 1].tolist() == [0, expected]


def test_float_images_of_unknown_range_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", Image.fromarray(np.array([[-3.0, 9.0]], np.float32)))
    with pytest.raises(DataError, match="neither"):
        read_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    source = Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).convert(mode)
    image = read_image(write(tmp_path / f"a.{suffix}", source))
    assert image.shape == (8, 8, 3)
    assert image.min() >= 250


def test_palette_with_transparency_is_read_silently(tmp_path: Path) -> None:
    source = Image.fromarray(GRADIENT).convert("P")
    path = write(tmp_path / "a.png", source, transparency=bytes(range(200)))
    assert read_image(path).shape == (4, 6, 3)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("L", (5, 5), level) for level in (0, 255)]
    path = write(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path).max() == 0


@pytest.mark.parametrize("damage", ["cut", "garbage", "text", "empty", "missing"])
def test_damage_is_a_data_error_that_names_the_file(tmp_path: Path, damage: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        buffer, "JPEG"
    )
    whole = buffer.getvalue()
    broken = {
        "cut": whole[: len(whole) // 2],
        "garbage": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4,
        "text": b"hello",
        "empty": b"",
    }
    path = tmp_path / "a.jpg"
    if damage in broken:
        path.write_bytes(broken[damage])
    with pytest.raises(DataError, match=r"a\.jpg"):
        read_image(path)


def test_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", Image.new("1", (2000, 1000)))
    with pytest.raises(DataError, match="2000x1000 is more than 1 megapixels"):
        read_image(path, limit_megapixels=1)


def test_formats_that_start_programs_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.eps", Image.fromarray(GRADIENT))
    with pytest.raises(DataError, match="not an image"):
        read_image(path)


# --- letterbox -----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["center", "corner"])
@pytest.mark.parametrize("size", [(480, 640), (641, 333), (7, 500), (64, 64)])
def test_boxes_survive_the_letterbox_there_and_back(place: str, size: tuple[int, int]) -> None:
    preprocess = Preprocess(size=(128, 96), fit=(124, 96), pad_place=place)
    image = np.zeros((*size, 3), np.uint8)
    padded, box_map = letterbox(image, preprocess)
    boxes = np.array([[0, 0, size[1], size[0]], [1.5, 2.5, 5, 6]], np.float32)
    inside = box_map.to_network(boxes)
    assert padded.shape == (128, 96, 3)
    assert np.allclose(box_map.to_image(inside), boxes, atol=1e-3)
    x1, y1, x2, y2 = np.rint(inside[0]).astype(int)
    assert (padded[y1:y2, x1:x2] == 0).all()
    padded[y1:y2, x1:x2] = 114
    assert (padded == 114).all()


def test_odd_padding_goes_to_the_bottom_and_the_right() -> None:
    image = np.zeros((31, 32, 3), np.uint8)
    padded, place = letterbox(image, Preprocess(size=(32, 32), fit=(32, 32)))
    assert (place.left, place.top) == (0, 0)
    assert (padded[31] == 114).all()


def test_corner_padding_is_all_at_the_bottom_and_the_right() -> None:
    image = np.zeros((16, 32, 3), np.uint8)
    _, place = letterbox(image, Preprocess(size=(64, 64), fit=(64, 64), pad_place="corner"))
    assert (place.left, place.top, place.scale_x) == (0, 0, 2)


def test_network_input_is_planes_of_zero_to_one() -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    image[..., 0], image[3, 5, 2] = 255, 51
    batch = network_input([image, image])
    assert batch.shape == (2, 3, 32, 64)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    assert batch[:, 0].min() == batch.max() == 1
    assert batch[1, 2, 3, 5] == pytest.approx(0.2)


def test_stretched_images_fill_the_input_and_their_boxes_come_back() -> None:
    image = np.full((20, 80, 3), 7, np.uint8)
    padded, place = letterbox(image, Preprocess(size=(64, 32), fit=(64, 32), resize="stretch"))
    assert padded.shape == (64, 32, 3)
    assert (padded == 7).all()
    boxes = np.array([[0, 0, 80, 20], [10, 5, 20, 10]], np.float32)
    inside = place.to_network(boxes)
    assert inside.tolist() == [[0, 0, 32, 64], [4, 16, 8, 32]]
    assert np.allclose(place.to_image(inside), boxes)


def test_a_floored_letterbox_cuts_sides_and_scales_boxes_as_yolox_does() -> None:
    image = np.full((427, 640, 3), 200, np.uint8)
    recipe = Preprocess(
        size=(416, 416), fit=(416, 416), pad_place="corner", resize="letterbox-floor"
    )
    padded, place = letterbox(image, recipe)
    assert (padded[276, 0, 0], padded[277, 0, 0]) == (200, 114)  # 427 * 0.65 is 277.55
    assert (place.scale_x, place.scale_y, place.left, place.top) == (0.65, 0.65, 0, 0)


def test_detections_are_cut_to_the_image_and_those_in_the_padding_are_gone() -> None:
    place = Letterbox(scale_x=0.5, scale_y=0.5, left=0, top=8, height=32, width=64)
    corners = [[-4, 0, 16, 40], [2, 0, 30, 7], [2, 0, 30, 8], [30, 20, 34, 30], [4, 24, 9, 40]]
    found = Detections(
        np.array(corners, np.float32),
        np.linspace(0.9, 0.5, 5, dtype=np.float32),
        np.arange(5),
    )
    kept = in_image(found, place)
    assert kept.boxes_xyxy.tolist() == [[0, 0, 32, 32], [60, 24, 64, 32]]
    assert kept.classes.tolist() == [0, 3]


def test_network_input_is_scaled_and_ordered_as_the_recipe_says() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[..., 0], image[..., 2] = 100, 50
    recipe = Preprocess(
        channel_order="bgr", scale=1.0, mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0)
    )
    assert network_input([image], recipe)[0, :, 1, 1].tolist() == [20, -5, 14]
    assert network_pixels([image], recipe)[0, 1, 1].tolist() == [50, 0, 100]
    assert network_pixels([image], Preprocess())[0, 1, 1].tolist() == [100, 0, 50]


@pytest.mark.parametrize(("shift", "told"), [(0, True), (4, False)])
def test_small_values_of_sixteen_bits_are_told(tmp_path: Path, shift: int, told: bool) -> None:
    values = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8) << shift
    Image.fromarray(values.astype(np.uint16)).save(tmp_path / "a.png")
    assert read_told(tmp_path / "a.png")[1].startswith("16 bits a value, of which 12") == told


def test_small_values_of_sixteen_bits_in_colour_are_told(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    row = b"\0" + b"\x0f\xff" * 3 * 4  # one row of four pixels
    head = struct.pack(">IIBBBBB", 4, 1, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    pixels, remark = read_told(tmp_path / "a.png")
    assert (pixels.max(), "of which 12 are used" in remark) == (15, True)


def test_formats_of_cameras_are_told_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    assert is_image_name("a.HEIC")
    with pytest.raises(DataError, match=r"a\.HEIC: not an image .*convert it to JPEG"):
        read_image(tmp_path / "a.HEIC")
