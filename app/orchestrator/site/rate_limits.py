"""Rate limits by client address (Flask-Limiter), told in the standard headers.

Header names: draft-ietf-httpapi-ratelimit-headers; Retry-After: RFC 9110, section 10.2.3.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import ParamSpec, TypeVar

from flask import Flask, Response, g, request
from flask_limiter import Limiter
from flask_limiter.errors import RateLimitExceeded

from . import rate_limit_storage
from .settings import Settings, current_settings

# Importing the module is what makes its storage known to the library.
STORAGE = rate_limit_storage.SqliteCounters.STORAGE_SCHEME[0]


def who() -> str:
    """Return whom a request is counted for: the address, or for IPv6 its /64, which is what one customer has."""
    text = request.remote_addr or ""
    try:
        address = ip_address(text)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        return str(ip_network(f"{address.ipv4_mapped or address}/{32 if address.ipv4_mapped else 64}", strict=False))
    return text


limiter = Limiter(who, headers_enabled=False)


def api_limit() -> str:
    """Return the limit of the API as a whole."""
    return f"{current_settings().api_rate_limit_per_minute}/minute"


def guess_limit() -> str:
    """Return the limit of wrong passwords."""
    return f"{current_settings().login_rate_limit_per_minute}/minute"


def sign_in_limit() -> str:
    """Return the limit of passwords that are compared at all, right ones too: comparing is slow on purpose."""
    return f"{SIGN_INS_PER_GUESS * current_settings().login_rate_limit_per_minute}/minute"


def _guessed(_response: Response) -> bool:
    """Tell whether this request was a guess (`people.auth`)."""
    return bool(g.get("guessed", False))


TOO_MANY = "Too many requests from your address: wait for as many seconds as Retry-After says."
SIGN_INS_PER_GUESS = 10  # a classroom signs in at once, from one address
P = ParamSpec("P")
R = TypeVar("R")
# One budget for all of the API, and two for signing in, by the API and by the page alike: guesses, and all attempts.
# Pages that update themselves have a wide one of their own.
api_requests = limiter.shared_limit(api_limit, scope="api", error_message=TOO_MANY)
_guesses = limiter.shared_limit(guess_limit, scope="login", error_message=TOO_MANY, deduct_when=_guessed)
_sign_ins = limiter.shared_limit(sign_in_limit, scope="sign-ins", error_message=TOO_MANY)
page_views = limiter.shared_limit("600/minute", scope="pages", error_message=TOO_MANY)


def login_attempts(view: Callable[P, R]) -> Callable[P, R]:
    """Limit *view*, which compares a password: few guesses, and generously what is no guess."""
    return _sign_ins(_guesses(view))  # the inner one is what the headers tell


def configure(app: Flask, settings: Settings) -> None:
    """Set Flask-Limiter up for *app*; the counters lie beside the database."""
    file = settings.database_path.with_name("counters.db")
    app.config.update(RATELIMIT_STORAGE_URI=f"{STORAGE}://{file}", RATELIMIT_STRATEGY="fixed-window")
    app.after_request(_tell)  # which runs after what comes next has counted: the last one first
    limiter.init_app(app)


def _tell(response: Response) -> Response:
    """Say how much of the limit is left, and after a refusal when to come back."""
    limit = limiter.current_limit
    if limit is not None:
        seconds = max(0, math.ceil(limit.reset_at - time.time()))
        response.headers["RateLimit-Limit"] = str(limit.limit.amount)
        response.headers["RateLimit-Remaining"] = str(limit.remaining)
        response.headers["RateLimit-Reset"] = str(seconds)
        if response.status_code == RateLimitExceeded.code:
            response.headers["Retry-After"] = str(max(1, seconds))
    return response
