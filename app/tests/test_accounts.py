"""What is changed of an account is saved at once, not with whatever is saved next."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from orchestrator import accounts
from orchestrator.database import db
from orchestrator.models import User


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


def test_a_generated_password_never_holds_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(f"xANNx{'Aa1!' * 5}"[:24] + "Bb2?" * 6)
    monkeypatch.setattr(accounts.secrets, "choice", lambda _alphabet: next(drawn))
    assert accounts.generate_password("ann") == "Bb2?" * 6
