"""Publishers and a viewer for a benchmark, as one program on a machine outside: `python3 crowd.py`, beside sender.py.

By standard input comes first one line of JSON: `server` (rtmp:// or rtmps:// with port and application), `site`
(https://address), `clip` (an FLV file) and `streams` (play path by slug). All publish at once, at the pace of the clip.
What comes back is a line of JSON for each step:

1. `{"first": {slug: seconds}}`, when each has a playlist with a segment: since its publisher began to connect, looked
   at ten times a second; beside the names of the `renditions` of one of them.
2. `{"behind": {slug: seconds}}`, each time that it is sent a line: how old the end of the newest segment is, the median
   of LOOKS looks.

It ends with its standard input. A publisher that is sent away ends everything, and says so.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import statistics
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sender import Connection, Refused, looped, read_flv

EVERY = 0.1  # seconds between looks for the first playlist
PATIENCE = 60.0  # seconds for it to come
LOOKS, APART = 32, 0.25  # at the newest segment, and seconds between them: four segments of two seconds


def segments(playlist: str) -> list[tuple[float, float]]:
    """Return (when it begins, seconds) of each segment; when is 0 where nobody says (RFC 8216, 4.3.2.6)."""
    if not playlist.startswith("#EXTM3U"):
        return []
    found, when, length = [], 0.0, 0.0
    for line in playlist.splitlines():
        if date := re.match(r"#EXT-X-PROGRAM-DATE-TIME:(.+)", line):
            when = datetime.fromisoformat(date[1].strip()).timestamp()
        elif seconds := re.match(r"#EXTINF:([\d.]+)", line):
            length = float(seconds[1])
        elif line and not line.startswith("#"):
            found.append((when, length))
            when += length if when else 0.0
    return found


def behind(playlist: str, now: float) -> float:
    """Return how old the end of the newest segment is at *now* (seconds since 1970).

    Raises:
        ValueError: there is no segment, or nobody says when it was.
    """
    found = segments(playlist)
    if not found or not found[-1][0]:
        raise ValueError("the playlist does not say when its segments were")
    return now - sum(found[-1])


def renditions(master: str) -> list[str]:
    """Return the folders that a master playlist names."""
    return re.findall(r"^([\w-]+)/index\.m3u8", master, re.M)


class Viewer:
    """Looks at playlists over one connection, as a player does; the certificate is not judged."""

    def __init__(self, site: str) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        parts = urlsplit(site)
        self._connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port or 443, timeout=10, context=context
        )

    def playlist(self, slug: str, rendition: str = "source/") -> str:
        """Return a playlist, or nothing where there is none yet."""
        self._connection.request("GET", f"/hls/{slug}/{rendition}index.m3u8")
        answer = self._connection.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status not in (200, 404):
            raise RuntimeError(f"the site answered {answer.status} to who looks at {slug}")
        return text if answer.status == 200 else ""


class Crowd:
    """All publishers; *failed* says who was sent away."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.site: str = told["site"]
        self.began: dict[str, float] = {}
        self.failed: list[str] = []
        self.over = threading.Event()
        tags = read_flv(Path(told["clip"]))
        self.threads = [
            threading.Thread(target=self._publish, args=(slug, told["server"], playpath, tags))
            for slug, playpath in told["streams"].items()
        ]
        for thread in self.threads:
            thread.start()

    def _publish(self, slug: str, server: str, playpath: str, tags: Any) -> None:
        self.began[slug] = time.monotonic()
        try:
            connection = Connection(server, playpath)
            connection.feed(looped(tags), 86_400, self.over.is_set)
            connection.close()
        except Refused as reason:
            self.failed.append(f"{slug}: {reason}")

    def first(self, slugs: list[str], say: Callable[..., None]) -> None:
        """Wait for each playlist's first segment."""
        took: dict[str, float] = {}
        viewers = {slug: Viewer(self.site) for slug in slugs}
        deadline = time.monotonic() + PATIENCE
        while len(took) < len(slugs):
            began = time.monotonic()
            for slug in set(slugs) - set(took):
                if segments(viewers[slug].playlist(slug)):
                    took[slug] = time.monotonic() - self.began[slug]
            if self.failed or began > deadline:
                raise RuntimeError("; ".join(self.failed) or f"no playlist of {sorted(set(slugs) - set(took))}")
            time.sleep(max(0.0, began + EVERY - time.monotonic()))
        say(first=took, renditions=renditions(viewers[slugs[0]].playlist(slugs[0], "")))

    def behind(self, slugs: list[str], say: Callable[..., None]) -> None:
        """Look how old each newest segment is."""
        looks: dict[str, list[float]] = {slug: [] for slug in slugs}
        viewer = Viewer(self.site)
        for _ in range(LOOKS):
            for slug in slugs:
                looks[slug].append(behind(viewer.playlist(slug), time.time()))
            time.sleep(APART)
            if self.failed:
                raise RuntimeError("; ".join(self.failed))
        say(behind={slug: statistics.median(found) for slug, found in looks.items()})


def main() -> None:
    """Do what standard input says."""

    def say(**values: Any) -> None:
        print(json.dumps(values), flush=True)

    told = json.loads(sys.stdin.readline())
    slugs = list(told["streams"])
    crowd = Crowd(told)
    try:
        crowd.first(slugs, say)
        while sys.stdin.readline():
            crowd.behind(slugs, say)
    except (RuntimeError, ValueError, OSError, http.client.HTTPException) as error:
        say(error=str(error))
    finally:
        crowd.over.set()
        for thread in crowd.threads:
            thread.join()


if __name__ == "__main__":
    main()
