"""How fast a stream comes: bytes, frames and keyframes."""

from __future__ import annotations

from collections import deque

WINDOW = 10.0  # seconds over which a bitrate and a frame rate are averaged
INTERVALS = 5  # keyframe intervals that are remembered


class Rates:
    """Counts bytes and frames as they come. Times are seconds of a steady clock."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()
        self._bytes = self._frames = 0
        self._keys: deque[float] = deque(maxlen=INTERVALS)
        self._key: int | None = None

    def count(self, size: int, *, frame: bool) -> None:
        """Take a message of *size* bytes, which is a picture's *frame* or not."""
        self._bytes += size
        self._frames += frame

    def key(self, shown: int, *, known: bool) -> None:
        """Take a keyframe at *shown* ms; whether it is *known* how far the last one is."""
        if known and self._key is not None and shown > self._key:
            self._keys.append((shown - self._key) / 1000)
        self._key = shown

    def mark(self, now: float) -> None:
        """Note how far the counts are."""
        self._marks.append((now, self._bytes, self._frames))
        while len(self._marks) > 2 and now - self._marks[1][0] >= WINDOW:
            self._marks.popleft()

    def _a_second(self, index: int) -> float:
        """Return what came in a second of the count *index*."""
        if len(self._marks) < 2 or (seconds := self._marks[-1][0] - self._marks[0][0]) < 1:
            return 0.0
        return (self._marks[-1][index] - self._marks[0][index]) / seconds

    @property
    def kbps(self) -> int:
        """The bitrate in kbit/s, of everything."""
        return round(self._a_second(1) * 8 / 1000)

    @property
    def frames(self) -> float:
        """Frames a second."""
        return round(self._a_second(2), 2)

    @property
    def keyframe_seconds(self) -> float | None:
        """The longest of the last intervals between keyframes."""
        return round(max(self._keys), 2) if self._keys else None
