"""`flask streamkeep ...`: one JSON object a line, problems in one sentence, secrets shown once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from api_clients import Person
from click.testing import Result
from flask import Flask
from orchestrator.people import accounts, logins
from orchestrator.streams import keys

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def invoke(app: Flask) -> Callable[..., Result]:
    return lambda *arguments: app.test_cli_runner().invoke(args=["streamkeep", *arguments])


@pytest.fixture
def run(invoke: Callable[..., Result]) -> Run:
    def call(*arguments: str) -> list[dict[str, Any]]:
        done = invoke(*arguments)
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    return call


def test_a_person_is_made_and_signs_in(app: Flask, run: Run) -> None:
    (made,) = run("user", "create", "bob", "--role", "streamer")
    bob = Person(app.test_client(), "bob", made["password"]).sign_in()
    (listed,) = run("user", "list")
    assert listed["signed_in"] == 1
    assert made["password"] not in json.dumps(listed)
    (reset,) = run("user", "reset-password", "bob")
    assert bob.get("/auth/me").status_code == 401
    bob.password = reset["password"]
    assert bob.sign_in().get("/auth/me").status_code == 200


def test_a_disabled_person_is_out_until_enabled(run: Run, admin: Person, streamer: Person) -> None:
    assert run("user", "disable", "streamer-one")[0]["disabled"]
    assert streamer.get("/auth/me").status_code == 401
    assert not run("user", "enable", "streamer-one")[0]["disabled"]
    assert streamer.sign_in().get("/auth/me").status_code == 200


def test_everybody_is_signed_out_at_once(run: Run, admin: Person, streamer: Person) -> None:
    assert run("sign-out-everybody") == []
    assert admin.get("/auth/me").status_code == 401
    assert streamer.get("/auth/me").status_code == 401
    assert admin.sign_in().get("/auth/me").status_code == 200


def test_a_key_has_an_owner_and_an_end(run: Run, streamer: Person) -> None:
    (made,) = run("key", "create", "show", "--owner", "streamer-one", "--days", "7", "--visibility", "unlisted")
    assert set(made) == {"slug", "key"}
    (listed,) = run("key", "list")
    assert (listed["owner"], listed["visibility"]) == ("streamer-one", "unlisted")
    assert listed["expires"].endswith("Z")
    assert [key["slug"] for key in streamer.get("/keys").json] == ["show"]


def test_a_review_names_what_wants_a_look_and_why(
    app: Flask, run: Run, streamer: Person, rtmp_callback: Callable[..., int], pass_time: Callable[[float], None]
) -> None:
    secret = streamer.post("/keys", json={"slug": "good", "expires_at": "2099-01-01T00:00:00Z"}).json["key"]
    assert rtmp_callback("publish", name="good", key=secret) == 204
    keys.create("planted")
    run("key", "create", "gone")
    run("key", "revoke", "gone")
    (planted,) = run("key", "review")
    assert planted["slug"] == "planted"
    assert planted["reasons"] == ["unused", "no owner", "never expires"]
    pass_time(91 * 86_400)
    assert {key["slug"]: "old" in key["reasons"] for key in run("key", "review")} == {"good": True, "planted": True}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["user", "create", "x", "--role", "admin"], "3 to 64"),
        (["user", "reset-password", "nobody"], "There is no user 'nobody'"),
        (["user", "disable", "root-admin"], "last admin"),
        (["key", "create", "show", "--owner", "nobody"], "There is no user 'nobody'"),
        (["key", "revoke", "../etc"], "There is no stream '../etc'"),
    ],
)
def test_a_problem_is_one_sentence(
    invoke: Callable[..., Result], admin: Person, arguments: list[str], said: str
) -> None:
    done = invoke(*arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert done.stdout == ""


def test_a_password_that_was_chosen_outlives_a_restart_and_a_newly_deployed_one_replaces_it(app: Flask) -> None:
    deployed, chosen, next_one = (accounts.generate_password("admin") for _ in range(3))
    accounts.ensure_admin("boss", deployed)
    boss = accounts.known("boss")
    accounts.set_password(boss, chosen)
    accounts.ensure_admin("boss", deployed)
    assert accounts.authenticate("boss", chosen)
    assert not accounts.authenticate("boss", deployed)
    logins.begin(boss)
    accounts.ensure_admin("boss", next_one)
    assert accounts.authenticate("boss", next_one)
    assert not accounts.authenticate("boss", chosen)
    assert logins.of(boss) == []
