"""Pages for people, rendered here: one module a page. They ask the same functions as the API and decide nothing."""

from __future__ import annotations

from . import (
    account,
    audit_reports,
    dashboard,
    embedding,
    invitations,
    keys,
    login,
    playback_access,
    public,
    recordings,
    relays,
    stream_health,
    users,
)
from .blueprint import blueprint
from .errors import answer_error

__all__ = [
    "account",
    "answer_error",
    "audit_reports",
    "blueprint",
    "dashboard",
    "embedding",
    "invitations",
    "keys",
    "login",
    "playback_access",
    "public",
    "recordings",
    "relays",
    "stream_health",
    "users",
]
