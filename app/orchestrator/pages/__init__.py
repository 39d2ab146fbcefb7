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
from .errors import told

__all__ = [
    "account",
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
    "told",
    "users",
]
