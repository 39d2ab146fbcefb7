"""What nginx-rtmp knows of the streams it receives, and what follows from it: bitrates, and limits that are exceeded.

Its own `bw_in` is an average over half a minute that changes each half minute, so bitrates are computed here from the
bytes it counted. Format: https://github.com/arut/nginx-rtmp-module/wiki/Directives#rtmp_stat
"""

from __future__ import annotations

import re
import urllib.request
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError  # the types; defusedxml does the parsing

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from .models import Session

LARGEST_ANSWER = 4 << 20  # bytes
WINDOW = 10.0  # seconds over which a bitrate is averaged; a keyframe's burst is no excess
SHORTEST_WINDOW = 2.0  # seconds; from less nothing is told
RESOLUTION = re.compile(r"\bRESOLUTION=(\d{1,5})x(\d{1,5})")
BURST = 1.1  # how much of its limit a publisher may use; encoders do not hit their target exactly


class NoAnswer(Exception):
    """nginx-rtmp did not say what it receives."""


@dataclass(frozen=True)
class Reading:
    """What nginx-rtmp says of one publisher. *received* is bytes since the stream's name came up, *height* is lines."""

    client_id: str
    received: int
    width: int
    height: int
    frame_rate: float
    video_codec: str
    audio_codec: str


def fetch(url: str) -> dict[str, Reading]:
    """Return {slug: what is read of its publisher}.

    Raises:
        NoAnswer: no answer within 3 s, or one that can't be understood.
    """
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310  # our own configuration's URL
            return understand(answer.read(LARGEST_ANSWER))
    except (OSError, HTTPException, ValueError) as error:
        raise NoAnswer(type(error).__name__) from None


def understand(answer: bytes) -> dict[str, Reading]:
    """Return what the XML *answer* says of those who publish.

    Raises:
        ValueError: it is no such answer.
    """
    try:
        streams = fromstring(answer).iterfind("./server/application/live/stream")
    except (ParseError, DefusedXmlException):
        raise ValueError("no XML of nginx-rtmp") from None
    readings = {}
    for stream in streams:
        publisher = next((c for c in stream.iterfind("client") if c.find("publishing") is not None), None)
        if publisher is not None:
            readings[stream.findtext("name", "")] = _reading(stream, publisher)
    return readings


def _reading(stream: Element, publisher: Element) -> Reading:
    """Return what is said of one stream."""
    video = f"{stream.findtext('meta/video/codec', '')} {stream.findtext('meta/video/profile', '')}"
    audio = f"{stream.findtext('meta/audio/codec', '')} {stream.findtext('meta/audio/profile', '')}"
    return Reading(
        client_id=publisher.findtext("id", ""),
        received=int(stream.findtext("bytes_in", "0")),
        width=int(stream.findtext("meta/video/width", "0")),
        height=int(stream.findtext("meta/video/height", "0")),
        frame_rate=float(stream.findtext("meta/video/frame_rate", "0")),
        video_codec=video.strip()[:32],
        audio_codec=audio.strip()[:32],
    )


def picture(playlist: Path, since: datetime) -> tuple[int, int]:
    """Return (width, height) of the largest picture that ffmpeg found in a stream, (0, 0) before it has looked.

    nginx-rtmp repeats what the publisher says of itself, which need not be true. *playlist* is what ffmpeg wrote; one
    from before *since* is a former session's.
    """
    try:
        if datetime.fromtimestamp(playlist.stat().st_mtime, UTC).replace(tzinfo=None) < since:
            return 0, 0
        sizes = RESOLUTION.findall(playlist.read_text(encoding="ascii", errors="replace"))
    except OSError:
        return 0, 0
    return max(((int(width), int(height)) for width, height in sizes), key=lambda size: size[1], default=(0, 0))


class Meter:
    """Counts what one session sends."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def count(self, received: int, moment: float) -> int:
        """Take the counter *received* (bytes) at *moment* (seconds) and return how many bytes came since the last time.

        A counter that went back began anew.
        """
        if self._marks and received < self._marks[-1][1]:
            self._marks.clear()
        came = received - self._marks[-1][1] if self._marks else 0
        self._marks.append((moment, received))
        while len(self._marks) > 1 and moment - self._marks[1][0] >= WINDOW:
            self._marks.popleft()
        return came

    @property
    def seconds(self) -> float:
        """The time that the bitrate is an average of."""
        return self._marks[-1][0] - self._marks[0][0] if self._marks else 0.0

    @property
    def kbps(self) -> int:
        """The bitrate in kbit/s, over WINDOW where there is so much; 0 at the very beginning."""
        if self.seconds < SHORTEST_WINDOW:
            return 0
        return round((self._marks[-1][1] - self._marks[0][1]) * 8 / self.seconds / 1000)


def excess(session: Session, meter: Meter, moment: datetime) -> str | None:
    """Return which limit of its key *session* exceeds at *moment*, or None."""
    key = session.stream_key
    if key.max_minutes is not None and moment - session.started_at >= timedelta(minutes=key.max_minutes):
        return "duration"
    if key.max_height is not None and session.height > key.max_height:
        return "resolution"
    if key.max_bitrate_kbps is not None and meter.seconds >= WINDOW and meter.kbps > key.max_bitrate_kbps * BURST:
        return "bitrate"
    return None
