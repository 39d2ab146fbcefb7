"""AMF0, the values in RTMP's commands and metadata (Adobe, Action Message Format 0, 2007).

What is read comes from strangers: names, values and depth are bounded, and what is malformed raises ValueError.
"""

from __future__ import annotations

import struct
from typing import Any

MOST_VALUES = 256  # of one message
DEEPEST = 8  # objects in objects
NUMBER, BOOLEAN, STRING, OBJECT, NULL, UNDEFINED = 0x00, 0x01, 0x02, 0x03, 0x05, 0x06
ECMA_ARRAY, END, STRICT_ARRAY, DATE, LONG_STRING = 0x08, 0x09, 0x0A, 0x0B, 0x0C


def encode(*values: object) -> bytes:
    """Return numbers, strings, None and dicts of these as AMF0."""
    return b"".join(_encoded(value) for value in values)


def _encoded(value: object) -> bytes:
    """Return one value as AMF0."""
    if value is None:
        return bytes([NULL])
    if isinstance(value, int | float):
        return struct.pack(">Bd", NUMBER, value)
    if isinstance(value, dict):
        return bytes([OBJECT]) + b"".join(_name(k) + _encoded(v) for k, v in value.items()) + b"\0\0\x09"
    return bytes([STRING]) + _name(str(value))


def _name(text: str) -> bytes:
    """Return *text* with its length in front."""
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw


def decode(data: bytes) -> list[Any]:
    """Return the values in *data*.

    Raises:
        ValueError: it is no AMF0, or more than anybody honest sends.
    """
    reader = _Reader(data)
    values = []
    try:
        while reader.place < len(data):
            values.append(reader.value(0))
    except (struct.error, IndexError):
        raise ValueError("AMF0 that breaks off") from None
    return values


class _Reader:
    """Reads values, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0
        self.values = 0

    def _take(self, count: int) -> bytes:
        """Return the next *count* bytes."""
        if count > len(self.data) - self.place:
            raise ValueError("AMF0 that breaks off")
        self.place += count
        return self.data[self.place - count : self.place]

    def _unpack(self, form: str) -> Any:
        """Return the next value of the struct format *form*."""
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _text(self, form: str) -> str:
        """Return a string whose length has the format *form*."""
        return self._take(self._unpack(form)).decode("utf-8", "replace")

    def value(self, depth: int) -> Any:
        """Return the next value; *depth* objects lie around it."""
        self.values += 1
        if self.values > MOST_VALUES or depth > DEEPEST:
            raise ValueError("more AMF0 than anybody honest sends")
        kind = self._take(1)[0]
        if kind == NUMBER:
            return self._unpack(">d")
        if kind == BOOLEAN:
            return self._take(1) != b"\0"
        if kind == STRING:
            return self._text(">H")
        if kind == LONG_STRING:
            return self._text(">I")
        if kind in (NULL, UNDEFINED):
            return None
        if kind == DATE:
            return struct.unpack(">dh", self._take(10))[0]
        if kind == STRICT_ARRAY:
            return [self.value(depth + 1) for _ in range(min(self._unpack(">I"), MOST_VALUES + 1))]
        if kind == ECMA_ARRAY:
            self._take(4)  # how many there are, which need not be true
        if kind in (OBJECT, ECMA_ARRAY):
            return self._members(depth)
        raise ValueError("AMF0 of an unknown kind")

    def _members(self, depth: int) -> dict[str, Any]:
        """Return the members of an object, up to its end."""
        members: dict[str, Any] = {}
        while True:
            name = self._text(">H")
            if not name and self.data[self.place : self.place + 1] == bytes([END]):
                self.place += 1
                return members
            members[name] = self.value(depth + 1)
