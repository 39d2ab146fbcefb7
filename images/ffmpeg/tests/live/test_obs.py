"""OBS itself, with the settings that it begins with."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from test_publishers import arrived, status

if TYPE_CHECKING:
    from conftest import House


@pytest.mark.slow
def test_obs_publishes_as_it_begins(house: House) -> None:
    publisher = house.obs("alice?key=secret")
    house.eventually(lambda: house.live, 30, f"OBS publishes\n{publisher.tail()}")
    packets = arrived(house, "alice", 25)
    keyframes = [packet["time"] for packet in packets if packet["kind"] == "video" and packet["key"]]
    intervals = [after - before for before, after in pairwise(keyframes)]
    assert intervals
    assert intervals == pytest.approx([250 / 30] * len(intervals), abs=0.1)
    told = status(house, "alice")
    assert re.search(r"<width>1280</width><height>720</height>.*<codec>H264</codec><profile>High</profile>", told)
    assert "<codec>AAC</codec>" in told
    assert publisher.stop() == ""
    house.eventually(lambda: not house.live, 5, "its end is told")


@pytest.mark.slow
def test_obs_plays_before_its_second_keyframe_and_is_told_what_to_set(house: House) -> None:
    house.supervise()
    house.listens()
    publisher = house.obs("alice?key=secret")
    house.eventually(lambda: house.live, 30, f"OBS publishes\n{publisher.tail()}")
    house.eventually(lambda: house.playlist("alice", "240p"), 8, "a rendition plays")
    assert not house.playlist("alice"), "the source has to wait for its second keyframe"
    house.eventually(lambda: house.playlist("alice"), 12, "the source plays")
    house.eventually(
        lambda: house.app.problems("alice").get("keyframes_far") == {"seconds": pytest.approx(250 / 30, abs=0.5)},
        12,
        "it is told",
    )
    assert publisher.stop() == ""


@pytest.mark.slow
def test_obs_that_is_refused_sends_nothing(house: House) -> None:
    house.live = None
    publisher = house.obs("alice?key=secret")
    house.eventually(lambda: "failed" in publisher.tail(), 30, "OBS is refused")
    assert status(house, "alice") == ""
    assert publisher.running, "it would show the reason to a person"
