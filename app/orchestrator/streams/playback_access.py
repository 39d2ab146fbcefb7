"""Private streams: who may watch, and for how long.

What lets a browser watch is a cookie for the one stream's folder, which the proxy shows us (`/internal/viewing`) and
whose answer it remembers for seconds: playlists, renditions and segments cost no call each. The cookie lasts GRANT.

The contract with the watch page: before it plays a private stream, and then every five minutes, its script sends

    POST /session/viewing/<slug>    body: invitation=<text after "#invitation=" of the page's address>, or nothing

and gets 204 with a new cookie, or 403: it shows that this stream is private. Without an invitation the browser's own
sign-in counts: whoever may see the key (its owner, admins, auditors) may watch. The refresh token, which browsers send
to /session alone, counts as well as the access token, which is over after a quarter of an hour. An invitation travels
in the fragment, which browsers send to no server, so that it is in no log.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256

from itsdangerous import BadData, URLSafeSerializer

from ..models import StreamKey, User
from ..permissions import is_private, may_see
from ..site.clock import now
from ..site.settings import current_settings
from . import keys

COOKIE = "__Secure-viewing"
GRANT = timedelta(minutes=10)
LONGEST_INVITATION = timedelta(days=30)
LONGEST_TEXT = 512  # characters


def _serializer(purpose: str) -> URLSafeSerializer:
    """Return what signs and reads texts for *purpose*; what the former secret signed holds until it expires."""
    secrets = [secret for secret in (current_settings().jwt_secret_previous, current_settings().jwt_secret) if secret]
    return URLSafeSerializer(secrets, salt=f"streamkeep {purpose}", signer_kwargs={"digest_method": sha256})


def _fingerprint(key: StreamKey) -> str:
    """Return what ties a text to *key* until its grants are withdrawn."""
    return sha256(key.viewing_salt.encode()).hexdigest()[:16]


def _signed(purpose: str, key: StreamKey, until: datetime) -> str:
    """Return a text that is good for *purpose* with *key* before *until*."""
    moment = int(until.replace(tzinfo=UTC).timestamp())
    return str(_serializer(purpose).dumps([key.slug, _fingerprint(key), moment]))


def _until(purpose: str, key: StreamKey, text: str) -> datetime | None:
    """Return until when *text* is good for *purpose* with *key*, or None where it is not."""
    try:
        slug, fingerprint, moment = _serializer(purpose).loads(text[:LONGEST_TEXT])
    except (BadData, ValueError, TypeError):
        return None
    until = datetime.fromtimestamp(moment, UTC).replace(tzinfo=None)
    return until if (slug, fingerprint) == (key.slug, _fingerprint(key)) and until > now() else None


def invite(key: StreamKey, lifetime: timedelta) -> str:
    """Return the address under which whoever knows it may watch the stream of *key* for *lifetime*."""
    invitation = _signed("invitation", key, now() + lifetime)
    return f"https://{current_settings().public_domain}/watch/{key.slug}#invitation={invitation}"


def admits(slug: str, cookie: str) -> bool:
    """Tell whether *cookie* lets its bearer watch the private stream *slug*."""
    key = keys.find(slug)
    return key is not None and is_private(key) and _until("viewing", key, cookie) is not None


def invited_until(key: StreamKey, invitation: str) -> datetime | None:
    """Return until when *invitation* lets its bearer watch the stream of *key*, or None where it does not."""
    return _until("invitation", key, invitation)


def admitted_until(key: StreamKey, user: User | None) -> datetime | None:
    """Return until when *user* may watch the stream of *key*, as far as we know now, or None."""
    return now() + GRANT if user is not None and may_see(user, key) else None


def grant(key: StreamKey, until: datetime) -> tuple[str, datetime]:
    """Return the cookie that lets its bearer watch the private stream of *key*, and when it ends: *until* or sooner."""
    until = min(until, now() + GRANT)
    return _signed("viewing", key, until), until
