"""Invitations to watch a private stream."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

from ..people.access import log_action, visible_key
from ..permissions import MANAGERS
from ..streams import keys, playback_access
from .blueprint import ApiBlueprint
from .schemas import Invitation, NewInvitation

blueprint = ApiBlueprint("invitations", "/keys/<slug>/invitations", "Who else may watch a private stream.")


@blueprint.post("")
@blueprint.response(HTTPStatus.CREATED, Invitation)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*MANAGERS)
@blueprint.takes(NewInvitation)
def invite(new: dict[str, int], slug: str) -> dict[str, str]:
    """Make an address under which whoever knows it may watch for a while; it is shown this once."""
    key = visible_key(slug)
    log_action("invitation", "created", slug=slug, minutes=new["minutes"])
    return {"watch_url": playback_access.invite(key, timedelta(minutes=new["minutes"]))}


@blueprint.delete("")
@blueprint.response(HTTPStatus.NO_CONTENT)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*MANAGERS)
def withdraw(slug: str) -> None:
    """Withdraw all invitations; who watches by one is out within half a minute."""
    keys.withdraw_viewing(visible_key(slug))
    log_action("invitation", "all withdrawn", slug=slug)
