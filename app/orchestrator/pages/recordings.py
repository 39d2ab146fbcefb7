"""Recordings of a stream."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from ..people.access import log_action, visible_recording
from ..permissions import MANAGERS
from ..streams import recordings
from .blueprint import blueprint, signed_in


@blueprint.get("/streams/<slug>/recordings/<file>")
@signed_in()
def recording(slug: str, file: str) -> ResponseReturnValue:
    """Download a recording."""
    return Response(headers=recordings.download_headers(visible_recording(slug, file)))


@blueprint.get("/streams/<slug>/recordings/<file>/delete")
@signed_in(*MANAGERS)
def ask_about_recording(slug: str, file: str) -> ResponseReturnValue:
    """Ask before a recording is deleted."""
    visible_recording(slug, file)
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
    recordings.discard(visible_recording(slug, file))
    log_action("recording", "deleted", slug=slug, file=file)
    return redirect(url_for("pages.stream", slug=slug, said="discarded"), HTTPStatus.SEE_OTHER)
