"""What the app says to the containers of media by itself: the supervisor, what begins; nginx-rtmp, who is to go.

Nobody holds the database while it waits for them: the caller's transaction is over.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode, urlsplit

from ..models import Session
from ..permissions import is_private
from ..site.metric_files import Counter
from ..site.settings import current_settings

WAIT = 0.7  # seconds in all; nginx-rtmp waits 3 s for our own answer
LARGEST_ANSWER = 1024  # bytes

calls_failed = Counter("internal_calls_failed", "Calls to other containers that came to nothing.", ["callee"])
for _callee in ("media", "rtmp"):  # each series is there from the start, so that its first increase is seen as one
    calls_failed.labels(_callee)


def _ask(method: str, url: str, body: bytes | None = None) -> bytes:
    """Return what is answered by *url* (http) to *body*.

    Raises:
        OSError, HTTPException, ValueError: no answer within WAIT, or no good one.
    """
    parts = urlsplit(url)
    deadline = time.monotonic() + WAIT
    with closing(HTTPConnection(parts.hostname or "", parts.port, timeout=WAIT)) as connection:
        connection.connect()
        connection.sock.settimeout(max(0.01, deadline - time.monotonic()))
        path = parts._replace(scheme="", netloc="").geturl()
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if not 200 <= answer.status < 300:
            raise ValueError(f"status {answer.status}")
        return answer.read(LARGEST_ANSWER)


def described(session: Session) -> dict[str, Any]:
    """Return *session* as the supervisor is told it."""
    return {
        "slug": session.stream_key.slug,
        "session": session.id,
        "private": is_private(session.stream_key),
        "record": session.stream_key.record,
        "application": session.application,
    }


def announce(stream: dict[str, Any]) -> None:
    """Tell the supervisor that *stream* is about to begin; without an answer it learns it when it asks."""
    if not current_settings().media_url:
        return
    try:
        _ask("POST", f"{current_settings().media_url}/streams", json.dumps(stream).encode())
    except (OSError, HTTPException, ValueError):
        calls_failed.labels("media").inc()


def drop_publisher(application: str, slug: str, client_id: str) -> bool:
    """Let nginx-rtmp end the connection *client_id* that publishes *slug*, and tell whether it did.

    https://github.com/arut/nginx-rtmp-module/wiki/Control-module: the answer is how many were dropped.
    """
    if not current_settings().rtmp_control_url:
        return False
    query = urlencode({"app": application, "name": slug, "clientid": client_id})
    try:
        return int(_ask("GET", f"{current_settings().rtmp_control_url}/drop/publisher?{query}")) > 0
    except (OSError, HTTPException, ValueError):
        calls_failed.labels("rtmp").inc()
        return False
