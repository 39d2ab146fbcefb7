"""Bitrates from a counter of bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from orchestrator.streams.bitrate import WINDOW, Meter


def test_a_bitrate_is_an_average_of_ten_seconds() -> None:
    meter = Meter()
    assert meter.kbps == 0
    for second in range(0, 31, 2):
        meter.count(second * 250_000, float(second))
    assert (meter.kbps, meter.seconds) == (2000, 10.0)
    meter.count(30 * 250_000 + 1_250_000, 32.0)  # two seconds of five times as much
    assert meter.kbps == 2600


def test_a_counter_that_began_anew_is_no_negative_bitrate() -> None:
    meter = Meter()
    assert [meter.count(value, float(second)) for second, value in ((0, 900), (2, 1000), (4, 50), (6, 80))] == [
        0,
        100,
        0,
        30,
    ]
    assert meter.kbps >= 0


@given(st.lists(st.tuples(st.floats(0.5, 20), st.integers(0, 10**7)), min_size=1, max_size=60))
def test_whatever_comes_is_counted_once(steps: list[tuple[float, int]]) -> None:
    meter, moment, total, counted = Meter(), 0.0, 0, 0
    meter.count(0, 0.0)
    for seconds, amount in steps:
        moment, total = moment + seconds, total + amount
        counted += meter.count(total, moment)
    assert counted == total
    assert meter.kbps >= 0
    assert meter.seconds < WINDOW + 20
