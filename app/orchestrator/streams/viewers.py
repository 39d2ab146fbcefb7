"""How many watch, without cookies and without keeping who they are.

Each player asks for its playlist every few seconds. The proxy tells of each such answer in one line of syslog by UDP:
slug, address, user agent. What is kept, in memory and for seconds, is a hash under a key that dies with the process.
"""

from __future__ import annotations

import re
import secrets
import socket
import threading
import time
from hashlib import blake2b

WINDOW = 10.0  # seconds after its last playlist until a player counts as gone; playlists are asked for each 2 s or so
MOST = 200_000  # players that are told apart; a flood of invented ones costs no more memory than this
LONGEST_LINE = 4096  # bytes
# <priority>time tag: slug address agent
LINE = re.compile(rb"<\d+>[^:]+:\d\d:\d\d viewers: ([A-Za-z0-9_-]{3,64}) (.+)", re.DOTALL)


class Audience:
    """Counts the players of each stream."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, bytes], float] = {}

    def hear(self, line: bytes, moment: float) -> None:
        """Take the proxy's *line*, told at *moment* (seconds, of any clock that does not go back)."""
        told = LINE.match(line)
        if told is None:
            return
        player = (told[1].decode("ascii"), blake2b(told[2], key=self._key, digest_size=8).digest())
        with self._lock:
            if player in self._seen or len(self._seen) < MOST:
                self._seen[player] = moment

    def count(self, moment: float) -> dict[str, int]:
        """Return {slug: players of the last WINDOW}, and forget the others."""
        counts: dict[str, int] = {}
        with self._lock:
            self._seen = {player: seen for player, seen in self._seen.items() if moment - seen <= WINDOW}
            for slug, _ in self._seen:
                counts[slug] = counts.get(slug, 0) + 1
        return counts

    def listen(self, port: socket.socket, proxy: str) -> None:
        """Hear what *proxy* (an IP address) sends to *port*, for ever; others are not listened to."""
        while True:
            line, (address, *_) = port.recvfrom(LONGEST_LINE)
            if address == proxy:
                self.hear(line, time.monotonic())
