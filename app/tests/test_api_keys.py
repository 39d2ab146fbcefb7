"""Keys, users and streams by the API: what each role may do, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from api_clients import Person
from flask import Flask
from orchestrator.people import accounts
from orchestrator.streams import keys, sessions

Call = Callable[..., int]
MakePerson = Callable[[str, str], Person]


def made(person: Person, slug: str = "alice", **fields: Any) -> dict[str, Any]:
    answer = person.post("/keys", json={"slug": slug} | fields)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json
    return shown


def test_a_key_is_shown_once_and_publishes(streamer: Person, rtmp_callback: Call) -> None:
    shown = made(streamer)
    assert shown["stream_key"] == f"alice?key={shown['key']}"
    assert shown["server"] == "rtmps://streams.test:1936/live"
    assert rtmp_callback("publish", name="alice", key=shown["key"]) == 204
    for path in ("/keys", "/keys/alice", "/streams", "/streams/alice"):
        assert shown["key"] not in streamer.get(path).text


@pytest.mark.parametrize(
    "fields",
    [
        {"slug": "ab"},
        {"slug": "a" * 65},
        {"slug": "../etc"},
        {"slug": "alice\n"},
        {"slug": 7},
        {"title": "x" * 121},
        {"title": "two\nlines"},
        {"visibility": "secret"},
        {"record": "yes"},
        {"sources": ["10.0.0.1/8"]},
        {"sources": ["anywhere"]},
        {"sources": "10.0.0.0/8"},
        {"expires_at": "tomorrow"},
        {"expires_at": "2027-01-01T00:00:00"},
        {"expires_at": "0001-01-01T00:00:00+14:00"},
        {"max_height": 0},
        {"max_height": "720"},
        {"max_bitrate_kbps": 1.5},
        {"max_minutes": 10**7},
        {"key": "chosen-by-myself"},
        {"owner": "somebody-else"},
    ],
)
def test_a_bad_key_is_refused(streamer: Person, fields: dict[str, Any]) -> None:
    answer = streamer.post("/keys", json={"slug": "alice"} | fields)
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert keys.everything() == []


def test_a_name_is_taken_once(streamer: Person, admin: Person) -> None:
    made(streamer)
    answer = admin.post("/keys", json={"slug": "alice"})
    assert answer.status_code == 422
    assert "exists already" in answer.json["detail"]


def test_limits_are_kept_and_changed(streamer: Person) -> None:
    made(streamer, max_height=720, max_bitrate_kbps=3000, sources=["198.51.100.0/24", "2001:db8::/32"])
    changed = streamer.ask("PATCH", "/keys/alice", json={"max_height": None, "visibility": "private", "title": "A"})
    assert changed.status_code == 200
    shown = streamer.get("/keys/alice").json
    assert (shown["max_height"], shown["max_bitrate_kbps"], shown["visibility"]) == (None, 3000, "private")
    assert streamer.ask("PATCH", "/keys/alice", json={}).status_code == 422
    assert streamer.ask("PATCH", "/keys/alice", json={"slug": "other"}).status_code == 422


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expired"),
        ({"sources": ["203.0.113.0/24"]}, "source"),
        ({"sources": ["2001:db8::/32"]}, "source"),
    ],
)
def test_a_limited_key_is_refused_where_its_limit_says_so(
    streamer: Person, rtmp_callback: Call, change: dict[str, Any], reason: str
) -> None:
    secret = made(streamer)["key"]
    assert rtmp_callback("publish", name="alice", key=secret) == 204
    assert rtmp_callback("update", call="update_publish", name="alice", key=secret) == 204
    streamer.ask("PATCH", "/keys/alice", json=change)
    assert rtmp_callback("update", call="update_publish", name="alice", key=secret) == 403
    assert rtmp_callback("publish", name="alice", key=secret, clientid="2") == 403
    assert sessions.history(keys.everything(), 1, 10)[0][0].ending == reason


@pytest.mark.parametrize(("address", "status"), [("203.0.113.9", 204), ("203.0.114.9", 403), ("nonsense", 403)])
def test_a_key_may_be_bound_to_networks(streamer: Person, rtmp_callback: Call, address: str, status: int) -> None:
    secret = made(streamer, sources=["203.0.113.0/24"])["key"]
    assert rtmp_callback("publish", name="alice", key=secret, addr=address) == status


def test_rotating_ends_the_stream_and_the_new_key_publishes(streamer: Person, rtmp_callback: Call) -> None:
    old = made(streamer)["key"]
    rtmp_callback("publish", name="alice", key=old)
    new = streamer.post("/keys/alice/rotate").json["key"]
    assert rtmp_callback("update", call="update_publish", name="alice", key=old) == 403
    assert rtmp_callback("publish", name="alice", key=old, clientid="2") == 403
    assert rtmp_callback("publish", name="alice", key=new, clientid="3") == 204


def test_a_revoked_key_can_be_brought_back_by_rotation_alone(streamer: Person, rtmp_callback: Call) -> None:
    old = made(streamer)["key"]
    assert streamer.post("/keys/alice/revoke").json["revoked_at"]
    assert rtmp_callback("publish", name="alice", key=old) == 403
    assert rtmp_callback("publish", name="alice", key=streamer.post("/keys/alice/rotate").json["key"]) == 204


def test_a_deleted_key_ends_its_stream(streamer: Person, rtmp_callback: Call) -> None:
    secret = made(streamer)["key"]
    rtmp_callback("publish", name="alice", key=secret)
    assert streamer.ask("DELETE", "/keys/alice").status_code == 204
    assert rtmp_callback("update", call="update_publish", name="alice", key=secret) == 403
    assert streamer.get("/keys/alice").status_code == 404


def test_kicking_ends_the_stream_and_keeps_it_out_for_a_while(
    streamer: Person, rtmp_callback: Call, pass_time: Callable[[float], None]
) -> None:
    secret = made(streamer)["key"]
    other = made(streamer, "other")["key"]
    rtmp_callback("publish", name="alice", key=secret)
    rtmp_callback("publish", name="other", key=other, clientid="9")
    assert streamer.post("/streams/alice/kick", json={"hold_seconds": 30}).status_code == 202
    assert rtmp_callback("update", call="update_publish", name="alice", key=secret) == 403
    assert rtmp_callback("publish", name="alice", key=secret, clientid="2") == 403
    assert rtmp_callback("update", call="update_publish", name="other", key=other, clientid="9") == 204
    pass_time(31)
    assert rtmp_callback("publish", name="alice", key=secret, clientid="3") == 204
    assert streamer.get("/streams/history").json["streams"][-1]["ending"] == "kicked"


def test_nobody_kicks_what_is_not_live(streamer: Person) -> None:
    made(streamer)
    assert streamer.post("/streams/alice/kick", json={}).status_code == 404
    assert streamer.post("/streams/nobody/kick", json={}).status_code == 404
    assert streamer.post("/streams/alice/kick", json={"hold_seconds": -1}).status_code == 422


def test_streams_are_listed_with_what_was_measured(streamer: Person, rtmp_callback: Call) -> None:
    secret = made(streamer, title="A")["key"]
    rtmp_callback("publish", name="alice", key=secret)
    (live,) = streamer.get("/streams").json
    assert (live["slug"], live["title"], live["client"], live["ended_at"]) == ("alice", "A", "198.51.100.7", None)
    assert streamer.get("/streams/alice").json["session"] == live["session"]
    assert streamer.get("/streams/alice/samples").json == []
    rtmp_callback("done", name="alice", key=secret)
    assert streamer.get("/streams/alice").status_code == 404
    history = streamer.get("/streams/history?size=1").json
    assert (history["total"], history["streams"][0]["ending"]) == (1, "done")
    assert streamer.get("/streams/history?size=0").status_code == 422
    assert streamer.get("/streams/history?sise=1").status_code == 422


def test_a_streamer_sees_their_own_streams_alone(person: MakePerson, streamer: Person, rtmp_callback: Call) -> None:
    other = person("streamer-two", "streamer")
    secret = made(streamer)["key"]
    rtmp_callback("publish", name="alice", key=secret)
    assert other.get("/keys").json == []
    assert other.get("/streams").json == []
    for method, path in (
        ("GET", "/keys/alice"),
        ("DELETE", "/keys/alice"),
        ("POST", "/keys/alice/rotate"),
        ("POST", "/keys/alice/revoke"),
        ("GET", "/streams/alice"),
        ("GET", "/streams/alice/samples"),
    ):
        assert other.ask(method, path).status_code == 404
    assert other.ask("PATCH", "/keys/alice", json={"title": "mine"}).status_code == 404
    assert other.post("/streams/alice/kick", json={}).status_code == 404
    assert rtmp_callback("update", call="update_publish", name="alice", key=secret) == 204


def test_an_auditor_sees_everything_and_changes_nothing(streamer: Person, auditor: Person) -> None:
    made(streamer)
    assert [key["slug"] for key in auditor.get("/keys").json] == ["alice"]
    assert auditor.get("/users").status_code == 200
    for method, path in (
        ("POST", "/keys"),
        ("DELETE", "/keys/alice"),
        ("POST", "/keys/alice/rotate"),
        ("POST", "/keys/alice/revoke"),
        ("PATCH", "/keys/alice"),
        ("POST", "/users"),
        ("DELETE", "/users/streamer-one"),
    ):
        assert auditor.ask(method, path, json={"slug": "x"}).status_code == 403


@pytest.mark.parametrize("role", ["streamer", "auditor"])
def test_only_admins_manage_people(person: MakePerson, role: str) -> None:
    somebody = person("somebody", role)
    assert somebody.post("/users", json={"name": "friend", "role": "admin"}).status_code == 403
    assert somebody.ask("PATCH", "/users/somebody", json={"role": "admin"}).status_code == 403
    assert somebody.post("/users/somebody/password").status_code == 403
    assert somebody.get("/users").status_code == (403 if role == "streamer" else 200)


def test_an_admin_manages_people(app: Flask, admin: Person) -> None:
    answer = admin.post("/users", json={"name": "bob", "role": "streamer"})
    assert answer.status_code == 201
    assert len(answer.json["password"]) == 24
    bob = Person(app.test_client(), "bob", answer.json["password"]).sign_in()
    assert admin.get("/users/bob").json["role"] == "streamer"
    assert admin.ask("PATCH", "/users/bob", json={"role": "auditor"}).status_code == 200
    assert bob.get("/auth/me").status_code == 401
    bob.password = admin.post("/users/bob/password").json["password"]
    assert bob.sign_in().get("/users").status_code == 200
    assert admin.ask("PATCH", "/users/bob", json={"disabled": True}).json["disabled_at"]
    assert bob.get("/auth/me").status_code == 401
    assert admin.ask("PATCH", "/users/bob", json={"disabled": False}).json["disabled_at"] is None
    assert admin.ask("DELETE", "/users/bob").status_code == 204
    assert admin.get("/users/bob").status_code == 404


@pytest.mark.parametrize(
    "body",
    [{"name": "x", "role": "admin"}, {"name": "bob", "role": "king"}, {"name": "root-admin", "role": "admin"}, {}],
)
def test_a_bad_user_is_refused(admin: Person, body: dict[str, str]) -> None:
    assert admin.post("/users", json=body).status_code == 422


def test_the_last_admin_stays(admin: Person, person: MakePerson) -> None:
    for change in ({"role": "streamer"}, {"disabled": True}):
        answer = admin.ask("PATCH", "/users/root-admin", json=change)
        assert answer.status_code == 422
        assert "last admin" in answer.json["detail"]
    assert admin.ask("DELETE", "/users/root-admin").status_code == 422
    person("second-admin", "admin")
    assert admin.ask("DELETE", "/users/root-admin").status_code == 204


def test_the_keys_of_who_left_belong_to_nobody(admin: Person, streamer: Person) -> None:
    made(streamer)
    admin.ask("DELETE", "/users/streamer-one")
    assert admin.get("/keys/alice").json["owner"] is None


def test_whose_key_it_is_can_be_seen(admin: Person, streamer: Person) -> None:
    made(streamer)
    assert admin.get("/keys/alice").json["owner"] == "streamer-one"


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("short", "16 to 128"),
        ("x" * 129, "16 to 128"),
        ("ababababababababab", "different"),
        ("Bobs-password-17", "name"),
    ],
)
def test_weak_passwords_are_told(app: Flask, password: str, said: str) -> None:
    with pytest.raises(accounts.AccountProblem, match=said):
        accounts.create("bobs", "streamer", password)
