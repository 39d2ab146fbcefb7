"""What is a guess and what is not: fail2ban bans for what this decides, and the limit of sign-ins counts it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_migrate import upgrade
from orchestrator import create_app
from orchestrator.models import FormerKey, Refusal
from orchestrator.people import accounts, brute_force
from orchestrator.site import events
from orchestrator.site.database import db
from orchestrator.site.settings import from_environment
from orchestrator.streams import keys
from sqlalchemy import func, select

Call = Callable[..., int]
Told = Callable[[], list[str]]
DAY = 86_400


@pytest.fixture
def told(app: Flask) -> Told:
    """Give what became of publishers and sign-ins so far, as the log tells it."""
    log = io.StringIO()
    events.configure("INFO", stream=log)

    def read() -> list[str]:
        lines = [json.loads(line) for line in log.getvalue().splitlines()]
        return [line.get("reason", line["result"]) for line in lines if line["event"] in ("publish", "login")]

    return read


def wrong(number: int) -> str:
    return f"{number:032}"


def test_an_encoder_that_goes_on_with_one_wrong_key_guesses_once(
    rtmp_callback: Call, alice_secret: str, told: Told
) -> None:
    assert [rtmp_callback("publish", name="alice", key=wrong(1)) for _ in range(6)] == [403] * 6
    assert told() == ["key"] + ["repeated"] * 5


def test_different_keys_names_and_addresses_are_guesses_each(
    rtmp_callback: Call, alice_secret: str, told: Told
) -> None:
    for number in range(5):
        rtmp_callback("publish", name="alice", key=wrong(number))
    rtmp_callback("publish", name="bob-who-is-not", key=wrong(1))
    rtmp_callback("publish", name="alice", key=wrong(1), addr="198.51.100.8")
    assert told() == ["key"] * 7


def test_a_key_that_was_right_until_lately_is_no_guess(
    rtmp_callback: Call, alice_secret: str, told: Told, pass_time: Callable[[float], None]
) -> None:
    second = keys.rotate(keys.known("alice"))
    keys.rotate(keys.known("alice"))
    for former in (alice_secret, second):
        assert rtmp_callback("publish", name="alice", key=former) == 403
    assert told() == ["rotated"] * 2
    pass_time(31 * DAY)
    rtmp_callback("publish", name="alice", key=alice_secret)
    assert told() == ["rotated", "rotated", "key"]


def test_a_former_key_is_one_for_its_own_stream_alone(rtmp_callback: Call, alice_secret: str, told: Told) -> None:
    keys.create("bob")
    keys.rotate(keys.known("alice"))
    rtmp_callback("publish", name="bob", key=alice_secret)
    rtmp_callback("publish", name="nobody", key=alice_secret)
    assert told() == ["key"] * 2


def test_a_withdrawn_or_expired_key_is_told_as_that(rtmp_callback: Call, alice_secret: str, told: Told) -> None:
    alice = keys.known("alice")
    keys.change(alice, expires_at=keys.now())
    rtmp_callback("publish", name="alice", key=alice_secret)
    keys.revoke(alice)
    rtmp_callback("publish", name="alice", key=alice_secret)
    assert told() == ["expired", "revoked"]


def test_a_stream_that_runs_on_a_rotated_key_is_sent_away_for_that(
    rtmp_callback: Call, alice_secret: str, told: Told
) -> None:
    rtmp_callback("publish", name="alice", key=alice_secret)
    keys.rotate(keys.known("alice"))
    assert rtmp_callback("update", call="update_publish", name="alice", key=alice_secret) == 403
    assert told() == ["accepted", "rotated"]


def test_former_keys_are_few_and_go_with_their_stream(
    app: Flask, alice_secret: str, pass_time: Callable[[float], None]
) -> None:
    alice = keys.known("alice")
    for _ in range(20):
        keys.rotate(alice)
    assert db.session.scalar(select(func.count()).select_from(FormerKey)) == keys.FORMER_KEPT
    pass_time(31 * DAY)
    keys.rotate(alice)
    assert db.session.scalar(select(func.count()).select_from(FormerKey)) == 1
    keys.delete(alice)
    assert db.session.scalar(select(func.count()).select_from(FormerKey)) == 0


def test_what_is_remembered_of_refusals_is_bounded(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brute_force, "MOST", 10)
    for number in range(30):
        assert brute_force.is_new_guess("stream", "198.51.100.7", "alice", wrong(number))
    assert db.session.scalar(select(func.count()).select_from(Refusal)) == 10
    assert not brute_force.is_new_guess("stream", "198.51.100.7", "alice", wrong(29))
    assert brute_force.is_new_guess("stream", "198.51.100.7", "alice", wrong(0))


def test_a_refusal_is_remembered_for_a_day_after_the_last_try(app: Flask, pass_time: Callable[[float], None]) -> None:
    def new() -> bool:
        return brute_force.is_new_guess("stream", "198.51.100.7", "alice", wrong(1))

    assert new()
    for _ in range(3):
        pass_time(DAY - 60)
        assert not new()
    pass_time(DAY + 60)
    assert new()


def test_parts_are_kept_apart_and_no_secret_is_kept(app: Flask, alice_secret: str) -> None:
    secret = "Not-The-Right-One-1!"
    assert brute_force.is_new_guess("login", "198.51.100.7", "alice", secret)
    assert brute_force.is_new_guess("stream", "198.51.100.7", "alice", secret)
    assert brute_force.is_new_guess("login", "198.51.100.7", "alic", "e" + secret)
    for file in app.config["STREAMKEEP"].database_path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()
        assert b"198.51.100.7" not in file.read_bytes()


@pytest.fixture
def house(environment: dict[str, str]) -> Iterator[FlaskClient]:
    """A site with four guesses a minute and somebody who may sign in."""
    app = create_app(from_environment(environment | {"LOGIN_RATE_LIMIT_PER_MINUTE": "4"}))
    with app.app_context():
        upgrade()
        accounts.create("teacher", "streamer", GOOD)
        db.session.commit()
    yield app.test_client()
    with app.app_context():
        db.engine.dispose()


GOOD = "correct horse battery staple"


def sign_in(house: FlaskClient, password: str = GOOD, name: str = "teacher") -> int:
    return house.post("/api/v1/auth/login", json={"name": name, "password": password}).status_code


def test_correct_sign_ins_use_up_nothing_but_have_an_end(house: FlaskClient) -> None:
    assert [sign_in(house) for _ in range(41)] == [200] * 40 + [429]


def test_the_limit_counts_guesses_and_one_repeated_once(house: FlaskClient) -> None:
    assert [sign_in(house, "one-and-the-same") for _ in range(6)] == [401] * 6
    assert [sign_in(house, f"another-{n}") for n in range(4)] == [401] * 3 + [429]
    assert sign_in(house) == 429, "who guesses does not get around it by knowing one password"


def test_what_is_left_is_told_after_counting(house: FlaskClient) -> None:
    def left(password: str) -> str:
        answer = house.post("/api/v1/auth/login", json={"name": "teacher", "password": password})
        return answer.headers["RateLimit-Remaining"]

    assert [left(one) for one in (GOOD, "first", "first", "second", GOOD)] == ["4", "3", "3", "2", "2"]


def test_a_guess_on_the_page_counts_as_one_by_the_api(house: FlaskClient) -> None:
    def by_page(password: str) -> int:
        fields = {"name": "teacher", "password": password}
        return house.post("/session", data=fields, headers={"Sec-Fetch-Site": "same-origin"}).status_code

    assert [by_page(f"another-{n}") for n in range(2)] == [401] * 2
    assert [by_page("p" * 200) for _ in range(3)] == [401] * 3, "what can't be a password is no guess"
    assert [sign_in(house, f"more-{n}") for n in range(3)] == [401] * 2 + [429]
    assert by_page("correct horse battery staple") == 429


def test_a_password_that_is_tried_again_and_again_is_logged_as_a_failure_once(client: FlaskClient, told: Told) -> None:
    accounts.create("teacher", "streamer", GOOD)
    for _ in range(3):
        assert sign_in(client, "the-former-one-1A!") == 401
    for number in range(4):
        sign_in(client, f"guess-{number}")
    sign_in(client, "guess-1", name="admin")
    sign_in(client)
    assert told() == ["failed", "repeated", "repeated"] + ["failed"] * 5 + ["success"]
