"""Tokens: JSON Web Tokens (RFC 7519, RFC 8725) by Flask-JWT-Extended, each tied to a login in the database.

The API takes them as bearer tokens, the pages as cookies with a double-submitted CSRF token. A token names its key by
`kid`, so that a secret can be replaced while what the former one signed still holds.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Any, NamedTuple, NoReturn

from flask import Flask, abort, request
from flask_jwt_extended import (
    JWTManager,
    create_access_token,
    create_refresh_token,
    decode_token,
    get_jwt,
)
from flask_jwt_extended import verify_jwt_in_request as verify
from flask_jwt_extended.exceptions import CSRFError, JWTExtendedException
from jwt.exceptions import PyJWTError
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from ..models import Login, User
from ..site.events import note
from ..site.settings import Settings, current_settings
from . import logins

ACCESS = timedelta(minutes=15)
REFRESH = timedelta(days=7)
AUDIENCE = "streamkeep"
ACCESS_COOKIE = "__Host-access"
REFRESH_COOKIE = "__Secure-refresh"
LOGIN_CLAIM = "login"
NOT_VALID = "Sign in: the token is missing, has expired, was withdrawn, or is none of ours."

manager = JWTManager()


class Pair(NamedTuple):
    """An access token and the refresh token that renews it."""

    access: str
    refresh: str


def key_id(secret: str) -> str:
    """Return the name of a signing key: the beginning of its hash, which tells nothing about 32 random bytes."""
    return sha256(secret.encode()).hexdigest()[:12]


def configure(app: Flask, settings: Settings) -> None:
    """Set Flask-JWT-Extended up for *app*."""
    issuer = f"https://{settings.public_domain}"
    app.config.update(
        JWT_SECRET_KEY=settings.jwt_secret,
        JWT_ALGORITHM="HS256",
        JWT_DECODE_ALGORITHMS=["HS256"],
        JWT_ACCESS_TOKEN_EXPIRES=ACCESS,
        JWT_REFRESH_TOKEN_EXPIRES=REFRESH,
        JWT_ENCODE_ISSUER=issuer,
        JWT_DECODE_ISSUER=issuer,
        JWT_ENCODE_AUDIENCE=AUDIENCE,
        JWT_DECODE_AUDIENCE=AUDIENCE,
        JWT_TOKEN_LOCATION=["headers", "cookies"],
        JWT_COOKIE_SECURE=True,
        JWT_COOKIE_SAMESITE="Lax",
        JWT_COOKIE_CSRF_PROTECT=True,
        JWT_CSRF_IN_COOKIES=False,  # pages carry it themselves; a cookie that scripts can read is not needed
        JWT_CSRF_CHECK_FORM=True,
        JWT_ACCESS_COOKIE_NAME=ACCESS_COOKIE,
        JWT_ACCESS_COOKIE_PATH="/",
        JWT_REFRESH_COOKIE_NAME=REFRESH_COOKIE,
        JWT_REFRESH_COOKIE_PATH="/session",
    )
    manager.init_app(app)


@manager.additional_headers_loader
def _headers(_identity: Any) -> dict[str, str]:
    """Name the key that signs."""
    return {"kid": key_id(current_settings().jwt_secret)}


@manager.decode_key_loader
def _decode_key(header: dict[str, Any], _claims: dict[str, Any]) -> str:
    """Return the key that the token names, among the two that we know; whatever else it names is not looked at."""
    settings = current_settings()
    previous = settings.jwt_secret_previous
    return previous if previous and header.get("kid") == key_id(previous) else settings.jwt_secret


@manager.user_lookup_loader
def _user(_header: dict[str, Any], claims: dict[str, Any]) -> User | None:
    """Return the user of a token whose login holds."""
    login = logins.find(str(claims.get(LOGIN_CLAIM)))
    return login.user if login and str(login.user_id) == claims["sub"] else None


def issue(login: Login) -> Pair:
    """Return tokens for *login*; the refresh token is its newest."""
    # One CSRF token for all of a login: a form that was open while the tokens were renewed can still be sent.
    claims = {LOGIN_CLAIM: login.id, "csrf": sha256(f"form {login.id}".encode()).hexdigest()}
    identity = str(login.user_id)
    refresh = create_refresh_token(identity, additional_claims=claims | {"jti": login.refresh_id})
    return Pair(create_access_token(identity, additional_claims=claims), refresh)


def renew(client: str | None, *, tabs: bool = False) -> Pair | str | None:
    """Return new tokens in exchange for the verified refresh token of this request, or None.

    A refresh token that was replaced before ends its login: either this caller or the one who came first is a thief.
    With *tabs*, one that was replaced only just now gets an access token alone: the browser has the newest other one.
    """
    claims = get_jwt()
    login = logins.find(str(claims.get(LOGIN_CLAIM)))
    if login is None:
        return None
    if claims["jti"] == login.refresh_id:
        logins.rotate(login)
        return issue(login)
    if tabs and logins.is_second_tab(login, claims["jti"]):
        return issue(login).access
    logins.revoke(login)
    note("refresh", "reused", client, user=login.user.name)
    return None


def sign_out() -> None:
    """End the login of this request's verified token."""
    login = logins.find(str(get_jwt().get(LOGIN_CLAIM)))
    if login:
        logins.revoke(login)


def unauthorized(reason: str) -> NoReturn:
    """Answer 401 (RFC 9110, section 15.5.2, wants it to say how to sign in)."""
    raise Unauthorized(reason, www_authenticate=WWWAuthenticate("bearer"))


def checked(location: str, *, refresh: bool = False) -> None:
    """Verify this request's token in *location* (headers or cookies), or answer 401; 403 for a missing CSRF token."""
    try:
        verify(locations=[location], refresh=refresh)
    except CSRFError:
        abort(403, "The form has expired: reload the page and send it again.")
    except (JWTExtendedException, PyJWTError):
        unauthorized(NOT_VALID)


def user_of_cookies() -> User | None:
    """Return who is signed in by cookie: by the access token or, where it is over, by the refresh token.

    The latter is not exchanged for it. No CSRF token is asked for: the most that a foreign page could bring about is
    that this browser may watch what its user may watch anyway.
    """
    for kind, cookie in (("access", ACCESS_COOKIE), ("refresh", REFRESH_COOKIE)):
        try:
            claims = decode_token(request.cookies.get(cookie, ""))
        except (JWTExtendedException, PyJWTError):
            continue
        login = logins.find(str(claims.get(LOGIN_CLAIM))) if claims["type"] == kind else None
        if login and (kind == "access" or claims["jti"] == login.refresh_id):
            return login.user
    return None
