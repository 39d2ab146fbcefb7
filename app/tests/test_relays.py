"""Passing a stream on: who may, where to, and that the key for it is told to the relay alone."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from api_clients import Person
from browsers import Browser
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from orchestrator.__main__ import prepare
from orchestrator.models import Relay
from orchestrator.site import events
from orchestrator.site.database import db
from orchestrator.site.encryption import Cipher, Undecryptable
from orchestrator.site.settings import Settings
from orchestrator.streams import keys, relays
from peers import MEDIA, PROXY, RELAY, RTMP, STRANGER

Call = Callable[..., int]
SECRET = "live_77?token=qZ9&x=not-for-eyes#1="
NEXT = secrets.token_hex(32)
SERVER = "rtmps://a.rtmp.elsewhere.test:443/live2"


def asked(client: FlaskClient, peer: str = RELAY) -> list[dict[str, str]]:
    answer = client.get("/internal/relays", environ_base={"REMOTE_ADDR": peer})
    assert answer.status_code == 200
    found: list[dict[str, str]] = answer.json["relays"]
    return found


def sent(client: FlaskClient, body: Any) -> int:
    """Send *body* as JSON as the relay does."""
    return client.post(
        "/internal/relays",
        data=json.dumps(body),
        content_type="application/json",
        environ_base={"REMOTE_ADDR": RELAY},
    ).status_code


def told(client: FlaskClient, *states: dict[str, Any], peer: str = RELAY) -> int:
    sent = client.post("/internal/relays", json={"relays": states}, environ_base={"REMOTE_ADDR": peer})
    return sent.status_code


@pytest.fixture
def live(streamer: Person, rtmp_callback: Call) -> str:
    """A live stream of the streamer."""
    secret = streamer.post("/keys", json={"slug": "alice"}).json["key"]
    assert rtmp_callback("publish", name="alice", key=secret) == 204
    return "alice"


def added(person: Person, server: str = SERVER, secret: str = SECRET) -> dict[str, Any]:
    answer = person.post("/keys/alice/relays", json={"server": server, "stream_key": secret})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json
    return made


def test_a_relay_is_told_to_the_relay_alone_while_the_stream_is_live(
    capsys: pytest.CaptureFixture[str],
    client: FlaskClient,
    streamer: Person,
    live: str,
    rtmp_callback: Call,
    settings: Settings,
) -> None:
    events.configure("INFO")
    made = added(streamer)
    assert made.keys() == {"id", "server", "created_at", "state", "reason"}
    (one,) = asked(client)
    assert one.pop("session")
    assert one.pop("application") == "live"
    assert one == {"id": made["id"], "slug": "alice", "server": SERVER, "stream_key": SECRET}
    for peer in (RTMP, MEDIA, PROXY, STRANGER):
        assert client.get("/internal/relays", environ_base={"REMOTE_ADDR": peer}).status_code == 404
        assert told(client, peer=peer) == 404
    shown = streamer.get("/keys/alice/relays")
    assert [relay["server"] for relay in shown.json] == [SERVER]
    assert "not-for-eyes" not in shown.text
    with sqlite3.connect(settings.database_path) as database:
        kept = "\n".join(database.iterdump())
    database.close()
    assert made["id"] in kept
    assert "not-for-eyes" not in kept
    assert rtmp_callback("done", name="alice") == 204
    assert asked(client) == []
    log = capsys.readouterr().out
    assert made["id"] in log
    assert "not-for-eyes" not in log


def test_a_removed_relay_is_not_asked_for_any_more(client: FlaskClient, streamer: Person, live: str) -> None:
    first, second = added(streamer), added(streamer, "rtmp://other.test/app")
    path = f"/keys/alice/relays/{first['id']}"
    assert streamer.ask("DELETE", path).status_code == 204
    assert streamer.ask("DELETE", path).status_code == 404
    assert [one["id"] for one in asked(client)] == [second["id"]]
    keys.delete(keys.known("alice"))
    assert db.session.get(Relay, second["id"]) is None


@pytest.mark.parametrize(
    "server",
    [
        "http://a.test/app",
        "rtmp://a.test",
        "rtmp://a.test/",
        "rtmp:///app",
        "rtmp://me:secret@a.test/app",
        "rtmp://a.test/app?key=1",
        "rtmp://a.test/app#1",
        "rtmp://a.test/app live=1",
        " rtmp://a.test/app",
        "rtmp://a.test/app\n",
        "rtmp://a.test/app\0",
        "rtmp://a.test/../x",
        "rtmp://a.test/a/b/c/d",
        "rtmp://a.test:0/app",
        "rtmp://a.test:70000/app",
        "rtmp://a..test/app",
        "rtmp://-a.test/app",
        "rtmp://" + "a" * 64 + ".test/app",
        "rtmp://[1::2::3]/app",
        "rtmp://ä.test/app",
        "rtmp://a.test/" + "a" * 200,
        "tcp://a.test/app",
        "rtmp://a.test/app|tee",
    ],
)
def test_what_is_no_server_is_refused_and_not_repeated(streamer: Person, live: str, server: str) -> None:
    answer = streamer.post("/keys/alice/relays", json={"server": server, "stream_key": "k"})
    assert answer.status_code == 422
    assert "secret@" not in answer.text
    assert relays.of(keys.known("alice")) == []


@pytest.mark.parametrize("secret", ["", "a b", "a\n", "a\nrtmp_app=x", "\0", "é", "k" * 513])
def test_what_is_no_stream_key_is_refused(streamer: Person, live: str, secret: str) -> None:
    answer = streamer.post("/keys/alice/relays", json={"server": SERVER, "stream_key": secret})
    assert answer.status_code == 422
    assert relays.of(keys.known("alice")) == []


@pytest.mark.parametrize(
    ("server", "kept"),
    [
        ("rtmp://a.test/app/", "rtmp://a.test/app"),
        ("rtmps://live-api-s.elsewhere.test:443/rtmp/", "rtmps://live-api-s.elsewhere.test:443/rtmp"),
        ("rtmp://[2001:db8::1]:1935/live/0a-1.2_x", "rtmp://[2001:db8::1]:1935/live/0a-1.2_x"),
        ("rtmp://203.0.113.4/live", "rtmp://203.0.113.4/live"),
    ],
)
def test_servers_as_services_name_them_are_taken(server: str, kept: str) -> None:
    assert relays.judge(server, "k" * 512) == kept


@given(st.text(max_size=60), st.text(max_size=60))
def test_what_is_taken_can_be_an_argument_and_a_line(server: str, secret: str) -> None:
    try:
        relays.judge(f"rtmp://{server}", secret)
    except relays.RelayProblem:
        return
    assert not set(server + secret) & set(" \n\r\0\t")
    assert not set(server) & set("@?#|%\\'\"$`")


def test_at_most_four_and_who_may(
    client: FlaskClient, streamer: Person, live: str, admin: Person, auditor: Person, person: Callable[..., Person]
) -> None:
    other = person("streamer-two", "streamer")
    made = [added(who) for who in (streamer, admin, streamer, streamer)]
    answer = streamer.post("/keys/alice/relays", json={"server": SERVER, "stream_key": "k"})
    assert answer.status_code == 409
    assert answer.json["detail"].startswith("A stream is passed on to 4 servers at most")
    assert len(asked(client)) == 4
    for who, status in ((auditor, 403), (other, 404)):
        assert who.post("/keys/alice/relays", json={"server": SERVER, "stream_key": "k"}).status_code == status
        assert who.ask("DELETE", f"/keys/alice/relays/{made[0]['id']}").status_code == status
    assert len(auditor.get("/keys/alice/relays").json) == 4
    assert other.get("/keys/alice/relays").status_code == 404
    other.post("/keys", json={"slug": "hers"})
    assert other.ask("DELETE", f"/keys/hers/relays/{made[0]['id']}").status_code == 404, "another stream's"


def test_a_host_without_a_relay_says_so(app: Flask, streamer: Person, browser: Callable[..., Browser]) -> None:
    ingrid = browser("ingrid", "streamer")
    ingrid.post("/streams", slug="hers")
    app.config["STREAMKEEP"] = replace(app.config["STREAMKEEP"], relay_peers=frozenset())
    streamer.post("/keys", json={"slug": "alice"})
    answer = streamer.post("/keys/alice/relays", json={"server": SERVER, "stream_key": SECRET})
    assert answer.status_code == 409
    assert answer.content_type == "application/problem+json"
    assert "streamkeep_relay: true" in answer.json["detail"]
    page = ingrid.get("/streams/hers").text
    assert "streamkeep_relay: true" in page
    assert 'name="stream_key"' not in page
    assert ingrid.post("/streams/hers/relays", server=SERVER, stream_key=SECRET).status_code == 409


def test_what_the_relay_says_is_shown_until_it_is_old(
    capsys: pytest.CaptureFixture[str],
    client: FlaskClient,
    streamer: Person,
    live: str,
    pass_time: Callable[[float], None],
    rtmp_callback: Call,
) -> None:
    number = added(streamer)["id"]

    def seen() -> tuple[str, str | None]:
        (one,) = streamer.get("/keys/alice/relays").json
        return one["state"], one["reason"]

    assert seen() == ("waiting", None)
    events.configure("INFO")
    for _ in range(2):
        assert told(client, {"id": number, "state": "refused", "reason": "refused by the server"}) == 204
    assert seen() == ("refused", "refused by the server")
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"event": "relay"' in line]
    assert (line["result"], line["slug"], line["relay"]) == ("refused", "alice", number)
    assert "elsewhere" not in json.dumps(line)
    assert told(client, {"id": number, "state": "running", "reason": None}) == 204
    assert seen() == ("running", None)
    pass_time(5)
    assert seen() == ("running", None)
    pass_time(41)
    assert rtmp_callback("update", name="alice", key="x") == 403
    assert seen() == ("waiting", None), "a relay that fell silent runs nothing"


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        {"relays": 1},
        {"relays": [1]},
        {"relays": [{"id": "x"}]},
        {"relays": [{"id": "x", "state": "flying", "reason": None}]},
        {"relays": [{"id": "x", "state": "waiting", "reason": "Server said: live_77"}]},
        {"relays": [{"id": "x", "state": ["waiting"], "reason": None}]},
        {"relays": [{"id": "x", "state": "waiting", "reason": ["ended"]}]},
    ],
)
def test_the_relay_speaks_in_fixed_words(client: FlaskClient, body: Any) -> None:
    assert sent(client, body) == 400


def test_states_of_what_is_gone_are_passed_over(client: FlaskClient) -> None:
    assert told(client, {"id": "gone", "state": "running", "reason": None}) == 204


def started(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setitem(os.environ, name, value)
    prepare()


def test_a_rotated_data_key_reseals_at_the_next_start(
    client: FlaskClient,
    app: Flask,
    streamer: Person,
    live: str,
    environment: dict[str, str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = added(streamer)["id"]
    before = db.session.get(Relay, number).secret
    db.session.rollback()
    new = {"DATA_KEY": NEXT, "DATA_KEY_PREVIOUS": environment["DATA_KEY"]}
    started(monkeypatch, environment | new)
    db.session.expire_all()
    encrypted = db.session.get(Relay, number).secret
    assert encrypted != before
    alone = Cipher(replace(settings, data_key=NEXT, data_key_previous=""))
    assert alone.decrypt(encrypted) == SECRET
    assert alone.reencrypt(encrypted) == encrypted, "what the newest key encrypted stays as it is"
    with pytest.raises(Undecryptable):
        Cipher(settings).decrypt(encrypted)
    app.config["STREAMKEEP"] = replace(settings, data_key=NEXT)
    assert asked(client)[0]["stream_key"] == SECRET


def test_what_no_key_opens_is_told_and_comes_back_with_its_key(
    client: FlaskClient,
    app: Flask,
    streamer: Person,
    live: str,
    environment: dict[str, str],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    added(streamer)
    db.session.rollback()
    started(monkeypatch, environment | {"DATA_KEY": NEXT})
    app.config["STREAMKEEP"] = replace(settings, data_key=NEXT)
    db.session.expire_all()
    assert asked(client) == []
    (one,) = streamer.get("/keys/alice/relays").json
    assert (one["state"], one["reason"]) == ("refused", "key unreadable")
    db.session.rollback()
    started(monkeypatch, environment | {"DATA_KEY": NEXT, "DATA_KEY_PREVIOUS": environment["DATA_KEY"]})
    db.session.expire_all()
    assert asked(client)[0]["stream_key"] == SECRET
    assert streamer.get("/keys/alice/relays").json[0]["state"] == "waiting"


def test_a_stream_is_passed_on_by_page(
    browser: Callable[..., Browser], client: FlaskClient, rtmp_callback: Call
) -> None:
    ingrid = browser("ingrid", "streamer")
    ingrid.post("/streams", slug="evening")
    path = "/streams/evening/relays"
    wrong = ingrid.post(path, server="rtmp://a.test", stream_key=SECRET)
    assert wrong.status_code == 422
    assert 'role="alert">The server is rtmp://HOST/APP' in wrong.text
    assert 'value="rtmp://a.test"' in wrong.text
    assert "not-for-eyes" not in wrong.text
    answer = ingrid.post(path, server=f" {SERVER} ", stream_key=SECRET)
    assert answer.location == "/streams/evening?said=passed-on"
    page = ingrid.get(answer.location).text
    assert SERVER in page
    assert "not-for-eyes" not in page
    assert 'name="stream_key" type="password"' in page
    assert f'hx-get="{path}"' not in page, "what is not live does not change by itself"
    secret = keys.rotate(keys.known("evening"))
    assert rtmp_callback("publish", name="evening", key=secret) == 204
    assert f'hx-get="{path}"' in ingrid.get("/streams/evening").text
    (one,) = relays.of(keys.known("evening"))
    assert told(client, {"id": one.id, "state": "refused", "reason": "certificate not trusted"}) == 204
    part = ingrid.get(path).text
    assert not part.startswith("<!doctype")
    assert "Refused" in part
    assert "certificate is not trusted" in part
    assert "Pass evening on no more?" in ingrid.get(f"{path}/{one.id}/remove").text
    assert ingrid.get(f"{path}/other/remove").status_code == 404
    assert browser("nosy", "streamer").post(f"{path}/{one.id}/remove").status_code == 404
    assert browser("anton", "auditor").get("/streams/evening").text.count("/remove") == 0
    assert ingrid.post(f"{path}/{one.id}/remove").location == "/streams/evening?said=kept-here"
    assert relays.of(keys.known("evening")) == []
    for _ in range(4):
        ingrid.post(path, server=SERVER, stream_key=SECRET)
    assert 'name="stream_key"' not in ingrid.get("/streams/evening").text
    assert ingrid.post(path, server=SERVER, stream_key=SECRET).status_code == 409


@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(
    body=st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whatever_the_relay_sends_is_no_server_error(client: FlaskClient, body: Any) -> None:
    assert sent(client, body) in (204, 400)
