"""The renditions that are encoded: one ffmpeg, which is fed what the publisher sends and says which segments it wrote.

It is a program of its own at low priority, so that whoever encodes never holds up who copies: what it does not take in
time is thrown away together with it.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from . import flv
from .child import DIES_WITH_US, LAST_WORDS, LONGEST_LINE
from .playlists import Series
from .rtmp import AUDIO, VIDEO

PIPE = 1 << 20  # bytes; what the kernel holds between two of our rounds
MOST_WAITING = 24 << 20  # bytes that wait for an ffmpeg that is too slow
NICENESS = "10"
THREADS = str(min(4, os.cpu_count() or 1))  # of one rendition; more of them gain little and cost memory
SLACK = 0.05  # seconds by which a keyframe may come before a segment's end and still end it


class Rung(NamedTuple):
    """A rendition to encode. *width* and *height* are what comes out; bitrates are kbit/s."""

    name: str
    width: int
    height: int
    video_kbps: int
    audio_kbps: int


class Written(NamedTuple):
    """A segment that ffmpeg has finished: times are seconds since its first picture."""

    name: str
    file: str
    start: float
    end: float


def encode_command(
    rungs: Sequence[Rung],
    series: Series,
    lists: Sequence[int],
    *,
    seconds: int,
    offset: float,
    sound: bool,
    deinterlace: bool,
) -> list[str]:
    """Return the ffmpeg call that turns FLV on its standard input into MPEG-TS segments of *rungs*.

    Segments last *seconds* and begin with a keyframe; their timestamps begin at *offset* seconds. They are called as in
    *series*, each rung in a folder of its own name there. What was written is told to the file descriptors *lists*.
    """
    command = [
        *("ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-copyts", "-fpsprobesize", "3"),
        *("-analyzeduration", "1000000", "-f", "flv", "-i", "pipe:0"),
    ]
    for rung, told in zip(rungs, lists, strict=True):
        rate = rung.video_kbps
        filters = f"{'yadif=deint=interlaced,' if deinterlace else ''}scale={rung.width}:{rung.height}"
        command += [
            *("-map", "0:v:0", "-c:v", "libx264", "-threads", THREADS, "-preset", "veryfast", "-pix_fmt", "yuv420p"),
            *("-vf", filters),
            *("-b:v", f"{rate}k", "-maxrate", f"{rate * 107 // 100}k", "-bufsize", f"{rate * 3 // 2}k"),
            *("-sc_threshold", "0", "-force_key_frames", f"expr:gte(t,n_forced*{seconds})"),
        ]
        if sound:
            command += ["-map", "0:a:0", "-c:a", "aac", "-b:a", f"{rung.audio_kbps}k", "-ac", "2", "-ar", "48000"]
        command += [
            *("-f", "segment", "-segment_time", str(seconds), "-segment_time_delta", str(SLACK)),
            *("-segment_format", "mpegts", "-segment_format_options", "mpegts_copyts=1", "-muxdelay", "0"),
            *("-avoid_negative_ts", "disabled"),  # B-frames begin before zero, and the offset lifts them
            *("-initial_offset", f"{offset:.3f}", "-segment_list_type", "csv", "-segment_list", f"pipe:{told}"),
            *("-segment_start_number", str(series.number), f"{series.folder}/{rung.name}/{series.prefix}-%d.ts"),
        ]
    return command


class Encoder:
    """Runs ffmpeg for one stretch of a stream. Nothing here waits for it."""

    def __init__(
        self,
        rungs: Sequence[Rung],
        series: Series,
        base: int,
        headers: Sequence[tuple[int, bytes]],
        *,
        seconds: int,
        offset: int,
        deinterlace: bool,
    ) -> None:
        """Begin at *base* ms of our timeline, with the codecs' *headers* as (kind, payload); *offset* is ms."""
        self.rungs = tuple(rungs)
        self.base = base
        self.done = base  # ms up to which everything is written
        self.fed = base
        sound = any(kind == AUDIO for kind, _ in headers)
        pipes = [os.pipe() for _ in rungs]
        command = encode_command(
            rungs,
            series,
            [write for _, write in pipes],
            seconds=seconds,
            offset=(base + offset) / 1000,
            sound=sound,
            deinterlace=deinterlace,
        )
        self._process = subprocess.Popen(
            [*DIES_WITH_US, "nice", "-n", NICENESS, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=[write for _, write in pipes],
        )
        for _, write in pipes:
            os.close(write)
        assert self._process.stdin and self._process.stderr  # noqa: S101  # tells mypy what Popen was called with
        self._stdin, self._stderr = self._process.stdin.fileno(), self._process.stderr.fileno()
        self._lists = {read: (rung.name, bytearray()) for rung, (read, _) in zip(rungs, pipes, strict=True)}
        for descriptor in (self._stdin, self._stderr, *self._lists):
            os.set_blocking(descriptor, False)
        fcntl.fcntl(self._stdin, fcntl.F_SETPIPE_SZ, PIPE)
        self._waiting: deque[bytes] = deque([flv.header(picture=True, sound=sound)])
        self._bytes = 0
        self._finishing = False
        self._words = bytearray()
        self._done = dict.fromkeys((rung.name for rung in rungs), base)
        for kind, payload in headers:
            self._put(flv.tag(kind, 0, payload))

    def feed(self, kind: int, moment: int, payload: bytes) -> None:
        """Take a message of the publisher that lies at *moment* ms of our timeline."""
        if moment >= self.base:
            if kind == VIDEO:
                self.fed = max(self.fed, moment)
            self._put(flv.tag(kind, moment - self.base, payload))

    def _put(self, data: bytes) -> None:
        """Let *data* wait for its turn."""
        self._waiting.append(data)
        self._bytes += len(data)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def lag(self) -> float:
        """How many seconds of what was fed are not written yet."""
        return (self.fed - self.done) / 1000

    @property
    def too_slow(self) -> bool:
        """Whether so much waits that it can't be kept."""
        return self._bytes > MOST_WAITING

    @property
    def waiting(self) -> bool:
        """Whether something waits to be taken."""
        return bool(self._waiting)

    @property
    def ended(self) -> bool:
        """Whether ffmpeg has gone."""
        return self._process.poll() is not None

    @property
    def last_words(self) -> list[str]:
        """What ffmpeg complained with last."""
        lines = bytes(self._words).decode("utf-8", "replace").splitlines()
        return [line[:LONGEST_LINE] for line in lines[-LAST_WORDS:]]

    @property
    def code(self) -> int | None:
        """How ffmpeg ended."""
        return self._process.returncode

    def turn(self) -> list[Written]:
        """Give ffmpeg what it takes, and return what it has written since the last time."""
        self._give()
        complaint = _read(self._stderr)
        if complaint:
            self._words = (self._words + complaint)[-LAST_WORDS * LONGEST_LINE :]
        written = []
        for descriptor, (name, buffer) in self._lists.items():
            buffer += _read(descriptor)
            *lines, rest = bytes(buffer).split(b"\n")
            buffer[:] = rest
            written += [one for line in lines if (one := _segment(name, line.decode("ascii", "replace")))]
        for one in written:
            self._done[one.name] = self.base + round(one.end * 1000)
        if written:
            self.done = min(self._done.values())
        return written

    def _give(self) -> None:
        """Write what waits, as far as the pipe takes it."""
        try:
            while self._waiting:
                data = self._waiting[0]
                taken = os.write(self._stdin, data)
                self._bytes -= taken
                if taken < len(data):
                    self._waiting[0] = data[taken:]
                    return
                self._waiting.popleft()
        except BlockingIOError:
            return
        except OSError:  # it has gone; its last words say why
            self._waiting.clear()
            self._bytes = 0
        if self._finishing and not self._waiting and self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def finish(self) -> None:
        """Feed no more: ffmpeg ends when it has written what it has."""
        self._finishing = True
        self._give()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """Let go of an ffmpeg that has ended."""
        self._process.wait()
        if self._process.stdin and not self._process.stdin.closed:
            self._waiting.clear()
            self._process.stdin.close()
        if self._process.stderr:
            self._process.stderr.close()
        for descriptor in self._lists:
            os.close(descriptor)
        self._lists.clear()


def _read(descriptor: int) -> bytes:
    """Return what can be read from *descriptor* without waiting."""
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return b""


def _segment(name: str, line: str) -> Written | None:
    """Return what a *line* of ffmpeg's list says."""
    parts = line.strip().split(",")
    try:
        return Written(name, parts[0], float(parts[1]), float(parts[2]))
    except (IndexError, ValueError):
        return None
