"""What the relay asks and says: which streams go to other servers, and what becomes of that."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, request

from ..site.settings import current_settings
from ..streams import relays
from .blueprint import blueprint, only_for, yes


@blueprint.get("/relays")
def wanted_relays() -> dict[str, Any]:
    """Return what is to be passed on to other servers, with their keys: for the relay alone."""
    only_for(current_settings().relay_peers)
    return {"relays": relays.wanted()}


@blueprint.post("/relays")
def relay_states() -> Response:
    """Note what the relay says of what it passes on."""
    only_for(current_settings().relay_peers)
    try:
        said = [(str(one["id"]), str(one["state"]), one["reason"]) for one in request.get_json()["relays"]]
        relays.report(said)
    except (KeyError, TypeError, ValueError):
        abort(400)
    return yes()
