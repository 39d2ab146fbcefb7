"""Tables: who may sign in, who may publish, and what was published. Times are UTC."""

from __future__ import annotations

from datetime import datetime
from secrets import token_urlsafe
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .site.clock import now
from .site.database import Base

ROLES = ("admin", "streamer", "auditor")
VISIBILITIES = ("public", "unlisted", "private")


def _id() -> str:
    """Return a new random identifier."""
    return str(uuid4())


class User(Base):
    """A person who signs in. Passwords are Argon2id hashes (RFC 9106).

    *deployed_hash* remembers which password the deployment gave: a new one there replaces what the person chose since.
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str]
    deployed_hash: Mapped[str | None] = mapped_column(default=None)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(default=now)
    disabled_at: Mapped[datetime | None] = mapped_column(default=None)
    logins: Mapped[list[Login]] = relationship(back_populates="user", cascade="all, delete-orphan")
    keys: Mapped[list[StreamKey]] = relationship(back_populates="owner")


class Login(Base):
    """One sign-in and the tokens that descend from it.

    Each refresh replaces *refresh_id*; a refresh token that is not the newest was stolen or copied, and ends them all.
    *previous_id* is the one before it, which a second tab of the same browser may still send for a moment.
    """

    __tablename__ = "logins"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=_id)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    refresh_id: Mapped[str] = mapped_column(String(36), default=_id)
    previous_id: Mapped[str | None] = mapped_column(String(36), default=None)
    refreshed_at: Mapped[datetime | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    user: Mapped[User] = relationship(back_populates="logins")


class StreamKey(Base):
    """The right to publish under one public name (*slug*), and its limits; the secret itself is not kept.

    *sources* are CIDRs, empty for anywhere. A limit of None is no limit. Until *held_until* nobody may publish, so that
    a publisher who was sent away does not come back at once. *viewing_salt* is part of every grant to view a private
    stream: a new one withdraws them all. *set_by_admin* is {limit: name of the admin who set it}; *revoked_by* and
    *held_by* name an admin too, and are None where it was the owner or this host (see `permissions`).
    """

    __tablename__ = "stream_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(64), unique=True)
    key_hash: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(120), default="")
    owner_id: Mapped[int | None] = mapped_column(
        ForeignKey("users.id", name="fk_stream_keys_owner_id_users"), default=None, index=True
    )
    created_at: Mapped[datetime] = mapped_column(default=now)
    rotated_at: Mapped[datetime | None] = mapped_column(default=None)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    expires_at: Mapped[datetime | None] = mapped_column(default=None)
    held_until: Mapped[datetime | None] = mapped_column(default=None)
    sources: Mapped[list[str]] = mapped_column(JSON, default=list)
    max_bitrate_kbps: Mapped[int | None] = mapped_column(default=None)
    max_height: Mapped[int | None] = mapped_column(default=None)
    max_minutes: Mapped[int | None] = mapped_column(default=None)
    visibility: Mapped[str] = mapped_column(String(16), default="public")
    viewing_salt: Mapped[str] = mapped_column(String(32), default=lambda: token_urlsafe(16))
    record: Mapped[bool] = mapped_column(default=False)
    set_by_admin: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    revoked_by: Mapped[str | None] = mapped_column(String(64), default=None)
    held_by: Mapped[str | None] = mapped_column(String(64), default=None)
    # Whether somebody may publish depends on the owner, so each query of a key asks for both at once.
    owner: Mapped[User | None] = relationship(back_populates="keys", lazy="joined")
    sessions: Mapped[list[Session]] = relationship(back_populates="stream_key", cascade="all, delete-orphan")
    relays: Mapped[list[Relay]] = relationship(back_populates="stream_key", cascade="all, delete-orphan")

    @property
    def owner_disabled(self) -> bool:
        """Whether nobody may publish because the owner may not sign in."""
        return self.owner is not None and self.owner.disabled_at is not None


class FormerKey(Base):
    """What was the key of a stream until *at*: an encoder that still has it is late, and guesses nothing."""

    __tablename__ = "former_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    stream_key_id: Mapped[int] = mapped_column(ForeignKey("stream_keys.id", ondelete="CASCADE"), index=True)
    key_hash: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(default=now)


class Refusal(Base):
    """A wrong secret that somebody tried, as a keyed hash (`people.brute_force`), and when it was tried last."""

    __tablename__ = "refusals"

    mark: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now, index=True)


class Relay(Base):
    """A server of somebody else to which a stream is passed on.

    *server* is rtmp(s)://host[:port]/app; *secret* is the stream key for it, encrypted (`site.encryption`).
    *state*, *reason* and *state_at* are what the relay said last.
    """

    __tablename__ = "relays"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=_id)
    stream_key_id: Mapped[int] = mapped_column(ForeignKey("stream_keys.id", ondelete="CASCADE"), index=True)
    server: Mapped[str] = mapped_column(String(200))
    secret: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    state: Mapped[str] = mapped_column(String(16), default="waiting")
    reason: Mapped[str | None] = mapped_column(String(32), default=None)
    state_at: Mapped[datetime | None] = mapped_column(default=None)
    stream_key: Mapped[StreamKey] = relationship(back_populates="relays")


class Session(Base):
    """One stretch of publishing, from admission to its end, and what was measured of it last.

    *application* is the RTMP application it was published under. *ending* says why the publisher is to be sent away
    with its next update. *silent_seconds* is for how long nothing had come when somebody looked last. *bitrate_kbps* is
    kbit/s of everything received, *width* and *height* are pixels.
    """

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=_id)
    stream_key_id: Mapped[int] = mapped_column(ForeignKey("stream_keys.id"), index=True)
    client_id: Mapped[str] = mapped_column(String(32))
    address: Mapped[str] = mapped_column(String(45))
    application: Mapped[str] = mapped_column(String(16), default="live")
    started_at: Mapped[datetime] = mapped_column(default=now, index=True)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None] = mapped_column(default=None, index=True)
    ending: Mapped[str | None] = mapped_column(String(32), default=None)
    silent_seconds: Mapped[float] = mapped_column(default=0.0)
    bitrate_kbps: Mapped[int] = mapped_column(default=0)
    bytes_received: Mapped[int] = mapped_column(default=0)
    width: Mapped[int] = mapped_column(default=0)
    height: Mapped[int] = mapped_column(default=0)
    frame_rate: Mapped[float] = mapped_column(default=0.0)
    video_codec: Mapped[str] = mapped_column(String(32), default="")
    audio_codec: Mapped[str] = mapped_column(String(32), default="")
    viewers: Mapped[int] = mapped_column(default=0)
    peak_viewers: Mapped[int] = mapped_column(default=0)
    stream_key: Mapped[StreamKey] = relationship(back_populates="sessions")
    samples: Mapped[list[Sample]] = relationship(back_populates="session", cascade="all, delete-orphan")
    health: Mapped[Health | None] = relationship(
        back_populates="session", cascade="all, delete-orphan", passive_deletes=True
    )


class Health(Base):
    """What the supervisor found in a session's stream, when it told last (*at*).

    *facts* are `streams.health.FACTS`, *problems* a list of {"code", "values", "since"} (`streams.problems`).
    *leaves_at* is when a publisher whose stream can't be played is sent away.
    """

    __tablename__ = "health"

    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    problems: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    leaves_at: Mapped[datetime | None] = mapped_column(default=None)
    session: Mapped[Session] = relationship(back_populates="health")


class RefusedPublish(Base):
    """The last try to publish under a key's name that was refused, and why: one of `streams.problems.REFUSALS`."""

    __tablename__ = "refused_publishes"

    stream_key_id: Mapped[int] = mapped_column(ForeignKey("stream_keys.id", ondelete="CASCADE"), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    reason: Mapped[str] = mapped_column(String(32))


class Host(Base):
    """What the supervisor said last of the machine: streams it can take more of, and its load. There is one row.

    *failures* is how many rounds of the supervisor, or streams in one, failed since it began.
    """

    __tablename__ = "host"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    encode_more: Mapped[int | None] = mapped_column(default=None)
    carry_more: Mapped[int | None] = mapped_column(default=None)
    load_percent: Mapped[int | None] = mapped_column(default=None)
    failures: Mapped[int | None] = mapped_column(default=None)


class Tally(Base):
    """How often something happened in a process that nobody scrapes; the names are `internal.metrics.TALLIES`."""

    __tablename__ = "tallies"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    count: Mapped[int] = mapped_column(default=0)


class Sample(Base):
    """What was measured of a session, for the curves on the dashboard.

    *at* is when, and *seconds* for how long from then on it stands: old ones are merged (`streams.samples`).
    """

    __tablename__ = "samples"
    __table_args__ = (Index("ix_samples_session_id_at", "session_id", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("sessions.id"))
    at: Mapped[datetime] = mapped_column(default=now)
    seconds: Mapped[int] = mapped_column(default=10)
    bitrate_kbps: Mapped[int]
    viewers: Mapped[int]
    session: Mapped[Session] = relationship(back_populates="samples")


class Discard(Base):
    """A recording that somebody deleted: the recorder, who alone may write there, removes the file."""

    __tablename__ = "discards"

    path: Mapped[str] = mapped_column(String(160), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
