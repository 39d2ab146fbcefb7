"""Which page is for whom, what no page may hold, and how errors look."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from browsers import Browser
from flask import Flask
from flask.testing import FlaskClient
from orchestrator.people import accounts
from orchestrator.streams import keys

Make = Callable[[str, str], Browser]
PAGES = {
    "/dashboard": {"admin", "streamer", "auditor"},
    "/dashboard/live": {"admin", "streamer", "auditor"},
    "/streams": {"admin", "streamer", "auditor"},
    "/new-stream": {"admin", "streamer"},
    "/streams/theirs": {"admin", "auditor"},
    "/streams/theirs/rotate": {"admin"},
    "/streams/theirs/revoke": {"admin"},
    "/streams/theirs/delete": {"admin"},
    "/streams/theirs/invitations": {"admin"},
    "/streams/theirs/relays": {"admin", "auditor"},
    "/users": {"admin", "auditor"},
    "/users/somebody": {"admin", "auditor"},
    "/users/somebody/disable": {"admin"},
    "/account": {"admin", "streamer", "auditor"},
    "/reports": {"admin", "auditor"},
}
FORMS = {
    "/streams": {"admin", "streamer"},
    "/streams/theirs": {"admin"},
    "/streams/theirs/rotate": {"admin"},
    "/streams/theirs/revoke": {"admin"},
    "/streams/theirs/invitations/withdraw": {"admin"},
    "/streams/theirs/relays": {"admin"},
    "/users": {"admin"},
    "/users/somebody/role": {"admin"},
    "/users/somebody/disable": {"admin"},
    "/users/somebody/reset": {"admin"},
    "/users/somebody/delete": {"admin"},
    "/account/sign-out-everywhere": {"admin", "streamer", "auditor"},
}


@pytest.fixture
def theirs(app: Flask) -> str:
    """The secret of a stream that belongs to somebody."""
    somebody, _ = accounts.create("somebody", "streamer")
    return keys.create("theirs", "Private matters", somebody, visibility="private")[1]


@pytest.mark.parametrize("role", ["admin", "streamer", "auditor"])
def test_who_sees_which_page(browser: Make, theirs: str, role: str) -> None:
    looks = browser("who-looks", role)
    for path, roles in PAGES.items():
        answer = looks.get(path)
        assert (answer.status_code == 200) == (role in roles), path
        assert answer.status_code in (200, 403, 404), path
        assert answer.headers["Cache-Control"] == "no-store"
        assert theirs not in answer.text


@pytest.mark.parametrize("role", ["admin", "streamer", "auditor"])
def test_who_may_send_which_form(browser: Make, theirs: str, role: str) -> None:
    sends = browser("who-sends", role)
    token = sends.token()
    for path, roles in FORMS.items():
        answer = sends.send(path, {"csrf_token": token, "role": "auditor"})
        assert (answer.status_code in (200, 201, 303, 422)) == (role in roles), (path, answer.status_code)


@pytest.mark.parametrize("path", [*FORMS, "/account/password", "/session/end", "/streams/theirs/kick"])
def test_a_form_without_its_token_changes_nothing(browser: Make, theirs: str, path: str) -> None:
    admin = browser("the-admin", "admin")
    for fields in ({}, {"csrf_token": "0" * 64}, {"csrf_token": ""}):
        answer = admin.send(path, {"slug": "forged", "name": "forged", "role": "admin"} | fields)
        assert answer.status_code == 403, path
        assert "reload the page" in answer.text
    assert keys.find("forged") is None
    assert accounts.find("forged") is None
    assert keys.admits("theirs", theirs, "198.51.100.7")


@pytest.mark.parametrize("path", [*PAGES, *FORMS])
def test_nobody_sees_a_page_without_signing_in(visitor: Browser, theirs: str, path: str) -> None:
    for answer in (visitor.get(path), visitor.send(path)):
        assert answer.status_code in (307, 405), path
        assert "somebody" not in answer.text.replace(path, "")


def test_no_page_holds_what_the_policy_forbids(browser: Make, theirs: str) -> None:
    admin = browser("the-admin", "admin")
    for path in ["/", "/watch/theirs", "/session", "/nothing", *PAGES]:
        answer = admin.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", answer.text), path
        assert admin.cookie("__Host-access") not in answer.text


def test_a_hostile_title_is_text(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    hostile = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>{{ 7*7 }}"
    assert ingrid.post("/streams", slug="hostile", title=hostile).status_code == 201
    for path in ("/streams", "/streams/hostile", "/watch/hostile"):
        page = ingrid.get(path).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;" in page
        assert "{{ 7*7 }}" in page, "a template is text too"


def test_a_private_title_is_for_who_manages_it(browser: Make, theirs: str, visitor: Browser) -> None:
    assert "Private matters" not in visitor.get("/watch/theirs").text
    assert "Private matters" not in browser("another", "streamer").get("/watch/theirs").text
    assert "Private matters" in browser("the-admin", "admin").get("/watch/theirs").text


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("application/json", "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/json, text/html;q=0.1", "application/problem+json"),
    ],
)
def test_an_error_is_a_page_for_people_alone(client: FlaskClient, accept: str, kind: str) -> None:
    answer = client.get("/nothing", headers={"Accept": accept})
    assert (answer.status_code, answer.content_type.partition(";")[0]) == (404, kind)
    api = client.get("/api/v1/nothing", headers={"Accept": accept})
    assert (api.status_code, api.content_type) == (404, "application/problem+json")


def test_a_failure_of_ours_is_a_page_that_tells_nothing(
    app: Flask, visitor: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> str:
        raise RuntimeError("the secret of the failure")

    monkeypatch.setitem(app.view_functions, "pages.home", breaks)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = visitor.get("/")
    assert answer.status_code == 500
    assert "Something here went wrong" in answer.text
    assert "the secret" not in answer.text


def test_too_large_a_form_is_refused(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    assert ingrid.send("/streams", {"slug": "x" * 70_000}).status_code == 413
