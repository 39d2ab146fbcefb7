"""What stands in for the app: it admits publishers, says what is live, and keeps what the supervisor tells."""

from __future__ import annotations

import http.server
import json
import threading
import time
import urllib.parse
import urllib.request
from collections import defaultdict, deque
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

KEPT = 2000  # reports of each session: an hour, at one every 2 s
JSON = {"Content-Type": "application/json"}
PUSH_TIMEOUT = 0.7  # seconds, as the app has it


class Orchestrator:
    """A web server that nginx-rtmp and the supervisor take for the app.

    *live* is what is live (session by slug); None is an app that gives no answer. nginx-rtmp's callbacks write it, and
    a test may. Once *control_url* and *media_url* are set, a newcomer takes over from who publishes the same name, and
    the supervisor is told of whoever is admitted, before nginx-rtmp is.
    """

    def __init__(self) -> None:
        self.live: dict[str, str] | None = {}
        self.private: set[str] = set()
        self.recorded: set[str] = set()
        self.discards: list[str] = []
        self.publishing: dict[str, dict[str, str]] = {}  # the callback that announced who publishes, by slug
        self.control_url = self.media_url = ""
        self.called_with: list[dict[str, str]] = []  # the callbacks, whole
        self.pushes: list[tuple[str, str]] = []  # (slug, what came of it: "204", or why nothing did)
        self.reports: dict[str, deque[dict[str, Any]]] = defaultdict(lambda: deque(maxlen=KEPT))
        self.host: dict[str, Any] | None = None
        self._lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*outer.say())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/internal/streams":
                    outer.hear(json.loads(body))
                    self._answer(*outer.say())
                else:
                    form = {
                        name: values[-1] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()
                    }
                    self._answer(outer.called(self.path.rpartition("/")[2], form))

            def _answer(self, status: int, body: Any = None) -> None:
                self.send_response(status)
                self.end_headers()
                if body is not None:
                    self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/internal"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stream(self, slug: str) -> dict[str, Any]:
        """Return what is said of one live stream."""
        return {
            "slug": slug,
            "session": (self.live or {})[slug],
            "private": slug in self.private,
            "record": slug in self.recorded,
            "application": self.publishing.get(slug, {}).get("app", "live"),
        }

    def say(self) -> tuple[int, Any]:
        """Return (status, what is live)."""
        if self.live is None:
            return HTTPStatus.SERVICE_UNAVAILABLE, None
        return HTTPStatus.OK, {"streams": [self.stream(slug) for slug in list(self.live)], "discards": self.discards}

    def hear(self, told: dict[str, Any]) -> None:
        """Keep what the supervisor reports, and when (`heard`, seconds of the monotonic clock)."""
        self.host = told["host"]
        for report in told["reports"]:
            self.reports[report["session"]].append(report | {"heard": time.monotonic()})

    def called(self, event: str, form: dict[str, str]) -> int:
        """Act on a callback of nginx-rtmp; return the status that answers it."""
        self.called_with.append(form)
        if self.live is None:
            return HTTPStatus.SERVICE_UNAVAILABLE
        # nginx-rtmp names a stream that was published as live//NAME by "/NAME".
        slug, client = form["name"].strip("/"), form["clientid"]
        with self._lock:
            if event == "publish":
                former, self.publishing[slug] = self.publishing.get(slug), form
                session = f"client-{client}"
                self.live[slug] = session if former else self.live.get(slug, session)
            elif event == "done" and self.publishing.get(slug, {}).get("clientid") == client:
                del self.publishing[slug]
                if self.live.get(slug) == f"client-{client}":
                    del self.live[slug]
        if event == "publish":
            if former and self.control_url:
                self._drop(former["app"], former["name"])
            if self.media_url:
                self.pushes.append((slug, self._push(slug)))
        return HTTPStatus.NO_CONTENT

    def _drop(self, application: str, name: str) -> None:
        """Let nginx-rtmp end a publisher."""
        query = urllib.parse.urlencode({"app": application, "name": name})
        with urllib.request.urlopen(f"{self.control_url}/drop/publisher?{query}", timeout=3) as answer:  # noqa: S310  # our own
            answer.read()

    def _push(self, slug: str) -> str:
        """Tell the supervisor of one stream; return its status, or why there was none."""
        body = json.dumps(self.stream(slug)).encode()
        request = urllib.request.Request(f"{self.media_url}/streams", body, JSON)  # noqa: S310  # likewise
        try:
            with urllib.request.urlopen(request, timeout=PUSH_TIMEOUT) as answer:  # noqa: S310  # likewise
                return str(answer.status)
        except OSError as error:
            return type(error).__name__

    def facts(self, slug: str) -> dict[str, Any]:
        """Return the newest facts of what is live as *slug*, or nothing."""
        reports = self.reports[(self.live or {}).get(slug, "")]
        return dict(reports[-1]["facts"]) if reports else {}

    def problems(self, slug: str) -> dict[str, dict[str, Any]]:
        """Return the newest problems of what is live as *slug*: their values by their code."""
        reports = self.reports[(self.live or {}).get(slug, "")]
        problems = reports[-1]["problems"] if reports else []
        return {each["code"]: {name: each[name] for name in each if name != "code"} for each in problems}

    def ever(self, slug: str) -> dict[str, float]:
        """Return the codes of all problems that what is live as *slug* ever had, and when each was first heard of."""
        first: dict[str, float] = {}
        for report in self.reports[(self.live or {}).get(slug, "")]:
            for problem in report["problems"]:
                first.setdefault(problem["code"], report["heard"])
        return first

    def close(self) -> None:
        """Answer nobody any more."""
        self.server.shutdown()
        self.server.server_close()
