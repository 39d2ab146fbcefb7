"""What the other containers ask: nginx-rtmp, who may publish; ffmpeg, what is live; the relay, where it goes besides.

Callers are known by the address of their socket, which containers without capabilities cannot forge. Everybody else is
told that there is nothing here. Callbacks: https://github.com/arut/nginx-rtmp-module/wiki/Directives#notify
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Blueprint, Response, abort, current_app, request

from ..models import Session
from ..people import brute_force
from ..site.database import db
from ..site.events import note
from ..site.settings import Settings
from ..streams import health, keys, media_control, playback_access, recordings, refusals, relays, sessions
from ..streams.keys import Refused
from ..streams.publishing import Attempt, server_of, understand
from .metrics import callback_seconds, key_refusals, streams_started

blueprint = Blueprint("internal", __name__, url_prefix="/internal")

LARGEST_REPORT = 1024 * 1024  # bytes; of 200 streams with all there is to say it is a third


def _yes() -> Response:
    """Say yes."""
    return Response(status=204)


class RememberPeer:
    """Notes the socket's address, and drops forwarding headers from everybody but the proxy."""

    def __init__(self, wsgi_app: WSGIApplication, proxy: str) -> None:
        self.wsgi_app = wsgi_app
        self.proxy = proxy

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on."""
        environ["streamkeep.peer"] = environ.get("REMOTE_ADDR", "")
        if environ["streamkeep.peer"] != self.proxy:
            for header in ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"):
                environ.pop(header, None)
        return self.wsgi_app(environ, start_response)


def _only_for(peers: frozenset[str]) -> None:
    """Answer 404 unless the caller is one of *peers*."""
    if request.environ["streamkeep.peer"] not in peers:
        abort(404)


def _settings() -> Settings:
    """Return the application's settings."""
    settings: Settings = current_app.config["STREAMKEEP"]
    return settings


def _client() -> str:
    """Return the publisher's address as nginx-rtmp knows it."""
    return request.form.get("addr", "")[:45]


def _client_id() -> str:
    """Return the number that nginx-rtmp gave the connection."""
    return request.form.get("clientid", "")[:32]


def _described(session: Session) -> dict[str, Any]:
    """Return *session* as the supervisor is told it."""
    return {
        "slug": session.stream_key.slug,
        "session": session.id,
        "private": session.stream_key.visibility == "private",
        "record": session.stream_key.record,
        "application": session.application,
    }


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
    application = request.form["app"]
    session = sessions.begin(key, _client_id(), _client(), application, _settings().max_concurrent_streams, former)
    stream = _described(session)
    db.session.commit()
    return stream


def _refused(attempt: Attempt, reason: str) -> Response:
    """Note why *attempt* may not publish, and say no. Only names that exist are logged."""
    key = keys.find(attempt.slug)
    if key is None and reason == "no key" and (key := keys.of_secret(attempt.slug)):
        reason = "key as name"
    # fail2ban counts the reason "key", and an encoder that tries one wrong key for hours is no guesser.
    if reason == "key" and not brute_force.is_new("stream", _client(), attempt.slug, attempt.secret):
        reason = "repeated"
    if key is not None:
        refusals.keep(key, reason)
    key_refusals.labels(reason).inc()
    note("publish", "refused", _client(), reason=reason, slug=key.slug if key else None)
    return Response(status=403)


@blueprint.post("/rtmp/connect")
@callback_seconds.labels("connect").time()
def connect() -> Response:
    """Say whether a connection may go on: to an application of ours, and where not, who probably wanted that."""
    _only_for(_settings().rtmp_peers)
    slug = server_of(request.form.get("app", ""))
    return _yes() if slug is None else _refused(Attempt(slug, "", None), "address as server")


@blueprint.post("/rtmp/publish")
@callback_seconds.labels("publish").time()
def publish() -> Response:
    """Say whether a publisher may begin: 204 yes, 403 no."""
    _only_for(_settings().rtmp_peers)
    attempt = understand(request.form)
    try:
        stream = _begun(attempt)
    except Refused as refusal:
        return _refused(attempt, refusal.reason)
    streams_started.inc()
    note("publish", "accepted", _client(), slug=stream["slug"], session=stream["session"])
    media_control.tell_media(stream)
    return _yes()


@blueprint.post("/rtmp/update")
@callback_seconds.labels("update").time()
def update() -> Response:
    """Say whether a connection may go on: players (only ffmpeg may play), and publishers as long as their key holds."""
    _only_for(_settings().rtmp_peers)
    if request.form.get("call") == "update_play":
        return _yes()
    attempt = understand(request.form)
    session = sessions.of_client(attempt.slug, _client_id())
    if not session:
        return Response(status=403)
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
        return Response(status=403)
    sessions.touch(session)
    return _yes()


@blueprint.post("/rtmp/done")
@callback_seconds.labels("done").time()
def done() -> Response:
    """Note that a publisher has gone."""
    _only_for(_settings().rtmp_peers)
    session = sessions.of_client(understand(request.form).slug, _client_id())
    if session:
        sessions.end(session, "done")
        note("publish", "ended", session.address, slug=session.stream_key.slug, session=session.id)
    return _yes()


@blueprint.post("/streams")
def streams() -> dict[str, Any]:
    """Take what the supervisor found in the streams, and return what is live and which recordings are to go."""
    _only_for(_settings().media_peers)
    request.max_content_length = LARGEST_REPORT
    try:
        said = request.get_json(silent=True)
    except RecursionError:
        abort(400)
    if not isinstance(said, dict) or not isinstance(said.get("reports"), list):
        abort(400)
    live = sessions.live()
    answer = {"streams": [_described(one) for one in live], "discards": sorted(recordings.discarded())}
    health.take(live, said["reports"], said.get("host"))
    return answer


@blueprint.get("/relays")
def wanted_relays() -> dict[str, Any]:
    """Return what is to be passed on to other servers, with their keys: for the relay alone."""
    _only_for(_settings().relay_peers)
    return {"relays": relays.wanted()}


@blueprint.post("/relays")
def relay_states() -> Response:
    """Note what the relay says of what it passes on."""
    _only_for(_settings().relay_peers)
    try:
        said = [(str(one["id"]), str(one["state"]), one["reason"]) for one in request.get_json()["relays"]]
        relays.report(said)
    except (KeyError, TypeError, ValueError):
        abort(400)
    return _yes()


@blueprint.get("/embedding")
def may_embed() -> Response:
    """Tell the proxy whether a page of who may embed gets a stream: 204 for a public one, 403 for all others."""
    _only_for(frozenset({_settings().trusted_proxy}))
    slug = request.headers.get("X-Slug", "")
    key = keys.find(slug) if keys.well_formed(slug) else None
    return _yes() if key and key.visibility == "public" else Response(status=403)


@blueprint.get("/viewing")
def may_view() -> Response:
    """Tell the proxy whether a browser's cookie lets it see a private stream: 204 yes, 403 no."""
    _only_for(frozenset({_settings().trusted_proxy}))
    admitted = playback_access.admits(request.headers.get("X-Slug", ""), request.headers.get("X-Viewing", ""))
    return _yes() if admitted else Response(status=403)
