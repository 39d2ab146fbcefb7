"""What nginx-rtmp knows of the streams that it receives.

It repeats what publishers say of themselves, which may be anything: a width of -1 comes as 18446744073709551615. So
numbers are judged where they enter. Format: https://github.com/arut/nginx-rtmp-module/wiki/Directives#rtmp_stat
"""

from __future__ import annotations

import math
import re
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from xml.etree.ElementTree import Element, ParseError  # the types; defusedxml does the parsing

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

LARGEST_ANSWER = 4 << 20  # bytes
LARGEST_PICTURE = 65_535  # pixels a side; no encoder makes more
LARGEST_RATE = 1000.0  # frames a second
MOST_BYTES = 2**62  # SQLite's numbers end at 2**63
# What no XML may hold (its 1.0, section 2.2). nginx-rtmp repeats the words of publishers as they came.
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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


# By (slug, connection): for a moment after a takeover two publish under one name.
Readings = dict[tuple[str, str], Reading]


def fetch(url: str) -> Readings:
    """Return what is read of each publisher.

    Raises:
        NoAnswer: no answer within 3 s, or one that can't be understood.
    """
    try:
        with urllib.request.urlopen(url, timeout=3) as answer:  # noqa: S310  # our own configuration's URL
            return parse(answer.read(LARGEST_ANSWER))
    except (OSError, HTTPException, ValueError) as error:
        raise NoAnswer(type(error).__name__) from None


def parse(answer: bytes) -> Readings:
    """Return what the XML *answer* says of those who publish.

    Raises:
        ValueError: it is no such answer.
    """
    try:
        root = fromstring(NO_XML.sub("", answer.decode("utf-8", "replace")))
    except (ParseError, DefusedXmlException):
        raise ValueError("no XML of nginx-rtmp") from None
    readings = {}
    for stream in root.iterfind("./server/application/live/stream"):
        publisher = next((c for c in stream.iterfind("client") if c.find("publishing") is not None), None)
        if publisher is not None:
            reading = _reading(stream, publisher)
            readings[stream.findtext("name", ""), reading.client_id] = reading
    return readings


def _number(element: Element, path: str, most: float) -> float:
    """Return the number at *path* in *element*; 0 where there is none from 0 to *most*, which says nothing."""
    try:
        value = float(element.findtext(path, "0"))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and 0 <= value <= most else 0.0


def _reading(stream: Element, publisher: Element) -> Reading:
    """Return what is said of one stream."""
    video = f"{stream.findtext('meta/video/codec', '')} {stream.findtext('meta/video/profile', '')}"
    audio = f"{stream.findtext('meta/audio/codec', '')} {stream.findtext('meta/audio/profile', '')}"
    return Reading(
        client_id=publisher.findtext("id", ""),
        received=int(_number(stream, "bytes_in", MOST_BYTES)),
        width=int(_number(stream, "meta/video/width", LARGEST_PICTURE)),
        height=int(_number(stream, "meta/video/height", LARGEST_PICTURE)),
        frame_rate=_number(stream, "meta/video/frame_rate", LARGEST_RATE),
        video_codec=video.strip()[:32],
        audio_codec=audio.strip()[:32],
    )
