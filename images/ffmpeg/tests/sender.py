"""A small RTMP publisher: sends the tags of an FLV file at the pace of its clock, as a test has bent them.

What ffmpeg can't be made to send (leaping timestamps, a silent line, made-up metadata, a message of 4 MiB) comes from
here. It needs Python alone, so that a benchmark may run it on any machine. Sources: Adobe's RTMP specification 1.0 and
the FLV file format, version 10.1, annex E; the `E.` in comments are sections of the latter.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

AUDIO, VIDEO, DATA = 8, 9, 18
CHUNK = 4096  # bytes, as OBS sends them
EXTENDED = 0xFFFFFF  # a timestamp from here on has a field of its own (RTMP 5.3.1.3)
PATIENCE = 10.0  # seconds for the server to answer, or to take what is sent
# Message types (RTMP 5.4, 7.1): how large chunks are, what was received, pings, and commands.
SET_CHUNK_SIZE, ACKNOWLEDGEMENT, USER_CONTROL, COMMAND = 1, 3, 4, 20
PING, PONG = 6, 7


class Refused(Exception):
    """The server said no, or hung up; the message says which and when."""


@dataclass(frozen=True)
class Tag:
    """One FLV tag. *due* is when it is sent (seconds since the beginning), *time* what it says (milliseconds)."""

    kind: int
    time: int
    data: bytes
    due: float

    @property
    def is_header(self) -> bool:
        """Whether it describes what follows: metadata, or a decoder's configuration (E.4.2.1, E.4.3.1).

        The highest bit of a picture's first byte is that of enhanced RTMP (version 1), where a type and a name follow.
        """
        if self.kind == AUDIO:
            return self.data[0] >> 4 == 10 and self.data[1] == 0
        if self.kind == VIDEO and self.data[0] & 0x80:
            return self.data[0] & 0x0F == 0
        return self.kind == DATA or (self.data[0] & 0x0F == 7 and self.data[1] == 0)

    @property
    def is_end(self) -> bool:
        """Whether it says that no more pictures come, or nothing at all."""
        if self.kind != VIDEO or not self.data:
            return not self.data
        return self.data[0] & 0x0F == 2 if self.data[0] & 0x80 else self.data[0] & 0x0F == 7 and self.data[1] == 2

    @property
    def is_keyframe(self) -> bool:
        """Whether a decoder may begin with this picture."""
        return self.kind == VIDEO and not self.is_header and self.data[0] >> 4 & 7 == 1


Bend = Callable[[Iterator[Tag]], Iterator[Tag]]


# AMF0, what commands and metadata are written in: numbers, truths, strings, null, objects and arrays with names.
def packed(value: Any) -> bytes:
    """Return *value* in AMF0."""
    if isinstance(value, bool):
        return struct.pack(">BB", 1, value)
    if isinstance(value, int | float):
        return struct.pack(">Bd", 0, value)
    if isinstance(value, str):
        text = value.encode()
        return struct.pack(">BH", 2, len(text)) + text
    if value is None:
        return b"\5"
    if isinstance(value, dict):
        fields = b"".join(packed(str(name))[1:] + packed(each) for name, each in value.items())
        return struct.pack(">BI", 8, len(value)) + fields + b"\0\0\x09"
    raise TypeError(f"AMF0 is not written for {type(value).__name__}")


def _unpack(data: bytes, at: int) -> tuple[Any, int]:
    """Return (the value at *at*, where the next begins)."""
    kind, at = data[at], at + 1
    if kind == 0:
        return struct.unpack_from(">d", data, at)[0], at + 8
    if kind == 1:
        return data[at] != 0, at + 1
    if kind == 2:
        end = at + 2 + int.from_bytes(data[at : at + 2])
        return data[at + 2 : end].decode(errors="replace"), end
    if kind in (5, 6):
        return None, at
    if kind in (3, 8):
        fields, at = {}, at + (4 if kind == 8 else 0)
        while data[at : at + 3] != b"\0\0\x09":
            end = at + 2 + int.from_bytes(data[at : at + 2])
            fields[data[at + 2 : end].decode(errors="replace")], next_at = _unpack(data, end)
            at = next_at
        return fields, at + 3
    raise ValueError(f"AMF0 of kind {kind} is not read here")


def unpacked(data: bytes) -> list[Any]:
    """Return the values in *data*, which is AMF0."""
    values, at = [], 0
    while at < len(data):
        value, at = _unpack(data, at)
        values.append(value)
    return values


def read_flv(file: Path) -> list[Tag]:
    """Return the tags of an FLV *file* (E.2 to E.4), each due when it says."""
    content, tags = file.read_bytes(), []
    at = int.from_bytes(content[5:9]) + 4
    while at + 11 <= len(content):
        size = int.from_bytes(content[at + 1 : at + 4])
        stamp = int.from_bytes(content[at + 4 : at + 7]) | content[at + 7] << 24
        data = content[at + 11 : at + 11 + size]
        tag = Tag(content[at], stamp, data, stamp / 1000)
        if not tag.is_end:
            tags.append(tag)
        at += 11 + size + 4
    return tags


def looped(tags: list[Tag]) -> Iterator[Tag]:
    """Yield *tags* for ever; the clock goes on, and what describes them is said once, as `ffmpeg -stream_loop` does."""
    yield from tags
    media = [tag for tag in tags if not tag.is_header]
    times: dict[int, list[int]] = {kind: [tag.time for tag in media if tag.kind == kind] for kind in (AUDIO, VIDEO)}
    period = max(each[-1] + (each[-1] - each[0]) // max(1, len(each) - 1) for each in times.values() if each)
    turn = 1
    while True:
        for tag in media:
            yield replace(tag, time=tag.time + turn * period, due=tag.due + turn * period / 1000)
        turn += 1


# What a test may do to a stream. Seconds count from its beginning.
def leap(at: float, seconds: float) -> Bend:
    """Let the timestamps leap by *seconds* (back, if negative) after *at*."""

    def bend(tags: Iterator[Tag]) -> Iterator[Tag]:
        for tag in tags:
            yield replace(tag, time=tag.time + int(seconds * 1000)) if tag.due >= at else tag

    return bend


def offset(kind: int, seconds: float) -> Bend:
    """Let the timestamps of one *kind* run *seconds* ahead of the other's, while both come when they did."""

    def bend(tags: Iterator[Tag]) -> Iterator[Tag]:
        for tag in tags:
            yield replace(tag, time=tag.time + int(seconds * 1000)) if tag.kind == kind else tag

    return bend


def jittered(kind: int, milliseconds: int) -> Bend:
    """Let the timestamps of every tenth message of one *kind* be *milliseconds* earlier than they are."""

    def bend(tags: Iterator[Tag]) -> Iterator[Tag]:
        number = 0
        for tag in tags:
            number += tag.kind == kind
            early = tag.kind == kind and number % 10 == 9
            yield replace(tag, time=max(0, tag.time - milliseconds)) if early else tag

    return bend


def begin_with(milliseconds: int) -> Bend:
    """Let the first timestamp be *milliseconds*."""
    return leap(0, milliseconds / 1000)


def stall(at: float, seconds: float) -> Bend:
    """Let the line be silent for *seconds*; what was held up comes at once after it."""

    def bend(tags: Iterator[Tag]) -> Iterator[Tag]:
        for tag in tags:
            yield replace(tag, due=at + seconds) if at <= tag.due < at + seconds else tag

    return bend


def gap(at: float, seconds: float, kind: int | None = None) -> Bend:
    """Leave out *seconds* of everything, or of one *kind*; what describes it comes before what is left."""

    def bend(tags: Iterator[Tag]) -> Iterator[Tag]:
        held: list[Tag] = []
        for tag in tags:
            if at <= tag.due < at + seconds and kind in (None, tag.kind):
                held += [tag] if tag.is_header else []
                continue
            if held and kind in (None, tag.kind):
                yield from (replace(header, time=tag.time, due=tag.due) for header in held)
                held.clear()
            yield tag

    return bend


def then(at: float, other: list[Tag]) -> Bend:
    """Go over to another clip, with its own description, at the first keyframe after *at*."""

    def bend(tags: Iterator[Tag]) -> Iterator[Tag]:
        for tag in tags:
            if tag.due >= at and tag.is_keyframe:
                for each in looped(other):
                    yield replace(each, time=each.time + tag.time, due=each.due + tag.due)
            yield tag

    return bend


def described(**values: Any) -> Bend:
    """Change fields of onMetaData; None takes one away."""

    def bend(tags: Iterator[Tag]) -> Iterator[Tag]:
        for tag in tags:
            if tag.kind == DATA:
                name, told = unpacked(tag.data)[:2]
                told = {field: value for field, value in (told | values).items() if value is not None}
                yield replace(tag, data=packed(name) + packed(told))
            else:
                yield tag

    return bend


def undescribed(tags: Iterator[Tag]) -> Iterator[Tag]:
    """Send no metadata at all, as some hardware encoders do."""
    return (tag for tag in tags if tag.kind != DATA)


def garbled(tags: Iterator[Tag]) -> Iterator[Tag]:
    """Send pictures, and what describes them, that nobody can read."""
    for tag in tags:
        yield replace(tag, data=tag.data[:5] + b"\xa5" * (len(tag.data) - 5)) if tag.kind == VIDEO else tag


def headers_repeated(tags: Iterator[Tag]) -> Iterator[Tag]:
    """Repeat what describes the picture before each keyframe, as some encoders do."""
    header: Tag | None = None
    for tag in tags:
        if tag.kind == VIDEO and tag.is_header:
            header = tag
        elif header and tag.is_keyframe:
            yield replace(header, time=tag.time, due=tag.due)
        yield tag


def padded(size: int) -> Bend:
    """Bring each keyframe to *size* bytes, by a NAL unit of filler (H.264, 7.3.2.7: type 12, bytes of 0xFF)."""

    def bend(tags: Iterator[Tag]) -> Iterator[Tag]:
        for tag in tags:
            room = size - len(tag.data) - 4
            if tag.is_keyframe and room > 2:
                filler = b"\x0c" + b"\xff" * (room - 2) + b"\x80"
                yield replace(tag, data=tag.data + struct.pack(">I", room) + filler)
            else:
                yield tag

    return bend


@dataclass
class _Incoming:
    """What the server has sent on one chunk stream."""

    length: int = 0
    kind: int = 0
    extended: bool = False
    body: bytes = b""


class Connection:
    """A connection to *url* (rtmp:// or rtmps://, with host, port and application), on which *playpath* is published.

    Raises:
        Refused: the server says no, hangs up, or does not answer within PATIENCE.
    """

    def __init__(self, url: str, playpath: str) -> None:
        self._asked = 0
        parts = urlsplit(url)
        self.statuses: list[str] = []
        self.connected = time.monotonic()
        self.messages = 0
        self._received = b""
        self._streams: dict[int, _Incoming] = {}
        self._chunk = 128  # bytes, until the server says otherwise (RTMP 5.4.1)
        self._results: dict[int, Any] = {}
        port = parts.port or {"rtmp": 1935, "rtmps": 443}[parts.scheme]
        try:
            self._socket = socket.create_connection((parts.hostname or "", port), PATIENCE)
        except OSError as error:
            raise Refused(f"no connection: {error}") from None
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if parts.scheme == "rtmps":
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a lab's certificate is its own
                self._socket = context.wrap_socket(self._socket, server_hostname=parts.hostname)
            self._shake_hands()
            self._begin(url, (parts.path + (f"?{parts.query}" if parts.query else ""))[1:], playpath)
        except OSError as error:
            self._socket.close()
            raise Refused(f"no connection: {error}") from None
        except Refused:
            self._socket.close()
            raise

    def _shake_hands(self) -> None:
        """Exchange what RTMP 5.2 asks for, without digests."""
        self._socket.sendall(b"\3" + bytes(1536))
        while len(self._received) < 1 + 2 * 1536:
            self._receive()
        self._socket.sendall(self._received[1:1537])
        self._received = self._received[3073:]

    def _begin(self, url: str, application: str, playpath: str) -> None:
        """Say what is wanted, in the order in which ffmpeg does (RTMP 7.2.1, 7.2.2)."""
        self.send(SET_CHUNK_SIZE, 2, struct.pack(">I", CHUNK))
        self._call("connect", {"app": application, "type": "nonprivate", "flashVer": "FMLE/3.0", "tcUrl": url})
        self._tell("releaseStream", None, playpath)
        self._tell("FCPublish", None, playpath)
        self.stream = int(self._call("createStream", None)[-1])
        self._tell("publish", None, playpath, "live", stream=self.stream)
        self._wait_for(lambda: self.statuses, "publish")
        if "NetStream.Publish.Start" not in self.statuses:
            raise Refused(f"the server said {self.statuses[-1]}")

    def _tell(self, command: str, *values: Any, stream: int = 0) -> None:
        """Send a command; its number is self._asked."""
        self._asked += 1
        body = b"".join(packed(value) for value in (command, self._asked, *values))
        self.send(COMMAND, 3, body, stream=stream)

    def _call(self, command: str, *values: Any) -> Any:
        """Send a command and return its result."""
        self._tell(command, *values)
        number = self._asked
        self._wait_for(lambda: number in self._results, command)
        return self._results.pop(number)

    def _wait_for(self, happened: Callable[[], Any], what: str) -> None:
        """Take what comes until *happened*."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > deadline:
                raise Refused(f"no answer to {what} within {PATIENCE:.0f} s")
            self.wait(0.1)

    def send(self, kind: int, chunk_stream: int, body: bytes, stamp: int = 0, stream: int = 0) -> None:
        """Send one message, its time in full (chunk format 0), so that it may go back as well as forward."""
        stamp &= 0xFFFFFFFF
        extended = struct.pack(">I", stamp) if stamp >= EXTENDED else b""
        header = min(stamp, EXTENDED).to_bytes(3) + len(body).to_bytes(3) + bytes([kind]) + struct.pack("<I", stream)
        out = [bytes([chunk_stream]), header, extended, body[:CHUNK]]
        for at in range(CHUNK, len(body), CHUNK):
            out += [bytes([0xC0 | chunk_stream]), extended, body[at : at + CHUNK]]
        try:
            self._socket.sendall(b"".join(out))
        except OSError as error:
            raise Refused(f"the server hung up {self._age()}: {error}") from None

    def send_tag(self, tag: Tag) -> None:
        """Send what an FLV tag holds."""
        body = packed("@setDataFrame") + tag.data if tag.kind == DATA else tag.data
        self.send(tag.kind, {AUDIO: 4, VIDEO: 6, DATA: 5}[tag.kind], body, tag.time, self.stream)
        self.messages += 1

    def _age(self) -> str:
        """Say how long the connection is old."""
        return f"after {time.monotonic() - self.connected:.1f} s"

    def wait(self, seconds: float) -> None:
        """Wait, and answer what the server says meanwhile."""
        until = time.monotonic() + seconds
        while True:
            pending = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
            left = max(0.0, until - time.monotonic())
            if not pending and not select.select([self._socket], [], [], left)[0]:
                return
            self._receive()
            while self._take_chunk():
                pass

    def _receive(self) -> None:
        """Take what has come."""
        try:
            data = self._socket.recv(65536)
        except OSError as error:
            raise Refused(f"the server hung up {self._age()}: {error}") from None
        if not data:
            said = f", after {self.statuses[-1]}" if self.statuses else ""
            raise Refused(f"the server hung up {self._age()}{said}")
        self._received += data

    def _take_chunk(self) -> bool:
        """Take one whole chunk from what has come (RTMP 5.3); tell whether there was one."""
        data = self._received
        if not data:
            return False
        form, number = data[0] >> 6, data[0] & 0x3F
        incoming = self._streams.setdefault(number, _Incoming())
        header = (11, 7, 3, 0)[form]
        at = 1 + header
        if len(data) < at:
            return False
        if form < 2:
            incoming.length, incoming.kind = int.from_bytes(data[4:7]), data[7]
        if form < 3:
            incoming.extended = data[1:4] == b"\xff\xff\xff"
        at += 4 if incoming.extended else 0
        end = at + min(self._chunk, incoming.length - len(incoming.body))
        if len(data) < end:
            return False
        incoming.body += data[at:end]
        self._received = data[end:]
        if len(incoming.body) == incoming.length:
            body, incoming.body = incoming.body, b""
            self._understand(incoming.kind, body)
        return True

    def _understand(self, kind: int, body: bytes) -> None:
        """Act on one message of the server."""
        if kind == SET_CHUNK_SIZE:
            self._chunk = int.from_bytes(body)
        elif kind == USER_CONTROL and int.from_bytes(body[:2]) == PING:
            self.send(USER_CONTROL, 2, struct.pack(">H", PONG) + body[2:6])
        elif kind == COMMAND:
            name, number, *values = unpacked(body)
            if name == "_result":
                self._results[int(number)] = values
            elif name == "_error":
                raise Refused(f"the server said {values[-1]}")
            elif name == "onStatus":
                self.statuses.append(str(values[-1].get("code")))

    def feed(self, tags: Iterable[Tag], seconds: float, ended: Callable[[], bool] = lambda: False) -> None:
        """Send *tags* when they are due, for *seconds* or until *ended* says so."""
        began = time.monotonic()
        for tag in tags:
            if tag.due >= seconds:
                self.wait(max(0.0, began + seconds - time.monotonic()))
                return
            while (left := began + tag.due - time.monotonic()) > 0:
                self.wait(min(left, 0.2))
                if ended():
                    return
            if ended():
                return
            self.wait(0)
            self.send_tag(tag)

    def close(self, *, politely: bool = True) -> None:
        """Hang up, after saying so or like a line that is cut."""
        if politely:
            with suppress(Refused):  # the server may have been first
                self._tell("deleteStream", None, self.stream)
        self._socket.close()
