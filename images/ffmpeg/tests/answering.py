"""An orchestrator that says what a test lets it say, and remembers what it is told."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Orchestrator:
    """A web server: *said* is what it answers (with *status*), *heard* what was posted to it."""

    def __init__(self) -> None:
        self.status = 200
        self.said: dict[str, object] = {"streams": [], "relays": []}
        self.heard: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(json.dumps(outer.said).encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.heard.append(json.loads(body))
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(json.dumps(outer.said).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
