"""What belongs to a stream besides its key: recordings, and invitations to watch a private one."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

from flask import abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from ..api.recordings import as_download
from ..people.auth import actor, reachable
from ..permissions import MANAGERS
from ..streams import keys, playback_access, recordings
from ..streams.recordings import Recording
from .blueprint import blueprint, signed_in

# For how long an invitation may hold, as the form offers it.
LIFETIMES = {"60": "An hour", "1440": "A day", "10080": "A week", "43200": "30 days"}


def _known(slug: str, file: str) -> Recording:
    """Return the recording *file* of *slug* if the signed-in user may see it, or answer 404."""
    root = current_app.config["STREAMKEEP"].recordings_path
    recording = recordings.find(reachable(slug).slug, file, root)
    if recording is None:
        abort(HTTPStatus.NOT_FOUND, "There is no such recording.")
    return recording


@blueprint.get("/streams/<slug>/recordings/<file>")
@signed_in()
def recording(slug: str, file: str) -> ResponseReturnValue:
    """Download a recording."""
    return as_download(_known(slug, file))


@blueprint.get("/streams/<slug>/recordings/<file>/delete")
@signed_in(*MANAGERS)
def ask_about_recording(slug: str, file: str) -> ResponseReturnValue:
    """Ask before a recording is deleted."""
    _known(slug, file)
    return render_template(
        "confirm.html",
        question=f"Delete the recording {file}?",
        consequence="The file is removed from this host. This can't be undone.",
        word="Delete for good",
        back=url_for("pages.stream", slug=slug),
    )


@blueprint.post("/streams/<slug>/recordings/<file>/delete")
@signed_in(*MANAGERS)
def delete_recording(slug: str, file: str) -> ResponseReturnValue:
    """Delete a recording."""
    recordings.discard(_known(slug, file))
    actor("recording", "deleted", slug=slug, file=file)
    return redirect(url_for("pages.stream", slug=slug, said="discarded"), HTTPStatus.SEE_OTHER)


@blueprint.get("/streams/<slug>/invitations")
@signed_in(*MANAGERS)
def invitations(slug: str) -> ResponseReturnValue:
    """Show the form for an invitation."""
    return render_template("invitations.html", key=reachable(slug), lifetimes=LIFETIMES)


@blueprint.post("/streams/<slug>/invitations")
@signed_in(*MANAGERS)
def invite(slug: str) -> ResponseReturnValue:
    """Make an address under which whoever knows it may watch for a while; it is shown this once."""
    minutes = request.form.get("minutes", "")
    if minutes not in LIFETIMES:
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, "Choose for how long the invitation holds from the list.")
    key = reachable(slug)
    actor("invitation", "created", slug=slug, minutes=int(minutes))
    link = playback_access.invite(key, timedelta(minutes=int(minutes)))
    page = render_template("invitations.html", key=key, lifetimes=LIFETIMES, link=link, minutes=minutes)
    return page, HTTPStatus.CREATED


@blueprint.post("/streams/<slug>/invitations/withdraw")
@signed_in(*MANAGERS)
def withdraw_invitations(slug: str) -> ResponseReturnValue:
    """Withdraw all invitations."""
    keys.withdraw_viewing(reachable(slug))
    actor("invitation", "all withdrawn", slug=slug)
    return redirect(url_for("pages.stream", slug=slug, said="withdrawn"), HTTPStatus.SEE_OTHER)
