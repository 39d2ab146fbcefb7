"""What all that other containers ask has in common: callers are known by the address of their socket.

Containers without capabilities cannot forge it. Everybody else is told that there is nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Blueprint, Response, abort, request

blueprint = Blueprint("internal", __name__, url_prefix="/internal")


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


def only_for(peers: frozenset[str]) -> None:
    """Answer 404 unless the caller is one of *peers*."""
    if request.environ["streamkeep.peer"] not in peers:
        abort(404)


def yes() -> Response:
    """Say yes."""
    return Response(status=204)


def no() -> Response:
    """Say no."""
    return Response(status=403)
