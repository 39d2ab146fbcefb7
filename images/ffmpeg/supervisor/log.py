"""The log: one JSON object a line, UTC."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any


def note(event: str, **details: Any) -> None:
    """Print *event* with its *details*, in one write: other processes of ours write to the same pipe."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(json.dumps({"time": time, "event": event, **details}) + "\n", end="", flush=True)
