"""Stream keys: made here, shown once, kept as a hash."""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any

from sqlalchemy import delete as delete_from
from sqlalchemy import select

from .. import permissions
from ..models import VISIBILITIES, FormerKey, Sample, Session, StreamKey, User
from ..permissions import OPERATOR, Who
from ..site.clock import now
from ..site.database import db
from ..site.settings import current_settings
from . import recordings

# The guide's rule for stream keys (section 4); here it holds for the public name and the secret alike.
SYNTAX = re.compile(r"[A-Za-z0-9_-]{3,64}")
KEY_BYTES = 24
# Which former keys are known as such, so that an encoder which nobody told of the new one is not taken for a guesser.
FORMER = timedelta(days=30)
FORMER_KEPT = 5  # of each stream, the newest
LONGEST_TITLE = 120  # characters
MOST_SOURCES = 50  # networks of a key
NUMERIC_LIMITS = ("max_bitrate_kbps", "max_height", "max_minutes")
LARGEST_LIMIT = 1_000_000  # of these
CHANGEABLE = frozenset({"title", "expires_at", "sources", "visibility", "record", *NUMERIC_LIMITS})


class KeyProblem(ValueError):
    """A key that can't be made or found; the message is one sentence for the operator."""


class Refused(Exception):
    """A publisher who may not publish; *reason* is one of `problems.REFUSALS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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


def withheld(key: StreamKey) -> str | None:
    """Return why nobody may publish with *key* at this moment, one of `problems.REFUSALS`, or None."""
    moment = now()
    if key.revoked_at is not None:
        return "revoked"
    if key.owner_disabled:
        return "disabled"
    if key.expires_at is not None and key.expires_at <= moment:
        return "expired"
    if key.held_until is not None and key.held_until > moment:
        return "held"
    return None


def state(key: StreamKey, live: bool) -> str:
    """Return in one word what becomes of who publishes with *key*."""
    return "live" if live else withheld(key) or "ready"


def stream_key(slug: str, secret: str) -> str:
    """Return what to write into OBS as the stream key of *slug*."""
    return f"{slug}?key={secret}"


def find(slug: str) -> StreamKey | None:
    """Return the key of *slug*, revoked or not; what is no slug has none, and is not looked up."""
    if not well_formed(slug):
        return None
    return db.session.scalar(select(StreamKey).where(StreamKey.slug == slug))


def find_public(slug: str) -> StreamKey | None:
    """Return the key of the public stream *slug*."""
    key = find(slug)
    return key if key and permissions.is_public(key) else None


def of_secret(secret: str) -> StreamKey | None:
    """Return the key whose secret is *secret*: people paste it in the place of the name."""
    return db.session.scalar(select(StreamKey).where(StreamKey.key_hash == digest(secret)))


def known(slug: str) -> StreamKey:
    """Return the key of *slug*, or raise KeyProblem."""
    key = find(slug)
    if key is None:
        raise KeyProblem(f"There is no stream {slug!r}: the list of keys shows the names that exist.")
    return key


def everything() -> list[StreamKey]:
    """Return all keys by name."""
    return list(db.session.scalars(select(StreamKey).order_by(StreamKey.slug)))


def of(user: User) -> list[StreamKey]:
    """Return the keys that *user* may see, by name."""
    return list(db.session.scalars(select(StreamKey).where(permissions.seen_by(user)).order_by(StreamKey.slug)))


def create(
    slug: str, title: str = "", owner: User | None = None, *, by: Who = OPERATOR, **limits: Any
) -> tuple[StreamKey, str]:
    """Make the right to publish as *slug* and return it with its secret, which nobody can show again.

    *limits* and *by* are those of `change`.

    Raises:
        KeyProblem: the slug breaks the rule or is taken, or see `change`.
    """
    if not well_formed(slug):
        raise KeyProblem("A stream's name has 3 to 64 of the characters a-z, A-Z, 0-9, - and _.")
    if find(slug) is not None:
        raise KeyProblem(f"{slug} exists already: rotate its key, or choose another name.")
    secret = generate()
    key = StreamKey(slug=slug, key_hash=digest(secret), owner_id=owner.id if owner else None, set_by_admin={})
    _apply(key, {"title": title} | limits, by)
    db.session.add(key)
    db.session.commit()
    return key, secret


def _judge_title(title: str) -> None:
    """Raise KeyProblem when *title* can't be shown."""
    if len(title) > LONGEST_TITLE or not title.isprintable():
        raise KeyProblem(f"A title has at most {LONGEST_TITLE} printable characters.")


def _judge_sources(sources: list[str]) -> None:
    """Raise KeyProblem unless *sources* are networks."""
    for source in sources:
        try:
            ip_network(source)
        except ValueError:
            raise KeyProblem(f"{source!r} is no network in CIDR form: write one such as 198.51.100.0/24.") from None
    if len(sources) > MOST_SOURCES:
        raise KeyProblem(f"A key has at most {MOST_SOURCES} source networks.")


def _apply(key: StreamKey, changes: dict[str, Any], by: Who) -> None:
    """Set the fields of *key* in *changes*, which are judged first; limits that an admin names are the admin's."""
    if unknown := set(changes) - CHANGEABLE:
        raise KeyProblem(f"A key has no {', '.join(sorted(unknown))}.")
    _judge_title(changes.get("title", ""))
    _judge_sources(changes.get("sources", []))
    if changes.get("visibility", "public") not in VISIBILITIES:
        raise KeyProblem(f"A stream is one of {', '.join(VISIBILITIES)}.")
    for limit in NUMERIC_LIMITS:
        value = changes.get(limit)
        if value is not None and not 0 < value <= LARGEST_LIMIT:
            raise KeyProblem(f"{limit} is a number from 1 to {LARGEST_LIMIT}, or left out for no limit.")
    permissions.judge_change(by, key, changes)
    if permissions.administers(by):
        named = {limit: by.name for limit in changes.keys() & permissions.LIMITS.keys() if changes[limit]}
        kept = {limit: admin for limit, admin in key.set_by_admin.items() if limit not in changes}
        key.set_by_admin = kept | named
    for name, value in changes.items():
        setattr(key, name, value)


def change(key: StreamKey, *, by: Who = OPERATOR, **changes: Any) -> StreamKey:
    """Change some of CHANGEABLE for *by*: times are naive UTC, bitrates kbit/s, heights lines.

    Raises:
        KeyProblem: a field that does not exist or can't have this value; nothing is changed then.
        Denied: an admin set one of these limits, and *by* is none; nothing is changed then.
    """
    _apply(key, changes, by)
    db.session.commit()
    return key


def rotate(key: StreamKey, *, by: Who = OPERATOR) -> str:
    """Give *key* a new secret and return it; the old one, and a stream that runs on it, ends with its next update.

    Raises:
        Denied: an admin revoked it, and *by* is none.
    """
    permissions.judge_rotation(by, key)
    secret = generate()
    _remember_former(key)
    key.key_hash, key.revoked_at, key.revoked_by, key.rotated_at = digest(secret), None, None, now()
    db.session.commit()
    return secret


def _remember_former(key: StreamKey) -> None:
    """Note that the present secret of *key* is about to be a former one, and forget the oldest."""
    own, moment = FormerKey.stream_key_id == key.id, now()
    db.session.add(FormerKey(stream_key_id=key.id, key_hash=key.key_hash, at=moment))
    db.session.flush()
    newest = select(FormerKey.id).where(own).order_by(FormerKey.id.desc()).limit(FORMER_KEPT)
    stale = FormerKey.id.not_in(newest) | (FormerKey.at < moment - FORMER)
    db.session.execute(delete_from(FormerKey).where(own, stale))


def _is_former(key: StreamKey | None, key_hash: str) -> bool:
    """Tell whether *key_hash* is of a secret that *key* had until lately; for no key it takes as long."""
    lately = FormerKey.at >= now() - FORMER
    found = db.session.scalars(
        select(FormerKey.key_hash).where(FormerKey.stream_key_id == (key.id if key else 0), lately)
    )
    return any(hmac.compare_digest(key_hash, former) for former in found)


def revoke(key: StreamKey, *, by: Who = OPERATOR) -> None:
    """Withdraw the right to publish; a stream that runs ends with its next update."""
    withdraw(key, by)
    db.session.commit()


def withdraw(key: StreamKey, by: Who) -> None:
    """Note that *by* revoked *key*; what an admin revoked stays an admin's. The caller commits."""
    key.revoked_at = key.revoked_at or now()
    if permissions.administers(by):
        key.revoked_by = by.name


def delete(key: StreamKey, *, by: Who = OPERATOR) -> None:
    """Forget *key*, the history and the recordings of its stream; a stream that runs ends with its next update.

    Raises:
        Denied: an admin limited, revoked or held it, and *by* is none.
    """
    permissions.judge_deletion(by, key)
    recordings.discard_all(key.slug, current_settings().recordings_path)
    # Years of history are removed where they lie; the relationships would load them first.
    past = select(Session.id).where(Session.stream_key_id == key.id)
    db.session.execute(delete_from(Sample).where(Sample.session_id.in_(past)))
    db.session.execute(delete_from(Session).where(Session.stream_key_id == key.id))
    db.session.delete(key)
    db.session.commit()


def withdraw_viewing(key: StreamKey) -> None:
    """Let no grant to view this private stream count any more."""
    key.viewing_salt = secrets.token_urlsafe(16)
    db.session.commit()


def admits(slug: str, secret: str, address: str) -> StreamKey:
    """Return the key that lets *secret* publish as *slug* from *address*.

    An unknown slug is compared as well, so that the time tells nothing about which names exist.

    Raises:
        Refused: it does not; the reason is for the log and the metrics, not for the publisher.
    """
    if not (well_formed(slug) and well_formed(secret)):
        raise Refused("syntax")
    return judge(find(slug), secret, address)


def judge(key: StreamKey | None, secret: str, address: str) -> StreamKey:
    """Return *key* (of a slug, if there is one) if it lets *secret* publish from *address*.

    Raises:
        Refused: see `admits`.
    """
    if not well_formed(secret):
        raise Refused("syntax")
    key_hash = digest(secret)
    matches = hmac.compare_digest(key_hash, key.key_hash if key else digest(""))
    if key is None or not matches:
        raise Refused("rotated" if _is_former(key, key_hash) else "key")
    if reason := withheld(key):
        raise Refused(reason)
    if not _comes_from(key, address):
        raise Refused("source")
    return key


def _comes_from(key: StreamKey, address: str) -> bool:
    """Tell whether *address* is among the sources of *key*."""
    if not key.sources:
        return True
    try:
        return any(ip_address(address) in ip_network(source) for source in key.sources)
    except ValueError:
        return False
