"""What nginx-rtmp is told: 204 yes, 4xx no, and never 5xx."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from callers import MEDIA, NOTHING, PROXY, RTMP, STRANGER, reported
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from orchestrator.models import StreamKey
from orchestrator.site import events
from orchestrator.streams import keys, sessions

Call = Callable[..., int]


def live(client: FlaskClient) -> list[str]:
    return [stream["slug"] for stream in reported(client)["streams"]]


def test_a_good_key_publishes_until_it_is_done(client: FlaskClient, call: Call, key: str) -> None:
    assert live(client) == []
    assert call("publish", name="alice", key=key) == 204
    assert live(client) == ["alice"]
    assert call("update", call="update_publish", name="alice", key=key) == 204
    assert call("done", name="alice", key=key) == 204
    assert live(client) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "alice", "key": "x" * 32},
        {"name": "alice", "key": ""},
        {"name": "alice"},
        {"name": "bob", "key": "{key}"},
        {"name": "Alice", "key": "{key}"},
        {"name": "alice", "key": "{key}", "app": "vod"},
        {"name": "alice\x00", "key": "{key}"},
        {"name": "", "key": "{key}"},
        {},
    ],
)
def test_a_bad_key_is_refused(client: FlaskClient, call: Call, key: str, fields: dict[str, str]) -> None:
    assert call("publish", **{name: value.replace("{key}", key) for name, value in fields.items()}) == 403
    assert live(client) == []


@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(name=st.text(max_size=80), key=st.text(max_size=80), clientid=st.text(max_size=40), addr=st.text(max_size=60))
def test_whatever_arrives_is_refused_and_never_breaks(
    call: Call, name: str, key: str, clientid: str, addr: str
) -> None:
    assert call("publish", name=name, key=key, clientid=clientid, addr=addr) == 403
    assert call("update", name=name, key=key, clientid=clientid, addr=addr) == 403
    assert call("done", name=name, key=key, clientid=clientid, addr=addr) == 204


@pytest.mark.parametrize("body", [b"\xff\xfe%%%", b"name=" + b"a" * 70_000, b"=&=&;", b"name[]=1&name=2"])
def test_a_broken_body_is_refused(client: FlaskClient, body: bytes) -> None:
    answer = client.post(
        "/internal/rtmp/publish",
        data=body,
        content_type="application/x-www-form-urlencoded",
        environ_base={"REMOTE_ADDR": RTMP},
    )
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("peer", [PROXY, STRANGER, MEDIA, "127.0.0.1"])
def test_nobody_else_may_ask(client: FlaskClient, call: Call, key: str, peer: str) -> None:
    assert call("publish", peer=peer, name="alice", key=key) == 404
    headers = {"X-Forwarded-For": MEDIA}
    forged = client.post("/internal/streams", json=NOTHING, environ_base={"REMOTE_ADDR": PROXY}, headers=headers)
    assert forged.status_code == 404


def test_a_name_is_live_once(client: FlaskClient, call: Call, key: str) -> None:
    assert call("publish", name="alice", key=key, clientid="1") == 204
    assert call("publish", name="alice", key=key, clientid="2") == 403
    assert call("update", call="update_publish", name="alice", key=key, clientid="2") == 403
    assert call("update", call="update_publish", name="alice", key=key, clientid="1") == 204


def test_there_is_a_last_place(client: FlaskClient, call: Call, later: Callable[[float], None]) -> None:
    for number, slug in enumerate(("one", "two", "three", "four")):
        secret = keys.create(slug)[1]
        assert call("publish", name=slug, key=secret, clientid=str(number)) == (403 if slug == "four" else 204)
    later(11)  # three publishers were killed: nobody says goodbye, and their places are free again
    assert live(client) == []
    assert call("publish", name="four", key=keys.rotate(keys.known("four"))) == 204


def test_updates_keep_a_session(client: FlaskClient, call: Call, key: str, later: Callable[[float], None]) -> None:
    call("publish", name="alice", key=key)
    for _ in range(4):
        later(6)
        assert call("update", call="update_publish", name="alice", key=key) == 204
    assert live(client) == ["alice"]


def test_who_was_silent_goes_on_unless_the_place_was_given_away(
    client: FlaskClient, call: Call, key: str, later: Callable[[float], None]
) -> None:
    call("publish", name="alice", key=key)
    later(11)  # as when this application restarts slowly: nginx-rtmp has kept the stream
    assert live(client) == []
    assert call("update", call="update_publish", name="alice", key=key) == 204
    assert live(client) == ["alice"]
    later(11)
    assert call("publish", name="alice", key=key, clientid="2") == 204
    assert call("update", call="update_publish", name="alice", key=key) == 403
    assert call("update", call="update_publish", name="alice", key=key, clientid="2") == 204


@pytest.mark.parametrize("withdraw", [keys.revoke, keys.rotate])
def test_a_withdrawn_key_ends_its_stream(call: Call, key: str, withdraw: Callable[[StreamKey], object]) -> None:
    call("publish", name="alice", key=key)
    withdraw(keys.known("alice"))
    assert call("update", call="update_publish", name="alice", key=key) == 403
    assert call("publish", name="alice", key=key, clientid="9") == 403


def test_players_are_not_asked_for_a_key(call: Call) -> None:
    assert call("update", call="update_play", name="alice") == 204


def test_a_new_session_has_a_new_id(call: Call, key: str) -> None:
    call("publish", name="alice", key=key)
    first = sessions.live()[0].id
    call("done", name="alice", key=key)
    call("publish", name="alice", key=key)
    assert sessions.live()[0].id != first


def test_no_key_is_logged(call: Call, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    events.configure("INFO")
    call("publish", name="alice", key=key)
    call("publish", name="alice", key=key + "x", addr='1.2.3.4\n{"event": "forged"}')
    call("publish", name=key, key="x" * 32)  # the commonest mistake with OBS
    call("publish", name=key, key=key)
    call("publish", name=key)
    call("publish", name=key, app=key)
    call("update", call="update_publish", name=key, key="x" * 32)
    call("done", name=key, key=key)
    said = capsys.readouterr().out
    lines = [json.loads(line) for line in said.splitlines()]
    assert [(line["event"], line["result"], line["slug"]) for line in lines] == [
        ("publish", "accepted", "alice"),
        ("publish", "refused", "alice"),
        *[("publish", "refused", None)] * 2,
        ("publish", "refused", "alice"),  # whose secret it is
        ("publish", "refused", None),
    ]
    assert key not in said
