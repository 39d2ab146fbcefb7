"""An orchestrator with a database of its own, as nginx-rtmp, ffmpeg and the proxy see it."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from copy import copy
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from api_clients import Person
from argon2 import PasswordHasher
from browsers import Browser
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from orchestrator import cli, create_app, permissions
from orchestrator.people import accounts, brute_force, logins
from orchestrator.site import events, rate_limits
from orchestrator.site.database import db
from orchestrator.site.settings import Settings, from_environment
from orchestrator.streams import health, keys, refusals, relays, sessions
from peers import MEDIA, PROXY, RELAY, RTMP


def environment_of(database: Path) -> dict[str, str]:
    """What the deployment tells an orchestrator whose database is *database*."""
    return {
        "DATABASE_PATH": str(database),
        "RECORDINGS_PATH": str(database.with_name("recordings")),
        "REPORTS_PATH": str(database.with_name("reports")),
        "JWT_SECRET": secrets.token_hex(32),
        "DATA_KEY": secrets.token_hex(32),
        "ADMIN_PASSWORD": secrets.token_hex(16) + "aA1!",
        "MAX_CONCURRENT_STREAMS": "3",
        "API_RATE_LIMIT_PER_MINUTE": "10000",
        "LOGIN_RATE_LIMIT_PER_MINUTE": "10000",
        "METRICS_PEERS": "10.9.1.0/24",
        "PUBLIC_DOMAIN": "streams.test",
        "RTMP_PEERS": RTMP,
        "MEDIA_PEERS": MEDIA,
        "RELAY_PEERS": RELAY,
        "TRUSTED_PROXY": PROXY,
        "SECURITY_CONTACT": "security@streams.test",
    }


@pytest.fixture
def real_passwords() -> None:
    """Hash passwords as slowly as in production, for a test that is about that."""


@pytest.fixture(autouse=True)
def quick_passwords(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords by the same algorithm, but quickly, because nearly every test signs somebody in."""
    if "real_passwords" not in request.fixturenames:
        quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        monkeypatch.setattr(accounts, "hasher", quick)
        monkeypatch.setattr(accounts, "NOBODY", quick.hash("nobody's"))


@pytest.fixture(scope="session")
def usual_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of all tests that need no other; its folder is empty when a test begins."""
    folder = tmp_path_factory.mktemp("orchestrator") / "data"
    folder.mkdir()
    return environment_of(folder / "database.db")


@pytest.fixture
def environment(usual_environment: dict[str, str]) -> dict[str, str]:
    folder = Path(usual_environment["DATABASE_PATH"]).parent
    shutil.rmtree(folder)
    folder.mkdir()
    return dict(usual_environment)


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database of today's shape; every test gets a copy, because migrating takes as long as most tests."""
    database = tmp_path_factory.mktemp("migrated") / "database.db"
    with create_app(from_environment(environment_of(database))).app_context():
        upgrade()
        db.engine.dispose()
    return database


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    return from_environment(environment)


@pytest.fixture(scope="session")
def shared_app(usual_environment: dict[str, str]) -> Callable[[], Flask]:
    """Give the one application of all tests with the usual settings, because making one takes longer than most tests.

    All that it remembers is forgotten, but how many requests it answered: whoever counts those makes an own one.
    """
    settings = from_environment(usual_environment)
    app = create_app(settings)
    config, never_asked = dict(app.config), app.extensions["streamkeep_readiness"]
    # From its first request on, Flask refuses handlers that later tests would have to live with.
    app.test_client().get("/healthz")

    def as_made() -> Flask:
        app.config.clear()
        app.config.update(config)
        app.extensions["streamkeep_readiness"] = copy(never_asked)
        # These two are the process's; a test may have pointed them elsewhere.
        rate_limits.limiter.init_app(app)
        events.configure(settings.log_level, settings.log_file)
        app.logger.handlers = events.log.handlers
        return app

    return as_made


@pytest.fixture
def app(
    settings: Settings, usual_environment: dict[str, str], shared_app: Callable[[], Flask], migrated_database: Path
) -> Iterator[Flask]:
    app = shared_app() if settings == from_environment(usual_environment) else create_app(settings)
    shutil.copy(migrated_database, settings.database_path)
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def alice_secret(app: Flask) -> str:
    """The secret of `alice`."""
    return keys.create("alice")[1]


@pytest.fixture
def rtmp_callback(client: FlaskClient) -> Callable[..., int]:
    """Call back as nginx-rtmp does and return the status."""

    def send(what: str, peer: str = RTMP, **fields: Any) -> int:
        form = {"call": what, "app": "live", "addr": "198.51.100.7", "clientid": "1"} | fields
        return client.post(f"/internal/rtmp/{what}", data=form, environ_base={"REMOTE_ADDR": peer}).status_code

    return send


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let some seconds pass."""
    offset = [timedelta()]

    def pass_by(seconds: float) -> None:
        offset[0] += timedelta(seconds=seconds)

    real = sessions.now

    def shifted() -> datetime:
        return real() + offset[0]

    for module in (accounts, brute_force, cli, health, keys, logins, permissions, refusals, relays, sessions):
        monkeypatch.setattr(module, "now", shifted)
    return pass_by


@pytest.fixture
def person(app: Flask) -> Callable[[str, str], Person]:
    """Make a user by name and role, signed in with a client of their own."""

    def make(name: str, role: str) -> Person:
        _, password = accounts.create(name, role)
        return Person(app.test_client(), name, password).sign_in()

    return make


@pytest.fixture
def admin(person: Callable[[str, str], Person]) -> Person:
    return person("root-admin", "admin")


@pytest.fixture
def streamer(person: Callable[[str, str], Person]) -> Person:
    return person("streamer-one", "streamer")


@pytest.fixture
def auditor(person: Callable[[str, str], Person]) -> Person:
    return person("auditor-one", "auditor")


@pytest.fixture
def browser(app: Flask) -> Callable[[str, str], Browser]:
    """Make a user by name and role, signed in with a browser of their own."""

    def make(name: str, role: str) -> Browser:
        _, password = accounts.create(name, role)
        made = Browser(app.test_client(), name, password)
        assert made.sign_in().status_code == 303
        return made

    return make


@pytest.fixture
def visitor(app: Flask) -> Browser:
    """A browser in which nobody is signed in."""
    return Browser(app.test_client())
