"""Stream keys: made here, shown once, kept as a hash."""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256

from sqlalchemy import select

from .clock import now
from .database import db
from .models import StreamKey

# The guide's rule for stream keys (section 4); here it holds for the public name and the secret alike.
SYNTAX = re.compile(r"[A-Za-z0-9_-]{3,64}")
KEY_BYTES = 24


class KeyProblem(ValueError):
    """A key that can't be made or found; the message is one sentence for the operator."""


def well_formed(text: str) -> bool:
    """Tell whether *text* keeps the guide's rule."""
    return SYNTAX.fullmatch(text) is not None


def generate() -> str:
    """Return a new secret of 32 URL-safe characters (192 bits)."""
    return secrets.token_urlsafe(KEY_BYTES)


def digest(key: str) -> str:
    """Return what is kept of *key*: SHA-256, hex.

    A slow password hash would add nothing: the key is random, 192 bits, and it is asked for on every publish.
    """
    return sha256(key.encode()).hexdigest()


def find(slug: str) -> StreamKey | None:
    """Return the key of *slug*, revoked or not."""
    return db.session.scalar(select(StreamKey).where(StreamKey.slug == slug))


def everything() -> list[StreamKey]:
    """Return all keys by name."""
    return list(db.session.scalars(select(StreamKey).order_by(StreamKey.slug)))


def create(slug: str, title: str = "") -> tuple[StreamKey, str]:
    """Make the right to publish as *slug* and return it with its secret, which nobody can show again.

    Raises:
        KeyProblem: the slug breaks the rule, is taken, or the title is too long.
    """
    if not well_formed(slug):
        raise KeyProblem("A stream's name has 3 to 64 of the characters a-z, A-Z, 0-9, - and _.")
    if len(title) > 120 or not title.isprintable():
        raise KeyProblem("A title has at most 120 printable characters.")
    if find(slug) is not None:
        raise KeyProblem(f"{slug} exists already: rotate its key, or choose another name.")
    secret = generate()
    key = StreamKey(slug=slug, key_hash=digest(secret), title=title)
    db.session.add(key)
    db.session.commit()
    return key, secret


def _known(slug: str) -> StreamKey:
    """Return the key of *slug*, or raise KeyProblem."""
    key = find(slug)
    if key is None:
        raise KeyProblem(f"{slug} does not exist: `flask streamkeep key list` shows the names that do.")
    return key


def rotate(slug: str) -> tuple[StreamKey, str]:
    """Give *slug* a new secret and return it; the old one, and a stream that runs on it, ends with its next update."""
    key = _known(slug)
    secret = generate()
    key.key_hash, key.revoked_at = digest(secret), None
    db.session.commit()
    return key, secret


def revoke(slug: str) -> StreamKey:
    """Withdraw the right to publish as *slug*; a stream that runs ends with its next update."""
    key = _known(slug)
    key.revoked_at = key.revoked_at or now()
    db.session.commit()
    return key


def admits(slug: str, secret: str) -> StreamKey | None:
    """Return the key that lets *secret* publish as *slug*, or None.

    An unknown slug is compared as well, so that the time tells nothing about which names exist.
    """
    if not (well_formed(slug) and well_formed(secret)):
        return None
    key = find(slug)
    matches = hmac.compare_digest(digest(secret), key.key_hash if key else digest(""))
    return key if key is not None and matches and key.revoked_at is None else None
