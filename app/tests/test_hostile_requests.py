"""Whatever bytes arrive, of whatever size: 4xx in the one shape of errors, never 5xx."""

from __future__ import annotations

import json

import pytest
from api_clients import Person
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

DEEP = "[" * 30_000 + "]" * 30_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"NaN",
        b'{"name": NaN, "password": Infinity}',
        b'{"name": "\\ud800", "password": "x"}',
        b"\xff\xfe\x00",
        b"\x00" * 100,
        b'{"name": 1e999, "password": "x"}',
        b'{"name": ' + b"9" * 5000 + b', "password": "x"}',
        b'{"name": "x", "password": "' + b"y" * 70_000 + b'"}',
        DEEP.encode(),
        b'{"name": "a", "name": "b"}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_broken_body_is_a_client_error(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/api/v1/auth/login", data=body, content_type="application/json")
    assert 400 <= answer.status_code < 500
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == answer.status_code


@pytest.mark.parametrize("content_type", ["text/xml", "application/x-www-form-urlencoded", "", "a/b;c=\x7f", "x" * 999])
def test_another_content_type_is_a_client_error(client: FlaskClient, content_type: str) -> None:
    body = json.dumps({"name": "x", "password": "y"})
    assert 400 <= client.post("/api/v1/auth/login", data=body, content_type=content_type).status_code < 500


@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(name=st.text(max_size=300), password=st.text(max_size=300))
def test_any_name_and_password_is_refused(client: FlaskClient, name: str, password: str) -> None:
    answer = client.post("/api/v1/auth/login", json={"name": name, "password": password})
    assert answer.status_code in (401, 422)


@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(token=st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=300))
def test_any_token_is_refused(client: FlaskClient, token: str) -> None:
    for header in (f"Bearer {token}", token, f"Basic {token}"):
        assert client.get("/api/v1/auth/me", headers={"Authorization": header}).status_code == 401


@how(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(path=st.binary(max_size=120))
def test_any_path_is_a_client_error(streamer: Person, path: bytes) -> None:
    quoted = "".join(f"%{byte:02x}" for byte in path)
    for prefix in ("/keys/x", "/streams/x", "/users/x"):
        assert 400 <= streamer.get(prefix + quoted).status_code < 500


@pytest.mark.parametrize("method", ["PUT", "TRACE", "PROPFIND", "DELETE"])
def test_another_method_is_a_client_error(client: FlaskClient, method: str) -> None:
    answer = client.open("/api/v1/auth/login", method=method)
    assert answer.status_code == 405
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Allow"]


def test_a_name_that_forges_a_line_stays_one_line(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    from orchestrator.site import events

    events.configure("INFO")
    forged = (
        'x", "client": "192.0.2.66"}\r\n{"time": "now", "event": "login", "result": "failed", "client": "192.0.2.66'
    )
    client.post("/api/v1/auth/login", json={"name": forged[:64], "password": "x"})
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert list(told)[:5] == ["time", "level", "event", "result", "client"]
    assert (told["event"], told["result"], told["client"]) == ("login", "failed", "127.0.0.1")


def test_a_password_typed_as_the_name_is_not_logged(
    client: FlaskClient, streamer: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.site import events

    events.configure("INFO")
    for name in (streamer.password, streamer.name):
        client.post("/api/v1/auth/login", json={"name": name, "password": "x"})
        client.post("/session", data={"name": name, "password": "x"})
    said = capsys.readouterr().out
    assert [json.loads(line)["user"] for line in said.splitlines()] == [None, None, streamer.name, streamer.name]
    assert streamer.password not in said
