"""Media and master playlists (RFC 8216), written in one step so that nobody reads half of one."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

KEPT_BESIDE = 3  # segments that left the playlist and may still be asked for
MEASURED = 30  # segments whose bitrate counts for BANDWIDTH


class Series(NamedTuple):
    """How the files of one stretch are called: `PREFIX-NUMBER.ts`, in *folder* from *number* on."""

    folder: Path
    prefix: str
    number: int


@dataclass(frozen=True)
class Segment:
    """A file that is complete. *start* and *duration* are seconds, *wall* is seconds since 1970.

    *part* counts the discontinuities before it, so that the renditions' numbers agree (section 6.2.4).
    """

    file: str
    start: float
    duration: float
    wall: float
    part: int
    size: int


@dataclass
class Rendition:
    """One media playlist: what it lists and how it is described in the master."""

    name: str
    folder: Path
    length: int
    first_number: int
    width: int = 0
    height: int = 0
    codecs: str = ""
    segments: deque[Segment] = field(default_factory=deque)
    left: deque[Segment] = field(default_factory=deque)
    rates: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=MEASURED))
    count: int = 0
    ended: bool = False

    def add(self, segment: Segment) -> None:
        """List *segment*, and remove the files that nobody asks for any more."""
        self.segments.append(segment)
        self.rates.append((segment.size * 8, max(segment.duration, 0.1)))
        self.count += 1
        if len(self.segments) > self.length:
            self.left.append(self.segments.popleft())
        if len(self.left) > KEPT_BESIDE:
            (self.folder / self.left.popleft().file).unlink(missing_ok=True)

    @property
    def peak(self) -> int:
        """The largest bit/s of a segment."""
        return math.ceil(max((bits / seconds for bits, seconds in self.rates), default=0))

    @property
    def average(self) -> int:
        """The bit/s of all segments."""
        seconds = sum(seconds for _, seconds in self.rates)
        return math.ceil(sum(bits for bits, _ in self.rates) / seconds) if seconds else 0

    def write(self, target: int) -> None:
        """Write the playlist; *target* is the longest duration in seconds, the same for all renditions (6.2.4)."""
        number = self.first_number + self.count - len(self.segments)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:6",
            f"#EXT-X-TARGETDURATION:{target}",
            f"#EXT-X-MEDIA-SEQUENCE:{number}",
        ]
        if self.segments and self.segments[0].part:
            lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{self.segments[0].part}")
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
        before = None
        for segment in self.segments:
            if before is not None and segment.part != before:
                lines += ["#EXT-X-DISCONTINUITY"] * (segment.part - before)
            before = segment.part
            moment = datetime.fromtimestamp(segment.wall, UTC).isoformat(timespec="milliseconds")
            lines += [
                f"#EXTINF:{segment.duration:.6f},",
                f"#EXT-X-PROGRAM-DATE-TIME:{moment.replace('+00:00', 'Z')}",
                segment.file,
            ]
        if self.ended:
            lines.append("#EXT-X-ENDLIST")
        replace(self.folder / "index.m3u8", "\n".join(lines) + "\n")


def master(renditions: list[Rendition], frame_rate: float) -> str:
    """Return the master playlist of *renditions*; bitrates are as measured (section 4.3.4.2)."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for rendition in renditions:
        told = [f"BANDWIDTH={rendition.peak}", f"AVERAGE-BANDWIDTH={rendition.average}"]
        if rendition.width and rendition.height:
            told.append(f"RESOLUTION={rendition.width}x{rendition.height}")
            if frame_rate:
                told.append(f"FRAME-RATE={frame_rate:.3f}")
        if rendition.codecs:
            told.append(f'CODECS="{rendition.codecs}"')
        lines += [f"#EXT-X-STREAM-INF:{','.join(told)}", f"{rendition.name}/index.m3u8"]
    return "\n".join(lines) + "\n"


def replace(file: Path, text: str) -> None:
    """Write *text* into *file* in one step."""
    unfinished = file.with_name(f".{file.name}")
    unfinished.write_text(text, encoding="ascii")
    unfinished.replace(file)
