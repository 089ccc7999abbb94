"""Fields of a Protocol Buffers message, read and written without its schema or a library.

What lives here: the wire format alone (protobuf.dev/programming-guides/encoding). Which number is
which field is known where a message is read: those of ONNX in `artifact`, `runtime` and `bench`.
Bytes may come from anyone, so no length is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator

INTEGER, EIGHT_BYTES, LENGTH_DELIMITED, FOUR_BYTES = 0, 1, 2, 5  # wire types
FIXED_SIZES = {EIGHT_BYTES: 8, FOUR_BYTES: 4}
MAX_SHIFT = 63  # a number of the wire has 64 bits at most


def read_fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields (field number, integer or bytes) of every field, in the order of the message.

    >>> [(number, value) for number, value in read_fields(int_field(1, 300))]
    [(1, 300)]

    Raises:
        ValueError: bytes that make no sense.
        IndexError: a number that is cut short.
    """
    view, at = memoryview(message), 0
    while at < len(view):
        tag, at = _read_varint(view, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == INTEGER:
            value, at = _read_varint(view, at)
            yield number, value
            continue
        if wire_type == LENGTH_DELIMITED:
            length, at = _read_varint(view, at)
        elif wire_type in FIXED_SIZES:
            length = FIXED_SIZES[wire_type]
        else:
            raise ValueError("unknown wire type")
        if at + length > len(view):
            raise ValueError("cut short")
        yield number, view[at : at + length]
        at += length


def read_bytes(message: bytes | memoryview, wanted: int) -> Iterator[memoryview]:
    """Yields the bytes of all fields of this number that hold some: messages and texts."""
    fields = read_fields(message)
    return (v for number, v in fields if number == wanted and isinstance(v, memoryview))


def read_varints(packed: bytes | memoryview) -> Iterator[int]:
    """Yields the numbers of a packed field.

    Raises:
        ValueError: a number that is longer than any.
        IndexError: one that is cut short.
    """
    view, at = memoryview(packed), 0
    while at < len(view):
        value, at = _read_varint(view, at)
        yield value


def int_field(number: int, value: int) -> bytes:
    """The field of a number that is not negative."""
    return _varint(number << 3 | INTEGER) + _varint(value)


def bytes_field(number: int, content: bytes) -> bytes:
    """The field of a message, of packed numbers or of raw bytes."""
    return _varint(number << 3 | LENGTH_DELIMITED) + _varint(len(content)) + content


def text_field(number: int, text: str) -> bytes:
    """The field of a text, which is UTF-8."""
    return bytes_field(number, text.encode())


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at `at`, seven bits a byte from the lowest, and where it ends."""
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
        if shift > MAX_SHIFT:
            raise ValueError("endless number")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))
