"""Tables: who may sign in, who may publish, and what was published. Times are UTC."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .clock import now
from .database import Base


class User(Base):
    """A person who signs in. The password is an Argon2id hash (RFC 9106)."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(default=now)


class StreamKey(Base):
    """The right to publish under one public name (*slug*); the secret itself is not kept."""

    __tablename__ = "stream_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(64), unique=True)
    key_hash: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(120), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None] = mapped_column(default=None)
    sessions: Mapped[list[Session]] = relationship(back_populates="stream_key", cascade="all, delete-orphan")


class Session(Base):
    """One stretch of publishing, from admission to its end."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=lambda: str(uuid4()))
    stream_key_id: Mapped[int] = mapped_column(ForeignKey("stream_keys.id"), index=True)
    client_id: Mapped[str] = mapped_column(String(32))
    address: Mapped[str] = mapped_column(String(45))
    started_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None] = mapped_column(default=None, index=True)
    stream_key: Mapped[StreamKey] = relationship(back_populates="sessions")
