"""What is changed of an account is saved at once, not with whatever is saved next."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from api_clients import Person
from browsers import Browser
from flask import Flask
from flask.testing import FlaskClient
from orchestrator import cli
from orchestrator.models import User
from orchestrator.people import accounts
from orchestrator.site.database import db
from orchestrator.site.settings import Settings


@pytest.mark.parametrize(
    ("change", "shows"),
    [
        (lambda user: accounts.set_password(user, "Another-one-2026!"), lambda user: "Another-one-2026!"),
        (lambda user: accounts.set_role(user, "auditor"), lambda user: user.role == "auditor"),
        (accounts.disable, lambda user: user.disabled_at is not None),
        (lambda _user: accounts.ensure_admin("ann", "Another-one-2026!"), lambda user: user.deployed_hash is not None),
    ],
    ids=["password", "role", "disabled", "deployed"],
)
def test_a_change_is_saved(app: Flask, change: Callable[[User], object], shows: Callable[[User], object]) -> None:
    accounts.create("boss", "admin")
    user, _ = accounts.create("ann", "streamer")
    change(user)
    db.session.rollback()
    shown = shows(accounts.known("ann"))
    assert accounts.authenticate("ann", shown) if isinstance(shown, str) else shown


@pytest.fixture
def lock_held_while_hashing(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[list[bool]]:
    """Whether the write lock was held, one entry for each hash that was really made or compared."""
    held = []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            with closing(sqlite3.connect(settings.database_path, timeout=0, isolation_level=None)) as other:
                try:
                    other.execute("BEGIN IMMEDIATE")
                    held.append(False)
                except sqlite3.OperationalError:
                    held.append(True)
            return getattr(real, name)

    real = accounts.hasher
    monkeypatch.setattr(accounts, "hasher", Watched())
    yield held


NEW = "quite-Another-1-secret"


@pytest.mark.parametrize(
    ("act", "hashes"),
    [
        (lambda p, b, form: p.sign_in(), 1),
        (lambda p, b, form: p.client.post("/api/v1/auth/login", json={"name": "nobody", "password": "x"}), 1),
        (lambda p, b, form: p.ask("PUT", "/auth/password", json={"current": p.password, "new": NEW}), 2),
        (lambda p, b, form: p.post("/users", json={"name": "bob", "role": "streamer"}), 1),
        (lambda p, b, form: p.post("/users/ann/password"), 1),
        (lambda p, b, form: b.sign_in(), 1),
        (lambda p, b, form: b.send("/session", {"name": "nobody", "password": "x"}), 1),
        (lambda p, b, form: b.send("/account/password", {"current": b.password, "new": NEW, "again": NEW} | form), 2),
        (lambda p, b, form: b.send("/users", {"name": "bob", "role": "streamer"} | form), 1),
        (lambda p, b, form: b.send("/users/ann/reset", form), 1),
        (
            lambda p, b, form: p.client.application.test_cli_runner().invoke(
                cli.group, "user create bob --role auditor"
            ),
            1,
        ),
        (lambda p, b, form: p.client.application.test_cli_runner().invoke(cli.group, "user reset-password ann"), 1),
        (lambda p, b, form: accounts.ensure_admin("new-admin", NEW), 1),
        (lambda p, b, form: (accounts.ensure_admin("ann", NEW), accounts.ensure_admin("ann", NEW)), 2),
        (lambda p, b, form: (accounts.ensure_admin("ann", NEW), accounts.ensure_admin("ann", NEW + "2")), 3),
    ],
)
def test_nobody_waits_for_a_password_to_be_hashed(
    app: Flask,
    admin: Person,
    browser: Callable[[str, str], Browser],
    lock_held_while_hashing: list[bool],
    act: Callable[[Person, Browser, dict[str, str]], object],
    hashes: int,
) -> None:
    accounts.create("ann", "streamer")
    ines = browser("ines", "admin")
    form = {"csrf_token": ines.token()}
    db.session.commit()  # all requests of a test share one session; what follows begins as a request of its own
    lock_held_while_hashing.clear()
    act(admin, ines, form)
    assert lock_held_while_hashing == [False] * hashes


def test_whoever_takes_a_name_meanwhile_has_it(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile(monkeypatch, lambda: accounts.create("bob", "auditor"))
    with pytest.raises(accounts.AccountProblem, match="bob exists already"):
        accounts.create("bob", "streamer")
    assert accounts.known("bob").role == "auditor"


def test_a_password_that_was_replaced_meanwhile_signs_nobody_in(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts.create("bob", "streamer", NEW)
    meanwhile(monkeypatch, lambda: accounts.set_password(accounts.known("bob")))
    assert accounts.authenticate("bob", NEW) is None


def test_whoever_is_deleted_meanwhile_stays_away(app: Flask, client: FlaskClient, admin: Person) -> None:
    for act in (
        lambda: accounts.authenticate("bob", NEW),
        lambda: accounts.set_password(accounts.known("bob")),
    ):
        accounts.create("bob", "streamer", NEW)
        with pytest.MonkeyPatch.context() as patch:
            meanwhile(patch, lambda: accounts.delete(accounts.known("bob")))
            try:
                assert act() is None
            except accounts.AccountProblem as problem:
                assert "There is no user 'bob'" in str(problem)
        assert accounts.find("bob") is None


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let *act* happen once, while the next password is hashed or compared."""

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            monkeypatch.setattr(accounts, "hasher", real)
            act()
            return getattr(real, name)

    real = accounts.hasher
    monkeypatch.setattr(accounts, "hasher", Interrupted())


@pytest.mark.parametrize("password", ["", " ", "short", "x" * 129])
def test_a_password_that_is_given_is_never_replaced_by_another(app: Flask, password: str) -> None:
    user, before = accounts.create("ann", "streamer")
    with pytest.raises(accounts.AccountProblem, match="16 to 128"):
        accounts.set_password(user, password)
    with pytest.raises(accounts.AccountProblem, match="16 to 128"):
        accounts.create("bob", "streamer", password)
    assert accounts.verifies(accounts.known("ann"), before)
    assert accounts.find("bob") is None


def test_a_generated_password_never_holds_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(f"xANNx{'Aa1!' * 5}"[:24] + "Bb2?" * 6)
    monkeypatch.setattr(accounts.secrets, "choice", lambda _alphabet: next(drawn))
    assert accounts.generate_password("ann") == "Bb2?" * 6
