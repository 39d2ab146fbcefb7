"""Recordings are listed, handed out by the proxy, and deleted by whoever may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from orchestrator.people import accounts
from orchestrator.site.settings import Settings
from orchestrator.streams import keys, recordings
from peers import reported

Headers = Callable[[str], dict[str, str]]
FIRST, SECOND = "2026-11-24T23-55-02Z.mp4", "2026-11-25T00-10-00Z.mp4"


@pytest.fixture
def disk(app: Flask, settings: Settings) -> Path:
    """Two recordings of ann, one of bob, and things that are none."""
    root = settings.recordings_path
    for slug, name, size in (("ann-show", FIRST, 10), ("ann-show", SECOND, 20), ("bob-show", FIRST, 30)):
        (root / slug).mkdir(parents=True, exist_ok=True)
        (root / slug / name).write_bytes(b"x" * size)
    for name in ("notes.txt", "2026-99-99T00-00-00Z.mp4", ".2026-11-24T23-55-02Z.mp4"):
        (root / "ann-show" / name).touch()
    for name in ("ann", "bob"):
        keys.create(f"{name}-show", owner=accounts.create(name, "streamer")[0])
    accounts.create("boss", "admin")
    accounts.create("checker", "auditor")
    return root


@pytest.fixture
def as_(client: FlaskClient) -> Headers:
    def headers(name: str) -> dict[str, str]:
        password = accounts.set_password(accounts.known(name))
        answer = client.post("/api/v1/auth/login", json={"name": name, "password": password})
        return {"Authorization": f"Bearer {answer.json['access_token']}"}

    return headers


def discards(client: FlaskClient) -> list[str]:
    return list(reported(client)["discards"])


def test_everybody_sees_what_is_theirs(client: FlaskClient, disk: Path, as_: Headers) -> None:
    answer = client.get("/api/v1/recordings", headers=as_("ann"))
    assert answer.json == [
        {"slug": "ann-show", "file": SECOND, "started_at": "2026-11-25T00:10:00+00:00", "size": 20},
        {"slug": "ann-show", "file": FIRST, "started_at": "2026-11-24T23:55:02+00:00", "size": 10},
    ]
    for name in ("boss", "checker"):
        assert len(client.get("/api/v1/recordings", headers=as_(name)).json) == 3
    assert client.get("/api/v1/recordings").status_code == 401


def test_the_proxy_hands_it_out(client: FlaskClient, disk: Path, as_: Headers) -> None:
    answer = client.get(f"/api/v1/recordings/ann-show/{FIRST}", headers=as_("ann"))
    assert answer.status_code == 200
    assert answer.headers["X-Accel-Redirect"] == f"/recordings/ann-show/{FIRST}"
    assert answer.mimetype == "video/mp4"
    assert answer.data == b""


@pytest.mark.parametrize(
    "path",
    [
        f"bob-show/{FIRST}",
        "ann-show/notes.txt",
        "ann-show/2026-11-26T00-00-00Z.mp4",
        f"ann-show/.{FIRST}",
        f"nobody/{FIRST}",
        f"..%2fbob-show/{FIRST}",
        "ann-show/..%2f..%2f..%2fetc%2fpasswd",
        f"ann-show/{FIRST}%0a",
    ],
)
def test_what_is_not_yours_or_not_there_is_404(client: FlaskClient, disk: Path, as_: Headers, path: str) -> None:
    headers = as_("ann")
    for call in (client.get, client.delete):
        answer = call(f"/api/v1/recordings/{path}", headers=headers)
        assert answer.status_code == 404
        assert "X-Accel-Redirect" not in answer.headers
    assert discards(client) == []


def test_what_is_deleted_is_not_shown_any_more(client: FlaskClient, disk: Path, as_: Headers) -> None:
    address = f"/api/v1/recordings/ann-show/{FIRST}"
    assert client.delete(address, headers=as_("checker")).status_code == 403
    headers = as_("ann")
    assert client.delete(address, headers=headers).status_code == 204
    assert discards(client) == [f"ann-show/{FIRST}"]
    assert client.get(address, headers=headers).status_code == 404
    assert client.delete(address, headers=headers).status_code == 404
    assert [found["file"] for found in client.get("/api/v1/recordings", headers=headers).json] == [SECOND]
    recordings.forget_discarded(disk)
    assert discards(client) == [f"ann-show/{FIRST}"], "the supervisor has not removed it yet"
    (disk / "ann-show" / FIRST).unlink()
    recordings.forget_discarded(disk)
    assert discards(client) == []


def test_a_deleted_key_takes_its_recordings_along(client: FlaskClient, disk: Path, as_: Headers) -> None:
    assert client.delete("/api/v1/keys/ann-show", headers=as_("ann")).status_code == 204
    assert discards(client) == [f"ann-show/{FIRST}", f"ann-show/{SECOND}"]
    headers = as_("bob")
    client.post("/api/v1/keys", json={"slug": "ann-show"}, headers=headers)
    found = client.get("/api/v1/recordings", headers=headers).json
    assert [recording["slug"] for recording in found] == ["bob-show"], "who has the name now sees nothing of before"


def test_a_stream_that_was_never_recorded_has_none(client: FlaskClient, disk: Path, as_: Headers) -> None:
    accounts.create("carol", "streamer")
    keys.create("carol-show", owner=accounts.known("carol"))
    assert client.get("/api/v1/recordings", headers=as_("carol")).json == []


def test_a_long_list_comes_in_pages(client: FlaskClient, disk: Path, as_: Headers) -> None:
    for minute in range(60):
        (disk / "ann-show" / f"2026-11-23T10-{minute:02}-00Z.mp4").touch()
    headers = as_("ann")
    pages = [client.get(f"/api/v1/recordings?page={page}", headers=headers).json for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [50, 12, 0]
    files = [recording["file"] for page in pages for recording in page]
    assert files == sorted(files, reverse=True)
    assert len(set(files)) == 62
    assert len(client.get("/api/v1/recordings?size=2", headers=headers).json) == 2
    assert client.get("/api/v1/recordings?size=201", headers=headers).status_code == 422
    assert recordings.of([keys.known("ann-show")], disk, 3) == ([], 62)
