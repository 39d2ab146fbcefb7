"""What nginx-rtmp asks: who may publish, and for how long.

https://github.com/arut/nginx-rtmp-module/wiki/Directives#notify
"""

from __future__ import annotations

from typing import Any

from flask import Response, request

from ..people import brute_force
from ..site.database import db
from ..site.events import note
from ..site.metric_files import Counter, Histogram
from ..site.settings import current_settings
from ..streams import keys, media_control, refusals, sessions
from ..streams.keys import Refused
from ..streams.problems import REFUSALS
from ..streams.publishing import Attempt, server_of, understand
from .blueprint import blueprint, no, only_for, yes

streams_started = Counter("streams_started", "Streams that were admitted.")
key_refusals = Counter("stream_key_refusals", "Publishers that were refused.", ["reason"])
callback_seconds = Histogram(
    "rtmp_callback_duration_seconds",
    "How long nginx-rtmp waits for an answer.",
    ["callback"],
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 3),
)
# Each series is there from the start, at 0, so that its first increase is seen as one.
for _reason in REFUSALS:
    key_refusals.labels(_reason)


def _client() -> str:
    """Return the publisher's address as nginx-rtmp knows it."""
    return request.form.get("addr", "")[:45]


def _client_id() -> str:
    """Return the number that nginx-rtmp gave the connection."""
    return request.form.get("clientid", "")[:32]


def _begun(attempt: Attempt) -> dict[str, Any]:
    """Begin a session for *attempt* and return it as the supervisor is told it; the transaction is over then.

    Raises:
        Refused: the publisher may not begin.
    """
    if attempt.fault:
        raise Refused(attempt.fault)
    key = keys.admits(attempt.slug, attempt.secret, _client())
    former = sessions.yields(key)
    if former is not None:
        where = (former.application, key.slug, former.client_id)
        db.session.commit()
        if not media_control.drop_publisher(*where):
            raise Refused("already live")  # for seconds: the former one ends with its next update
    application, limit = request.form["app"], current_settings().max_concurrent_streams
    session = sessions.begin(key, _client_id(), _client(), application, limit, former)
    stream = media_control.described(session)
    db.session.commit()
    return stream


def _refused(attempt: Attempt, reason: str) -> Response:
    """Note why *attempt* may not publish, and say no. Only names that exist are logged."""
    key = keys.find(attempt.slug)
    if key is None and reason == "no key" and (key := keys.of_secret(attempt.slug)):
        reason = "key as name"
    # fail2ban counts the reason "key", and an encoder that tries one wrong key for hours is no guesser.
    if reason == "key" and not brute_force.is_new_guess("stream", _client(), attempt.slug, attempt.secret):
        reason = "repeated"
    if key is not None:
        refusals.keep(key, reason)
    key_refusals.labels(reason).inc()
    note("publish", "refused", _client(), reason=reason, slug=key.slug if key else None)
    return no()


@blueprint.post("/rtmp/connect")
@callback_seconds.labels("connect").time()
def connect() -> Response:
    """Say whether a connection may go on: to an application of ours, and where not, who probably wanted that."""
    only_for(current_settings().rtmp_peers)
    slug = server_of(request.form.get("app", ""))
    return yes() if slug is None else _refused(Attempt(slug, "", None), "address as server")


@blueprint.post("/rtmp/publish")
@callback_seconds.labels("publish").time()
def publish() -> Response:
    """Say whether a publisher may begin: 204 yes, 403 no."""
    only_for(current_settings().rtmp_peers)
    attempt = understand(request.form)
    try:
        stream = _begun(attempt)
    except Refused as refusal:
        return _refused(attempt, refusal.reason)
    streams_started.inc()
    note("publish", "accepted", _client(), slug=stream["slug"], session=stream["session"])
    media_control.announce(stream)
    return yes()


@blueprint.post("/rtmp/update")
@callback_seconds.labels("update").time()
def update() -> Response:
    """Say whether a connection may go on: players (only ffmpeg may play), and publishers as long as their key holds."""
    only_for(current_settings().rtmp_peers)
    if request.form.get("call") == "update_play":
        return yes()
    attempt = understand(request.form)
    session = sessions.of_client(attempt.slug, _client_id())
    if not session:
        return no()
    try:
        keys.judge(session.stream_key, attempt.secret, _client())
    except Refused as refusal:
        sessions.send_away(session, refusal.reason)
    if session.ending:
        sessions.end(session, session.ending)
        note(
            "publish",
            "sent away",
            session.address,
            reason=session.ending,
            slug=session.stream_key.slug,
            session=session.id,
        )
        return no()
    sessions.touch(session)
    return yes()


@blueprint.post("/rtmp/done")
@callback_seconds.labels("done").time()
def done() -> Response:
    """Note that a publisher has gone."""
    only_for(current_settings().rtmp_peers)
    session = sessions.of_client(understand(request.form).slug, _client_id())
    if session:
        sessions.end(session, "done")
        note("publish", "ended", session.address, slug=session.stream_key.slug, session=session.id)
    return yes()
