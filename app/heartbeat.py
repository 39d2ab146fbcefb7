"""The worker's healthcheck: exits 0 when its loop has gone round within OLDEST seconds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

HEARTBEAT = Path("/tmp/heartbeat")  # noqa: S108  # what orchestrator.worker touches; nobody shares this tmpfs
OLDEST = 20.0


def main() -> int:
    """Return 0 if it has, else 1."""
    try:
        return 0 if time.time() - HEARTBEAT.stat().st_mtime < OLDEST else 1
    except FileNotFoundError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
