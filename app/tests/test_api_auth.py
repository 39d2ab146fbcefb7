"""Signing in by the API: tokens that hold, and all those that do not."""

from __future__ import annotations

import json
import secrets
import statistics
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from api_clients import Person
from flask import Flask
from flask.testing import FlaskClient
from orchestrator import create_app
from orchestrator.people import accounts, logins, tokens
from orchestrator.site.database import db
from orchestrator.site.settings import Settings, from_environment
from werkzeug.test import TestResponse

MakePerson = Callable[[str, str], Person]


def claims(settings: Settings, token: str) -> dict[str, Any]:
    return jwt.decode(token, settings.jwt_secret, ["HS256"], audience="streamkeep")


def signed(settings: Settings, token: str, secret: str = "", algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(settings, token) | changes, secret or settings.jwt_secret, algorithm)


def me(person: Person, token: str) -> int:
    return person.client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"}).status_code


def test_a_login_gives_tokens_that_hold_for_a_quarter_of_an_hour(settings: Settings, streamer: Person) -> None:
    assert streamer.get("/auth/me").json["name"] == "streamer-one"
    assert streamer.tokens["token_type"] == "Bearer"
    assert streamer.tokens["expires_in"] == 900
    found = claims(settings, streamer.tokens["access_token"])
    assert found["exp"] - found["iat"] == 900
    assert found["iss"] == "https://streams.test"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("streamer-one", "wrong"),
        ("nobody-here", "wrong"),
        ("STREAMER-ONE", "{password}"),
        ("streamer-one\x00", "{password}"),
        ("streamer-one", "{password} "),
    ],
)
def test_wrong_credentials_all_get_the_same_answer(streamer: Person, name: str, password: str) -> None:
    password = password.replace("{password}", streamer.password)
    answer = streamer.client.post("/api/v1/auth/login", json={"name": name, "password": password})
    assert answer.status_code == 401
    assert answer.json["detail"] == "The name or the password is wrong."
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.usefixtures("real_passwords")
def test_an_unknown_user_takes_as_long_as_a_wrong_password(streamer: Person) -> None:
    def seconds(name: str) -> float:
        began = time.perf_counter()
        streamer.client.post("/api/v1/auth/login", json={"name": name, "password": "wrong"})
        return time.perf_counter() - began

    known = statistics.median(seconds("streamer-one") for _ in range(7))
    unknown = statistics.median(seconds("nobody-here") for _ in range(7))
    assert 0.4 < unknown / known < 2.5  # without the comparison it would be a small part


@pytest.mark.parametrize(
    "body", [{}, {"name": "x"}, {"name": "x", "password": 1}, {"name": "", "password": "x"}, {"name": ["x"]}]
)
def test_a_malformed_login_is_refused(client: FlaskClient, body: dict[str, Any]) -> None:
    answer = client.post("/api/v1/auth/login", json=body)
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(lambda s, t: signed(s, t, "another" * 8), id="another key"),
        pytest.param(lambda s, t: signed(s, t, algorithm="HS512"), id="another algorithm"),
        pytest.param(lambda s, t: signed(s, t, aud="elsewhere"), id="another audience"),
        pytest.param(lambda s, t: signed(s, t, iss="https://elsewhere.test"), id="another issuer"),
        pytest.param(lambda s, t: signed(s, t, exp=datetime.now(UTC) - timedelta(seconds=1)), id="expired"),
        pytest.param(lambda s, t: signed(s, t, nbf=datetime.now(UTC) + timedelta(hours=1)), id="not yet"),
        pytest.param(lambda s, t: signed(s, t, login="00000000"), id="no such login"),
        pytest.param(lambda s, t: signed(s, t, sub="9999"), id="another user"),
        pytest.param(lambda s, t: t[:-4] + "AAAA", id="tampered"),
        pytest.param(lambda s, t: "x.y.z", id="no token"),
        pytest.param(lambda s, t: "", id="nothing"),
    ],
)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_token_of_anybody_else_is_refused(
    settings: Settings, streamer: Person, forge: Callable[[Settings, str], str]
) -> None:
    assert me(streamer, streamer.tokens["access_token"]) == 200
    assert me(streamer, forge(settings, streamer.tokens["access_token"])) == 401


def test_a_token_without_a_signature_is_refused(settings: Settings, streamer: Person) -> None:
    body = claims(settings, streamer.tokens["access_token"])
    parts = ({"alg": "none", "typ": "JWT"}, body)
    unsigned = ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."
    assert me(streamer, unsigned) == 401


@pytest.mark.parametrize("header", [{"kid": "../../etc/passwd"}, {"kid": "x"}, {"jku": "https://elsewhere.test/keys"}])
def test_what_a_token_says_of_its_key_is_not_followed(
    settings: Settings, streamer: Person, header: dict[str, str]
) -> None:
    body = claims(settings, streamer.tokens["access_token"])
    assert me(streamer, jwt.encode(body, "attacker" * 8, "HS256", headers=header)) == 401


def test_a_refresh_token_opens_nothing_and_an_access_token_refreshes_nothing(streamer: Person) -> None:
    assert me(streamer, streamer.tokens["refresh_token"]) == 401
    assert streamer.post("/auth/refresh").status_code == 401


def test_a_refresh_token_counts_once_and_its_reuse_ends_the_login(streamer: Person) -> None:
    first = dict(streamer.tokens)
    renewed = streamer.post("/auth/refresh", refreshing=True)
    assert renewed.status_code == 200
    streamer.tokens = renewed.json
    assert me(streamer, renewed.json["access_token"]) == 200
    stolen = Person(streamer.client, "thief", "", first)
    assert stolen.post("/auth/refresh", refreshing=True).status_code == 401
    assert me(streamer, renewed.json["access_token"]) == 401
    assert streamer.post("/auth/refresh", refreshing=True).status_code == 401


def test_one_login_ends_without_the_others(app: Flask, streamer: Person) -> None:
    phone = Person(app.test_client(), streamer.name, streamer.password).sign_in()
    assert streamer.post("/auth/logout").status_code == 204
    assert streamer.get("/auth/me").status_code == 401
    assert streamer.post("/auth/refresh", refreshing=True).status_code == 401
    assert phone.get("/auth/me").status_code == 200


def test_another_password_signs_everything_out(app: Flask, streamer: Person) -> None:
    phone = Person(app.test_client(), streamer.name, streamer.password).sign_in()
    change = {"current": streamer.password, "new": "correct horse battery staple"}
    assert streamer.ask("PUT", "/auth/password", json=change).status_code == 204
    assert phone.get("/auth/me").status_code == 401
    assert streamer.get("/auth/me").status_code == 401
    old = streamer.client.post("/api/v1/auth/login", json={"name": streamer.name, "password": streamer.password})
    assert old.status_code == 401
    streamer.password = change["new"]
    assert streamer.sign_in().get("/auth/me").status_code == 200


@pytest.mark.parametrize(
    ("current", "new", "said"),
    [
        ("wrong", "correct horse battery staple", "The current password is wrong."),
        ("{password}", "aaaaaaaaaaaaaaaaaaaa", "different characters"),
        ("{password}", "my-Streamer-One-password", "user's name"),
        ("{password}", "short", "errors"),
    ],
)
def test_a_bad_password_changes_nothing(streamer: Person, current: str, new: str, said: str) -> None:
    change = {"current": current.replace("{password}", streamer.password), "new": new}
    answer = streamer.ask("PUT", "/auth/password", json=change)
    assert answer.status_code == 422
    assert said in answer.json["detail"]
    assert streamer.get("/auth/me").status_code == 200


def test_a_login_is_over_after_a_month_whatever_was_refreshed(
    streamer: Person, pass_time: Callable[[float], None]
) -> None:
    pass_time(30 * 86_400 + 1)
    assert streamer.post("/auth/refresh", refreshing=True).status_code == 401


def test_a_rotated_secret_signs_nobody_out_and_a_second_rotation_does(
    environment: dict[str, str], app: Flask, streamer: Person
) -> None:
    def with_secrets(new: str, previous: str) -> Person:
        other = create_app(from_environment(environment | {"JWT_SECRET": new, "JWT_SECRET_PREVIOUS": previous}))
        return Person(other.test_client(), streamer.name, streamer.password, streamer.tokens)

    db.session.commit()
    first, second, third = environment["JWT_SECRET"], secrets.token_hex(32), secrets.token_hex(32)
    rotated = with_secrets(second, first)
    assert rotated.get("/auth/me").status_code == 200
    fresh = Person(rotated.client, streamer.name, streamer.password).sign_in()
    assert jwt.get_unverified_header(fresh.tokens["access_token"])["kid"] == tokens.key_id(second)
    twice = with_secrets(third, second)
    assert twice.get("/auth/me").status_code == 401
    for other in (rotated, twice):
        with other.client.application.app_context():
            db.engine.dispose()


def test_cookies_do_not_sign_in_to_the_api(streamer: Person) -> None:
    streamer.client.set_cookie("__Host-access", streamer.tokens["access_token"], secure=True)
    assert streamer.client.get("/api/v1/auth/me", base_url="https://localhost").status_code == 401


def test_a_disabled_user_is_out_at_once(app: Flask, streamer: Person) -> None:
    user = accounts.known(streamer.name)
    accounts.disable(user)
    assert streamer.get("/auth/me").status_code == 401
    answer = streamer.client.post("/api/v1/auth/login", json={"name": streamer.name, "password": streamer.password})
    assert answer.status_code == 401
    accounts.enable(user)
    assert streamer.sign_in().get("/auth/me").status_code == 200


def at_once(app: Flask, number: int, act: Callable[[FlaskClient], TestResponse]) -> list[TestResponse]:
    """Let *number* clients *act* at the same moment, each in a thread and with a session of its own."""
    db.session.commit()  # what the test itself began would lock them all out
    barrier = threading.Barrier(number)

    def one(_n: int) -> TestResponse:
        client = app.test_client(use_cookies=False)
        barrier.wait(10)
        return act(client)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


def test_of_those_who_refresh_at_once_one_is_served_and_the_login_ends(app: Flask, streamer: Person) -> None:
    bearer = {"Authorization": f"Bearer {streamer.tokens['refresh_token']}"}
    answers = at_once(app, 6, lambda client: client.post("/api/v1/auth/refresh", headers=bearer))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 5
    (served,) = (answer for answer in answers if answer.status_code == 200)
    assert me(streamer, served.json["access_token"]) == 401, "one of the six is a thief"


def test_tabs_that_wake_up_at_once_all_go_on_and_one_gets_the_refresh_token(app: Flask, streamer: Person) -> None:
    cookie = {"Cookie": f"__Secure-refresh={streamer.tokens['refresh_token']}"}
    site = "https://streams.test"
    answers = at_once(app, 6, lambda client: client.get("/session/continue", base_url=site, headers=cookie))
    assert [answer.status_code for answer in answers] == [204] * 6
    cookies = [line for answer in answers for line in answer.headers.getlist("Set-Cookie")]
    refreshed = [line for line in cookies if line.startswith("__Secure-refresh=")]
    assert len(refreshed) == 1
    assert len(cookies) == 7
    for line in cookies:
        if line.startswith("__Host-access="):
            assert me(streamer, line.partition("=")[2].partition(";")[0]) == 200
    newest = refreshed[0].partition("=")[2].partition(";")[0]
    bearer = {"Authorization": f"Bearer {newest}"}
    assert streamer.client.post("/api/v1/auth/refresh", headers=bearer).status_code == 200


def test_a_user_has_so_many_logins_and_no_more(app: Flask, streamer: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logins, "MOST", 3)
    other = accounts.create("other", "streamer")[0]
    logins.begin(other)
    user = accounts.known(streamer.name)
    for _ in range(5):
        newest = logins.begin(user)
    assert len(logins.of(user)) == 3
    assert newest.id in {login.id for login in logins.of(user)}
    assert streamer.get("/auth/me").status_code == 401, "the oldest went first"
    assert len(logins.of(other)) == 1
