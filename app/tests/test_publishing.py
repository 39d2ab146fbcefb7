"""In which forms a name and a key arrive, who makes room for whom, and who is told of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browsers import Browser
from flask import Flask
from flask.testing import FlaskClient
from orchestrator.models import Session, StreamKey
from orchestrator.site import events
from orchestrator.site.database import db
from orchestrator.streams import keys, media_control, refusals, sessions
from orchestrator.streams.problems import REFUSALS
from orchestrator.streams.publishing import understand
from peers import RTMP, reported
from sqlalchemy import select, text

Call = Callable[..., int]
SECRET = "s" * 32
TCURL = "rtmp://streams.test:1935/live"
# What nginx-rtmp posts for what people write, seen with tests/live: the fields, and what becomes of it.
FORMS: list[tuple[dict[str, str], str | None]] = [
    ({"name": "alice", "key": SECRET}, None),
    ({"name": "alice", "key": SECRET + "\n"}, None),
    ({"name": "alice", "key": f" {SECRET}\r\n"}, None),
    ({"name": "alice", "key": SECRET, "app": "Live"}, None),
    ({"name": "alice", "tcurl": f"{TCURL}?key={SECRET}"}, None),
    ({"name": "alice", "tcurl": f"{TCURL}?key={SECRET}%0A"}, None),
    ({"name": "alice", "key": "", "tcurl": f"{TCURL}?x=1&key={SECRET}"}, None),
    ({"name": "alice", "key": "x" * 32, "tcurl": f"{TCURL}?key={SECRET}"}, "key"),
    ({"name": "alice"}, "no key"),
    ({"name": "alice", "Key": SECRET}, "no key"),
    ({"name": "alice", "tcurl": f"{TCURL}?{'&' * 99}key={SECRET}"}, "no key"),
    ({"name": "alice", "tcurl": "rtmp://[?key=" + SECRET}, "no key"),
    ({"name": "alice", "key": f"{SECRET} {SECRET}"}, "syntax"),
    ({"name": SECRET}, "key as name"),
    ({"name": f"alice%3Fkey={SECRET}"}, "name escaped"),
    ({"name": f"alice%3fkey%3d{SECRET}"}, "name escaped"),
    ({"name": f"alice&key={SECRET}"}, "name without question mark"),
    ({"name": " alice", "key": SECRET}, "name with spaces"),
    ({"name": "alice ", "key": SECRET}, "name with spaces"),
    ({"name": "/alice", "key": SECRET}, "name with slash"),
    ({"name": "alice/", "key": SECRET}, "name with slash"),
    ({"name": "live/alice", "key": SECRET}, "name with slash"),
    ({"name": "rtmp://streams.test/live/alice", "key": SECRET}, "address as name"),
    ({"name": "alice.stream", "key": SECRET}, "syntax"),
]


@pytest.fixture
def alice(app: Flask) -> StreamKey:
    """The key of `alice`, whose secret is SECRET."""
    key, _ = keys.create("alice")
    key.key_hash = keys.digest(SECRET)
    db.session.commit()
    return key


def test_every_reason_can_be_told() -> None:
    assert {reason for _, reason in FORMS if reason} <= set(REFUSALS)


@pytest.mark.parametrize(("fields", "reason"), FORMS)
def test_what_is_clear_is_accepted_and_the_rest_refused_with_a_reason_on_the_page(
    rtmp_callback: Call,
    alice: StreamKey,
    fields: dict[str, str],
    reason: str | None,
    browser: Callable[[str, str], Browser],
) -> None:
    admin = browser("ada", "admin")
    assert rtmp_callback("publish", **{"tcurl": TCURL} | fields) == (403 if reason else 204)
    refused = refusals.since_last_session(alice)
    assert (refused.reason if refused else None) == reason
    page = admin.get("/streams/alice").text
    assert ("The last try to publish, " in page) == (reason is not None)
    assert SECRET not in page
    if reason:
        assert REFUSALS[reason].sentence in page.replace("&#39;", "'")
    else:
        (session,) = sessions.live()
        assert session.application == fields.get("app", "live")
        assert rtmp_callback("update", call="update_publish", **{"tcurl": TCURL} | fields) == 204
        assert rtmp_callback("done", **{"tcurl": TCURL} | fields) == 204
        assert not sessions.live()


@pytest.mark.parametrize(("fields", "reason"), FORMS)
def test_no_form_puts_the_key_or_an_unknown_name_into_the_log(
    rtmp_callback: Call,
    alice: StreamKey,
    fields: dict[str, str],
    reason: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    events.configure("DEBUG")
    rtmp_callback("publish", **{"tcurl": TCURL} | fields)
    rtmp_callback(
        "publish", **{"tcurl": TCURL} | {name: value.replace("alice", "nobody") for name, value in fields.items()}
    )
    printed = capsys.readouterr().out
    assert SECRET not in printed
    assert "nobody" not in printed
    first = json.loads(printed.splitlines()[0])
    assert (first["slug"], first.get("reason")) == ("alice", reason)


@pytest.mark.parametrize(
    ("application", "status", "told"),
    [
        ("live", 204, False),
        ("Live", 204, False),
        ("live/alice", 403, True),
        ("Live/alice/", 403, True),
        ("live/nobody", 403, False),
        ("livestream", 403, False),
        ("", 403, False),
        ("live/" + "x" * 5000, 403, False),
    ],
)
def test_who_writes_the_whole_address_into_the_server_field_is_told(
    rtmp_callback: Call, alice: StreamKey, application: str, status: int, told: bool
) -> None:
    # The key comes along, as an argument of the application; it makes no difference.
    assert rtmp_callback("connect", call="connect", app=application, key=SECRET) == status
    refused = refusals.since_last_session(alice)
    assert (refused is not None) == told
    if refused:
        assert refused.reason == "address as server"


def test_one_refusal_of_a_key_is_kept_and_forgotten_with_the_next_session(
    rtmp_callback: Call, alice: StreamKey, pass_time: Callable[[float], None]
) -> None:
    for key in ("x" * 32, "y" * 32, ""):
        rtmp_callback("publish", name="alice", key=key)
    assert db.session.execute(text("SELECT reason FROM refused_publishes")).all() == [("no key",)]
    assert rtmp_callback("publish", name="alice", key=SECRET) == 204
    db.session.expire_all()
    assert refusals.since_last_session(alice) is None
    pass_time(1)
    assert rtmp_callback("publish", name="alice", key=SECRET, clientid="2") == 403
    db.session.expire_all()
    refused = refusals.since_last_session(alice)
    assert refused
    assert refused.reason == "already live"


def test_long_and_strange_forms_are_understood_in_no_time() -> None:
    began = time.monotonic()
    for name in ("/" * 60_000, " " * 60_000, "rtmp://" + "a" * 60_000, "%3F" * 20_000, "\n" * 60_000 + "alice"):
        assert understand({"app": "live", "name": name, "key": name, "tcurl": f"rtmp://a/live?key={name}"}).fault
    assert time.monotonic() - began < 1


class Neighbour(ThreadingHTTPServer):
    """The other containers: remembers what it is asked, and answers what a test lets it, after *delay* seconds."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answer, self.status, self.delay = b"1", 200, 0.0
        self.meanwhile: Callable[[], object] = lambda: None

        class Answer(BaseHTTPRequestHandler):
            server: Neighbour

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.server.asked.append((self.path, json.loads(body) if body else None))
                self.server.meanwhile()
                time.sleep(self.server.delay)
                self.send_response(self.server.status)
                self.end_headers()
                self.wfile.write(self.server.answer)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """Nothing: who asked has gone."""


@pytest.fixture
def neighbour(app: Flask) -> Iterator[Neighbour]:
    server = Neighbour()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    app.config["STREAMKEEP"] = replace(app.config["STREAMKEEP"], media_url=url, rtmp_control_url=f"{url}/control")
    yield server
    server.shutdown()
    server.server_close()


def failed(callee: str) -> float:
    return media_control.calls_failed.labels(callee)._value.get()


def test_the_supervisor_is_told_what_begins_while_nobody_holds_the_database(
    app: Flask, rtmp_callback: Call, alice: StreamKey, neighbour: Neighbour
) -> None:
    written: list[int] = []

    def write() -> None:
        with db.engine.connect() as other:  # on a thread of its own, with a lock of its own
            other.exec_driver_sql("PRAGMA busy_timeout = 0")
            written.append(other.execute(text("UPDATE stream_keys SET title = 'new'")).rowcount)
            other.commit()

    def meanwhile() -> None:
        with app.app_context():
            write()

    neighbour.meanwhile = meanwhile
    alice.visibility, alice.record = "private", True
    db.session.commit()
    assert rtmp_callback("publish", name="alice", key=SECRET, app="Live") == 204
    (session,) = sessions.live()
    stream = {"slug": "alice", "session": session.id, "private": True, "record": True, "application": "Live"}
    assert neighbour.asked == [("/streams", stream)]
    assert written == [1]


@pytest.mark.parametrize("how", ["refuses", "hangs", "is away"])
def test_a_supervisor_that_gives_no_answer_keeps_nobody_waiting(
    rtmp_callback: Call, alice: StreamKey, neighbour: Neighbour, app: Flask, how: str
) -> None:
    before = failed("media")
    if how == "refuses":
        neighbour.status = 500
    elif how == "hangs":
        neighbour.delay = 3
    else:
        app.config["STREAMKEEP"] = replace(app.config["STREAMKEEP"], media_url="http://127.0.0.1:1")
    began = time.monotonic()
    assert rtmp_callback("publish", name="alice", key=SECRET) == 204
    assert time.monotonic() - began < 1.2
    assert failed("media") == before + 1


def test_who_is_refused_is_told_to_nobody(rtmp_callback: Call, alice: StreamKey, neighbour: Neighbour) -> None:
    assert rtmp_callback("publish", name="alice", key="x" * 32) == 403
    assert neighbour.asked == []


def silent(client: FlaskClient, seconds: float) -> Session:
    """Let the supervisor say for how long nothing came from `alice`, and return her session."""
    (session,) = sessions.live()
    reported(client, {"session": session.id, "facts": {"last_data_seconds": seconds}})
    return session


def test_a_silent_publisher_makes_room_at_once(
    client: FlaskClient, rtmp_callback: Call, alice: StreamKey, neighbour: Neighbour
) -> None:
    assert rtmp_callback("publish", name="alice", key=SECRET, clientid="7", app="Live") == 204
    former = silent(client, 2.5)
    # nginx-rtmp says goodbye for the one that it drops.
    neighbour.meanwhile = lambda: (
        neighbour.asked[-1][1] or rtmp_callback("done", name="alice", key=SECRET, clientid="7")
    )
    neighbour.asked.clear()
    assert rtmp_callback("publish", name="alice", key=SECRET, clientid="8") == 204
    path = urlsplit(neighbour.asked[0][0])
    assert path.path == "/control/drop/publisher"
    assert parse_qs(path.query) == {"app": ["Live"], "name": ["alice"], "clientid": ["7"]}
    db.session.expire_all()
    assert (former.ending, former.ended_at is None) == ("taken over", False)
    (session,) = sessions.live()
    assert (session.client_id, session.id == former.id) == ("8", False)
    assert rtmp_callback("update", call="update_publish", name="alice", key=SECRET, clientid="8") == 204
    assert rtmp_callback("update", call="update_publish", name="alice", key=SECRET, clientid="7") == 403


def test_an_active_publisher_is_not_displaced(
    client: FlaskClient, rtmp_callback: Call, alice: StreamKey, neighbour: Neighbour
) -> None:
    assert rtmp_callback("publish", name="alice", key=SECRET, clientid="7") == 204
    former = silent(client, 1.9)
    neighbour.asked.clear()
    assert rtmp_callback("publish", name="alice", key=SECRET, clientid="8") == 403
    assert rtmp_callback("publish", name="alice", key="x" * 32, clientid="8") == 403
    silent(client, 2.5)
    assert rtmp_callback("publish", name="alice", key="x" * 32, clientid="8") == 403, "a wrong key displaces nobody"
    assert neighbour.asked == []
    assert former.ending is None


@pytest.mark.parametrize("how", ["drops nobody", "is away"])
def test_where_nginx_rtmp_does_not_drop_it_the_silent_one_goes_with_its_next_update(
    client: FlaskClient, rtmp_callback: Call, alice: StreamKey, neighbour: Neighbour, app: Flask, how: str
) -> None:
    assert rtmp_callback("publish", name="alice", key=SECRET, clientid="7") == 204
    silent(client, 2.5)
    neighbour.answer = b"0"
    if how == "is away":
        app.config["STREAMKEEP"] = replace(app.config["STREAMKEEP"], rtmp_control_url="")
    assert rtmp_callback("publish", name="alice", key=SECRET, clientid="8") == 403
    assert rtmp_callback("update", call="update_publish", name="alice", key=SECRET, clientid="7") == 403
    assert rtmp_callback("publish", name="alice", key=SECRET, clientid="9") == 204


def test_of_many_at_once_one_publishes(app: Flask, alice: StreamKey) -> None:
    """SQLite's lock, not luck: twelve connections with the right key, and thirteen streams for three places."""
    secrets = {f"many-{n}": keys.create(f"many-{n}")[1] for n in range(12)}
    db.session.remove()

    def all_at_once(tries: list[tuple[str, str]]) -> list[int]:
        start = threading.Barrier(len(tries))

        def publish(number: int, slug: str, key: str) -> int:
            form = {"call": "publish", "app": "live", "addr": "198.51.100.7", "name": slug, "key": key}
            start.wait(10)
            answer = app.test_client().post(
                "/internal/rtmp/publish", data=form | {"clientid": str(number)}, environ_base={"REMOTE_ADDR": RTMP}
            )
            return answer.status_code

        with ThreadPoolExecutor(len(tries)) as pool:
            return sorted(pool.map(publish, range(len(tries)), *zip(*tries, strict=True)))

    assert all_at_once([("alice", SECRET)] * 12) == [204] + [403] * 11
    assert all_at_once(list(secrets.items())) == [204] * 2 + [403] * 10
    assert len(sessions.live()) == 3
    assert db.session.scalar(select(db.func.count()).select_from(Session)) == 3
