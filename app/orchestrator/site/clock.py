"""The one place that knows what time it is, so that a test can say otherwise."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """Return the current time in UTC, without zone information, as the database stores it."""
    return datetime.now(UTC).replace(tzinfo=None)
