"""The dashboard: what is live now, by itself up to date."""

from __future__ import annotations

from typing import NamedTuple

from flask import render_template
from flask_jwt_extended import current_user

from ..models import Session
from ..site.settings import current_settings
from ..streams import health, samples, sessions
from .blueprint import blueprint, signed_in
from .formatting import POINTS, curve


class Card(NamedTuple):
    """A live stream with the curves of what was measured of it."""

    session: Session
    bitrate: str
    viewers: str


def _live() -> dict[str, object]:
    """Return what is live of the streams that the signed-in user may see, and how many may be."""
    cards = []
    for session in sessions.seen_by(current_user):
        measured = samples.newest(session, POINTS)
        bitrate, viewers = curve([s.bitrate_kbps for s in measured]), curve([s.viewers for s in measured])
        cards.append(Card(session, bitrate, viewers))
    return {
        "cards": cards,
        "viewers": sum(card.session.viewers for card in cards),
        "kbps": sum(card.session.bitrate_kbps for card in cards),
        "places": current_settings().max_concurrent_streams,
        "host": health.host(),
    }


@blueprint.get("/dashboard")
@signed_in()
def dashboard() -> str:
    """Show what is live."""
    return render_template("dashboard.html", **_live())


@blueprint.get("/dashboard/live")
@signed_in()
def dashboard_live() -> str:
    """Return the part of the dashboard that is fetched again every few seconds."""
    return render_template("dashboard_live.html", **_live())
