"""What is live: sessions begin with an admitted publish, and end however they end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import contains_eager, joinedload

from .. import permissions
from ..models import Session, StreamKey, User
from ..permissions import Who
from ..site.clock import now
from ..site.database import db
from .keys import Refused

# nginx-rtmp asks each 3 s; after three missed answers nobody sends any more, whatever happened to the goodbye.
SILENCE = timedelta(seconds=10)
TOUCH_EVERY = timedelta(seconds=4)  # more often it is not written down that somebody still sends
# An encoder that was sent away comes back at once; for this long it is told at the door.
HOLD = timedelta(seconds=60)
# A publisher from whom nothing came for longer gives its place to another one who has the key.
TAKEOVER_SECONDS = 2.0


def end_silent() -> None:
    """Note the end of the sessions from which nothing was heard for SILENCE; the caller commits."""
    moment = now()
    silent = update(Session).where(Session.ended_at.is_(None), Session.updated_at < moment - SILENCE)
    db.session.execute(silent.values(ended_at=moment, ending=func.coalesce(Session.ending, "silent")))


def live() -> list[Session]:
    """Return the live sessions, oldest first; those that fell silent are none, whether somebody noted it or not."""
    heard = Session.updated_at >= now() - SILENCE
    query = select(Session).where(Session.ended_at.is_(None), heard).order_by(Session.started_at, Session.id)
    return list(db.session.scalars(query.options(joinedload(Session.stream_key), joinedload(Session.health))))


def seen_by(who: Who) -> list[Session]:
    """Return the live sessions that *who* may see, oldest first."""
    return [session for session in live() if permissions.may_see(who, session.stream_key)]


def public() -> list[Session]:
    """Return the live sessions that are listed for everybody, oldest first; unlisted ones are for who knows a name."""
    return [session for session in live() if permissions.is_public(session.stream_key)]


def yields(key: StreamKey) -> Session | None:
    """Return the live session of *key* if it has to make room, because nothing comes from it; it is to end.

    nginx-rtmp has to be told: two of one name it does not take.
    """
    session = of_key(key)
    if session is None or session.silent_seconds <= TAKEOVER_SECONDS:
        return None
    session.ending = session.ending or "taken over"
    return session


def begin(
    key: StreamKey, client_id: str, address: str, application: str, limit: int, former: Session | None = None
) -> Session:
    """Begin a session of *key*, in the place of *former* where that made room; the caller commits.

    Raises:
        Refused: the key is live already, or *limit* streams are.
    """
    end_silent()
    running = [session for session in live() if session is not former]
    if any(session.stream_key_id == key.id for session in running):
        raise Refused("already live")
    if len(running) >= limit:
        raise Refused("limit")
    if former is not None:
        former.ended_at = former.ended_at or now()
    session = Session(stream_key=key, client_id=client_id, address=address, application=application)
    db.session.add(session)
    db.session.flush()
    return session


def of_key(key: StreamKey) -> Session | None:
    """Return the live session of *key*."""
    return next((session for session in live() if session.stream_key_id == key.id), None)


def any_of(key: StreamKey) -> bool:
    """Tell whether anything was ever published with *key*."""
    return db.session.scalar(select(Session.id).where(Session.stream_key_id == key.id).limit(1)) is not None


def history(keys: Sequence[StreamKey], page: int, size: int) -> tuple[list[Session], int]:
    """Return page *page* (from 1, of *size*) of the sessions of *keys* that ended, newest first, and their count."""
    query = select(Session).where(Session.ended_at.is_not(None), Session.stream_key_id.in_([key.id for key in keys]))
    count = db.session.scalar(select(func.count()).select_from(query.subquery())) or 0
    newest = query.order_by(Session.started_at.desc()).limit(size).offset((page - 1) * size)
    rows = db.session.scalars(newest.options(joinedload(Session.stream_key), joinedload(Session.health)))
    return list(rows), count


def send_away(session: Session, reason: str, hold: timedelta = timedelta(), *, by: Who | None = None) -> None:
    """Let *session* end with its next update (2 s), and nobody publish under its name for as long as *hold*.

    A hold that lasts longer stands. *by* is who asked for it; None is this host itself.
    """
    session.ending = session.ending or reason
    if hold:
        key, moment = session.stream_key, now()
        held_until = key.held_until if key.held_until and key.held_until > moment else None
        key.held_until = max(held_until or moment, moment + hold)
        if by is not None and permissions.administers(by):
            key.held_by = by.name
        elif held_until is None:
            key.held_by = None
    db.session.commit()


def send_away_all_of(owner: User, reason: str) -> None:
    """Let the live sessions of the keys of *owner* end with their next update (2 s); the caller commits."""
    theirs = select(StreamKey.id).where(StreamKey.owner == owner)
    running = update(Session).where(Session.ended_at.is_(None), Session.stream_key_id.in_(theirs))
    db.session.execute(running.values(ending=func.coalesce(Session.ending, reason)))


# Asked for every stream each 3 s, so that it is put together once.
OF_CLIENT = (
    select(Session)
    .join(Session.stream_key)
    .options(contains_eager(Session.stream_key))
    .where(StreamKey.slug == bindparam("slug"), Session.client_id == bindparam("client_id"), Session.ended_at.is_(None))
)


def of_client(slug: str, client_id: str) -> Session | None:
    """Return the session of *slug* that the RTMP connection *client_id* began, unless it was ended; with its key.

    One that fell silent is found: nginx-rtmp kept it while this application gave no answer.
    """
    return db.session.scalar(OF_CLIENT, {"slug": slug, "client_id": client_id})


def touch(session: Session) -> None:
    """Note that *session* still sends, unless somebody did a moment ago."""
    moment = now()
    if moment - session.updated_at >= TOUCH_EVERY:
        session.updated_at = moment
        db.session.commit()


def end(session: Session, reason: str) -> None:
    """End *session*; an earlier reason to send it away stands."""
    session.ended_at = now()
    session.ending = session.ending or reason
    db.session.commit()
