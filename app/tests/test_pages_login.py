"""Signing in by page: cookies, forms of other sites, where a link may lead, and going on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from browsers import SITE, Browser
from flask import Flask
from flask_jwt_extended import create_access_token
from orchestrator.models import Login
from orchestrator.people import accounts, logins, tokens
from orchestrator.site.database import db
from orchestrator.site.settings import from_environment
from sqlalchemy import select

Make = Callable[[str, str], Browser]
ELSEWHERE = [
    "https://evil.test/",
    "//evil.test/",
    "///evil.test",
    "/\\evil.test",
    "\\\\evil.test",
    "/\t/evil.test",
    "javascript:alert(1)",
    "evil.test",
    "http:/evil.test",
    "/ok\r\nSet-Cookie: a=b",
    "//[",
    "http://[",
    "/\x85",
]


def expire(browser: Browser) -> None:
    """Put an access token into the browser that was over a second ago."""
    login = db.session.scalars(select(Login)).all()[-1]
    claims = {tokens.LOGIN_CLAIM: login.id, "csrf": browser.token()}
    old = create_access_token(str(login.user_id), expires_delta=timedelta(seconds=-1), additional_claims=claims)
    browser.client.set_cookie("__Host-access", old, domain="streams.test", secure=True)


def test_cookies_are_out_of_reach(app: Flask) -> None:
    _, password = accounts.create("ingrid", "streamer")
    answer = Browser(app.test_client(), "ingrid", password).sign_in()
    cookies = {line.partition("=")[0]: line for line in answer.headers.getlist("Set-Cookie")}
    assert set(cookies) == {"__Host-access", "__Secure-refresh"}
    for line in cookies.values():
        assert {"Secure", "HttpOnly", "SameSite=Lax"} <= set(line.split("; "))
    assert "Path=/" in cookies["__Host-access"].split("; ")
    assert "Path=/session" in cookies["__Secure-refresh"].split("; ")
    assert "Domain" not in cookies["__Host-access"]
    assert answer.location == "/dashboard"


def test_a_wrong_password_and_an_unknown_name_look_the_same(browser: Make, visitor: Browser) -> None:
    browser("ingrid", "streamer")
    pages = []
    for name in ("ingrid", "nobody"):
        visitor.name, visitor.password = name, "wrong-password-1!"
        answer = visitor.sign_in()
        assert answer.status_code == 401
        assert not answer.headers.getlist("Set-Cookie")
        assert answer.headers["Cache-Control"] == "no-store"
        pages.append(answer.text.replace(name, "NAME"))
    assert pages[0] == pages[1]
    assert "The name or the password is wrong." in pages[0]
    assert "wrong-password" not in pages[0]


@pytest.mark.parametrize("password", ["", "x" * 129, "x" * 60_000])
def test_a_password_of_any_size_is_wrong(visitor: Browser, password: str) -> None:
    visitor.name, visitor.password = "ingrid", password
    assert visitor.sign_in().status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.test"},
    ],
)
def test_a_form_of_another_site_signs_nobody_in(app: Flask, headers: dict[str, str]) -> None:
    _, password = accounts.create("ingrid", "streamer")
    browser = Browser(app.test_client(), "ingrid", password)
    answer = browser.send("/session", {"name": "ingrid", "password": password}, headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.text
    assert not answer.headers.getlist("Set-Cookie")


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.test", 403),
        ("null", 403),
        ("https://streams.test.evil.test", 403),
        ("http://[", 403),
        ("https://[::1", 403),
        ("//[streams.test", 403),
        ("https://streams.test", 303),
    ],
)
def test_an_older_browser_is_known_by_its_origin(app: Flask, origin: str, status: int) -> None:
    _, password = accounts.create("ingrid", "streamer")
    client = app.test_client()
    fields = {"name": "ingrid", "password": password}
    answer = client.post("/session", base_url="https://streams.test", data=fields, headers={"Origin": origin})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/session/continue?next=//[", {"data": {"csrf_token": "0" * 64}}, 403),
        ("/session/continue", {"headers": {"Origin": "http://[", "X-CSRF-TOKEN": "{token}"}}, 403),
        ("/session/continue", {"headers": {"Sec-Fetch-Site": "cross-site", "X-CSRF-TOKEN": "{token}"}}, 403),
        ("/session/continue", {"data": {"csrf_token": "{token}", "more": "x" * 70_000}}, 413),
    ],
)
def test_what_is_refused_exchanges_nothing(browser: Make, path: str, options: dict[str, Any], status: int) -> None:
    ingrid = browser("ingrid", "streamer")
    token = ingrid.token()
    filled = {
        where: {name: value.replace("{token}", token) for name, value in fields.items()}
        for where, fields in options.items()
    }
    before = ingrid.cookie("__Secure-refresh", "/session")
    answer = ingrid.client.post(path, base_url=SITE, **filled)
    assert answer.status_code == status
    assert not answer.headers.getlist("Set-Cookie")
    assert ingrid.cookie("__Secure-refresh", "/session") == before
    assert ingrid.get("/session/continue").status_code == 204, "and the token still counts"


def test_where_a_link_leads_is_judged_before_the_token_is_exchanged(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    answer = ingrid.get("/session/continue", query_string={"next": "//["})
    assert answer.location == "/dashboard"
    assert ingrid.get(answer.location).status_code == 200, "nobody was signed out by a link"


@pytest.mark.parametrize("path", ELSEWHERE)
def test_no_link_to_us_leads_elsewhere(browser: Make, visitor: Browser, path: str) -> None:
    ingrid = browser("ingrid", "streamer")
    assert ingrid.get("/session", query_string={"next": path}).location == "/dashboard"
    assert ingrid.sign_in(next=path).location == "/dashboard"
    assert ingrid.get("/session/continue", query_string={"next": path}).location == "/dashboard"


def test_a_page_that_needs_a_user_comes_after_signing_in(browser: Make, visitor: Browser) -> None:
    wanted = "/streams?said=changed"
    led = visitor.get(wanted)
    assert led.status_code == 307
    asked = visitor.get(led.location)
    assert asked.status_code == 303
    form = visitor.get(asked.location)
    assert f'name="next" value="{wanted}"' in form.text
    assert browser("ingrid", "streamer").sign_in(next=wanted).location == wanted


def test_an_expired_access_token_is_renewed_on_the_way(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    expire(ingrid)
    led = ingrid.get("/dashboard")
    assert led.location == "/session/continue?next=/dashboard"
    back = ingrid.get(led.location)
    assert back.location == "/dashboard"
    assert ingrid.get(back.location).status_code == 200


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "expired"])
def test_signing_in_goes_on_by_itself(browser: Make, gone: bool) -> None:
    ingrid = browser("ingrid", "streamer")
    if gone:
        ingrid.client.delete_cookie("__Host-access", domain="streams.test")
    else:
        expire(ingrid)
    led = ingrid.get("/session?next=/streams")
    assert (led.status_code, led.location) == (307, "/session/continue?next=/streams")
    assert ingrid.get(led.location).location == "/streams"
    assert ingrid.get("/streams").status_code == 200
    assert ingrid.get("/session").location == "/dashboard", "it is not asked for twice"


def test_a_session_that_is_over_is_asked_for_the_password_once(browser: Make, visitor: Browser) -> None:
    ingrid = browser("ingrid", "streamer")
    logins.revoke_all(accounts.known("ingrid"))
    led = ingrid.get("/session?next=/streams")
    assert led.location == "/session/continue?next=/streams"
    asked = ingrid.get(led.location)
    assert asked.location == "/session?next=/streams&said=over"
    assert "Your session is over" in ingrid.get(asked.location).text
    assert ingrid.get("/session").status_code == 200, "the cookies are gone"
    # Whatever a browser makes of the cookies: who was told that it is over is not led round.
    ingrid.client.set_cookie("__Secure-refresh", "stale", domain="streams.test", path="/session", secure=True)
    assert ingrid.get(asked.location).status_code == 200
    assert visitor.get("/session").status_code == 200


def test_a_form_that_was_open_for_long_arrives(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    fields = {"slug": "written-for-long", "csrf_token": ingrid.token()}
    expire(ingrid)
    led = ingrid.send("/streams", fields)
    assert led.status_code == 307
    back = ingrid.send(led.location, fields)
    assert (back.status_code, back.location) == (307, "/streams")
    assert ingrid.send(back.location, fields).status_code == 201


def test_a_form_without_its_token_is_not_renewed_either(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    expire(ingrid)
    assert ingrid.send("/streams", {"slug": "forged"}).status_code == 403
    assert ingrid.send("/session/continue?next=/streams", {"slug": "forged"}).status_code == 403


def test_a_script_keeps_the_session_alive(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    token = ingrid.token()
    before = ingrid.cookie("__Secure-refresh", "/session")
    answer = ingrid.send("/session/continue", headers={"X-CSRF-TOKEN": token})
    assert answer.status_code == 204
    assert ingrid.cookie("__Secure-refresh", "/session") != before
    assert ingrid.token() == token, "a form that is open in another tab can still be sent"
    assert ingrid.send("/session/continue").status_code == 403


def test_a_second_tab_goes_on_and_a_thief_ends_it(browser: Make, pass_time: Callable[[float], None]) -> None:
    ingrid = browser("ingrid", "streamer")
    stolen = ingrid.cookie("__Secure-refresh", "/session")
    assert ingrid.get("/session/continue").status_code == 204
    newest = ingrid.cookie("__Secure-refresh", "/session")
    ingrid.client.set_cookie("__Secure-refresh", stolen, domain="streams.test", path="/session", secure=True)
    answer = ingrid.get("/session/continue")
    assert answer.status_code == 204
    assert [line.partition("=")[0] for line in answer.headers.getlist("Set-Cookie")] == ["__Host-access"]
    pass_time(60)
    assert ingrid.get("/session/continue").status_code == 401
    ingrid.client.set_cookie("__Secure-refresh", newest, domain="streams.test", path="/session", secure=True)
    assert ingrid.get("/session/continue").status_code == 401
    assert ingrid.get("/dashboard").status_code == 307


def test_a_part_of_a_page_leads_the_whole_page_to_sign_in(visitor: Browser) -> None:
    answer = visitor.get("/session/continue?next=/dashboard/live", headers={"HX-Request": "true"})
    assert answer.status_code == 204
    assert answer.headers["HX-Redirect"] == "/session?next=/dashboard"


def test_signing_out_needs_a_form_of_ours(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    assert ingrid.get("/session/end").status_code == 405
    assert ingrid.send("/session/end").status_code == 403
    assert ingrid.get("/dashboard").status_code == 200


def test_after_signing_out_nothing_counts_any_more(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    access, refresh = ingrid.cookie("__Host-access"), ingrid.cookie("__Secure-refresh", "/session")
    answer = ingrid.post("/session/end")
    assert answer.location == "/session?said=out"
    assert "signed out" in ingrid.get(answer.location).text
    assert not ingrid.cookie("__Host-access")
    assert not ingrid.cookie("__Secure-refresh", "/session")
    ingrid.client.set_cookie("__Host-access", access, domain="streams.test", secure=True)
    ingrid.client.set_cookie("__Secure-refresh", refresh, domain="streams.test", path="/session", secure=True)
    assert ingrid.get("/dashboard").status_code == 307
    assert ingrid.get("/session/continue").status_code == 401


def test_attempts_by_page_and_by_api_share_one_limit(environment: dict[str, str]) -> None:
    from flask_migrate import upgrade
    from orchestrator import create_app

    app = create_app(from_environment(environment | {"LOGIN_RATE_LIMIT_PER_MINUTE": "2"}))
    with app.app_context():
        upgrade()
        browser = Browser(app.test_client(), "nobody", "x")
        assert browser.sign_in().status_code == 401
        wrong = {"name": "nobody", "password": "y"}
        assert browser.client.post("/api/v1/auth/login", json=wrong).status_code == 401
        refused = browser.sign_in(password="z")
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.mimetype == "text/html"
        assert browser.get("/").status_code == 200
        db.session.remove()
        db.engine.dispose()


def test_a_cookie_is_no_bearer_and_a_bearer_no_cookie(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    assert ingrid.get("/api/v1/auth/me").status_code == 401
    bearer = {"Authorization": f"Bearer {ingrid.cookie('__Host-access')}"}
    ingrid.client.delete_cookie("__Host-access", domain="streams.test")
    assert ingrid.get("/dashboard", headers=bearer).status_code == 307


def test_who_is_disabled_is_out_at_once(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    user = accounts.known("ingrid")
    accounts.disable(user)
    assert ingrid.get("/dashboard").status_code == 307
    assert not logins.of(user)
