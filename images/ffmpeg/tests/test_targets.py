"""Where streams may be passed on to: what the orchestrator's answer may hold, and which addresses are let through."""

from __future__ import annotations

import json
import socket
from io import BytesIO
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor import targets
from supervisor.live import NoAnswer
from supervisor.targets import Refused, Target

NUMBER = "0f8fad5b-d9cb-469f-a165-70867728950e"
GOOD = {"id": NUMBER, "slug": "alice", "session": "1", "server": "rtmps://a.test/app", "stream_key": "k?x=1"}


def answer_with(monkeypatch: pytest.MonkeyPatch, *relays: Any) -> None:
    body = json.dumps({"relays": relays}).encode()
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: BytesIO(body))


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("rtmp://a.test/app", "rtmp://a.test:1935/app"),
        ("rtmps://a.test/app/inner", "rtmps://a.test:443/app/inner"),
        ("rtmp://[2001:db8::1]:7/app", "rtmp://[2001:db8::1]:7/app"),
    ],
)
def test_what_is_wanted_is_read(monkeypatch: pytest.MonkeyPatch, server: str, url: str) -> None:
    answer_with(monkeypatch, GOOD | {"server": server})
    (target,) = targets.fetch("http://192.0.2.1/").values()
    assert target.url == url
    assert target.stream_key == "k?x=1"
    assert "k?x=1" not in repr(target)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../x"},
        {"slug": "a/b"},
        {"slug": "-i"},
        {"server": "http://a.test/app"},
        {"server": "rtmp://u:p@a.test/app"},
        {"server": "rtmp://a.test/app live=1"},
        {"server": "rtmp://a.test/app?x"},
        {"server": "rtmp://a.test/app\n"},
        {"stream_key": ""},
        {"stream_key": "k\nrtmp_app=other"},
        {"stream_key": "k" * 513},
    ],
)
def test_what_is_hostile_is_left_out(monkeypatch: pytest.MonkeyPatch, change: dict[str, str]) -> None:
    answer_with(monkeypatch, GOOD | change)
    assert targets.fetch("http://192.0.2.1/") == {}


@pytest.mark.parametrize("relay", [1, {}, GOOD | {"server": 7}, {k: v for k, v in GOOD.items() if k != "session"}])
def test_nonsense_is_no_answer(monkeypatch: pytest.MonkeyPatch, relay: Any) -> None:
    answer_with(monkeypatch, relay)
    with pytest.raises(NoAnswer):
        targets.fetch("http://192.0.2.1/")


ALLOWED = (ip_network("192.168.7.0/24"), ip_network("fd00:7::/64"))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1", "192.168.7.9", "fd00:7::1", "::ffff:8.8.8.8"])
def test_the_internet_and_what_is_listed_is_allowed(address: str) -> None:
    assert targets.is_allowed(ip_address(address), ALLOWED)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.17.0.1",
        "192.168.8.1",
        "169.254.169.254",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.1.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00:8::1",
        "ff02::1",
        "ff0e::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::1",
        "2001:db8::1",
    ],
)
def test_what_is_private_is_not_allowed(address: str) -> None:
    assert not targets.is_allowed(ip_address(address), ALLOWED)


@given(st.ip_addresses(v=4))
def test_no_way_of_writing_a_private_address_is_allowed(address: Any) -> None:
    number = int(address)
    mapped, nat64 = (ip_address(prefix + number) for prefix in (0xFFFF << 32, 0x64FF9B << 96))
    expected = targets.is_allowed(address, ())
    assert targets.is_allowed(mapped, ()) == targets.is_allowed(nat64, ()) == expected


def target(host: str) -> Target:
    return Target("alice", "1", "rtmp", host, 1935, "app", "k")


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "address not allowed"),
        ("0x7f.1", "address not allowed"),
        ("2130706433", "address not allowed"),
        ("localhost", "address not allowed"),
        ("[::1]", "address not allowed"),
        ("no-such-name.invalid", "name not found"),
        ("a" * 64, "name not found"),
    ],
)
def test_a_name_is_judged_by_where_it_leads(host: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        targets.judge(target(host), ALLOWED)
    if reason == "address not allowed":
        targets.judge(target(host), (ip_network("127.0.0.0/8"), ip_network("::1/128")))


def test_one_private_address_among_others_is_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(*addresses: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 1935)) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    answers("8.8.8.8", "8.8.4.4")
    targets.judge(target("a.test"), ())
    answers("8.8.8.8", "10.0.0.1")
    with pytest.raises(Refused):
        targets.judge(target("a.test"), ())
