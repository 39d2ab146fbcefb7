"""Pages for people, rendered here: one module a page. They ask the same functions as the API and decide nothing."""

from __future__ import annotations

from . import account, dashboard, embedding, health, keys, media, public, relays, reports, session, users
from .blueprint import blueprint
from .errors import told

__all__ = [
    "account",
    "blueprint",
    "dashboard",
    "embedding",
    "health",
    "keys",
    "media",
    "public",
    "relays",
    "reports",
    "session",
    "told",
    "users",
]
