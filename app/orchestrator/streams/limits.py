"""The limits of a key that a live stream may exceed."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..models import Session
from .bitrate import WINDOW, Meter

BURST = 1.1  # how much of its limit a publisher may use; encoders do not hit their target exactly


def exceeded(session: Session, meter: Meter, moment: datetime) -> str | None:
    """Return which limit of its key *session* exceeds at *moment*, or None."""
    key = session.stream_key
    if key.max_minutes is not None and moment - session.started_at >= timedelta(minutes=key.max_minutes):
        return "duration"
    if key.max_height is not None and session.height > key.max_height:
        return "resolution"
    if key.max_bitrate_kbps is not None and meter.seconds >= WINDOW and meter.kbps > key.max_bitrate_kbps * BURST:
        return "bitrate"
    return None
