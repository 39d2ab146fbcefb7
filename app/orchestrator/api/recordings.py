"""Recordings of the streams that you may see."""

from __future__ import annotations

from http import HTTPStatus

from flask import Response
from flask_jwt_extended import current_user

from ..people.access import log_action, visible_recording
from ..permissions import MANAGERS
from ..site.settings import current_settings
from ..streams import keys, recordings
from ..streams.recordings import Recording
from .blueprint import ApiBlueprint
from .schemas import Page, RecordingOut

blueprint = ApiBlueprint("recordings", "/recordings", "What was recorded; a key says whether its stream is.")


@blueprint.get("")
@blueprint.response(HTTPStatus.OK, RecordingOut(many=True))
@blueprint.signed_in()
@blueprint.takes(Page, location="query")
def everything(page: dict[str, int]) -> list[Recording]:
    """List the recordings that you may see, newest first, a page of them."""
    return recordings.of(keys.of(current_user), current_settings().recordings_path, page["page"], page["size"])[0]


@blueprint.get("/<slug>/<file>")
@blueprint.response(HTTPStatus.OK, {"type": "string", "format": "binary"}, content_type="video/mp4")
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in()
def download(slug: str, file: str) -> Response:
    """Download a recording. The proxy sends the file; ranges work."""
    return Response(headers=recordings.download_headers(visible_recording(slug, file)))


@blueprint.delete("/<slug>/<file>")
@blueprint.response(HTTPStatus.NO_CONTENT)
@blueprint.refusals(HTTPStatus.NOT_FOUND)
@blueprint.signed_in(*MANAGERS)
def delete(slug: str, file: str) -> None:
    """Delete a recording; one that is still being written goes with what comes after."""
    recordings.discard(visible_recording(slug, file))
    log_action("recording", "deleted", slug=slug, file=file)
