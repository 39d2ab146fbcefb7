"""Where the orchestrator says that a publisher has been admitted, before the publisher hears of it.

What it says is known from its poll a moment later as well; here it comes in time for the first keyframe.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .live import Stream, understood

LARGEST = 4096  # bytes
SECONDS = 2.0  # for which a caller may keep us waiting

Begin = Callable[[str, Stream], bool]


def listen(port: int, peer: str, begin: Begin) -> ThreadingHTTPServer:
    """Answer *peer* (an IP address) at *port* in threads of their own.

    POST /streams takes one stream as the poll's answer has it: 204 when *begin* tells that nothing will be missed, 503
    when it does not, 400 for what is no stream, 404 for everybody and everything else.
    """

    class Push(BaseHTTPRequestHandler):
        timeout = SECONDS

        def do_POST(self) -> None:
            """Take a stream."""
            self.send_response(self._judged())
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _judged(self) -> int:
            if self.client_address[0] != peer or self.path != "/streams":
                return 404
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit()) or int(length) > LARGEST:
                return 400
            try:
                slug, stream = understood(json.loads(self.rfile.read(int(length))))
            except (ValueError, KeyError, TypeError, AttributeError):
                return 400
            return 204 if begin(slug, stream) else 503

        def log_message(self, *_: Any) -> None:
            """Say nothing: what came of it is logged by who did it."""

    server = ThreadingHTTPServer(("", port), Push)
    threading.Thread(target=server.serve_forever, name="pushes", daemon=True).start()
    return server
