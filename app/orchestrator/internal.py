"""What the other containers ask: nginx-rtmp, who may publish; ffmpeg, what is live.

Callers are known by the address of their socket, which containers without capabilities cannot forge. Everybody else is
told that there is nothing here. Callbacks: https://github.com/arut/nginx-rtmp-module/wiki/Directives#notify
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Blueprint, Response, abort, current_app, request

from . import keys, sessions
from .events import note
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


def _refused(reason: str) -> Response:
    """Log why a publish is refused and say no; the name is logged only when it is one."""
    slug = request.form.get("name", "")
    note(
        "publish",
        result="refused",
        reason=reason,
        client=request.form.get("addr", "")[:45],
        slug=slug if keys.well_formed(slug) else None,
    )
    return Response(status=403)


@blueprint.post("/rtmp/publish")
def publish() -> Response:
    """Say whether a publisher may begin: 204 yes, 403 no."""
    _only_for(_settings().rtmp_peers)
    key = keys.admits(request.form.get("name", ""), request.form.get("key", ""))
    if request.form.get("app") != "live" or key is None:
        return _refused("key")
    client = request.form.get("addr", "")[:45]
    session = sessions.begin(key, request.form.get("clientid", "")[:32], client, _settings().max_concurrent_streams)
    if session is None:
        return _refused("already live, or no place free")
    note("publish", result="accepted", client=client, slug=key.slug, session=session.id)
    return _yes()


@blueprint.post("/rtmp/update")
def update() -> Response:
    """Say whether a connection may go on: players (only ffmpeg may play), and publishers as long as their key holds."""
    _only_for(_settings().rtmp_peers)
    if request.form.get("call") == "update_play":
        return _yes()
    key = keys.admits(request.form.get("name", ""), request.form.get("key", ""))
    session = key and sessions.of_client(key, request.form.get("clientid", "")[:32])
    if not session:
        return _refused("session over")
    sessions.touch(session)
    return _yes()


@blueprint.post("/rtmp/done")
def done() -> Response:
    """Note that a publisher has gone."""
    _only_for(_settings().rtmp_peers)
    key = keys.find(request.form.get("name", ""))
    session = key and sessions.of_client(key, request.form.get("clientid", "")[:32])
    if key and session:
        sessions.end(session)
        note("publish", result="ended", client=session.address, slug=key.slug, session=session.id)
    return _yes()


@blueprint.get("/streams")
def streams() -> dict[str, Any]:
    """Return what is live, for ffmpeg's supervisor."""
    _only_for(_settings().media_peers)
    return {"streams": [{"slug": s.stream_key.slug, "session": s.id} for s in sessions.live()]}
