"""Who may watch a private stream, for how long, and that nothing else opens it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from http.cookies import SimpleCookie

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st
from orchestrator.models import StreamKey
from orchestrator.people import accounts, logins
from orchestrator.site import clock
from orchestrator.streams import keys, playback_access
from peers import PROXY, STRANGER


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client whose cookies are what a test says, no more."""
    return app.test_client(use_cookies=False)


@pytest.fixture
def private(app: Flask) -> StreamKey:
    return keys.create("secret-show", owner=accounts.create("owner", "streamer")[0], visibility="private")[0]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let time pass for grants."""

    def by(**time: float) -> None:
        moment = playback_access.now() + timedelta(**time)
        monkeypatch.setattr(playback_access, "now", lambda: moment)

    return by


def ask(
    client: FlaskClient, invitation: str = "", slug: str = "secret-show", cookie: str = ""
) -> tuple[int, SimpleCookie]:
    answer = client.post(
        f"/session/viewing/{slug}",
        data={"invitation": invitation} if invitation else {},
        headers={"Cookie": cookie} if cookie else {},
        environ_base={"REMOTE_ADDR": PROXY},
    )
    return answer.status_code, SimpleCookie(answer.headers.get("Set-Cookie", ""))


def sees(client: FlaskClient, cookie: str, slug: str = "secret-show", peer: str = PROXY) -> int:
    headers = {"X-Slug": slug, "X-Viewing": cookie}
    return client.get("/internal/viewing", headers=headers, environ_base={"REMOTE_ADDR": peer}).status_code


def invited(key: StreamKey, minutes: int = 60) -> str:
    address = playback_access.invite(key, timedelta(minutes=minutes))
    assert address.startswith(f"https://streams.test/watch/{key.slug}#invitation=")
    return address.partition("#invitation=")[2]


def granted(client: FlaskClient, key: StreamKey) -> str:
    status, cookies = ask(client, invited(key), key.slug)
    assert status == 204
    return cookies[playback_access.COOKIE].value


def signed_in(client: FlaskClient, name: str) -> str:
    """Return the access cookie of *name*."""
    password = accounts.set_password(accounts.known(name))
    answer = client.post("/api/v1/auth/login", json={"name": name, "password": password})
    return f"__Host-access={answer.json['access_token']}"


def test_an_invitation_lets_a_browser_in(client: FlaskClient, private: StreamKey) -> None:
    status, cookies = ask(client, invited(private))
    assert status == 204
    cookie = cookies[playback_access.COOKIE]
    assert cookie["path"] == "/private/secret-show/"
    assert cookie["secure"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert sees(client, cookie.value) == 204


def test_without_a_grant_nobody_sees_it(client: FlaskClient, private: StreamKey) -> None:
    assert ask(client)[0] == 403
    assert ask(client, "x" * 50)[0] == 403
    assert sees(client, "") == 403
    assert sees(client, "x.y") == 403
    assert sees(client, invited(private)) == 403, "an invitation is no cookie"
    assert ask(client, granted(client, private))[0] == 403, "and a cookie is no invitation"


def test_a_grant_is_for_one_stream(client: FlaskClient, private: StreamKey) -> None:
    other = keys.create("other-show", visibility="private")[0]
    assert sees(client, granted(client, private), "other-show") == 403
    assert sees(client, granted(client, other), "secret-show") == 403
    assert ask(client, invited(other))[0] == 403


def test_a_grant_ends(client: FlaskClient, private: StreamKey, passes: Callable[..., None]) -> None:
    cookie, invitation = granted(client, private), invited(private, minutes=30)
    passes(minutes=9)
    assert sees(client, cookie) == 204
    passes(minutes=2)
    assert sees(client, cookie) == 403
    status, cookies = ask(client, invitation)
    assert status == 204
    assert sees(client, cookies[playback_access.COOKIE].value) == 204
    passes(minutes=20)
    assert ask(client, invitation)[0] == 403


def test_a_grant_does_not_outlive_its_invitation(
    client: FlaskClient, private: StreamKey, passes: Callable[..., None]
) -> None:
    _, cookies = ask(client, invited(private, minutes=1))
    passes(seconds=50)
    assert sees(client, cookies[playback_access.COOKIE].value) == 204
    passes(seconds=20)
    assert sees(client, cookies[playback_access.COOKIE].value) == 403


def test_withdrawing_ends_invitations_and_grants(client: FlaskClient, private: StreamKey) -> None:
    cookie, invitation = granted(client, private), invited(private)
    keys.withdraw_viewing(private)
    assert sees(client, cookie) == 403
    assert ask(client, invitation)[0] == 403
    assert sees(client, granted(client, private)) == 204


@pytest.mark.parametrize(("role", "status"), [("admin", 204), ("auditor", 204), ("streamer", 403)])
def test_who_may_see_the_key_may_watch(client: FlaskClient, private: StreamKey, role: str, status: int) -> None:
    accounts.create("somebody", role)
    answer, cookies = ask(client, cookie=signed_in(client, "somebody"))
    assert answer == status
    assert (playback_access.COOKIE in cookies) == (status == 204)


def test_the_owner_may_watch_until_the_login_ends(client: FlaskClient, private: StreamKey) -> None:
    cookie = signed_in(client, "owner")
    assert ask(client, cookie=cookie)[0] == 204
    assert ask(client, cookie=cookie + "x")[0] == 403
    accounts.disable(accounts.known("owner"))
    assert ask(client, cookie=cookie)[0] == 403


@pytest.fixture
def owners(client: FlaskClient, private: StreamKey) -> dict[str, str]:
    """The tokens of the owner."""
    password = accounts.set_password(accounts.known("owner"))
    found: dict[str, str] = client.post("/api/v1/auth/login", json={"name": "owner", "password": password}).json
    return found


def test_a_refresh_token_is_no_access_token(client: FlaskClient, owners: dict[str, str]) -> None:
    assert ask(client, cookie=f"__Host-access={owners['refresh_token']}")[0] == 403
    assert ask(client, cookie=f"__Secure-refresh={owners['access_token']}")[0] == 403


@pytest.mark.parametrize("access", ["", "__Host-access=over; "], ids=["gone", "over"])
def test_the_owner_may_watch_by_the_refresh_token_which_is_not_used_up(
    client: FlaskClient, owners: dict[str, str], access: str
) -> None:
    cookie = f"{access}__Secure-refresh={owners['refresh_token']}"
    for _ in range(2):
        status, cookies = ask(client, cookie=cookie)
        assert status == 204
        assert sees(client, cookies[playback_access.COOKIE].value) == 204
    bearer = {"Authorization": f"Bearer {owners['refresh_token']}"}
    assert client.post("/api/v1/auth/refresh", headers=bearer).status_code == 200
    assert ask(client, cookie=cookie)[0] == 403, "it was exchanged, and does not count any more"
    assert client.post("/api/v1/auth/refresh", headers=bearer).status_code == 401


def test_a_refresh_token_of_a_login_that_ended_lets_nobody_in(client: FlaskClient, owners: dict[str, str]) -> None:
    logins.revoke_all(accounts.known("owner"))
    assert ask(client, cookie=f"__Secure-refresh={owners['refresh_token']}")[0] == 403


def test_the_watch_page_asks_where_the_browser_sends_what_signs_it_in(client: FlaskClient, private: StreamKey) -> None:
    assert 'data-access="/session/viewing/secret-show"' in client.get("/watch/secret-show").text
    assert client.post("/watch/secret-show/access").status_code in (404, 405)


@pytest.mark.parametrize("visibility", ["public", "unlisted"])
def test_what_is_not_private_needs_no_grant(client: FlaskClient, alice_secret: str, visibility: str) -> None:
    keys.change(keys.known("alice"), visibility=visibility)
    status, cookies = ask(client, slug="alice")
    assert (status, dict(cookies)) == (204, {})


@pytest.mark.parametrize("slug", ["nobody", "ab", "a" * 65, "..%2f..%2fetc"])
def test_a_name_that_does_not_exist_is_as_private_as_one_that_does(client: FlaskClient, app: Flask, slug: str) -> None:
    assert ask(client, slug=slug)[0] in (403, 404)


def test_nobody_but_the_proxy_may_ask(client: FlaskClient, private: StreamKey) -> None:
    cookie = granted(client, private)
    assert sees(client, cookie, peer=STRANGER) == 404
    assert sees(client, cookie, peer="127.0.0.1") == 404


def test_the_former_secret_still_counts(client: FlaskClient, app: Flask, private: StreamKey) -> None:
    from dataclasses import replace

    cookie = granted(client, private)
    settings = app.config["STREAMKEEP"]
    app.config["STREAMKEEP"] = replace(settings, jwt_secret="n" * 64, jwt_secret_previous=settings.jwt_secret)
    assert sees(client, cookie) == 204
    app.config["STREAMKEEP"] = replace(settings, jwt_secret="n" * 64)
    assert sees(client, cookie) == 403


@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(text=st.text(max_size=600))
def test_whatever_is_shown_opens_nothing(client: FlaskClient, private: StreamKey, text: str) -> None:
    assert not playback_access.admits("secret-show", text)
    assert ask(client, text)[0] in (403, 429)


def test_time_is_the_clock_of_the_house() -> None:
    assert playback_access.now is clock.now


def test_the_api_invites_and_withdraws(client: FlaskClient, private: StreamKey) -> None:
    def headers(name: str) -> dict[str, str]:
        return {"Authorization": "Bearer " + signed_in(client, name).partition("=")[2]}

    address = "/api/v1/keys/secret-show/invitations"
    owner = headers("owner")
    made = client.post(address, json={"minutes": 60}, headers=owner)
    assert made.status_code == 201
    invitation = made.json["watch_url"].partition("#invitation=")[2]
    assert ask(client, invitation)[0] == 204
    assert client.delete(address, headers=owner).status_code == 204
    assert ask(client, invitation)[0] == 403
    for minutes in (0, -1, 43_201, "60", None, 1.5):
        assert client.post(address, json={"minutes": minutes}, headers=owner).status_code == 422
    assert client.post(address, json={"minutes": 5, "more": 1}, headers=owner).status_code == 422
    accounts.create("stranger", "streamer")
    accounts.create("checker", "auditor")
    for name, status in (("stranger", 404), ("checker", 403)):
        assert client.post(address, json={"minutes": 5}, headers=headers(name)).status_code == status
        assert client.delete(address, headers=headers(name)).status_code == status
    assert client.post(address, json={"minutes": 5}).status_code == 401
