"""A player's side of RTMP (Adobe, RTMP 1.0, 2012): takes a stream from nginx-rtmp as it comes, from its first frame on.

ffmpeg's own would do for the bytes. It can't wait for a stream before it is published, though, which is the only way to
its first keyframe, nor does it tell what it was sent of codecs that it does not know.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from . import amf

AUDIO, VIDEO, DATA, COMMAND = 8, 9, 18, 20
SET_CHUNK_SIZE, USER_CONTROL, WINDOW_SIZE = 1, 4, 5
ACKNOWLEDGEMENT = 3
STREAM_EOF, PING, PONG = 1, 6, 7  # of user control
LARGEST_MESSAGE = 6 << 20  # bytes; nginx-rtmp takes 4 MiB from a publisher
LARGEST_CHUNK = 1 << 20
HEADERS = (11, 7, 3, 0)  # bytes of a message header, by its form
EXTENDED = 0xFFFFFF  # a timestamp field that says: see the four bytes after the header
HANDSHAKE = 1536  # bytes
READ_AT_ONCE = 1 << 18  # bytes
MOST_AT_ONCE = 1 << 23  # bytes, before other work has its turn
ANSWER_WITHIN = 3.0  # seconds, for all that nginx-rtmp answers before anything is played


class Ended(Exception):
    """Nothing more comes."""


class Unpublished(Ended):
    """The publisher has gone: the stream is over, while after any other end it may go on."""


class Message(NamedTuple):
    """What the publisher sent: *kind* is AUDIO, VIDEO or DATA, *timestamp* is milliseconds."""

    kind: int
    timestamp: int
    payload: bytes


class _ChunkStream:
    """What is remembered of one chunk stream: the last header, and the message that is coming in."""

    __slots__ = ("delta", "extended", "kind", "length", "parts", "stamp", "taken")

    def __init__(self) -> None:
        self.stamp = self.delta = self.length = self.kind = self.taken = 0
        self.extended = False
        self.parts: list[bytes] = []


class Chunks:
    """Puts messages together from chunks (section 5.3). What comes is bounded, and anything odd ends it."""

    def __init__(self) -> None:
        self.size = 128
        self._buffer = b""
        self._streams: dict[int, _ChunkStream] = {}

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Take *data* and return the messages that are complete: (kind, timestamp, payload).

        Raises:
            Ended: nobody can understand this.
        """
        buffer = self._buffer + data if self._buffer else data
        messages: list[tuple[int, int, bytes]] = []
        place = 0
        while (after := self._chunk(buffer, place, messages)) > place:
            place = after
        self._buffer = buffer[place:]
        if len(self._buffer) > LARGEST_CHUNK + 32:
            raise Ended("a chunk that is too large")
        return messages

    def _chunk(self, buffer: bytes, start: int, messages: list[tuple[int, int, bytes]]) -> int:
        """Read the chunk of *buffer* at *start* and return where the next begins; *start* where it is not complete."""
        have = len(buffer)
        if have - start < 3:  # the longest beginning; no chunk of a message with content is shorter
            return start
        form, number = buffer[start] >> 6, buffer[start] & 0x3F
        place = start + 1
        if number == 0:
            number = buffer[place] + 64
            place += 1
        elif number == 1:
            number = buffer[place] + buffer[place + 1] * 256 + 64
            place += 2
        header = HEADERS[form]
        if have - place < header:
            return start
        stream = self._streams.get(number)
        if stream is None:
            if len(self._streams) >= 64:
                raise Ended("too many chunk streams")
            stream = self._streams[number] = _ChunkStream()
        if form < 2:
            words = int.from_bytes(buffer[place : place + 7], "big")
            field, length, kind = words >> 32, words >> 8 & 0xFFFFFF, words & 0xFF
        else:
            field = (
                int.from_bytes(buffer[place : place + 3], "big") if form == 2 else (EXTENDED if stream.extended else 0)
            )
            length, kind = stream.length, stream.kind
        place += header
        extended = field == EXTENDED
        if extended:
            if have - place < 4:
                return start
            field = int.from_bytes(buffer[place : place + 4], "big")
            place += 4
        if length > LARGEST_MESSAGE:
            raise Ended("a message that is too large")
        wanted = min(self.size, length - (stream.taken if stream.parts else 0))
        end = place + wanted
        if have < end:
            return start
        if not stream.parts:
            self._begin(stream, form, field)
        if form < 3:
            stream.extended = extended
        stream.length, stream.kind = length, kind
        stream.parts.append(buffer[place:end])
        stream.taken += wanted
        if stream.taken >= length:
            messages.append((kind, stream.stamp, b"".join(stream.parts)))
            stream.parts, stream.taken = [], 0
            if kind == SET_CHUNK_SIZE:
                self._resize(messages.pop()[2])
        return end

    @staticmethod
    def _begin(stream: _ChunkStream, form: int, field: int) -> None:
        """Begin a message: *field* is its time, or by how much it is later than the last."""
        stream.taken = 0
        if form == 0:
            stream.stamp, stream.delta = field, 0
            return
        if form < 3:
            stream.delta = field
        stream.stamp = (stream.stamp + stream.delta) & 0xFFFFFFFF

    def _resize(self, payload: bytes) -> None:
        """Take the other side's chunk size."""
        size = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        if not 1 <= size <= LARGEST_CHUNK:
            raise Ended("a chunk size that nobody uses")
        self.size = size


def chunked(kind: int, payload: bytes, chunk_stream: int = 3, message_stream: int = 0) -> bytes:
    """Return a message of ours in chunks of 128 bytes."""
    header = struct.pack(">B3s3sB", chunk_stream, b"\0\0\0", len(payload).to_bytes(3, "big"), kind)
    parts = [payload[i : i + 128] for i in range(0, len(payload), 128)]
    return header + struct.pack("<I", message_stream) + bytes([0xC0 | chunk_stream]).join(parts)


def _connected(host: str, port: int, path: Path | None) -> socket.socket:
    """Return a connection to nginx-rtmp: by *path*, which costs less than TCP between containers, or by address."""
    if path is None:
        return socket.create_connection((host, port), ANSWER_WITHIN)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(ANSWER_WITHIN)
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


class Player:
    """Plays one stream. It may be attached before somebody publishes; what comes is then complete.

    *received* is how many bytes have come.
    """

    def __init__(self, source: str, name: str, path: Path | None = None) -> None:
        """Attach to the stream *name* of *source* (rtmp://host:port/application), by the Unix socket *path* if any.

        Raises:
            Ended: nginx-rtmp does not answer, or does not let us play.
        """
        parts = urlsplit(source)
        self._chunks = Chunks()
        self.received = self._acknowledged = 0
        self._window = 2_500_000
        self._waiting: list[Message] = []
        try:
            self._socket = _connected(parts.hostname or "", parts.port or 1935, path)
            self._handshake()
            self._command("connect", 1, {"app": parts.path.strip("/"), "tcUrl": source, "flashVer": "streamkeep"})
            self._answer("_result")
            self._command("createStream", 2, None)
            number = int(self._answer("_result")[3])
            self._command("play", 3, None, name, -1000, message_stream=number)
            self._answer("onStatus")
        except (OSError, IndexError, TypeError, ValueError) as error:
            raise Ended(f"nginx-rtmp does not let us play ({type(error).__name__})") from None
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return what can be waited for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def read(self) -> list[Message]:
        """Return what has come, which may be nothing.

        Raises:
            Unpublished: the publisher has gone.
            Ended: nginx-rtmp has gone, or nobody can understand it.
        """
        found, self._waiting = self._waiting, []
        read = 0
        while read < MOST_AT_ONCE:
            try:
                data = self._socket.recv(READ_AT_ONCE)
            except BlockingIOError:
                break
            except OSError as error:
                raise Ended(type(error).__name__) from None
            if not data:
                raise Ended("nginx-rtmp hung up")
            read += len(data)
            found += [m for m in self._understood(data) if isinstance(m, Message)]
        return found

    def _understood(self, data: bytes) -> list[Message | list[Any]]:
        """Return what *data* completes: what the publisher sent, and commands as lists; the rest is dealt with."""
        self.received += len(data)
        if self.received - self._acknowledged >= self._window // 2:
            self._acknowledged = self.received
            self._send(chunked(ACKNOWLEDGEMENT, struct.pack(">I", self.received & 0xFFFFFFFF), 2))
        found: list[Message | list[Any]] = []
        for kind, stamp, payload in self._chunks.feed(data):
            if kind in (AUDIO, VIDEO, DATA):
                found.append(Message(kind, stamp, payload))
            elif kind == COMMAND:
                command = amf.decode(payload)
                self._notice(command)
                found.append(command)
            elif kind == USER_CONTROL:
                self._control(payload)
            elif kind == WINDOW_SIZE:
                self._window = max(65_536, int.from_bytes(payload[:4], "big"))
        return found

    def _notice(self, command: list[Any]) -> None:
        """Raise Unpublished when *command* says that the publisher has gone."""
        info = command[3] if len(command) > 3 and isinstance(command[3], dict) else {}
        if command[:1] == ["onStatus"] and info.get("code") in (
            "NetStream.Play.UnpublishNotify",
            "NetStream.Play.Stop",
        ):
            raise Unpublished("unpublished")

    def _control(self, payload: bytes) -> None:
        """Answer a ping."""
        if int.from_bytes(payload[:2], "big") == PING:
            self._send(chunked(USER_CONTROL, PONG.to_bytes(2, "big") + payload[2:6], 2))

    def _send(self, data: bytes) -> None:
        """Send a few bytes, for which there is always room."""
        try:
            self._socket.send(data)
        except BlockingIOError:
            return  # who does not read our acknowledgements does not need them

    def _command(self, *values: object, message_stream: int = 0) -> None:
        """Send a command."""
        self._socket.sendall(chunked(COMMAND, amf.encode(*values), 3, message_stream))

    def _answer(self, name: str) -> list[Any]:
        """Return the command *name* that nginx-rtmp answers; what the publisher sent meanwhile waits."""
        while True:
            data = self._socket.recv(READ_AT_ONCE)
            if not data:
                raise Ended("nginx-rtmp hung up")
            answer = None
            for message in self._understood(data):
                if isinstance(message, Message):
                    self._waiting.append(message)
                elif message[:1] == [name]:
                    answer = message
                elif message[:1] == ["_error"]:
                    raise Ended("nginx-rtmp does not let us play")
            if answer is not None:
                return answer

    def _handshake(self) -> None:
        """Shake hands, the simple way (section 5.2)."""
        self._socket.sendall(b"\x03" + bytes(8) + os.urandom(HANDSHAKE - 8))
        answer = bytearray()
        while len(answer) < 1 + 2 * HANDSHAKE:
            data = self._socket.recv(1 + 2 * HANDSHAKE - len(answer))
            if not data:
                raise Ended("nginx-rtmp hung up")
            answer += data
        self._socket.sendall(bytes(answer[1 : 1 + HANDSHAKE]))
