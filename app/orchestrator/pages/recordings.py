"""Recordings of a stream."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, abort, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from ..people.auth import actor, reachable
from ..permissions import MANAGERS
from ..site.settings import current_settings
from ..streams import recordings
from ..streams.recordings import Recording
from .blueprint import blueprint, signed_in


def _known(slug: str, file: str) -> Recording:
    """Return the recording *file* of *slug* if the signed-in user may see it, or answer 404."""
    recording = recordings.find(reachable(slug).slug, file, current_settings().recordings_path)
    if recording is None:
        abort(HTTPStatus.NOT_FOUND, "There is no such recording.")
    return recording


@blueprint.get("/streams/<slug>/recordings/<file>")
@signed_in()
def recording(slug: str, file: str) -> ResponseReturnValue:
    """Download a recording."""
    return Response(headers=recordings.download_headers(_known(slug, file)))


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
