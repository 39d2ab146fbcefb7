"""What is live: sessions begin with an admitted publish, and end however they end."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, update

from .clock import now
from .database import db
from .models import Session, StreamKey

# nginx-rtmp asks each 2 s; after five missed answers nobody sends any more, whatever happened to the goodbye.
SILENCE = timedelta(seconds=10)


def end_silent() -> None:
    """End the sessions from which nothing was heard for SILENCE."""
    moment = now()
    db.session.execute(
        update(Session).where(Session.ended_at.is_(None), Session.updated_at < moment - SILENCE).values(ended_at=moment)
    )


def live() -> list[Session]:
    """Return the live sessions, oldest first."""
    end_silent()
    query = select(Session).where(Session.ended_at.is_(None)).order_by(Session.started_at, Session.id)
    return list(db.session.scalars(query))


def begin(key: StreamKey, client_id: str, address: str, limit: int) -> Session | None:
    """Begin a session of *key*; None when the key is live already or *limit* streams are."""
    running = live()
    if len(running) >= limit or any(session.stream_key_id == key.id for session in running):
        return None
    session = Session(stream_key_id=key.id, client_id=client_id, address=address)
    db.session.add(session)
    db.session.commit()
    return session


def of_client(key: StreamKey, client_id: str) -> Session | None:
    """Return the session of *key* that the RTMP connection *client_id* began and that has not ended."""
    return db.session.scalar(
        select(Session).where(
            Session.stream_key_id == key.id, Session.client_id == client_id, Session.ended_at.is_(None)
        )
    )


def touch(session: Session) -> None:
    """Note that *session* still sends."""
    session.updated_at = now()
    db.session.commit()


def end(session: Session) -> None:
    """End *session*."""
    session.ended_at = now()
    db.session.commit()
