"""Invitations to watch a private stream."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

from flask import abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from ..people.access import log_action, visible_key
from ..permissions import MANAGERS
from ..streams import keys, playback_access
from .blueprint import blueprint, signed_in

# For how long an invitation may hold, as the form offers it.
LIFETIMES = {"60": "An hour", "1440": "A day", "10080": "A week", "43200": "30 days"}


@blueprint.get("/streams/<slug>/invitations")
@signed_in(*MANAGERS)
def invitations(slug: str) -> ResponseReturnValue:
    """Show the form for an invitation."""
    return render_template("invitations.html", key=visible_key(slug), lifetimes=LIFETIMES)


@blueprint.post("/streams/<slug>/invitations")
@signed_in(*MANAGERS)
def invite(slug: str) -> ResponseReturnValue:
    """Make an address under which whoever knows it may watch for a while; it is shown this once."""
    minutes = request.form.get("minutes", "")
    if minutes not in LIFETIMES:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, "Choose for how long the invitation holds from the list.")
    key = visible_key(slug)
    log_action("invitation", "created", slug=slug, minutes=int(minutes))
    link = playback_access.invite(key, timedelta(minutes=int(minutes)))
    page = render_template("invitations.html", key=key, lifetimes=LIFETIMES, link=link, minutes=minutes)
    return page, HTTPStatus.CREATED


@blueprint.post("/streams/<slug>/invitations/withdraw")
@signed_in(*MANAGERS)
def withdraw_invitations(slug: str) -> ResponseReturnValue:
    """Withdraw all invitations."""
    keys.withdraw_viewing(visible_key(slug))
    log_action("invitation", "all withdrawn", slug=slug)
    return redirect(url_for("pages.stream", slug=slug, said="withdrawn"), HTTPStatus.SEE_OTHER)
