"""Other servers to which a stream is passed on."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import abort

from ..models import Relay
from ..people.access import found, log_action, visible_key
from ..permissions import MANAGERS
from ..streams import relays
from .blueprint import ApiBlueprint
from .schemas import NewRelay, RelayOut

blueprint = ApiBlueprint("relays", "/keys/<slug>/relays", "Which other servers a stream is passed on to.")


def _described(relay: Relay, status: relays.Status) -> dict[str, Any]:
    """Return what may be shown of *relay*."""
    return {"id": relay.id, "server": relay.server, "created_at": relay.created_at, **status._asdict()}


@blueprint.get("")
@blueprint.response(HTTPStatus.OK, RelayOut(many=True))
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in()
def everything(slug: str) -> list[dict[str, Any]]:
    """List where a stream is passed on to, and what becomes of it."""
    return [_described(relay, status) for relay, status in relays.shown(visible_key(slug))]


@blueprint.post("")
@blueprint.response(HTTPStatus.CREATED, RelayOut)
@blueprint.refusals(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
@blueprint.signed_in(*MANAGERS)
@blueprint.takes(NewRelay)
def create(new: dict[str, str], slug: str) -> dict[str, Any]:
    """Pass a stream on to another server whenever it is live; the key for it is never shown again."""
    try:
        relay = relays.create(visible_key(slug), new["server"], new["stream_key"])
    except (relays.NoRelay, relays.TooMany) as problem:
        abort(HTTPStatus.CONFLICT, str(problem))
    except relays.RelayProblem as problem:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, str(problem))
    log_action("relay", "created", slug=slug, relay=relay.id)
    return _described(relay, relays.status(relay, live=False))


@blueprint.delete("/<number>")
@blueprint.response(HTTPStatus.NO_CONTENT)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*MANAGERS)
def delete(slug: str, number: str) -> None:
    """Pass a stream on there no more; what runs ends within seconds."""
    relay = found(relays.find(visible_key(slug), number), "This stream is not passed on under such an id.")
    relays.delete(relay)
    log_action("relay", "deleted", slug=slug, relay=number)
