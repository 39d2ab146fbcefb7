"""What libav does for us, in this process: say what a picture is, mux segments, encode sound anew, take thumbnails."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.audio.resampler import AudioResampler

from . import flv
from .rtmp import AUDIO, VIDEO

CLOCK = Fraction(1, 90_000)
SHOWN_BY_BROWSERS = frozenset({"yuv420p", "yuvj420p"})
LIBAV = {"AAC": "aac", "MP3": "mp3"}  # what libav calls the sounds that it decodes for us
SOUND_RATE = 48_000
SOUND_BITS = 128_000
THUMBNAIL = "thumbnail.jpg"
THUMBNAIL_WIDTH = 320
FIRST_PID = (1, 0)  # 0x100, where most packets of our segments are
PID_BITS = bytes(byte & 0x1F for byte in range(256))
MOVED = [bytes(flags & 0xF0 | (flags + by) & 15 for flags in range(256)) for by in range(16)]


class Unreadable(Exception):
    """Something that libav makes nothing of."""


class Picture(NamedTuple):
    """What a stream's picture is; *profile* as ITU-T H.264, annex A calls it."""

    width: int
    height: int
    pixel_format: str
    interlaced: bool
    profile: str
    codec: str  # RFC 6381


class Packet(NamedTuple):
    """What goes into a segment: times are ms on our timeline; *key* where a decoder can begin."""

    sound: bool
    decoded: int
    shown: int
    key: bool
    data: bytes


def rfc6381(configuration: bytes) -> str:
    """Return the name of H.264 that the avcC box *configuration* describes (RFC 6381, 3.3)."""
    return f"avc1.{configuration[1:4].hex()}" if len(configuration) >= 4 else ""


def codecs_of(segment: Path) -> str:
    """Return the names (RFC 6381) of what a *segment* of ours holds: H.264, and AAC where there is sound."""
    with av.open(str(segment), "r") as container:
        parameters = bytes(container.streams.video[0].codec_context.extradata or b"")
        sound = bool(container.streams.audio)
    place = parameters.find(b"\0\0\1\x67")  # the sequence parameter set, whose first three bytes say it
    codec = f"avc1.{parameters[place + 4 : place + 7].hex()}" if place >= 0 else "avc1.64001f"
    return f"{codec},mp4a.40.2" if sound else codec


def first_picture(configuration: bytes, data: bytes) -> Any | None:
    """Return the frame that the keyframe *data* holds, or None where it can't be decoded."""
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.extradata = configuration
    decoder.thread_count = 1
    try:
        frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    except av.FFmpegError:
        return None
    return frames[0] if frames else None


def describe(configuration: bytes, frame: Any) -> Picture:
    """Return what *frame*, decoded with the avcC box *configuration*, is."""
    profiles = {
        66: "Baseline",
        77: "Main",
        88: "Extended",
        100: "High",
        110: "High 10",
        122: "High 4:2:2",
        244: "High 4:4:4",
    }
    profile = profiles.get(configuration[1], "unknown") if len(configuration) > 1 else "unknown"
    return Picture(
        frame.width, frame.height, frame.format.name, frame.interlaced_frame, profile, rfc6381(configuration)
    )


def thumbnail(frame: Any, file: Path) -> None:
    """Write a small JPEG of *frame* into *file*, in one step.

    Raises:
        OSError: it can't be written.
    """
    height = max(2, min(round(frame.height * THUMBNAIL_WIDTH / frame.width) & ~1, 2 * THUMBNAIL_WIDTH))
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = THUMBNAIL_WIDTH, height, "yuvj420p"
    encoder.time_base = Fraction(1, 1)
    encoder.thread_count = 1
    encoder.options = {"qmin": "5", "qmax": "5"}
    small = frame.reformat(width=THUMBNAIL_WIDTH, height=height, format="yuvj420p")
    small.pts = 0
    packets = [*encoder.encode(small), *encoder.encode(None)]
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_bytes(b"".join(bytes(packet) for packet in packets))
    unfinished.replace(file)


class Sound:
    """Encodes sound to stereo AAC, whatever it comes as."""

    def __init__(self, codec: str, configuration: bytes) -> None:
        """Begin with sound of libav's *codec*; *configuration* is what its decoder needs to know."""
        self._decoder: Any = av.CodecContext.create(codec, "r")
        if configuration:
            self._decoder.extradata = configuration
        self._resampler = AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE)
        encoder: Any = av.CodecContext.create("aac", "w")
        encoder.sample_rate, encoder.layout, encoder.format = SOUND_RATE, "stereo", "fltp"
        encoder.bit_rate = SOUND_BITS
        encoder.time_base = Fraction(1, SOUND_RATE)
        encoder.open()
        self._encoder = encoder
        self.configuration = bytes(encoder.extradata or b"")
        self._fifo = av.AudioFifo()
        self._next: int | None = None  # samples, on our timeline, of what comes out next

    @property
    def heard(self) -> tuple[int | None, int | None]:
        """The sample rate and the channels of what came, None before anything did."""
        return self._decoder.sample_rate or None, self._decoder.channels or None

    def encode(self, shown: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (ms, AAC) of what *data*, which is heard at *shown* ms, completes; broken sound is left out."""
        packet = av.Packet(data)
        try:
            frames = [
                out for frame in self._decoder.decode(packet) for out in self._resampler.resample(_timeless(frame))
            ]
        except av.FFmpegError:
            return
        at = shown * SOUND_RATE // 1000
        if self._next is None or abs(at - self._next - self._fifo.samples) > SOUND_RATE // 5:
            self._next = at - self._fifo.samples
        for frame in frames:
            self._fifo.write(_timeless(frame))
        while (piece := self._fifo.read(1024)) is not None:
            piece.pts, piece.time_base = self._next, Fraction(1, SOUND_RATE)
            self._next += 1024
            for coded in self._encoder.encode(piece):
                yield round((coded.pts or 0) * 1000 / SOUND_RATE), bytes(coded)


def _timeless(frame: Any) -> Any:
    """Return *frame* without a time: ours is counted in samples."""
    frame.pts = None
    return frame


class Muxer:
    """Writes MPEG-TS segments (ISO 13818-1), each complete by itself, with counters that go on from one to the next."""

    def __init__(self, picture: bytes | None, sound: bytes | None, first: bytes = b"") -> None:
        """Write *picture* (the avcC box) and *sound* (the AudioSpecificConfig); None: there is none.

        *first* is a message with what can be decoded by itself; libav takes from it what a box does not say.

        Raises:
            Unreadable: it makes nothing of them.
        """
        self.has_picture = picture is not None
        self._moves: dict[tuple[int, int], int] = {}  # by how much the next segment's counters are moved
        begin = [flv.header(picture=picture is not None, sound=sound is not None)]
        if picture is not None:
            begin.append(flv.tag(VIDEO, 0, flv.AVC_HEADER + picture))
        if sound is not None:
            begin.append(flv.tag(AUDIO, 0, flv.AAC_HEADER + sound))
        if first:
            begin.append(flv.tag(AUDIO if picture is None else VIDEO, 0, first))
        # Kept open: its streams are what those of the segments are like, and no encoder is opened for them.
        try:
            self._like = av.open(io.BytesIO(b"".join(begin)), "r", format="flv")
        except av.FFmpegError:
            raise Unreadable from None
        self._streams: dict[str, Any] = {stream.type: stream for stream in self._like.streams}

    def close(self) -> None:
        """Write no more."""
        self._like.close()

    def write(self, file: Path, packets: Sequence[Packet], base: int) -> int:
        """Write *packets* into *file*, their times later by *base* ms, and return its size in bytes.

        Raises:
            OSError: it can't be written.
        """
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mpegts", options={"mpegts_copyts": "1", "flush_packets": "0"}) as container:
            streams: dict[str, Any] = {
                kind: container.add_stream_from_template(like, opaque=True) for kind, like in self._streams.items()
            }
            for one in packets:
                stream = streams.get("audio" if one.sound else "video")
                if stream is None:
                    continue
                packet = av.Packet(one.data)
                packet.stream = stream
                packet.time_base = CLOCK
                packet.dts, packet.pts = (one.decoded + base) * 90, (one.shown + base) * 90
                packet.is_keyframe = one.key
                container.mux(packet)
        data = bytearray(buffer.getbuffer())
        self._count_on(data)
        file.write_bytes(data)
        return len(data)

    def _count_on(self, data: bytearray) -> None:
        """Let each PID's continuity counter go on from the last segment's (ISO 13818-1, 2.4.3.3).

        They begin at 0 in each segment. Columns are moved at once, because there are a thousand packets to a second.
        """
        pids = list(zip(data[1::188].translate(PID_BITS), data[2::188], strict=True))
        counters = data[3::188]
        moved = counters.translate(MOVED[self._moves.get(FIRST_PID, 0)])
        for place, pid in enumerate(pids):
            if pid != FIRST_PID:
                moved[place] = MOVED[self._moves.get(pid, 0)][counters[place]]
        data[3::188] = moved
        self._moves |= {pid: (last + 1) & 15 for pid, last in dict(zip(pids, moved, strict=True)).items()}
