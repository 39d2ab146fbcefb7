"""Tries to publish that were refused: the last one of each stream, for whoever wonders why nothing comes."""

from __future__ import annotations

from sqlalchemy import select

from ..models import RefusedPublish, Session, StreamKey
from ..site.clock import now
from ..site.database import db


def keep(key: StreamKey, reason: str) -> None:
    """Note that somebody just tried to publish under the name of *key*, and why that was refused."""
    db.session.merge(RefusedPublish(stream_key_id=key.id, at=now(), reason=reason))
    db.session.commit()


def since_last_session(key: StreamKey) -> RefusedPublish | None:
    """Return the last refusal of *key*; None where there was none, or a publisher was admitted after it."""
    refused = db.session.get(RefusedPublish, key.id)
    began = select(Session.started_at).where(Session.stream_key_id == key.id).order_by(Session.started_at.desc())
    last = db.session.scalar(began.limit(1))
    return None if refused is None or (last is not None and last >= refused.at) else refused
