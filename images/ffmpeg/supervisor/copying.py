"""The source as it came: packets are kept until a keyframe ends a segment, and then written at once."""

from __future__ import annotations

from collections.abc import Callable

from .media import Muxer, Packet
from .playlists import Series

LONGEST = 10_000  # ms from one keyframe to the next; a source that can't be cut in this time is not offered
LARGEST = 32 << 20  # bytes of a segment
EARLY = 50  # ms by which a keyframe may come before a segment's end and still end it


class Copy:
    """Cuts one stretch of a source. Times are ms of the timeline.

    *uncut* says that it can't be cut, and so is not offered.
    """

    def __init__(
        self,
        series: Series,
        muxer: Muxer,
        base: int,
        seconds: int,
        offset: int,
        listed: Callable[[str, int, int], None],
    ) -> None:
        """Begin at *base*; *offset* is added to what is muxed, and *listed* is told each file, its start and end."""
        self.uncut = False
        self.last_key = base
        self._series = series
        self._muxer = muxer
        self._base = base
        self._length = seconds * 1000
        self._offset = offset
        self._listed = listed
        self._cuts = 0
        self._number = series.number
        self._packets: list[Packet] = []
        self._bytes = 0
        self._start: int | None = None
        self._decoded = {False: -1, True: -1}  # the last time of pictures, and of sound
        self._last = base

    def take(self, packet: Packet) -> None:
        """Take the next packet."""
        # Whatever the publisher says, a decoder is given times that grow, and libav's muxer takes no others.
        decoded = max(packet.decoded, self._decoded[packet.sound] + 1)
        if decoded != packet.decoded or packet.shown < decoded:
            packet = packet._replace(decoded=decoded, shown=max(packet.shown, decoded))
        self._decoded[packet.sound] = decoded
        if packet.key and packet.sound is not self._muxer.has_picture:
            self._key(packet)
        if self._start is None or self._too_long(packet):
            return
        self._packets.append(packet)
        self._bytes += len(packet.data)
        self._last = max(self._last, packet.shown)

    def _key(self, packet: Packet) -> None:
        """A segment may begin here; the one before it ends when it is long enough."""
        self.last_key = packet.decoded
        if self._start is None:
            self._start = packet.shown
            self._cuts = max(self._cuts, (packet.shown - self._base) // self._length)
        elif packet.shown - self._base >= self._length * (self._cuts + 1) - EARLY:
            self.uncut = False
            self.cut(packet.shown)

    def _too_long(self, packet: Packet) -> bool:
        """Give up a segment that does not end, and tell whether that was done."""
        if packet.decoded - self.last_key <= LONGEST and self._bytes <= LARGEST:
            return False
        self.uncut = True
        self._packets, self._bytes, self._start = [], 0, None
        return True

    def cut(self, end: int) -> None:
        """Write what is kept as a segment that ends at *end*; the next begins there."""
        start, packets = self._start, self._packets
        self._packets, self._bytes, self._start = [], 0, end
        self._cuts += 1
        if start is None or not packets or end <= start:
            return
        file = f"{self._series.prefix}-{self._number}.ts"
        self._number += 1
        self._muxer.write(self._series.folder / file, packets, self._offset)
        self._listed(file, start, end)

    def close(self) -> None:
        """Let go of what the segments were like."""
        self._muxer.close()

    def finish(self) -> None:
        """Write what is kept."""
        if self._packets and not self.uncut:
            self.cut(self._last + 1)
