"""Who is encoded when there is too much to do, and what an operator is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from supervisor.capacity import CALM, Capacity, Encoding, Processors


class Machine(Processors):
    """Processors that measure what a test says."""

    def __init__(self, cores: int = 2) -> None:
        super().__init__()
        self.cores, self.idle, self.encoder = cores, float(cores), 0.3

    def measure(self, pids: list[int], seconds: float) -> None:
        """Leave it as the test says."""


def streams(count: int, lag: float = 0.5) -> dict[str, Encoding]:
    return {f"s{number}": Encoding(float(number), number + 1, lag) for number in range(count)}


def test_the_newest_are_left_out_when_encoders_fall_behind_and_come_back_oldest_first() -> None:
    capacity = Capacity(Machine())
    late = streams(6, lag=9)
    for second in (100, 102):
        capacity.judge(late, second)
    assert capacity.shed == {"s5", "s4"}
    for second in (104, 106):
        capacity.judge(late, second)
    assert capacity.shed == {"s5", "s4", "s3", "s2"}
    back = []
    for second in range(108, 200, 2):
        capacity.judge(streams(6), second)
        back.append(sorted(capacity.shed))
    assert [each for each, before in zip(back, [None, *back], strict=False) if each != before] == [
        ["s2", "s3", "s4", "s5"],
        ["s3", "s4", "s5"],
        ["s4", "s5"],
        ["s5"],
        [],
    ]


def test_one_late_moment_is_nothing() -> None:
    capacity = Capacity(Machine())
    capacity.judge(streams(3, lag=9), 100)
    capacity.judge(streams(3), 102)
    capacity.judge(streams(3, lag=9), 104)
    assert capacity.shed == set()


def test_nothing_comes_back_while_the_processors_are_busy() -> None:
    machine = Machine()
    capacity = Capacity(machine)
    capacity.shed = {"s1"}
    machine.idle = 0.4
    for second in range(100, 140, 2):
        capacity.judge(streams(2), second)
    assert capacity.shed == {"s1"}
    machine.idle = 1.5
    for second in range(140, 140 + int(CALM) + 4, 2):
        capacity.judge(streams(2), second)
    assert capacity.shed == set()


def test_newcomers_are_left_out_when_all_processors_would_not_do() -> None:
    capacity = Capacity(Machine())
    assert [capacity.admits(100.0) for _ in range(12)] == [True] * 6 + [False] * 6
    assert [Capacity(Machine(), sheds=False).admits(100.0) for _ in range(12)] == [True] * 12
    capacity.shed = {"s9"}
    assert not capacity.admits(200.0), "who was left out before comes first"


def test_who_has_gone_is_forgotten() -> None:
    capacity = Capacity(Machine())
    capacity.shed = {"gone", "s0"}
    capacity.judge(streams(1), 100)
    assert capacity.shed == {"s0"}


def test_what_is_told_is_what_is_left(tmp_path: Path) -> None:
    machine = Machine(4)
    machine.idle = 2.0
    told = Capacity(machine).told(tmp_path)
    assert told == {"encode_more": 5, "carry_more": 40, "load_percent": 50}
    machine.idle = 0.0
    assert Capacity(machine).told(tmp_path)["encode_more"] == 0


def test_processors_are_measured_as_proc_tells(tmp_path: Path) -> None:
    machine = Processors(tmp_path)
    machine.cores = 2
    (tmp_path / "7").mkdir()
    for busy, idle, taken in ((0, 0, 0), (100, 300, 60)):
        (tmp_path / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 1\n")
        (tmp_path / "7" / "stat").write_text(f"7 (a (b) c) S 1 1 1 0 -1 0 0 0 0 0 {taken} {taken} 0 0 0")
        machine.measure([7, 8], 2.0)
    assert machine.idle == pytest.approx(1.5)
    assert machine.encoder == pytest.approx(0.35 + (0.6 - 0.35) / 4)
