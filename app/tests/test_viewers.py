"""Who watches is counted, and not kept."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from orchestrator.streams import viewers
from orchestrator.streams.viewers import WINDOW, Audience


def told(slug: str, address: str, agent: str) -> bytes:
    return f"<190>Nov  4 03:51:15 viewers: {slug} {address} {agent}".encode()


def test_players_are_told_apart_by_address_and_agent() -> None:
    audience = Audience()
    for address, agent in (("192.0.2.1", "VLC"), ("192.0.2.1", "Safari 1"), ("192.0.2.2", "VLC"), ("192.0.2.1", "VLC")):
        audience.hear(told("alice", address, agent), 0.0)
    audience.hear(told("bob", "192.0.2.1", "VLC"), 0.0)
    assert audience.count(1.0) == {"alice": 3, "bob": 1}


def test_a_player_that_asks_no_more_is_gone() -> None:
    audience = Audience()
    audience.hear(told("alice", "192.0.2.1", "VLC"), 0.0)
    audience.hear(told("alice", "192.0.2.2", "VLC"), 5.0)
    assert audience.count(WINDOW) == {"alice": 2}
    assert audience.count(WINDOW + 1) == {"alice": 1}
    assert audience.count(WINDOW + 6) == {}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"<190>Nov 24 23:51:15 viewers: ",
        b"<190>Nov 24 23:51:15 viewers: ab 192.0.2.1 x",
        b"<190>Nov 24 23:51:15 viewers: ../etc 192.0.2.1 x",
        b"<190>Nov 24 23:51:15 others: alice 192.0.2.1 x",
        b"alice 192.0.2.1 x",
    ],
)
def test_what_is_no_line_of_ours_is_not_counted(line: bytes) -> None:
    audience = Audience()
    audience.hear(line, 0.0)
    assert audience.count(0.0) == {}


@given(st.binary(max_size=200))
def test_whatever_arrives_breaks_nothing(line: bytes) -> None:
    audience = Audience()
    audience.hear(line, 0.0)
    audience.hear(b"<190>Nov 24 23:51:15 viewers: alice " + line, 0.0)
    assert set(audience.count(0.0)) <= {"alice"}


def test_nothing_of_a_person_is_kept() -> None:
    audience, other = Audience(), Audience()
    for one in (audience, other):
        one.hear(told("alice", "192.0.2.1", "Agent Smith"), 0.0)
    assert "192.0.2" not in repr(vars(audience))
    assert "Smith" not in repr(vars(audience))
    assert audience._seen != other._seen, "the hash has a key that dies with the process"


def test_a_flood_of_invented_players_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "MOST", 3)
    audience = Audience()
    for number in range(10):
        audience.hear(told("alice", f"192.0.2.{number}", "x"), 0.0)
    assert audience.count(0.0) == {"alice": 3}


def test_only_the_proxy_is_listened_to() -> None:
    audience = Audience()
    port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    port.bind(("127.0.0.1", 0))
    threading.Thread(target=audience.listen, args=(port, "127.0.0.1"), daemon=True).start()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as proxy,
    ):
        stranger.bind(("127.0.0.2", 0))
        stranger.sendto(told("bob", "192.0.2.1", "x"), port.getsockname())
        proxy.bind(("127.0.0.1", 0))
        proxy.sendto(told("alice", "192.0.2.1", "x"), port.getsockname())
    deadline = time.monotonic() + 5
    while not (counted := audience.count(time.monotonic())):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert counted == {"alice": 1}
