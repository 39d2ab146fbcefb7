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

from flask import Blueprint, Response, abort, current_app, request
from flask_jwt_extended import decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from itsdangerous import BadData, URLSafeSerializer
from jwt.exceptions import PyJWTError

from ..models import StreamKey, User
from ..people import logins, tokens
from ..permissions import may_see
from ..site.clock import now
from ..site.rate_limits import page_views
from ..site.settings import Settings
from . import keys

blueprint = Blueprint("viewing", __name__)

COOKIE = "__Secure-viewing"
GRANT = timedelta(minutes=10)
LONGEST_INVITATION = timedelta(days=30)
LONGEST_TEXT = 512  # characters


def _settings() -> Settings:
    """Return the application's settings."""
    settings: Settings = current_app.config["STREAMKEEP"]
    return settings


def _serializer(purpose: str) -> URLSafeSerializer:
    """Return what signs and reads texts for *purpose*; what the former secret signed holds until it expires."""
    secrets = [secret for secret in (_settings().jwt_secret_previous, _settings().jwt_secret) if secret]
    return URLSafeSerializer(secrets, salt=f"streamkeep {purpose}", signer_kwargs={"digest_method": sha256})


def _fingerprint(key: StreamKey) -> str:
    """Return what ties a text to *key* until its grants are withdrawn."""
    return sha256(key.viewing_salt.encode()).hexdigest()[:16]


def _seal(purpose: str, key: StreamKey, until: datetime) -> str:
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
    invitation = _seal("invitation", key, now() + lifetime)
    return f"https://{_settings().public_domain}/watch/{key.slug}#invitation={invitation}"


def admits(slug: str, cookie: str) -> bool:
    """Tell whether *cookie* lets its bearer watch the private stream *slug*."""
    key = keys.find(slug)
    return key is not None and key.visibility == "private" and _until("viewing", key, cookie) is not None


def _signed_in() -> User | None:
    """Return who is signed in by cookie: by the access token or, where it is over, by the refresh token.

    The latter is not exchanged for it. No CSRF token is asked for: the most that a foreign page could bring about is
    that this browser may watch what its user may watch anyway.
    """
    for kind, cookie in (("access", tokens.ACCESS_COOKIE), ("refresh", tokens.REFRESH_COOKIE)):
        try:
            claims = decode_token(request.cookies.get(cookie, ""))
        except (JWTExtendedException, PyJWTError):
            continue
        login = logins.find(str(claims.get(tokens.LOGIN_CLAIM))) if claims["type"] == kind else None
        if login and (kind == "access" or claims["jti"] == login.refresh_id):
            return login.user
    return None


def _may_watch_until(key: StreamKey) -> datetime | None:
    """Return until when the caller may watch the stream of *key*, as far as we know now, or None."""
    invited = _until("invitation", key, request.form.get("invitation", ""))
    if invited is not None:
        return invited
    user = _signed_in()
    return now() + GRANT if user is not None and may_see(user, key) else None


@blueprint.post("/session/viewing/<slug>")
@page_views
def access(slug: str) -> Response:
    """Let the browser watch a private stream for a while; for the others nothing is needed."""
    key = keys.find(slug) if keys.well_formed(slug) else None
    until = _may_watch_until(key) if key and key.visibility == "private" else None
    if key is None or (key.visibility == "private" and until is None):
        abort(403, "This stream is private: ask whoever sent you here for an invitation, or sign in.")
    response = Response(status=204)
    if until is not None:
        until = min(until, now() + GRANT)
        response.set_cookie(
            COOKIE,
            _seal("viewing", key, until),
            expires=until.replace(tzinfo=UTC),
            path=f"/private/{key.slug}/",
            secure=True,
            httponly=True,
            samesite="Lax",
        )
    return response
