"""What an admin set is the admin's, and who is disabled or deleted publishes no more: by API, page and command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orchestrator
import pytest
from api_clients import Person
from browsers import Browser
from flask import Flask
from orchestrator import permissions
from orchestrator.models import Session, StreamKey
from orchestrator.people import accounts, logins
from orchestrator.permissions import OPERATOR
from orchestrator.site.clock import now
from orchestrator.site.database import db
from orchestrator.streams import keys, sessions
from sqlalchemy import event

Call = Callable[..., int]
Make = Callable[[str, str], Browser]
LIMITS: dict[str, Any] = {
    "max_bitrate_kbps": 3000,
    "max_height": 720,
    "max_minutes": 60,
    "sources": ["198.51.100.0/24"],
    "expires_at": "2099-01-01T00:00:00Z",
}
LOOSER: dict[str, Any] = {
    "max_bitrate_kbps": None,
    "max_height": 2160,
    "max_minutes": None,
    "sources": [],
    "expires_at": None,
}


@pytest.fixture
def secret(streamer: Person) -> str:
    """The secret of `alice`, which belongs to the streamer."""
    shown: str = streamer.post("/keys", json={"slug": "alice"}).json["key"]
    return shown


def sent(who: Person, slug: str, changes: dict[str, Any]) -> tuple[int, str]:
    answer = who.ask("PATCH", f"/keys/{slug}", json=changes)
    return answer.status_code, answer.json.get("detail", "")


@pytest.mark.parametrize("limit", LIMITS)
def test_an_owner_can_not_lift_what_an_admin_set(admin: Person, streamer: Person, secret: str, limit: str) -> None:
    assert sent(admin, "alice", {limit: LIMITS[limit]})[0] == 200
    before = streamer.get("/keys/alice").json
    assert before["set_by_admin"] == {limit: "root-admin"}
    status, said = sent(streamer, "alice", {"title": "Mine", limit: LOOSER[limit]})
    assert status == 403
    assert said.startswith("root-admin set ")
    assert said.endswith("of alice: ask an admin to change it.")
    assert streamer.get("/keys/alice").json == before
    assert sent(streamer, "alice", {"title": "Mine", limit: LIMITS[limit]})[0] == 200, (
        "what stays the same is no change"
    )
    assert sent(admin, "alice", {limit: LOOSER[limit]})[0] == 200


@pytest.mark.parametrize("limit", LIMITS)
def test_what_an_owner_set_is_the_owners(admin: Person, streamer: Person, secret: str, limit: str) -> None:
    assert sent(streamer, "alice", {limit: LIMITS[limit]})[0] == 200
    assert streamer.get("/keys/alice").json["set_by_admin"] == {}
    assert sent(admin, "alice", {"title": "Looked at"})[0] == 200
    assert sent(streamer, "alice", {limit: LOOSER[limit]})[0] == 200
    # An admin who names a limit means it, also where it is already as it should be.
    assert sent(streamer, "alice", {limit: LIMITS[limit]})[0] == 200
    assert sent(admin, "alice", {limit: LIMITS[limit]})[0] == 200
    assert sent(streamer, "alice", {limit: LOOSER[limit]})[0] == 403
    # And one who takes it away gives it back to the owner.
    none: Any = [] if limit == "sources" else None
    assert sent(admin, "alice", {limit: none})[0] == 200
    assert sent(streamer, "alice", {limit: LIMITS[limit]})[0] == 200


def test_what_the_operator_set_on_the_host_is_as_fixed(app: Flask, streamer: Person) -> None:
    app.test_cli_runner().invoke(args=["streamkeep", "key", "create", "show", "--owner", "streamer-one", "--days", "7"])
    status, said = sent(streamer, "show", {"expires_at": None})
    assert (status, said) == (403, "operator set when the key expires of show: ask an admin to change it.")
    assert sent(streamer, "show", {"max_height": 720})[0] == 200


def test_rotating_gives_back_only_what_one_revoked_oneself(
    admin: Person, streamer: Person, secret: str, rtmp_callback: Call
) -> None:
    assert streamer.post("/keys/alice/revoke").json["revoked_by"] is None
    assert rtmp_callback("publish", name="alice", key=streamer.post("/keys/alice/rotate").json["key"]) == 204
    assert admin.post("/keys/alice/revoke").json["revoked_by"] == "root-admin"
    assert streamer.post("/keys/alice/revoke").json["revoked_by"] == "root-admin"
    refused = streamer.post("/keys/alice/rotate")
    assert refused.status_code == 403
    assert refused.json["detail"] == "root-admin revoked the key of alice: ask an admin for a new one."
    assert keys.known("alice").revoked_at
    new = admin.post("/keys/alice/rotate").json["key"]
    assert rtmp_callback("publish", name="alice", key=new, clientid="2") == 403, "the first one is still live"
    rtmp_callback("done", name="alice", key=new)
    assert rtmp_callback("publish", name="alice", key=new, clientid="3") == 204
    assert streamer.post("/keys/alice/rotate").status_code == 200


def test_an_admin_takes_over_what_the_owner_revoked(admin: Person, streamer: Person, secret: str) -> None:
    streamer.post("/keys/alice/revoke")
    admin.post("/keys/alice/revoke")
    assert streamer.post("/keys/alice/rotate").status_code == 403


@pytest.mark.parametrize(
    "act",
    [
        lambda admin: admin.ask("PATCH", "/keys/alice", json={"max_height": 720}),
        lambda admin: admin.post("/keys/alice/revoke"),
        lambda admin: admin.post("/streams/alice/kick", json={"hold_seconds": 60}),
    ],
    ids=["limited", "revoked", "held"],
)
def test_a_name_is_not_made_anew_without_what_an_admin_set(
    admin: Person, streamer: Person, secret: str, rtmp_callback: Call, act: Callable[[Person], Any]
) -> None:
    rtmp_callback("publish", name="alice", key=secret)
    assert act(admin).status_code in (200, 202)
    refused = streamer.ask("DELETE", "/keys/alice")
    assert refused.status_code == 403
    assert "root-admin limited, revoked or held alice" in refused.json["detail"]
    assert keys.find("alice")
    assert admin.ask("DELETE", "/keys/alice").status_code == 204


def test_a_hold_that_is_over_keeps_nobody_from_deleting(
    admin: Person, streamer: Person, secret: str, rtmp_callback: Call, pass_time: Callable[[float], None]
) -> None:
    rtmp_callback("publish", name="alice", key=secret)
    admin.post("/streams/alice/kick", json={"hold_seconds": 60})
    pass_time(61)
    assert streamer.ask("DELETE", "/keys/alice").status_code == 204


def test_the_longer_hold_wins(
    admin: Person, streamer: Person, secret: str, rtmp_callback: Call, pass_time: Callable[[float], None]
) -> None:
    rtmp_callback("publish", name="alice", key=secret)
    assert admin.post("/streams/alice/kick", json={"hold_seconds": 86_400}).status_code == 202
    held = streamer.get("/keys/alice").json
    assert held["held_by"] == "root-admin"
    assert streamer.post("/streams/alice/kick", json={"hold_seconds": 1}).status_code == 202
    sessions.send_away(sessions.live()[0], "bitrate", timedelta(seconds=60))
    assert streamer.get("/keys/alice").json == held
    rtmp_callback("update", call="update_publish", name="alice", key=secret)
    pass_time(120)
    assert rtmp_callback("publish", name="alice", key=secret, clientid="2") == 403
    pass_time(86_400)
    assert rtmp_callback("publish", name="alice", key=secret, clientid="3") == 204
    assert rtmp_callback("update", call="update_publish", name="alice", key=secret, clientid="3") == 204
    assert streamer.post("/streams/alice/kick", json={"hold_seconds": 5}).status_code == 202
    assert streamer.get("/keys/alice").json["held_by"] is None, "the admin's hold is over"


def test_a_longer_hold_replaces_a_shorter_one(streamer: Person, secret: str, rtmp_callback: Call) -> None:
    rtmp_callback("publish", name="alice", key=secret)
    for seconds in (5, 500):
        streamer.post("/streams/alice/kick", json={"hold_seconds": seconds})
    held = keys.known("alice").held_until
    assert held
    assert held > now() + timedelta(seconds=400)


# By page.


@pytest.fixture
def ingrid(browser: Make) -> Browser:
    """A streamer with a stream of her own."""
    ingrid = browser("ingrid", "streamer")
    assert ingrid.post("/streams", slug="evening", title="Evening").status_code == 201
    return ingrid


def form_of(page: str) -> dict[str, str]:
    """Return what a browser would send back of the stream's settings."""
    (form,) = re.findall(r'<form[^>]*action="/streams/evening">.*?</form>', page, re.DOTALL)
    fields = dict(re.findall(r'<input name="(\w+)"[^>]* value="([^"]*)"', form))
    fields |= dict(re.findall(r'<textarea name="(\w+)"[^>]*>([^<]*)</textarea>', form))
    fields |= dict(re.findall(r'type="radio" name="(\w+)" value="(\w+)" checked', form))
    return {name: value for name, value in fields.items() if name != "csrf_token"}


def test_a_page_shows_what_an_admin_set_and_saving_it_resets_nothing(ingrid: Browser) -> None:
    key = keys.known("evening")
    moment = now().replace(second=30, microsecond=0) + timedelta(days=30)
    limits = LIMITS | {"expires_at": moment}
    keys.change(key, by=OPERATOR, **limits)
    page = ingrid.get("/streams/evening").text
    assert page.count("Set by operator") == len(limits)
    form = form_of(page)
    assert not form.keys() & limits.keys(), "what can't be changed is not sent"
    assert ingrid.post("/streams/evening", **form | {"title": "Later"}).status_code == 303
    db.session.refresh(key)
    assert key.title == "Later"
    assert {name: getattr(key, name) for name in limits} == limits


@pytest.mark.parametrize(
    ("fields", "said"), [({"max_height": ""}, "the limit on picture height"), ({"sources": ""}, "the sources")]
)
def test_a_form_that_was_open_before_lifts_nothing(ingrid: Browser, fields: dict[str, str], said: str) -> None:
    keys.change(keys.known("evening"), by=OPERATOR, max_height=720, sources=["198.51.100.0/24"])
    answer = ingrid.post("/streams/evening", title="Mine", **fields)
    assert answer.status_code == 403
    assert f"operator set {said}" in answer.text
    assert 'role="alert"' in answer.text
    key = keys.known("evening")
    db.session.refresh(key)
    assert (key.title, key.max_height, key.sources) == ("Evening", 720, ["198.51.100.0/24"])


def test_an_admins_form_makes_only_what_it_changed_the_admins(ingrid: Browser, browser: Make) -> None:
    keys.change(keys.known("evening"), by=accounts.known("ingrid"), max_height=720, max_minutes=60)
    boss = browser("the-admin", "admin")
    form = form_of(boss.get("/streams/evening").text)
    assert form["max_height"] == "720"
    assert boss.post("/streams/evening", **form | {"max_minutes": "30"}).status_code == 303
    key = keys.known("evening")
    db.session.refresh(key)
    assert key.set_by_admin == {"max_minutes": "the-admin"}
    assert ingrid.post("/streams/evening", max_height="1080").status_code == 303


def test_an_expiry_with_seconds_is_not_rounded_by_saving_the_page(ingrid: Browser) -> None:
    key = keys.known("evening")
    moment = now().replace(second=30, microsecond=0) + timedelta(days=30)
    keys.change(key, by=accounts.known("ingrid"), expires_at=moment)
    form = form_of(ingrid.get("/streams/evening").text)
    assert ingrid.post("/streams/evening", **form | {"title": "Later"}).status_code == 303
    db.session.refresh(key)
    assert (key.title, key.expires_at) == ("Later", moment)


@pytest.mark.parametrize("action", ["rotate", "delete"])
def test_a_page_refuses_what_would_undo_an_admin(ingrid: Browser, browser: Make, action: str) -> None:
    boss = browser("the-admin", "admin")
    boss.post("/streams/evening/revoke")
    page = ingrid.get("/streams/evening").text
    assert "by the-admin" in page
    assert f"/streams/evening/{action}" not in page, "no button for what is refused"
    for answer in (ingrid.get(f"/streams/evening/{action}"), ingrid.post(f"/streams/evening/{action}")):
        assert answer.status_code == 403
        assert "ask an admin" in answer.text
    assert keys.known("evening").revoked_at
    assert f"/streams/evening/{action}" in boss.get("/streams/evening").text


# Users who leave.


def by_api(app: Flask, admin: Person, act: str) -> None:
    """Do *act* to the streamer."""
    if act == "delete":
        answer = admin.ask("DELETE", "/users/streamer-one")
    else:
        answer = admin.ask("PATCH", "/users/streamer-one", json={"disabled": act == "disable"})
    assert answer.status_code in (200, 204)


def by_page(app: Flask, admin: Person, act: str) -> None:
    browser = Browser(app.test_client(), admin.name, admin.password)
    browser.sign_in()
    assert browser.post(f"/users/streamer-one/{act}").status_code == 303


def by_cli(app: Flask, admin: Person, act: str) -> None:
    done = app.test_cli_runner().invoke(args=["streamkeep", "user", act, "streamer-one"])
    assert done.exit_code == 0, done.output


WAYS = pytest.mark.parametrize("do", [by_api, by_page, by_cli])
Do = Callable[[Flask, Person, str], None]


@WAYS
def test_who_is_disabled_publishes_no_more_until_enabled(
    app: Flask, admin: Person, streamer: Person, secret: str, rtmp_callback: Call, do: Do
) -> None:
    other = streamer.post("/keys", json={"slug": "other"}).json["key"]
    streamer.post("/keys/other/revoke")
    foreign = admin.post("/keys", json={"slug": "foreign"}).json["key"]
    assert rtmp_callback("publish", name="alice", key=secret) == 204
    assert rtmp_callback("publish", name="foreign", key=foreign, clientid="9") == 204
    do(app, admin, "disable")
    db.session.expire_all()
    assert {session.stream_key.slug: session.ending for session in sessions.live()} == {
        "alice": "disabled",
        "foreign": None,
    }
    assert rtmp_callback("update", call="update_publish", name="alice", key=secret) == 403
    assert rtmp_callback("publish", name="alice", key=secret, clientid="2") == 403
    assert rtmp_callback("update", call="update_publish", name="foreign", key=foreign, clientid="9") == 204
    assert admin.get("/keys/alice").json["owner_disabled"]
    assert not admin.get("/keys/foreign").json["owner_disabled"]
    do(app, admin, "enable")
    assert rtmp_callback("publish", name="alice", key=secret, clientid="3") == 204
    assert rtmp_callback("publish", name="other", key=other, clientid="4") == 403, "revoked for itself"


@WAYS
def test_the_keys_of_who_was_deleted_are_nobodys_and_revoked(
    app: Flask, admin: Person, streamer: Person, secret: str, rtmp_callback: Call, do: Do
) -> None:
    assert rtmp_callback("publish", name="alice", key=secret) == 204
    do(app, admin, "delete")
    assert accounts.find("streamer-one") is None
    key = admin.get("/keys/alice").json
    assert (key["owner"], key["owner_disabled"]) == (None, False)
    assert key["revoked_at"]
    assert key["revoked_by"] == ("operator" if do is by_cli else "root-admin")
    assert [session.ending for session in sessions.live()] == ["revoked"]
    assert rtmp_callback("update", call="update_publish", name="alice", key=secret) == 403
    assert rtmp_callback("publish", name="alice", key=secret, clientid="2") == 403


def test_the_command_line_keeps_the_last_admin(app: Flask, admin: Person) -> None:
    done = app.test_cli_runner().invoke(args=["streamkeep", "user", "delete", "root-admin"])
    assert (done.exit_code, "last admin" in done.stderr) == (1, True)
    assert accounts.find("root-admin")


@pytest.mark.parametrize("leave", [accounts.disable, accounts.delete])
def test_leaving_is_one_act(
    app: Flask, admin: Person, streamer: Person, secret: str, rtmp_callback: Call, leave: Any
) -> None:
    """Whoever looks at the database from elsewhere sees all of it or nothing."""
    rtmp_callback("publish", name="alice", key=secret)
    commits: list[int] = []
    event.listen(db.engine, "commit", lambda _connection: commits.append(1))
    leave(accounts.known("streamer-one"))
    assert len(commits) == 1


def test_who_leaves_is_signed_out(app: Flask, admin: Person, streamer: Person) -> None:
    accounts.disable(accounts.known("streamer-one"))
    assert logins.of(accounts.known("streamer-one")) == []
    assert streamer.get("/auth/me").status_code == 401


def test_a_long_history_is_deleted_without_being_loaded(app: Flask, streamer: Person, secret: str) -> None:
    key = keys.known("alice")
    for number in range(50):
        db.session.add(Session(stream_key_id=key.id, client_id=str(number), address="198.51.100.7", ended_at=now()))
    db.session.commit()
    db.session.expire_all()
    loaded: list[Any] = []
    event.listen(Session, "load", lambda found, _context: loaded.append(found))
    keys.delete(keys.known("alice"))
    assert loaded == []
    assert sessions.history([key], 1, 10) == ([], 0)


# One place.


@pytest.mark.parametrize(
    ("role", "own", "sees", "changes"),
    [
        ("admin", False, True, True),
        ("auditor", False, True, False),
        ("auditor", True, True, False),
        ("streamer", True, True, True),
        ("streamer", False, False, False),
    ],
)
def test_who_sees_and_who_changes(app: Flask, role: str, own: bool, sees: bool, changes: bool) -> None:
    who = accounts.create("somebody", role)[0]
    key = keys.create("alice", owner=who if own else None)[0]
    assert permissions.may_see(who, key) == sees
    assert permissions.may_change(who, key) == changes
    assert (key in db.session.query(StreamKey).where(permissions.seen_by(who)).all()) == sees
    assert permissions.administers(who) == (role == "admin")


def test_no_other_module_decides_by_role_owner_or_visibility() -> None:
    root = Path(orchestrator.__file__).parent
    decides = re.compile(r"\.role (?:[!=]=|not in|in) |owner_id (?:[!=]=|in) |signed_in\(\"|visibility [!=]= ")
    free = {"permissions.py", "people/accounts.py"}  # the latter sees to it that there is always an admin left
    found = {
        str(file.relative_to(root))
        for file in [*root.rglob("*.py"), *root.rglob("*.html")]
        if decides.search(file.read_text(encoding="utf-8"))
    }
    assert found - free == set()
