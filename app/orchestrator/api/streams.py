"""What is live, and what was."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any

from flask import abort
from flask_jwt_extended import current_user

from ..models import Sample, Session
from ..people.auth import actor, reachable
from ..permissions import MANAGERS, may_see
from ..streams import keys, sessions
from ..streams import samples as measured
from .blueprint import ApiBlueprint
from .schemas import History, Kick, Page, SampleOut, StreamOut

blueprint = ApiBlueprint("streams", "/streams", "What is live, and what was.")


def _live(slug: str) -> Session:
    """Return the live session of *slug* if the signed-in user may see it, or answer 404."""
    session = sessions.of_key(reachable(slug))
    if session is None:
        abort(HTTPStatus.NOT_FOUND, "This stream is not live.")
    return session


@blueprint.get("")
@blueprint.response(HTTPStatus.OK, StreamOut(many=True))
@blueprint.signed_in()
def live() -> list[Session]:
    """List what is live, with what was measured last."""
    return [session for session in sessions.live() if may_see(current_user, session.stream_key)]


@blueprint.get("/history")
@blueprint.response(HTTPStatus.OK, History)
@blueprint.signed_in()
@blueprint.takes(Page, location="query")
def history(page: dict[str, int]) -> dict[str, Any]:
    """List what ended, newest first."""
    rows, total = sessions.history(keys.of(current_user), page["page"], page["size"])
    return {"total": total, "streams": rows}


@blueprint.get("/<slug>")
@blueprint.response(HTTPStatus.OK, StreamOut)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in()
def one(slug: str) -> Session:
    """Show a live stream."""
    return _live(slug)


@blueprint.get("/<slug>/samples")
@blueprint.response(HTTPStatus.OK, SampleOut(many=True))
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in()
def samples(slug: str) -> list[Sample]:
    """Show what was measured of a live stream, oldest first: the newest 1000 samples; old ones stand for longer."""
    return measured.newest(_live(slug))


@blueprint.post("/<slug>/kick")
@blueprint.response(HTTPStatus.ACCEPTED)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*MANAGERS)
@blueprint.takes(Kick)
def kick(how: dict[str, int], slug: str) -> None:
    """End a live stream within seconds, and refuse its publisher for a while; a hold that lasts longer stands."""
    sessions.send_away(_live(slug), "kicked", timedelta(seconds=how["hold_seconds"]), by=current_user)
    actor("stream", "kicked", slug=slug, hold_seconds=how["hold_seconds"])
