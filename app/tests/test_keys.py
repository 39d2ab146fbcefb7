"""Stream keys: the guide's rule, and what is kept of a secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from orchestrator.site.settings import Settings
from orchestrator.streams import keys

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"


@given(st.text(alphabet=ALPHABET, min_size=3, max_size=64))
def test_the_rule_lets_in_what_the_guide_lets_in(text: str) -> None:
    assert keys.well_formed(text)


@given(st.text(max_size=80).filter(lambda t: not (3 <= len(t) <= 64 and set(t) <= set(ALPHABET))))
def test_the_rule_keeps_out_everything_else(text: str) -> None:
    assert not keys.well_formed(text)


def test_generated_keys_are_long_and_never_the_same() -> None:
    made = [keys.generate() for _ in range(10_000)]
    assert {len(key) for key in made} == {32}
    assert len(set(made)) == len(made)
    assert all(keys.well_formed(key) for key in made)


def test_the_secret_is_not_kept(app: Flask, settings: Settings, alice_secret: str) -> None:
    for file in settings.database_path.parent.iterdir():
        assert alice_secret.encode() not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("slug", ["ab", "a" * 65, "../etc", "a b", "äöü", "", "a\x00b", "slug\n"])
def test_a_bad_name_is_refused(app: Flask, slug: str) -> None:
    with pytest.raises(keys.KeyProblem, match="3 to 64"):
        keys.create(slug)


@pytest.mark.parametrize("title", ["x" * 121, "two\nlines", "bell\x07"])
def test_a_bad_title_is_refused(app: Flask, title: str) -> None:
    with pytest.raises(keys.KeyProblem, match="title"):
        keys.create("bob", title)


def test_a_taken_name_is_refused(app: Flask, alice_secret: str) -> None:
    with pytest.raises(keys.KeyProblem, match="exists already"):
        keys.create("alice")


def admits(slug: str, secret: str) -> bool:
    try:
        return keys.admits(slug, secret, "198.51.100.7").slug == slug
    except keys.Refused:
        return False


def test_the_command_line_tells_the_whole_life_of_a_key(app: Flask) -> None:
    run = app.test_cli_runner().invoke
    made = json.loads(run(args=["streamkeep", "key", "create", "bob", "--title", "Bob's"]).stdout)
    assert admits("bob", made["key"])
    rotated = json.loads(run(args=["streamkeep", "key", "create", "bob", "--rotate"]).stdout)
    assert not admits("bob", made["key"])
    assert admits("bob", rotated["key"])
    listed = json.loads(run(args=["streamkeep", "key", "list"]).stdout)
    assert (listed["slug"], listed["title"], listed["revoked"]) == ("bob", "Bob's", False)
    assert json.loads(run(args=["streamkeep", "key", "revoke", "bob"]).stdout)["revoked"]
    assert not admits("bob", rotated["key"])


@pytest.mark.parametrize(
    "arguments", [["key", "create", "a"], ["key", "revoke", "nobody"], ["key", "create", "bob", "--title", "\n"]]
)
def test_the_command_line_tells_a_problem_in_one_sentence(app: Flask, arguments: list[str]) -> None:
    done = app.test_cli_runner().invoke(args=["streamkeep", *arguments])
    assert done.exit_code == 1
    assert done.output.startswith("Error: ")
    assert "Traceback" not in done.output


def test_what_is_live_is_listed(app: Flask, rtmp_callback: object, alice_secret: str) -> None:
    assert callable(rtmp_callback)
    rtmp_callback("publish", name="alice", key=alice_secret)
    shown = json.loads(app.test_cli_runner().invoke(args=["streamkeep", "live"]).stdout)
    assert (shown["slug"], shown["client"]) == ("alice", "198.51.100.7")


def test_the_database_may_only_be_read_by_its_owner(app: Flask, settings: Settings, alice_secret: str) -> None:
    names = {file.name for file in Path(settings.database_path).parent.iterdir()}
    assert {"database.db", "database.db-wal"} <= names
