"""The container's healthcheck: exits 0 when the supervisor has lately heard from the orchestrator and acted on it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

HEARTBEAT = Path("/tmp/heartbeat")  # noqa: S108  # the container's own tmpfs, which nobody shares
OLDEST = 20.0  # seconds


def beat() -> None:
    """Note that a round has been completed."""
    HEARTBEAT.touch()


def main() -> int:
    """Return 0 when the last round is younger than OLDEST, else 1."""
    try:
        return 0 if time.time() - HEARTBEAT.stat().st_mtime < OLDEST else 1
    except FileNotFoundError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
