"""What nginx-rtmp says of streams, and what publishers make it say."""

from __future__ import annotations

from io import BytesIO

import pytest
from orchestrator.streams import rtmp_statistics
from orchestrator.streams.rtmp_statistics import NoAnswer, Reading, parse
from peers import stat


def test_who_publishes_is_read_and_who_only_plays_is_not() -> None:
    alice = Reading("439", 4_037_700, 1280, 720, 30.0, "H264 Baseline", "AAC LC")
    assert parse(stat(4_037_700, 439)) == {("alice", "439"): alice}


def test_a_publisher_who_has_not_said_what_it_sends_is_read() -> None:
    bare = b"<rtmp><server><application><live><stream><name>x</name><client><id>1</id><publishing/></client></stream></live></application></server></rtmp>"  # noqa: E501
    assert parse(bare) == {("x", "1"): Reading("1", 0, 0, 0, 0.0, "", "")}


@pytest.mark.parametrize(
    ("told", "width", "rate"),
    [
        ("18446744073709551615", 0, 0.0),  # -1, as nginx-rtmp writes it
        ("-1", 0, 0.0),
        ("nan", 0, 0.0),
        ("inf", 0, 0.0),
        ("9" * 5000, 0, 0.0),
        ("fast", 0, 0.0),
        ("", 0, 0.0),
        ("65536", 0, 0.0),
        ("65535", 65535, 0.0),
        ("25", 25, 25.0),
    ],
)
def test_a_number_that_can_not_be_says_nothing(told: str, width: int, rate: float) -> None:
    answer = stat().replace(b">1280<", f">{told}<".encode()).replace(b">30<", f">{told}<".encode())
    (reading,) = parse(answer).values()
    assert (reading.width, reading.frame_rate, reading.height) == (width, rate, 720)


@pytest.mark.parametrize("words", [b"\x01", b"\xff\xfe", "\uffff".encode(), b"\x1b[31m"])
def test_what_publishers_say_of_themselves_breaks_nothing(words: bytes) -> None:
    answer = stat().replace(b"<codec>H264<", b"<codec>H264" + words + b"<")
    (reading,) = parse(answer).values()
    assert (reading.width, reading.received) == (1280, 4_000_000)


@pytest.mark.parametrize(
    "answer",
    [b"", b"<rtmp>", b"\xff", b'<!DOCTYPE x [<!ENTITY a "aa">]><rtmp>&a;</rtmp>'],
)
def test_what_is_no_answer_is_said(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: BytesIO(answer))
    with pytest.raises(NoAnswer):
        rtmp_statistics.fetch("http://192.0.2.1/stat")


def test_nobody_there_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="URLError"):
        rtmp_statistics.fetch("http://127.0.0.1:1/stat")
