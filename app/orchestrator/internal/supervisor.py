"""What the supervisor of ffmpeg says and asks: how the streams are, what is live, and which recordings are to go."""

from __future__ import annotations

from typing import Any

from flask import abort, request

from ..site.settings import current_settings
from ..streams import health, media_control, recordings, sessions
from .blueprint import blueprint, only_for

LARGEST_REPORT = 1024 * 1024  # bytes; of 200 streams with all there is to say it is a third


@blueprint.post("/streams")
def streams() -> dict[str, Any]:
    """Take what the supervisor found in the streams, and return what is live and which recordings are to go."""
    only_for(current_settings().media_peers)
    request.max_content_length = LARGEST_REPORT
    try:
        said = request.get_json(silent=True)
    except RecursionError:
        abort(400)
    if not isinstance(said, dict) or not isinstance(said.get("reports"), list):
        abort(400)
    live = sessions.live()
    answer = {"streams": [media_control.described(one) for one in live], "discards": sorted(recordings.discarded())}
    health.take(live, said["reports"], said.get("host"))
    return answer
