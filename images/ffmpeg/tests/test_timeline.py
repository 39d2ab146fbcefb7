"""A timeline that never leaps."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor.rtmp import AUDIO, VIDEO
from supervisor.timeline import APART, BACKWARD, Timeline


def run(timeline: Timeline, kind: int, raws: list[int], now: float = 0.0) -> list[tuple[int, bool]]:
    """Place messages that come as fast as they say, and return what becomes of them."""
    placed = []
    for before, raw in itertools.pairwise([raws[0], *raws]):
        now += max(0, min(raw - before, 100)) / 1000
        placed.append(timeline.place(kind, raw, now))
    return placed


def test_wherever_it_begins_it_begins_at_zero() -> None:
    assert run(Timeline(), VIDEO, [5_000_000, 5_000_033, 5_000_066]) == [(0, False), (33, False), (66, False)]


@pytest.mark.parametrize("by", [600_000, 3_600_000, -600_000, -3_600_000, -(1 << 32) + 5000])
def test_a_leap_is_followed_without_one(by: int) -> None:
    timeline = Timeline()
    start = 1 << 32 if by < 0 else 0
    placed = run(timeline, VIDEO, [start, start + 40, start + 80, start + 80 + by, start + 120 + by])
    assert [leapt for _, leapt in placed] == [False, False, False, True, False]
    assert [at for at, _ in placed] == [0, 40, 80, 120, 160]
    assert timeline.leaps == 1


def test_what_leaps_together_stays_together() -> None:
    timeline = Timeline()
    for frame in range(10):
        timeline.place(VIDEO, frame * 40, frame * 0.04)
        timeline.place(AUDIO, frame * 40 + 10, frame * 0.04)
    picture, _ = timeline.place(VIDEO, 1_000_400, 0.4)
    sound, _ = timeline.place(AUDIO, 1_000_410, 0.4)
    assert sound - picture == 10
    assert timeline.leaps == 1, "it is one leap"


def test_who_was_silent_goes_on_where_the_clock_is() -> None:
    timeline = Timeline()
    timeline.place(VIDEO, 0, 0.0)
    assert timeline.place(VIDEO, 7000, 7.0) == (7000, False)
    assert timeline.leaps == 0


def test_a_little_back_is_no_leap() -> None:
    timeline = Timeline()
    timeline.place(VIDEO, 1000, 0.0)
    assert timeline.place(VIDEO, 1000 - BACKWARD, 0.0) == (-BACKWARD, False)


@pytest.mark.parametrize("apart", [50_000, -50_000])
def test_sound_far_from_its_picture_is_brought_to_it(apart: int) -> None:
    timeline = Timeline()
    timeline.place(VIDEO, 100_000, 0.0)
    assert timeline.place(AUDIO, 100_000 + apart, 0.1) == (100, False)
    assert abs(timeline.apart - apart) <= 100
    assert abs(timeline.apart) > APART


def test_sound_that_comes_late_is_where_it_says() -> None:
    timeline = Timeline()
    timeline.place(VIDEO, 0, 0.0)
    timeline.place(VIDEO, 5000, 5.0)
    assert timeline.place(AUDIO, 5010, 5.0) == (5010, False)
    assert abs(timeline.apart) <= APART


@given(st.lists(st.tuples(st.sampled_from([AUDIO, VIDEO]), st.integers(0, 2**32 - 1)), max_size=60))
def test_whatever_comes_nothing_leaps_far(messages: list[tuple[int, int]]) -> None:
    timeline, last = Timeline(), {}
    for number, (kind, raw) in enumerate(messages):
        at, _ = timeline.place(kind, raw, number * 0.01)
        assert abs(at - last.get(kind, at)) <= 3100
        last[kind] = at
