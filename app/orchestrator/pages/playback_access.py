"""What the watch page asks before it plays a private stream: see `streams.playback_access` for the contract."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, abort, request

from ..models import StreamKey
from ..people import tokens
from ..permissions import is_private
from ..site.rate_limits import page_views
from ..streams import keys, playback_access

blueprint = Blueprint("viewing", __name__)


def _may_watch_until(key: StreamKey) -> datetime | None:
    """Return until when the caller may watch the stream of *key*, as far as we know now, or None."""
    invited = playback_access.invited_until(key, request.form.get("invitation", ""))
    return invited or playback_access.admitted_until(key, tokens.user_of_cookies())


@blueprint.post("/session/viewing/<slug>")
@page_views
def access(slug: str) -> Response:
    """Let the browser watch a private stream for a while; for the others nothing is needed."""
    key, response = keys.find(slug), Response(status=204)
    if key is not None and not is_private(key):
        return response
    until = _may_watch_until(key) if key else None
    if key is None or until is None:
        abort(403, "This stream is private: ask whoever sent you here for an invitation, or sign in.")
    cookie, until = playback_access.grant(key, until)
    response.set_cookie(
        playback_access.COOKIE,
        cookie,
        expires=until.replace(tzinfo=UTC),
        path=f"/private/{key.slug}/",
        secure=True,
        httponly=True,
        samesite="Lax",
    )
    return response
