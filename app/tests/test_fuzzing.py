"""Whatever is sent to any page with any header: an answer under 500, and nobody is signed out by what was refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from browsers import SITE, Browser
from flask import Flask
from hypothesis import HealthCheck, example, given
from hypothesis import settings as how
from hypothesis import strategies as st
from orchestrator.models import Login
from orchestrator.people import accounts, logins
from orchestrator.site.database import db
from orchestrator.streams import keys
from sqlalchemy import select
from werkzeug.datastructures import Headers

ODD = [
    "",
    "[",
    "//[",
    "http://[",
    "http://[::1",
    "\\",
    "%",
    "%zz",
    "\x85",
    "null",
    "0",
    "-1",
    "9" * 400,
    "..",
    "a" * 300,
]
ODD += ["'\"<>", "{{7*7}}", "*/*;q=", "a;q=x, text/html", "bytes=0-", "é", "\u2028", "alice", "text/html", "cross-site"]
texts = st.one_of(st.sampled_from(ODD), st.text(st.characters(codec="utf-8"), max_size=60))
# What a header may hold: no line ends (servers refuse them), and ISO 8859-1.
header_texts = st.one_of(
    st.sampled_from([odd for odd in ODD if odd.isascii()]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60),
)
HEADERS = [
    "Origin",
    "Sec-Fetch-Site",
    "Accept",
    "Cookie",
    "Host",
    "Content-Type",
    "X-CSRF-TOKEN",
    "HX-Request",
    "Range",
]
HEADERS += ["X-Forwarded-For", "X-Forwarded-Proto", "X-Request-ID", "Authorization", "If-None-Match", "Accept-Language"]
HEADERS += ["If-Modified-Since", "Content-Length", "Referer", "X-Slug", "X-Viewing", "Transfer-Encoding", "If-Range"]
FIELDS = ["next", "said", "name", "password", "role", "slug", "title", "visibility", "record", "expires_at", "sources"]
FIELDS += [
    "max_height",
    "max_minutes",
    "minutes",
    "server",
    "stream_key",
    "current",
    "new",
    "again",
    "invitation",
    "addr",
]
WORKING = {"slug": "alice", "name": "bob"}  # what lets an address lead somewhere
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]

fields = st.dictionaries(st.sampled_from(FIELDS), texts, max_size=5)
headers = st.dictionaries(st.sampled_from(HEADERS), header_texts, max_size=4)


@pytest.fixture
def anna(app: Flask) -> Browser:
    """An admin in front of pages that exist; what she wants often is quick, because no password is ever hashed."""
    accounts.create("bob", "streamer")
    keys.create("alice", visibility="private")
    _, password = accounts.create("anna", "admin")
    browser = Browser(app.test_client(), "anna", password)
    assert browser.sign_in().status_code == 303
    return browser


def refresh_ids() -> list[tuple[str, bool]]:
    """What the refresh tokens are, and whether they count."""
    db.session.expire_all()
    found = [(login.refresh_id, login.revoked_at is None) for login in db.session.scalars(select(Login))]
    db.session.commit()
    return found


def again(browser: Browser, access: bool) -> None:
    """Sign *browser* in anew where something did sign it out; without *access* by the refresh token alone."""
    user = accounts.find(browser.name) or accounts.create(browser.name, "admin")[0]
    user.role = "admin"
    accounts.enable(user)
    from orchestrator.people import tokens

    with browser.client.application.test_request_context(base_url=SITE):
        pair = tokens.issue(logins.begin(user))
    browser.client.set_cookie("__Secure-refresh", pair.refresh, domain="streams.test", path="/session", secure=True)
    browser.client.set_cookie("__Host-access", pair.access if access else "", domain="streams.test", secure=True)


@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(data=st.data(), method=st.sampled_from(METHODS), sent=fields, asked=fields, said=headers, access=st.booleans())
def test_any_request_to_any_address_gets_an_answer(
    app: Flask,
    anna: Browser,
    data: st.DataObject,
    method: str,
    sent: dict[str, str],
    asked: dict[str, str],
    said: dict[str, str],
    access: bool,
) -> None:
    again(anna, access)
    rule = data.draw(st.sampled_from(sorted(app.url_map.iter_rules(), key=str)), "rule")
    values = {name: data.draw(st.one_of(st.just(WORKING.get(name, "x")), texts), name) for name in rule.arguments}
    with app.test_request_context(base_url=SITE):
        try:
            path = app.url_map.bind("streams.test").build(rule.endpoint, values, method=next(iter(rule.methods)))
        except Exception:  # a value that no address can hold
            path = "/" + "/".join(values.values())
    before = refresh_ids()
    answer = send(anna, method, path, sent, asked, said)
    assert answer.status_code < 500, (method, path)
    if answer.status_code >= 400:
        assert set(refresh_ids()) == set(before), (method, path, answer.status_code)


def send(browser: Browser, method: str, path: str, sent: Any, asked: Any, said: dict[str, str]) -> Any:
    """Send what no well-behaved client would, and let the server judge it."""
    given_headers = Headers({"Sec-Fetch-Site": "same-origin", "Accept": "text/html"})
    given_headers.update(said)
    return browser.client.open(
        path, method=method, base_url=SITE, data=sent, query_string=asked, headers=given_headers, follow_redirects=False
    )


@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(wanted=texts, said=headers, access=st.booleans(), path=st.sampled_from(["/session", "/session/continue"]))
@example(wanted="//[", said={}, access=False, path="/session/continue")
@example(wanted="", said={"Origin": "http://["}, access=True, path="/session")
@example(wanted="", said={"Host": "["}, access=True, path="/session")
def test_no_link_and_no_header_signs_anybody_out(
    anna: Browser, wanted: str, said: dict[str, str], access: bool, path: str
) -> None:
    again(anna, access)
    said.pop("Cookie", None)
    before = dict(refresh_ids())
    answer = send(anna, "GET", path, None, {"next": wanted}, said)
    assert answer.status_code < 500
    after = dict(refresh_ids())
    assert list(before.values()) == list(after.values()), "no login has ended"
    if answer.status_code >= 400 or answer.status_code == 200:
        assert after == before
    elif path == "/session/continue" and after != before:
        assert anna.get("/dashboard").status_code == 200, "what was exchanged arrived"


def test_the_fuzz_reaches_pages_and_the_api(anna: Browser, browser: Callable[[str, str], Browser]) -> None:
    for path in ("/dashboard", "/streams/alice", "/users/bob"):
        assert send(anna, "GET", path, None, None, {}).status_code == 200
    assert send(anna, "POST", "/users/bob/role", {"role": "auditor"}, None, {}).status_code == 403, "the token lacks"
