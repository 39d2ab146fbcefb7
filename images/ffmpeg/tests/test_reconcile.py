"""What to end and what to begin, for any answer and any state."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from supervisor.reconcile import reconcile

streams = st.dictionaries(st.sampled_from(["ann", "bob", "cleo", "dora"]), st.sampled_from(["s1", "s2"]))


@given(wanted=streams, running=streams)
def test_two_rounds_reach_what_is_wanted(wanted: dict[str, str], running: dict[str, str]) -> None:
    state = dict(running)
    for _ in range(2):  # a session that replaces another begins in the round after the other's end
        end, begin = reconcile(wanted, state)
        assert not end & begin, "one name never has two at a time"
        assert end <= set(state)
        state = {slug: session for slug, session in state.items() if slug not in end}
        state |= {slug: wanted[slug] for slug in begin}
    assert state == wanted
    assert reconcile(wanted, state) == (set(), set())


@given(wanted=streams, running=streams)
def test_what_is_still_wanted_is_left_alone(wanted: dict[str, str], running: dict[str, str]) -> None:
    end, begin = reconcile(wanted, running)
    kept = {slug for slug in wanted if running.get(slug) == wanted[slug]}
    assert not kept & (end | begin)
