"""Protobuf's wire format, as far as OTLP needs it (https://protobuf.dev/programming-guides/encoding/)."""

from __future__ import annotations

from collections.abc import Iterator

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
#: Varints below these take one byte, and two.
ONE_BYTE, _TWO_BYTES = 0x80, 0x4000
#: The varints of one byte.
BYTES = tuple(bytes((number,)) for number in range(ONE_BYTE))


def varint(number: int) -> bytes:
    """Write a number that is not negative; a negative one goes in as its two's complement of 64 bits."""
    if number < ONE_BYTE:
        return BYTES[number]
    if number < _TWO_BYTES:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number >= ONE_BYTE:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def utf8(text: str) -> bytes:
    """Write a string; the characters that UTF-8 cannot hold, lone surrogates, become ``?``."""
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, "utf-8", "replace")


def field(tag: bytes, payload: bytes) -> bytes:
    """Write a length-delimited field; `tag` is its number and wire type, encoded."""
    return tag + varint(len(payload)) + payload


def string(tag: bytes, text: str | None) -> bytes:
    """Write a string field, or nothing for the default, the empty string."""
    return field(tag, utf8(text)) if text else b""


def count(tag: bytes, number: int) -> bytes:
    """Write a varint field, or nothing for the default, 0."""
    return tag + varint(number) if number else b""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Read a message that a stranger sent.

    Yields:
        Each field's number and its content: an int of a varint, the bytes of everything else.

    Raises:
        ValueError: it is no protobuf message.
    """
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        wire_type = key & 7
        if wire_type == _VARINT:
            number, at = _read_varint(message, at)
            yield key >> 3, number
            continue
        if wire_type == _LENGTH_DELIMITED:
            size, at = _read_varint(message, at)
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
        else:
            msg = "no wire type of protobuf 3"
            raise ValueError(msg)
        content = message[at : at + size]
        at += size
        if at > len(message):
            msg = "cut short"
            raise ValueError(msg)
        yield key >> 3, content


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < ONE_BYTE:
            return number, at
    msg = "no varint"
    raise ValueError(msg)
