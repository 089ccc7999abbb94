"""The wire format of Protocol Buffers, held against its specification and the classes of onnx."""

from __future__ import annotations

import struct

import pytest

from detkit.core.protobuf import bytes_field, int_field, read_bytes, read_fields, text_field

NUMBERS = (0, 1, 127, 128, 300, 1 << 31, (1 << 64) - 1)


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize("number", [1, 15, 16, 536_870_911])
def test_an_integer_reads_back_as_it_was_written(number: int, value: int) -> None:
    assert list(read_fields(int_field(number, value))) == [(number, value)]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_bytes_read_back_as_they_were_written(size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert [(n, bytes(v)) for n, v in read_fields(bytes_field(3, content))] == [(3, content)]


def test_an_integer_is_written_as_the_specification_writes_it() -> None:
    assert int_field(1, 150) == bytes.fromhex("089601")  # its own example
    assert text_field(2, "testing") == bytes.fromhex("120774657374696e67")


def test_messages_of_onnx_are_written_as_its_own_classes_write_them() -> None:
    onnx = pytest.importorskip("onnx")
    tensor = onnx.TensorProto(name="w\u6587", data_type=1, raw_data=b"1234")
    assert (
        int_field(2, 1) + text_field(8, "w\u6587") + bytes_field(9, b"1234")
        == tensor.SerializeToString()
    )


def test_fixed_sizes_are_passed_over_and_repeated_fields_keep_their_order() -> None:
    message = b"\x09" + struct.pack("<d", 0.5) + text_field(2, "a") + b"\x1d" + bytes(4)
    message += int_field(2, 7) + text_field(2, "b")
    assert [number for number, _ in read_fields(message)] == [1, 2, 3, 2, 2]
    assert [bytes(value) for value in read_bytes(message, 2)] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"\x08", IndexError),  # a tag without its number
        (b"\x08\x80", IndexError),  # a number that goes on
        (b"\x12\x05abc", ValueError),  # longer than the message
        (b"\x09\x00", ValueError),  # fewer than eight bytes
        (b"\x0b\x00", ValueError),  # a group, which nobody writes any more
        (b"\x08" + b"\xff" * 10 + b"\x01", ValueError),  # more than 64 bits
    ],
)
def test_a_damaged_message_is_refused(message: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(read_fields(message))
