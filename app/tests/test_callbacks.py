"""What nginx-rtmp is told: 204 yes, 4xx no, and never 5xx."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from orchestrator.models import StreamKey
from orchestrator.site import events
from orchestrator.streams import keys, sessions
from peers import MEDIA, NOTHING, PROXY, RTMP, STRANGER, reported

Call = Callable[..., int]


def live(client: FlaskClient) -> list[str]:
    return [stream["slug"] for stream in reported(client)["streams"]]


def test_a_good_key_publishes_until_it_is_done(client: FlaskClient, rtmp_callback: Call, alice_secret: str) -> None:
    assert live(client) == []
    assert rtmp_callback("publish", name="alice", key=alice_secret) == 204
    assert live(client) == ["alice"]
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == 204
    assert rtmp_callback("done", name="alice", key=alice_secret) == 204
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
def test_a_bad_key_is_refused(
    client: FlaskClient, rtmp_callback: Call, alice_secret: str, fields: dict[str, str]
) -> None:
    assert (
        rtmp_callback("publish", **{name: value.replace("{key}", alice_secret) for name, value in fields.items()})
        == 403
    )
    assert live(client) == []


@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(name=st.text(max_size=80), key=st.text(max_size=80), clientid=st.text(max_size=40), addr=st.text(max_size=60))
def test_whatever_arrives_is_refused_and_never_breaks(
    rtmp_callback: Call, name: str, key: str, clientid: str, addr: str
) -> None:
    assert rtmp_callback("publish", name=name, key=key, clientid=clientid, addr=addr) == 403
    assert rtmp_callback("update", name=name, key=key, clientid=clientid, addr=addr) == 403
    assert rtmp_callback("done", name=name, key=key, clientid=clientid, addr=addr) == 204


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
def test_nobody_else_may_ask(client: FlaskClient, rtmp_callback: Call, alice_secret: str, peer: str) -> None:
    assert rtmp_callback("publish", peer=peer, name="alice", key=alice_secret) == 404
    headers = {"X-Forwarded-For": MEDIA}
    forged = client.post("/internal/streams", json=NOTHING, environ_base={"REMOTE_ADDR": PROXY}, headers=headers)
    assert forged.status_code == 404


def test_a_name_is_live_once(client: FlaskClient, rtmp_callback: Call, alice_secret: str) -> None:
    assert rtmp_callback("publish", name="alice", key=alice_secret, clientid="1") == 204
    assert rtmp_callback("publish", name="alice", key=alice_secret, clientid="2") == 403
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret, clientid="2") == 403
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret, clientid="1") == 204


def test_there_is_a_last_place(client: FlaskClient, rtmp_callback: Call, pass_time: Callable[[float], None]) -> None:
    for number, slug in enumerate(("one", "two", "three", "four")):
        secret = keys.create(slug)[1]
        assert rtmp_callback("publish", name=slug, key=secret, clientid=str(number)) == (403 if slug == "four" else 204)
    pass_time(11)  # three publishers were killed: nobody says goodbye, and their places are free again
    assert live(client) == []
    assert rtmp_callback("publish", name="four", key=keys.rotate(keys.known("four"))) == 204


def test_updates_keep_a_session(
    client: FlaskClient, rtmp_callback: Call, alice_secret: str, pass_time: Callable[[float], None]
) -> None:
    rtmp_callback("publish", name="alice", key=alice_secret)
    for _ in range(4):
        pass_time(6)
        assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == 204
    assert live(client) == ["alice"]


def test_who_was_silent_goes_on_unless_the_place_was_given_away(
    client: FlaskClient, rtmp_callback: Call, alice_secret: str, pass_time: Callable[[float], None]
) -> None:
    rtmp_callback("publish", name="alice", key=alice_secret)
    pass_time(11)  # as when this application restarts slowly: nginx-rtmp has kept the stream
    assert live(client) == []
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == 204
    assert live(client) == ["alice"]
    pass_time(11)
    assert rtmp_callback("publish", name="alice", key=alice_secret, clientid="2") == 204
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == 403
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret, clientid="2") == 204


@pytest.mark.parametrize("withdraw", [keys.revoke, keys.rotate])
def test_a_withdrawn_key_ends_its_stream(
    rtmp_callback: Call, alice_secret: str, withdraw: Callable[[StreamKey], object]
) -> None:
    rtmp_callback("publish", name="alice", key=alice_secret)
    withdraw(keys.known("alice"))
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == 403
    assert rtmp_callback("publish", name="alice", key=alice_secret, clientid="9") == 403


def test_players_are_not_asked_for_a_key(rtmp_callback: Call) -> None:
    assert rtmp_callback("update", call="update_play", name="alice") == 204


def test_a_new_session_has_a_new_id(rtmp_callback: Call, alice_secret: str) -> None:
    rtmp_callback("publish", name="alice", key=alice_secret)
    first = sessions.live()[0].id
    rtmp_callback("done", name="alice", key=alice_secret)
    rtmp_callback("publish", name="alice", key=alice_secret)
    assert sessions.live()[0].id != first


def test_no_key_is_logged(rtmp_callback: Call, alice_secret: str, capsys: pytest.CaptureFixture[str]) -> None:
    events.configure("INFO")
    rtmp_callback("publish", name="alice", key=alice_secret)
    rtmp_callback("publish", name="alice", key=alice_secret + "x", addr='1.2.3.4\n{"event": "forged"}')
    rtmp_callback("publish", name=alice_secret, key="x" * 32)  # the commonest mistake with OBS
    rtmp_callback("publish", name=alice_secret, key=alice_secret)
    rtmp_callback("publish", name=alice_secret)
    rtmp_callback("publish", name=alice_secret, app=alice_secret)
    rtmp_callback("update", call="update_publish", name=alice_secret, key="x" * 32)
    rtmp_callback("done", name=alice_secret, key=alice_secret)
    said = capsys.readouterr().out
    lines = [json.loads(line) for line in said.splitlines()]
    assert [(line["event"], line["result"], line["slug"]) for line in lines] == [
        ("publish", "accepted", "alice"),
        ("publish", "refused", "alice"),
        *[("publish", "refused", None)] * 2,
        ("publish", "refused", "alice"),  # whose secret it is
        ("publish", "refused", None),
    ]
    assert alice_secret not in said
