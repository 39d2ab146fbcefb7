"""What the proxy asks before it hands out a stream: does this browser, or this other site, get it?"""

from __future__ import annotations

from flask import Response, request

from ..site.settings import current_settings
from ..streams import keys, playback_access
from .blueprint import blueprint, no, only_for, yes


@blueprint.get("/embedding")
def may_embed() -> Response:
    """Tell the proxy whether a page of who may embed gets a stream: 204 for a public one, 403 for all others."""
    only_for(frozenset({current_settings().trusted_proxy}))
    return yes() if keys.find_public(request.headers.get("X-Slug", "")) else no()


@blueprint.get("/viewing")
def may_view() -> Response:
    """Tell the proxy whether a browser's cookie lets it see a private stream: 204 yes, 403 no."""
    only_for(frozenset({current_settings().trusted_proxy}))
    admitted = playback_access.admits(request.headers.get("X-Slug", ""), request.headers.get("X-Viewing", ""))
    return yes() if admitted else no()
