"""How a stream is, or why it is not there: what is wrong with it, and which try to publish was refused."""

from __future__ import annotations

from flask import render_template

from ..models import StreamKey
from ..people.access import visible_key
from ..streams import problems, refusals, sessions
from .blueprint import blueprint, signed_in


def health_of(key: StreamKey) -> dict[str, object]:
    """Return what is shown of how the stream of *key* is; where it is not live, of how it was when it ended."""
    live = sessions.of_key(key)
    ended = None if live else next(iter(sessions.history([key], 1, 1)[0]), None)
    refused = refusals.since_last_session(key)
    return {
        "live": live,
        "ended": ended,
        "ending": problems.ENDINGS.get(ended.ending or "") if ended else None,
        "refused": refused,
        "refusal": problems.refusal(refused.reason, key.slug) if refused else None,
    }


@blueprint.get("/streams/<slug>/health")
@signed_in()
def health(slug: str) -> str:
    """Return the part of a stream's page that is fetched again every few seconds."""
    key = visible_key(slug)
    return render_template("stream_health.html", key=key, **health_of(key))
