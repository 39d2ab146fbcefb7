"""Pages, health and errors."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from orchestrator.__main__ import prepare
from orchestrator.people import accounts
from peers import PROXY


def test_home_names_who_is_live(client: FlaskClient, rtmp_callback: Callable[..., int], alice_secret: str) -> None:
    assert "Nobody is streaming" in client.get("/").text
    rtmp_callback("publish", name="alice", key=alice_secret)
    page = client.get("/").text
    assert 'href="/watch/alice"' in page
    assert alice_secret not in page


def test_the_player_knows_its_playlist(client: FlaskClient, alice_secret: str) -> None:
    page = client.get("/watch/alice")
    assert 'data-playlist="/hls/alice/index.m3u8"' in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert "style=" not in page.text


@pytest.mark.parametrize("path", ["/watch/nobody", "/watch/a", "/watch/..%2f..", "/nothing", "/watch/%00%00%00"])
def test_what_is_not_there_is_told_as_a_problem(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == 404


def test_security_txt_says_whom_to_tell(client: FlaskClient) -> None:
    assert "Contact: mailto:security@streams.test" in client.get("/.well-known/security.txt").text


def test_the_client_is_whom_the_proxy_names(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setitem(app.view_functions, "health.alive", lambda: seen.append(request.remote_addr) or "")

    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    client.get("/healthz", headers=forwarded, environ_base={"REMOTE_ADDR": PROXY})
    client.get("/healthz", headers=forwarded, environ_base={"REMOTE_ADDR": "10.9.0.77"})
    assert seen == ["203.0.113.9", "10.9.0.77"]


@pytest.mark.usefixtures("real_passwords")
def test_starting_makes_the_admin_and_keeps_up_with_the_deployed_password(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for password in ("A horse 4 a stem", "Bright 2 be a bee"):
        for name, value in (environment | {"ADMIN_PASSWORD": password}).items():
            monkeypatch.setitem(os.environ, name, value)
        prepare()
    from orchestrator import create_app
    from orchestrator.site.database import db

    with create_app().app_context():
        admin = accounts.find("admin")
        assert admin
        assert admin.role == "admin"
        assert accounts.verifies(admin, "Bright 2 be a bee")
        assert not accounts.verifies(admin, "A horse 4 a stem")
        assert admin.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        db.engine.dispose()


def test_the_migrations_make_the_tables_that_the_models_mean(app: Flask) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from orchestrator.site.database import db

    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), db.metadata) == []


def test_nothing_of_ours_is_fetched_from_elsewhere() -> None:
    root = Path(__file__).parents[1] / "orchestrator"
    for file in [*root.glob("templates/*"), *root.glob("static/*.js"), *root.glob("static/*.css")]:
        assert "https://" not in file.read_text(encoding="utf-8"), file


def test_what_an_earlier_version_kept_is_kept(app: Flask) -> None:
    from flask_migrate import downgrade, upgrade
    from orchestrator.site.database import db
    from orchestrator.streams import keys
    from sqlalchemy import text

    downgrade(revision="0001")
    columns = "INSERT INTO stream_keys (id, slug, key_hash, title, created_at) "
    db.session.execute(text(columns + "VALUES (1, 'alice', 'hash', 'Alice', '2026-01-01 00:00:00')"))
    db.session.commit()
    upgrade()
    key = keys.known("alice")
    assert (key.title, key.visibility, key.sources, key.record, key.owner) == ("Alice", "public", [], False, None)
    assert len(key.viewing_salt) == 32
    assert keys.create("bob")[0].viewing_salt != key.viewing_salt
