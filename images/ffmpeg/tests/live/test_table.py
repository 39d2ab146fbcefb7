"""What real encoders send, and what becomes of it: each row of `publishers.TABLE` on its way through the supervisor."""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from publishers import TABLE, Row

if TYPE_CHECKING:
    from conftest import House

SAMPLE = ("plain", "hevc", "leap_10_min")
PLAYS_WITHIN = 5.0  # seconds from the publisher's connection to something that can be played
TOLD_WITHIN = 6.0  # seconds; reports come every other second
NEAR = {"frame_rate": 2.0, "keyframe_seconds": 0.4, "bitrate_kbps": 250, "audio_offset_seconds": 1.0}
EACH_ROW = [pytest.param(row, id=row.name, marks=[] if row.name in SAMPLE else pytest.mark.slow) for row in TABLE]


def differing(facts: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Return the *expected* facts that are others, each as (found, expected)."""
    return {
        name: (facts.get(name), value)
        for name, value in expected.items()
        if not (abs((facts.get(name) or 0) - value) <= NEAR[name] if name in NEAR else facts.get(name) == value)
    }


def offered(house: House, slug: str) -> list[str]:
    """Return the renditions that the master playlist names."""
    try:
        master = (house.hls / "public" / slug / "index.m3u8").read_text(encoding="ascii")
    except FileNotFoundError:
        return []
    return re.findall(r"^(\S+)/index\.m3u8$", master, re.M)


def complaints(house: House, slug: str, name: str) -> str:
    """Return what ffmpeg says when it decodes all of a rendition, as far as a player would mind."""
    segments = re.findall(r"^\S+\.ts$", house.playlist(slug, name), re.M)
    folder = house.hls / "public" / slug / name
    data = b"".join((folder / segment).read_bytes() for segment in segments[1:])
    command = ["ffmpeg", "-v", "error", "-f", "mpegts", "-i", "pipe:0", "-f", "null", "-"]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    return done.stderr.decode()


def moments(playlist: str) -> list[float]:
    """Return when each segment was sent, in seconds of its day."""
    found = re.findall(r"PROGRAM-DATE-TIME:\S+T(\d+):(\d+):([\d.]+)Z", playlist)
    return [int(hours) * 3600 + int(minutes) * 60 + float(seconds) for hours, minutes, seconds in found]


@pytest.mark.parametrize("row", EACH_ROW)
def test_what_comes_is_understood_and_told(house: House, row: Row) -> None:
    house.supervise()
    house.listens()
    row.clip.file(house.clips)
    if row.other:
        row.other.file(house.clips)
    house.send(row.name, "alice")
    began = time.monotonic()
    if row.offers:
        house.eventually(lambda: offered(house, "alice"), PLAYS_WITHIN, "it plays")
    else:
        house.eventually(lambda: row.problems[0] in house.app.problems("alice"), TOLD_WITHIN, "it is told")
    time.sleep(max(0.0, began + row.seconds - time.monotonic()))
    facts = house.app.facts("alice")
    assert not differing(facts, row.expect), facts
    on_the_way = {"keyframes_far"} if "keyframes_missing" in row.problems else set()
    assert set(house.app.ever("alice")) - on_the_way == set(row.problems), house.app.problems("alice")
    assert offered(house, "alice") == list(row.offers)
    for name in row.offers:
        assert complaints(house, "alice", name) == "", name
        if "no_data" not in row.problems:
            late = time.time() % 86400 - moments(house.playlist("alice", name))[-1]
            assert late < 8 or "keyframes_far" in row.problems, "segments go on"
    if {"source", "240p"} <= set(row.offers):
        assert set(map(round, moments(house.playlist("alice", "240p")))) & set(
            map(round, moments(house.playlist("alice")))
        ), "what was sent at one time stands at the same time in each"
    assert [line for line in house.log() if "traceback" in line] == []
