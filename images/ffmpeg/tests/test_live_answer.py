"""What the orchestrator's answer may be, and that a name is checked once more before it becomes a path."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any
from urllib.error import URLError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor import live


def answer_with(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: BytesIO(body))


def test_what_is_live_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, b'{"streams": [{"slug": "alice", "session": "1"}]}')
    assert live.fetch("http://192.0.2.1/", {}) == live.Answer({"alice": live.Stream("1", private=True)})


def test_what_is_not_said_to_be_public_is_private_and_what_is_not_asked_for_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = [
        {"slug": "open", "session": "1", "private": False, "record": True},
        {"slug": "odd", "session": "2", "private": 0, "record": 1, "application": "Live"},
    ]
    answer_with(monkeypatch, json.dumps({"streams": said}).encode())
    streams = live.fetch("http://192.0.2.1/", {}).streams
    assert streams["open"] == live.Stream("1", private=False, record=True)
    assert streams["odd"] == live.Stream("2", private=True, record=False, application="Live")


def test_only_a_recording_can_be_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    good = "alice/2026-11-24T23-55-02Z.mp4"
    bad = ["../etc/passwd", "alice/../bob/2026-11-24T23-55-02Z.mp4", "alice/x.mp4", "", good + "\n", "/" + good]
    answer_with(monkeypatch, json.dumps({"streams": [], "discards": [good, *bad]}).encode())
    assert live.fetch("http://192.0.2.1/", {}).discards == (good,)


@pytest.mark.parametrize("slug", ["ab", "a" * 65, "..", "../etc", "a/b", "a b", "abc\n", "a;$(id)", "-i\0", "ümlaut"])
def test_a_hostile_name_is_left_out(monkeypatch: pytest.MonkeyPatch, slug: str) -> None:
    answer_with(monkeypatch, json.dumps({"streams": [{"slug": slug, "session": "1"}]}).encode())
    assert live.fetch("http://192.0.2.1/", {}) == live.Answer({})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"streams": 1}',
        b'{"streams": [{"slug": 1}]}',
        b"\xff",
        b'{"streams": [], "discards": [1]}',
        b'{"streams": [{"slug": "alice", "session": "1", "application": "../x"}]}',
    ],
)
def test_nonsense_is_no_answer(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    answer_with(monkeypatch, body)
    with pytest.raises(live.NoAnswer):
        live.fetch("http://192.0.2.1/", {})


def test_no_connection_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> BytesIO:
        raise URLError("refused")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(live.NoAnswer, match="URLError"):
        live.fetch("http://192.0.2.1/", {})


@given(st.text(max_size=70))
def test_a_name_that_passes_is_one_path_component(name: str) -> None:
    if live.SLUG.fullmatch(name):
        assert name.isascii()
        assert 3 <= len(name) <= 64
        assert not set(name) & set("./\\ \0\n:;$%&|<>'\"`")
