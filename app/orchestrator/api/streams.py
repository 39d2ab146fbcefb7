"""What is live, and what was."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any

from flask_jwt_extended import current_user

from ..models import Sample, Session
from ..people.access import live_session, log_action, visible_key
from ..permissions import MANAGERS
from ..streams import keys, sessions
from ..streams import samples as measured
from .blueprint import ApiBlueprint
from .schemas import History, Kick, Page, SampleOut, StreamOut

blueprint = ApiBlueprint("streams", "/streams", "What is live, and what was.")


@blueprint.get("")
@blueprint.response(HTTPStatus.OK, StreamOut(many=True))
@blueprint.signed_in()
def live() -> list[Session]:
    """List what is live, with what was measured last."""
    return sessions.seen_by(current_user)


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
    return live_session(visible_key(slug))


@blueprint.get("/<slug>/samples")
@blueprint.response(HTTPStatus.OK, SampleOut(many=True))
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in()
def samples(slug: str) -> list[Sample]:
    """Show what was measured of a live stream, oldest first: the newest 1000 samples; old ones stand for longer."""
    return measured.newest(live_session(visible_key(slug)))


@blueprint.post("/<slug>/kick")
@blueprint.response(HTTPStatus.ACCEPTED)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*MANAGERS)
@blueprint.takes(Kick)
def kick(how: dict[str, int], slug: str) -> None:
    """End a live stream within seconds, and refuse its publisher for a while; a hold that lasts longer stands."""
    session, hold = live_session(visible_key(slug)), timedelta(seconds=how["hold_seconds"])
    sessions.send_away(session, "kicked", hold, by=current_user)
    log_action("stream", "kicked", slug=slug, hold_seconds=how["hold_seconds"])
