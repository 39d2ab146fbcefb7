"""What the other containers ask: nginx-rtmp, who may publish; ffmpeg, what is live; the relay, where it goes besides.

Callers are known by the address of their socket, which containers without capabilities cannot forge. Everybody else is
told that there is nothing here. Callbacks: https://github.com/arut/nginx-rtmp-module/wiki/Directives#notify
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Blueprint, Response, abort, current_app, request

from . import guesses, keys, recordings, relays, sessions, viewing
from .events import note
from .keys import Refused
from .metrics import callback_seconds, key_refusals, streams_started
from .models import StreamKey
from .settings import Settings

blueprint = Blueprint("internal", __name__, url_prefix="/internal")


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


def _admitted() -> StreamKey:
    """Return the key of the publisher, or raise Refused."""
    if request.form.get("app") != "live":
        raise Refused("syntax")
    return keys.admits(request.form.get("name", ""), request.form.get("key", ""), _client())


@blueprint.post("/rtmp/publish")
@callback_seconds.labels("publish").time()
def publish() -> Response:
    """Say whether a publisher may begin: 204 yes, 403 no. The name is logged only when it is one."""
    _only_for(_settings().rtmp_peers)
    try:
        session = sessions.begin(_admitted(), _client_id(), _client(), _settings().max_concurrent_streams)
    except Refused as refusal:
        slug, reason = request.form.get("name", ""), refusal.reason
        # fail2ban counts the reason "key", and an encoder that tries one wrong key for hours is no guesser.
        if reason == "key" and not guesses.is_new("stream", _client(), slug, request.form.get("key", "")):
            reason = "repeated"
        key_refusals.labels(reason).inc()
        note("publish", "refused", _client(), reason=reason, slug=slug if keys.well_formed(slug) else None)
        return Response(status=403)
    streams_started.inc()
    note("publish", "accepted", _client(), slug=session.stream_key.slug, session=session.id)
    return _yes()


@blueprint.post("/rtmp/update")
@callback_seconds.labels("update").time()
def update() -> Response:
    """Say whether a connection may go on: players (only ffmpeg may play), and publishers as long as their key holds."""
    _only_for(_settings().rtmp_peers)
    if request.form.get("call") == "update_play":
        return _yes()
    key = keys.find(request.form.get("name", ""))
    session = key and sessions.of_client(key, _client_id())
    if not session:
        return Response(status=403)
    try:
        _admitted()
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
    key = keys.find(request.form.get("name", ""))
    session = key and sessions.of_client(key, _client_id())
    if key and session:
        sessions.end(session, "done")
        note("publish", "ended", session.address, slug=key.slug, session=session.id)
    return _yes()


@blueprint.get("/streams")
def streams() -> dict[str, Any]:
    """Return what is live and which recordings are to go, for ffmpeg's supervisor."""
    _only_for(_settings().media_peers)
    streams = [
        {
            "slug": session.stream_key.slug,
            "session": session.id,
            "private": session.stream_key.visibility == "private",
            "record": session.stream_key.record,
        }
        for session in sessions.live()
    ]
    return {"streams": streams, "discards": sorted(recordings.discarded())}


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
    admitted = viewing.admits(request.headers.get("X-Slug", ""), request.headers.get("X-Viewing", ""))
    return _yes() if admitted else Response(status=403)
