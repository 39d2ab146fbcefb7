"""How fast a stream comes: bytes, pictures and keyframes."""

from __future__ import annotations

from collections import deque

WINDOW = 10.0  # seconds over which a bitrate is averaged
PICTURES = 300  # over which a frame rate is averaged
GAP = 1500  # ms without a picture that are no part of a frame rate
INTERVALS = 5  # keyframe intervals that are remembered


class Rates:
    """Counts what comes. Times are seconds of a steady clock, moments are ms of the stream's timeline."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()
        self._bytes = 0
        self._pictures: deque[int] = deque(maxlen=PICTURES)
        self._keys: deque[float] = deque(maxlen=INTERVALS)
        self._key: int | None = None

    def count(self, size: int) -> None:
        """Take a message of *size* bytes."""
        self._bytes += size

    def picture(self, moment: int) -> None:
        """Take a picture at *moment*; when it arrived says less, because publishers begin with what they have kept."""
        if self._pictures and moment - self._pictures[-1] > GAP:
            self._pictures.clear()
        self._pictures.append(moment)

    def key(self, shown: int, *, known: bool) -> None:
        """Take a keyframe at *shown* ms; whether it is *known* how far the last one is."""
        if known and self._key is not None and shown > self._key:
            self._keys.append((shown - self._key) / 1000)
        self._key = shown

    def mark(self, now: float) -> None:
        """Note how far the count is."""
        self._marks.append((now, self._bytes))
        while len(self._marks) > 2 and now - self._marks[1][0] >= WINDOW:
            self._marks.popleft()

    @property
    def kbps(self) -> int:
        """The bitrate in kbit/s, of everything."""
        if len(self._marks) < 2 or (seconds := self._marks[-1][0] - self._marks[0][0]) < 1:
            return 0
        return round((self._marks[-1][1] - self._marks[0][1]) / seconds * 8 / 1000)

    @property
    def frames(self) -> float:
        """Pictures a second."""
        if len(self._pictures) < 2 or (span := self._pictures[-1] - self._pictures[0]) < 500:
            return 0.0
        return round((len(self._pictures) - 1) * 1000 / span, 2)

    @property
    def keyframe_seconds(self) -> float | None:
        """The longest of the last intervals between keyframes."""
        return round(max(self._keys), 2) if self._keys else None
